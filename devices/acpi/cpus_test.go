package acpi

import (
	"encoding/binary"
	"fmt"
	"slices"
	"testing"
	"time"

	"hv/devices/bus"
	"hv/devices/irq/irqtest"
)

// cpuRig is a block of four processors, two of them there, behind ports.
type cpuRig struct {
	*CPUHotplug
	ports bus.Space
	log   []string
}

func newCPURig(t *testing.T) *cpuRig {
	t.Helper()
	r := &cpuRig{}
	note := func(format string, a ...any) { r.log = append(r.log, fmt.Sprintf(format, a...)) }
	r.CPUHotplug = NewCPUHotplug(CPUHotplugConfig{
		APICIDs: []uint32{0, 1, 4, 5}, Present: []bool{true, true}, Event: func() { note("event") },
		Eject: func(i int) { note("eject %d", i) }, OST: func(i int, event, status uint32) { note("ost %d %d %d", i, event, status) },
	})
	if err := r.Map(&r.ports, 0xcd8); err != nil {
		t.Fatal(err)
	}
	return r
}

func (r *cpuRig) out(off uint64, v ...byte) { r.ports.Write(0xcd8+off, v) }
func (r *cpuRig) sel(n byte)                { r.out(0, n, 0, 0, 0) }
func (r *cpuRig) flags() byte {
	b := []byte{0xee}
	r.ports.Read(0xcd8+4, b)
	return b[0]
}
func (r *cpuRig) data() uint32 {
	b := []byte{0xee, 0xee, 0xee, 0xee}
	r.ports.Read(0xcd8+8, b)
	return binary.LittleEndian.Uint32(b)
}

// TestCPUEvents is what DSDT's methods do when a processor comes and goes.
func TestCPUEvents(t *testing.T) {
	r := newCPURig(t)
	if err := r.Plug(2); err != nil {
		t.Fatal(err)
	}
	if err := r.RequestUnplug(1); err != nil {
		t.Fatal(err)
	}
	var found []uint32
	r.sel(0)
	for {
		r.out(5, 0)
		f := r.flags()
		if f&(cpuInserting|cpuRemoving) == 0 {
			break
		}
		found = append(found, r.data()<<8|uint32(f))
		r.out(4, f&(cpuInserting|cpuRemoving))
	}
	if !slices.Equal(found, []uint32{1<<8 | 5, 2<<8 | 3}) {
		t.Errorf("events %x", found)
	}
	r.out(5, 3)
	if id := r.data(); id != 4 {
		t.Errorf("APIC id %d", id)
	}
	r.out(5, 1)
	r.out(8, 1, 0, 0, 0)
	r.out(5, 2)
	r.out(8, 0x84, 0, 0, 0)
	r.sel(1)
	r.out(4, cpuEject)
	if f := r.flags(); f != 0 {
		t.Errorf("flags %x after the ejection", f)
	}
	if events, statuses := r.Said(); !slices.Equal(events, []uint32{0, 0, 1, 0}) || !slices.Equal(statuses, []uint32{0, 0, 132, 0}) {
		t.Errorf("the guest said %d %d", events, statuses)
	}
	if !slices.Equal(r.log, []string{"event", "event", "ost 2 1 132", "eject 1"}) {
		t.Errorf("%q", r.log)
	}
}

// TestCPURefusals: processors that are there or not, and the one that boots.
func TestCPURefusals(t *testing.T) {
	r := newCPURig(t)
	for i := range 6 {
		if err := r.Plug(i - 1); (err == nil) != (i == 3 || i == 4) {
			t.Errorf("plug %d: %v", i-1, err)
		}
	}
	if r.RequestUnplug(4) == nil || r.RequestUnplug(-1) == nil {
		t.Error("a processor that cannot be there was asked for")
	}
	r.log = nil
	r.sel(0)
	r.out(4, cpuEject)
	if r.flags()&cpuEnabled == 0 {
		t.Error("the processor that boots was ejected")
	}
	r.sel(2)
	r.out(4, cpuEject)
	r.out(4, cpuEject) // it is gone
	for _, off := range []uint64{4, 5, 8} {
		r.sel(9)
		r.out(off, 0xff, 0xff, 0xff, 0xff)
		if r.flags() != 0 || r.data() != 0 {
			t.Errorf("a processor that cannot be there reads as %x and %x", r.flags(), r.data())
		}
	}
	if !slices.Equal(r.log, []string{"eject 2"}) {
		t.Errorf("%q", r.log)
	}
}

// TestCPUReset: events are forgotten, processors are not.
func TestCPUReset(t *testing.T) {
	r := newCPURig(t)
	_ = r.Plug(3)
	r.Reset()
	r.sel(3)
	if f := r.flags(); f != cpuEnabled {
		t.Errorf("flags %x", f)
	}
}

// FuzzCPUHotplug has a guest do what it likes.
func FuzzCPUHotplug(f *testing.F) {
	f.Add([]byte{0, 1, 4, 2, 5, 0, 8, 7})
	f.Fuzz(func(t *testing.T, script []byte) {
		r := newCPURig(t)
		for i := 0; i+1 < len(script); i += 2 {
			size := 1 << (script[i] >> 4 & 3)
			off := min(uint64(script[i]&15), uint64(CPUBlockSize-min(size, CPUBlockSize)))
			if script[i]&0x80 != 0 {
				_ = r.Plug(int(script[i+1] % 5))
			}
			r.ports.Write(0xcd8+off, slices.Repeat([]byte{script[i+1]}, size))
			r.ports.Read(0xcd8+off, make([]byte, size))
		}
		r.sel(0)
		if r.flags()&cpuEnabled == 0 {
			t.Error("the processor that boots is gone")
		}
	})
}

// TestGPE: an event interrupts once it is enabled, until its status is cleared.
func TestGPE(t *testing.T) {
	var c irqtest.Controller
	p := NewPM(PMConfig{SCI: c.Line(9), PowerOff: func() {}, Now: func() time.Duration { return 0 }})
	level := func() bool { return c.Level(9) }
	p.RaiseGPE(2)
	if level() {
		t.Error("an event that is not enabled interrupts")
	}
	p.Write(gpe0+gpeBytes, []byte{4})
	if !level() {
		t.Error("no interrupt")
	}
	p.Write(gpe0, []byte{4})
	if level() {
		t.Error("the interrupt stays")
	}
}
