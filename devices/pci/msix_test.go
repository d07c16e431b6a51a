package pci

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"hv/devices/irq/irqtest"
)

// msixRig is a disk whose MSI-X a driver has programmed.
type msixRig struct {
	*rig
	f     *Function
	m     *MSIX
	a     Addr
	ctl   int    // register of message control
	table uint64 // address of the table
}

func newMSIXRig(t *testing.T) *msixRig {
	r := newRig(t)
	f, m := r.disk("d")
	a := r.attach(r.host.Root(), nil, f)
	r.assign()
	x := &msixRig{r, f, m, a, r.capabilities(0, a)[CapMSIX] + msixControl, f.BARs()[0].Base}
	for i := range uint64(3) {
		x.entry(i, 0xfee01000, 0x30+i, 0)
	}
	return x
}

func (x *msixRig) entry(i, addr, data, mask uint64) {
	x.store(x.table+i*16, 8, addr)
	x.store(x.table+i*16+8, 4, data)
	x.store(x.table+i*16+12, 4, mask)
}

func (x *msixRig) got(want ...uint32) {
	x.t.Helper()
	var data []uint32
	for _, m := range x.irq.Delivered() {
		data = append(data, m.Data)
	}
	if !slices.Equal(data, want) {
		x.t.Errorf("delivered %#x, want %#x", data, want)
	}
}

func TestMSIXDelivers(t *testing.T) {
	x := newMSIXRig(t)
	x.m.Signal(0)
	x.got() // still disabled
	x.set(0, x.a, x.ctl, msixEnable)
	if !x.m.Enabled() || x.m.Len() != 3 || x.read(0, x.a, x.ctl, 2) != msixEnable|2 {
		t.Errorf("control %#x", x.read(0, x.a, x.ctl, 2))
	}
	x.m.Signal(2)
	x.m.Signal(3)
	x.m.Signal(-1)
	x.got(0x32)
	x.entry(2, 0xfee02000, 0x77, 0)
	x.m.Signal(2)
	x.got(0x32, 0x77)
	if m := x.irq.Delivered()[1]; m != (irqtest.Message{Addr: 0xfee02000, Data: 0x77}) {
		t.Errorf("message %+v", m)
	}
}

func TestMSIXMasksKeepPending(t *testing.T) {
	x := newMSIXRig(t)
	x.set(0, x.a, x.ctl, msixEnable)
	x.store(x.table+16+12, 4, 1)
	x.m.Signal(1)
	if pba := x.load(x.table+2048, 8); pba != 2 {
		t.Errorf("pending bits %#x", pba)
	}
	x.got()
	x.store(x.table+16+12, 4, 0)
	x.got(0x31)
	x.set(0, x.a, x.ctl, msixMaskAll)
	x.m.Signal(0)
	x.got(0x31)
	x.write(0, x.a, x.ctl, 2, msixEnable)
	x.got(0x31, 0x30)
	x.store(x.table+2048, 8, 0xff)
	if pba := x.load(x.table+2048, 8); pba != 0 {
		t.Errorf("pending bits are writable: %#x", pba)
	}
}

func TestMSIXTableAccess(t *testing.T) {
	x := newMSIXRig(t)
	x.store(x.table+12, 4, 0xfffffffe)
	if got := x.load(x.table+8, 8); got != 0x30 {
		t.Errorf("vector control has more than a mask: %#x", got)
	}
	x.store(x.table, 1, 0xff)
	x.store(x.table+2, 4, 0xffffffff)
	if got := x.load(x.table, 8); got != 0xfee01000 {
		t.Errorf("odd accesses write: %#x", got)
	}
	if got := x.load(x.table+1, 1); got != 0 {
		t.Errorf("odd accesses read: %#x", got)
	}
}

func TestMSIXResetAndClose(t *testing.T) {
	x := newMSIXRig(t)
	x.set(0, x.a, x.ctl, msixEnable)
	x.f.Reset()
	x.m.Signal(0)
	x.got()
	x.assign()
	if x.m.Enabled() || x.load(x.table, 8) != 0 || x.load(x.table+12, 4) != 1 {
		t.Errorf("entry %#x after reset", x.load(x.table, 8))
	}
	if err := x.f.Close(); err != nil || x.irq.Vectors() != 0 {
		t.Errorf("close: %v, %d vectors left", err, x.irq.Vectors())
	}
	if x.m.FD(0) != -1 || x.m.FD(9) != -1 || x.m.Vector(9) != nil || x.m.Vector(1) == nil {
		t.Error("vectors by index")
	}
	if err := NewFunction(testID).Close(); err != nil {
		t.Error(err)
	}
}

func TestAddMSIXRefuses(t *testing.T) {
	r := newRig(t)
	f := NewFunction(testID)
	r.must(f.AddBAR(0, BAR{Size: 4096}))
	r.must(f.AddBAR(1, BAR{Size: 16, Kind: BARIO}))
	for _, c := range []struct {
		n, bar     int
		table, pba uint64
		want       string
	}{
		{0, 0, 0, 2048, "vectors"}, {2049, 0, 0, 2048, "vectors"}, {1, 0, 4, 2048, "divisible"},
		{1, 1, 0, 8, "memory BAR"}, {1, 2, 0, 2048, "memory BAR"}, {1, -1, 0, 2048, "memory BAR"},
		{1, 0, 4096, 2048, "fit"}, {1, 0, 0, 8, "overlaps"}, {200, 0, 0, 2048, "overlaps"},
	} {
		if _, err := f.AddMSIX(&r.irq, c.n, c.bar, c.table, c.pba); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v", c, err)
		}
	}
	few := &irqtest.Controller{MaxVectors: 1}
	if _, err := f.AddMSIX(few, 2, 0, 0, 2048); !errors.Is(err, irqtest.ErrNoVectors) || few.Vectors() != 0 {
		t.Errorf("out of vectors: %v, %d kept", err, few.Vectors())
	}
}

func TestSignalAllocatesNothing(t *testing.T) {
	x := newMSIXRig(t)
	x.set(0, x.a, x.ctl, msixEnable|msixMaskAll)
	if n := testing.AllocsPerRun(100, func() { x.m.Signal(1) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
