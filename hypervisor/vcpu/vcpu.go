package vcpu

import (
	"errors"
	"fmt"
	"sync"

	"golang.org/x/sys/unix"

	"hv/devices/bus"
	"hv/devices/turn"
	"hv/hypervisor/kvm"
	"hv/hypervisor/mem"
)

// ErrClosed is returned for work that came after Close.
var ErrClosed = errors.New("vCPU is closed")

// Spaces is what a vCPU can reach beside RAM.
type Spaces struct {
	Ports, MMIO *bus.Space
	RAM         *mem.Memory // for dumping the code at an error
}

// Sink is told how vCPUs end. It is called on the vCPU's thread and must neither
// block nor wait for a vCPU; afterwards the vCPU stands still until Reset.
type Sink interface {
	// Shutdown reports a triple fault, or what the processor treats like one.
	Shutdown(cpu int)
	// SystemEvent reports a kvm.SystemEvent*.
	SystemEvent(cpu int, typ uint32)
	// Failed reports that KVM cannot run the vCPU any further.
	Failed(cpu int, err *InternalError)
}

// Config is what makes one vCPU differ from another.
type Config struct {
	Index  int // names it to Sink and in errors
	APICID int
	CPUID  []kvm.CPUIDEntry2 // complete, the leaves with the APIC ID too
	TSCKHz int               // 0 for the host's
	// MCECap is IA32_MCG_CAP, at most kvm.System.MCECap; 0 for KVM's default.
	MCECap uint64
	// Features are MSRs that tell of the processor's features, where they are to
	// differ from KVM's defaults.
	Features []kvm.MSREntry
	// Thread is the name of its thread, up to 15 characters; "" keeps the process's.
	Thread string
}

// VCPU is a virtual processor and its thread.
type VCPU struct {
	cfg    Config
	kv     *kvm.VCPU
	spaces Spaces
	sink   Sink

	tid      int // set before Start returns
	started  bool
	done     chan struct{} // closed when the thread is gone
	wasReset bool          // on the thread: the next Reset starts the TSC anew
	turn     turn.Turn     // the thread's

	mu      sync.Mutex
	changed sync.Cond // of anything below
	pause   bool      // asked to stand still
	ended   bool      // stands still until Reset
	parked  bool      // stands still
	closing bool
	work    []func()
}

// New creates a vCPU in vm. It runs nothing before Start and Resume, and is in
// no defined state before Reset.
func New(vm *kvm.VM, cfg Config, spaces Spaces, sink Sink) (*VCPU, error) {
	kv, err := vm.CreateVCPU(cfg.APICID)
	if err != nil {
		return nil, err
	}
	c := &VCPU{cfg: cfg, kv: kv, spaces: spaces, sink: sink, done: make(chan struct{}), pause: true}
	c.changed.L = &c.mu
	if err := c.setUp(); err != nil {
		kv.Close()
		return nil, err
	}
	return c, nil
}

// setUp sets what a reset does not change.
func (c *VCPU) setUp() error {
	if err := c.kv.SetCPUID(c.cfg.CPUID); err != nil {
		return err
	}
	if c.cfg.TSCKHz != 0 {
		if err := c.kv.SetTSCKHz(c.cfg.TSCKHz); err != nil {
			return err
		}
	}
	if err := setMSRs(c.kv, c.cfg.Features); err != nil {
		return err
	}
	if c.cfg.MCECap != 0 {
		return c.kv.SetupMCE(c.cfg.MCECap)
	}
	return nil
}

// Index returns the configured index.
func (c *VCPU) Index() int { return c.cfg.Index }

// APICID returns the configured APIC ID.
func (c *VCPU) APICID() int { return c.cfg.APICID }

// Start creates the thread. The vCPU is paused.
func (c *VCPU) Start() {
	c.started = true
	ready := make(chan struct{})
	go c.main(ready)
	<-ready
}

// Tid returns the kernel's id of the thread, after Start.
func (c *VCPU) Tid() int { return c.tid }

// RequestPause asks the vCPU to stand still and does not wait for that; a
// device model may call it on the vCPU's own thread, and the access under way is
// then its last. Repeated requests are one.
func (c *VCPU) RequestPause() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.pause = true
	c.kick()
}

// WaitPaused waits until the vCPU stands still: no guest code runs, and no
// access of it is half done. RequestPause comes first.
func (c *VCPU) WaitPaused() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for !c.parked && c.started {
		c.changed.Wait()
	}
}

// Resume lets the vCPU run, unless it met its end and was not Reset.
func (c *VCPU) Resume() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.pause = false
	c.changed.Broadcast()
}

// Do runs f on the vCPU's thread, interrupting the guest if it runs, and waits
// for it. The error is ErrClosed or nil.
func (c *VCPU) Do(f func(*kvm.VCPU)) error {
	done := make(chan struct{})
	c.mu.Lock()
	if c.closing || !c.started {
		c.mu.Unlock()
		return fmt.Errorf("vCPU %d: %w", c.cfg.Index, ErrClosed)
	}
	c.work = append(c.work, func() { defer close(done); f(c.kv) })
	c.kick()
	c.mu.Unlock()
	<-done
	return nil
}

// NMI injects a non-maskable interrupt.
func (c *VCPU) NMI() error {
	var err error
	if e := c.Do(func(kv *kvm.VCPU) { err = kv.NMI() }); e != nil {
		return e
	}
	return err
}

// Close stops the thread, waits for it and gives the vCPU back. It is called
// once.
func (c *VCPU) Close() error {
	if c.started {
		c.mu.Lock()
		c.closing = true
		c.kick()
		c.mu.Unlock()
		<-c.done
	}
	return c.kv.Close()
}

// kick makes the thread look at the requests, with mu held. The order matters:
// see the package comment.
func (c *VCPU) kick() {
	c.kv.Interrupt(true)
	if !c.parked && c.started {
		// The thread exists as long as closing was not seen, under mu.
		_ = unix.Tgkill(unix.Getpid(), c.tid, kickSignal)
	}
	c.changed.Broadcast()
}

// end makes the vCPU stand still until Reset, on its thread.
func (c *VCPU) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ended = true
}
