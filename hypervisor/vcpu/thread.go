package vcpu

import (
	"os"
	"runtime"

	"golang.org/x/sys/unix"

	"hv/hypervisor/kvm"
)

// kickSignal interrupts KVM_RUN. Pending ones coalesce, unlike real-time
// signals, and the runtime has no use for it, unlike SIGURG.
const kickSignal = unix.SIGUSR1

// main is the thread. It stays locked, so that the thread ends with it: others
// must not inherit a state that guests have touched.
func (c *VCPU) main(ready chan<- struct{}) {
	defer close(c.done)
	runtime.LockOSThread()
	unblock(kickSignal)
	c.tid = unix.Gettid()
	if c.cfg.Thread != "" {
		nameThread(c.cfg.Thread)
	}
	close(ready)
	for c.serve() {
		c.run()
	}
}

// nameThread names the calling thread for tools such as top. A name that cannot be
// set is not worth an error.
func nameThread(name string) {
	_ = os.WriteFile("/proc/thread-self/comm", []byte(name), 0)
}

// unblock undoes a signal mask inherited from whoever started the program.
func unblock(sig unix.Signal) {
	var set unix.Sigset_t
	set.Val[0] = 1 << (sig - 1)
	// It fails for malformed arguments only.
	_ = unix.PthreadSigmask(unix.SIG_UNBLOCK, &set, nil)
}

// serve does what was asked for, stands still as long as it should, and returns
// true when the guest may run, false when the thread is to end.
func (c *VCPU) serve() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		// Requests that come after this set it again, and wait for mu to do so.
		c.kv.Interrupt(false)
		switch {
		case len(c.work) > 0:
			f := c.work[0]
			c.work = c.work[1:]
			c.mu.Unlock()
			f()
			c.mu.Lock()
		case c.closing:
			return false
		case c.pause || c.ended:
			c.parked = true
			c.changed.Broadcast()
			c.changed.Wait()
		default:
			c.parked = false
			return true
		}
	}
}

// run runs the guest until the thread is asked for something. It is the hot
// path: no locks, no allocation. KVM completes the access of an exit when it is
// entered again, even with an interruption pending, so that EINTR is returned
// only between instructions.
func (c *VCPU) run() {
	for {
		c.turn.Pass()
		switch errno := c.kv.Run(); errno {
		case 0:
			switch c.kv.ExitReason() {
			case kvm.ExitIO:
				c.portIO()
			case kvm.ExitMMIO:
				c.mmio()
			default:
				c.rareExit()
				return
			}
		case unix.EINTR, unix.EAGAIN:
			if c.kv.Interrupted() {
				return
			}
		default:
			c.fail(errno)
			return
		}
	}
}

// portIO carries out an IN, OUT, INS or OUTS.
func (c *VCPU) portIO() {
	io, data := c.kv.IO(), c.kv.IOData()
	size, port := int(io.Size), uint64(io.Port)
	for ; len(data) >= size; data = data[size:] {
		if io.Direction == kvm.IOOut {
			c.spaces.Ports.Write(port, data[:size:size])
		} else {
			c.spaces.Ports.Read(port, data[:size:size])
		}
	}
}

// mmio carries out an access to memory that is not RAM. One that crosses a page
// comes as odd lengths, which handlers do not know: it is cut up.
func (c *VCPU) mmio() {
	m := c.kv.MMIO()
	n := int(min(m.Len, uint32(len(m.Data))))
	for off := 0; off < n; {
		size := floorPow2(n - off)
		data := m.Data[off : off+size : off+size]
		if m.IsWrite != 0 {
			c.spaces.MMIO.Write(m.PhysAddr+uint64(off), data)
		} else {
			c.spaces.MMIO.Read(m.PhysAddr+uint64(off), data)
		}
		off += size
	}
}

// floorPow2 returns the largest power of two that is at most n, for n in 1..8.
func floorPow2(n int) int {
	switch {
	case n >= 8:
		return 8
	case n >= 4:
		return 4
	case n >= 2:
		return 2
	}
	return 1
}

// rareExit handles the exits that end a vCPU, and those that are nothing.
func (c *VCPU) rareExit() {
	switch c.kv.ExitReason() {
	case kvm.ExitIntr, kvm.ExitIRQWindowOpen:
	case kvm.ExitShutdown:
		c.end()
		c.sink.Shutdown(c.cfg.Index)
	case kvm.ExitSystemEvent:
		typ, _ := c.kv.SystemEventData()
		c.end()
		c.sink.SystemEvent(c.cfg.Index, typ)
	default:
		c.fail(0)
	}
}

// fail reports that KVM does not go on, with errno if KVM_RUN itself failed.
func (c *VCPU) fail(errno unix.Errno) {
	err := c.internalError(errno)
	c.end()
	c.sink.Failed(c.cfg.Index, err)
}
