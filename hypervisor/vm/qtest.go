package vm

import (
	"context"
	"fmt"
	"io"
	"os"
	"path"
	"runtime"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"hv/devices/bus"
	"hv/hypervisor/config"
	"hv/hypervisor/kvm"
	"hv/hypervisor/machine"
	"hv/hypervisor/mem"
	"hv/hypervisor/qtest"
	"hv/hypervisor/softirq"
	"hv/hypervisor/vclock"
	"hv/qmp/events"
)

// chooseAccel takes the first accelerator that can be used, and the clock that goes
// with it.
func (v *VM) chooseAccel() {
	v.events = events.NewBroker()
	for _, a := range v.cfg.Machine.Accels {
		if a == config.AccelQTest {
			v.clock = vclock.New(time.Now().Truncate(time.Second))
			v.events = events.NewBrokerWithClock(eventClock{v.clock})
			return
		}
		if unix.Access(kvm.DevicePath, unix.R_OK|unix.W_OK) == nil {
			return
		}
	}
}

// eventClock stamps events with the host's time and limits their rate by the machine's.
type eventClock struct{ *vclock.Clock }

// Now returns the host's time.
func (eventClock) Now() time.Time { return time.Now() }

// openAccel opens KVM, or makes what stands in for it under qtest.
func (v *VM) openAccel() error {
	if v.clock == nil {
		return v.hw.openKVM()
	}
	// A message goes where its address says; where there is no RAM, to no processor.
	v.hw.soft = softirq.New(func(addr uint64, data uint32) {
		_ = v.hw.mem.WriteAt([]byte{byte(data), byte(data >> 8), byte(data >> 16), byte(data >> 24)}, addr)
	})
	v.hw.chip = v.hw.soft
	return nil
}

func (v *VM) mapSoftIRQ() error { return v.hw.soft.Map(&v.hw.board.Ports, &v.hw.board.MMIO) }

// dummy is a thread that stands for a processor where there is none.
type dummy struct {
	thread
	end chan struct{}
}

// dummies are those of a machine.
type dummies struct {
	all  []dummy
	done sync.WaitGroup
}

// add starts the thread of the processor with an index.
func (d *dummies) add(index int) {
	started, end := make(chan int), make(chan struct{})
	d.done.Go(func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		started <- unix.Gettid()
		<-end
	})
	d.all = append(d.all, dummy{thread{index, <-started}, end})
}

// remove ends the thread of the processor with an index.
func (d *dummies) remove(index int) {
	d.all = slices.DeleteFunc(d.all, func(x dummy) bool {
		if x.index == index {
			close(x.end)
		}
		return x.index == index
	})
}

func (d *dummies) close() error {
	for _, x := range d.all {
		close(x.end)
	}
	d.all = nil
	d.done.Wait()
	return nil
}

// thread is that of the processor with an index.
type thread struct{ index, tid int }

// threads returns the processors' threads, in the order in which they came.
func (h *hardware) threads() []thread {
	var out []thread
	if h.cpus == nil {
		for _, d := range h.dummy.all {
			out = append(out, d.thread)
		}
		return out
	}
	for _, c := range h.cpus.VCPUs() {
		out = append(out, thread{c.Index(), c.Tid()})
	}
	return out
}

// openQTest serves qtest on its chardev.
func (v *VM) openQTest(ctx context.Context) error {
	id := v.cfg.QTest.Chardev
	if id == "" {
		return nil
	}
	seat, err := v.chardevs.Claim(id, "qtest")
	if err != nil {
		return err
	}
	log, err := v.qtestLog()
	if err != nil {
		return err
	}
	ctx, v.endQTest = context.WithCancel(context.WithoutCancel(ctx))
	m := qtest.Machine{
		Ports: space{v.hw, func(b *machine.Board) *bus.Space { return &b.Ports }},
		MMIO:  space{v.hw, func(b *machine.Board) *bus.Space { return &b.MMIO }},
		RAM:   ram{v.hw}, IRQ: taps{v.hw},
		Do: func(f func()) error { return v.control.Do(ctx, f) },
	}
	if v.clock != nil {
		m.Clock = settledClock{v.clock, v.settle}
	}
	v.qtest = qtest.New(m, log)
	next := v.connections(seat, false)
	v.serving.Go(func() {
		if err := v.qtest.Serve(next); err != nil {
			v.failed("qtest", err)
		}
	})
	return nil
}

// qtestLog opens the log of qtest.
func (v *VM) qtestLog() (io.Writer, error) {
	switch name := v.cfg.QTest.Log; name {
	case "":
		return os.Stderr, nil
	case "none":
		return nil, nil
	default:
		f, err := os.Create(name)
		if err != nil {
			return nil, fmt.Errorf("-qtest-log: %w", err)
		}
		v.undo.later(f.Close)
		return f, nil
	}
}

// closeQTest ends qtest and the command that waits for the control goroutine.
func (v *VM) closeQTest() {
	if v.qtest != nil {
		v.endQTest()
		_ = v.qtest.Close()
	}
}

// What qtest sees of a machine, which may not be there yet (-preconfig).
type (
	// space is an address space of the board.
	space struct {
		hw *hardware
		of func(*machine.Board) *bus.Space
	}
	// ram is the guest's memory.
	ram struct{ hw *hardware }
	// taps is the interrupts of a machine without KVM.
	taps struct{ hw *hardware }
)

// Read reads from devices.
func (s space) Read(addr uint64, data []byte) bool {
	if s.hw.board == nil {
		return new(bus.Space).Read(addr, data)
	}
	return s.of(s.hw.board).Read(addr, data)
}

// Write writes to devices.
func (s space) Write(addr uint64, data []byte) bool {
	return s.hw.board != nil && s.of(s.hw.board).Write(addr, data)
}

// ReadAt reads RAM.
func (r ram) ReadAt(p []byte, addr uint64) error {
	if r.hw.mem == nil {
		return mem.ErrNotRAM
	}
	return r.hw.mem.ReadAt(p, addr)
}

// WriteAt writes RAM.
func (r ram) WriteAt(p []byte, addr uint64) error {
	if r.hw.mem == nil {
		return mem.ErrNotRAM
	}
	return r.hw.mem.WriteAt(p, addr)
}

// ioapic is the name of the only device whose interrupts can be seen.
const ioapic = "ioapic"

// Watch taps the inputs of the I/O APIC.
func (t taps) Watch(device string, out bool, tap func(n int, level bool)) (cancel func(), err error) {
	c := t.hw.soft
	if c == nil || out || path.Base(device) != ioapic {
		return nil, qtest.ErrUnknownDevice
	}
	c.Watch(tap)
	return func() { c.Watch(nil) }, nil
}

// Set drives an input of the I/O APIC.
func (t taps) Set(device, list string, n int, level bool) error {
	c := t.hw.soft
	if c == nil || list != "" || path.Base(device) != ioapic || n < 0 || n >= softirq.Pins {
		return qtest.ErrUnknownDevice
	}
	c.Line(n).Set(level)
	return nil
}
