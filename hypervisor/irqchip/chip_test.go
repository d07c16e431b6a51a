package irqchip

import (
	"encoding/binary"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"hv/devices/irq"
	"hv/hypervisor/kvm"
	"hv/hypervisor/kvm/kvmtest"
)

const msiAddr = 0xfee0_0000 // to APIC ID 0

// box is a VM with interrupt controllers and a vCPU that never runs: its local
// APIC shows what arrives.
type box struct {
	t    testing.TB
	vm   *kvm.VM
	chip *Chip
	cpu  *kvm.VCPU
}

func newBox(t testing.TB) *box {
	t.Helper()
	sys := kvmtest.Open(t)
	var err error
	b := &box{t: t}
	if b.vm, err = sys.CreateVM(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.vm.Close() })
	if b.chip, err = New(b.vm, true); err != nil {
		t.Fatal(err)
	}
	if b.cpu, err = b.vm.CreateVCPU(0); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.cpu.Close() })
	b.clear()
	return b
}

// Registers of the local APIC.
const (
	apicSVR = 0xf0
	apicIRR = 0x200
)

// clear empties the local APIC and enables it.
func (b *box) clear() {
	b.t.Helper()
	l := &kvm.LAPICState{}
	binary.LittleEndian.PutUint32(l.Regs[apicSVR:], 0x1ff)
	if err := b.cpu.SetLAPIC(l); err != nil {
		b.t.Fatal(err)
	}
}

// arrived reports whether an interrupt waits in the local APIC.
func (b *box) arrived(vector int) bool {
	b.t.Helper()
	l, err := b.cpu.LAPIC()
	if err != nil {
		b.t.Fatal(err)
	}
	return binary.LittleEndian.Uint32(l.Regs[apicIRR+vector/32*16:])>>(vector%32)&1 == 1
}

// eventually waits for what the kernel does in its own time.
func (b *box) eventually(what string, cond func() bool) {
	b.t.Helper()
	deadline, tick := time.After(10*time.Second), time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !cond() {
		select {
		case <-tick.C:
		case <-deadline:
			b.t.Fatalf("not within 10 s: %s", what)
		}
	}
}

func (b *box) vector() irq.Vector {
	b.t.Helper()
	v, err := b.chip.NewVector()
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { v.Close() })
	return v
}

func (b *box) message(v irq.Vector, data uint32, masked bool) {
	b.t.Helper()
	if err := v.SetMessage(msiAddr, data, masked); err != nil {
		b.t.Fatal(err)
	}
}

func TestVectorDelivers(t *testing.T) {
	b := newBox(t)
	v, w := b.vector(), b.vector()
	b.message(v, 0x41, false)
	b.message(w, 0x42, false)
	v.Signal()
	b.eventually("vector 0x41", func() bool { return b.arrived(0x41) })
	if b.arrived(0x42) || v.Pending() {
		t.Error("the other vector was raised, or this one still waits")
	}
	b.clear()
	b.message(v, 0x61, false)
	v.Signal()
	b.eventually("the new message", func() bool { return b.arrived(0x61) })
	if b.arrived(0x41) {
		t.Error("the old message was sent")
	}
}

func TestMaskedVectorIsKeptPending(t *testing.T) {
	b := newBox(t)
	v := b.vector()
	v.Signal()
	if !v.Pending() {
		t.Error("a vector without a message lost its interrupt")
	}
	b.message(v, 0x51, false)
	b.eventually("the interrupt from before", func() bool { return b.arrived(0x51) })
	for range 10 {
		b.clear()
		b.message(v, 0x51, true)
		if v.Pending() {
			t.Fatal("nothing was signalled")
		}
		v.Signal()
		v.Signal()
		if !v.Pending() || b.arrived(0x51) {
			t.Fatal("the mask does not hold")
		}
		b.message(v, 0x52, false)
		b.eventually("what was held back", func() bool { return b.arrived(0x52) })
		if v.Pending() {
			t.Fatal("still pending")
		}
		b.message(v, 0x51, false)
	}
}

func TestEventFDRaisesTheInterrupt(t *testing.T) {
	b := newBox(t)
	v := b.vector()
	b.message(v, 0x71, false)
	if _, err := unix.Write(v.FD(), []byte{1, 0, 0, 0, 0, 0, 0, 0}); err != nil {
		t.Fatal(err)
	}
	b.eventually("the interrupt", func() bool { return b.arrived(0x71) })
}

func TestUndeliverableMessagesHarmNobody(t *testing.T) {
	b := newBox(t)
	good, bad := b.vector(), b.vector()
	b.message(good, 0x41, false)
	b.message(bad, 0x42, false)
	for _, addr := range []uint64{0, 0x1000, 0x1_fee0_0000, 0xffff_ffff_fee0_0000, 1<<64 - 1} {
		if err := bad.SetMessage(addr, 0x42, false); !errors.Is(err, errNotMSI) {
			t.Errorf("%#x: %v", addr, err)
		}
		if err := bad.SetMessage(addr, 0x42, true); err != nil {
			t.Errorf("%#x, masked: %v", addr, err)
		}
	}
	bad.Signal()
	good.Signal()
	b.eventually("the good vector", func() bool { return b.arrived(0x41) })
	if b.arrived(0x42) || !bad.Pending() {
		t.Error("an undeliverable message was delivered")
	}
}

func TestDestination(t *testing.T) {
	for addr, want := range map[uint64]uint64{
		0xfee0_0000: 0xfee0_0000,
		0xfeef_f00c: 0xfeef_f00c,
		0xfee0_1020: 0x0000_0100_fee0_1000, // ID 0x101
		0xfeef_ffe8: 0x0000_7f00_feef_f008, // ID 0x7fff
		0xfee0_0010: 0xfee0_0010,           // remappable
	} {
		if got, err := destination(addr); got != want || err != nil {
			t.Errorf("%#x: %#x, want %#x, %v", addr, got, want, err)
		}
	}
}

func TestVectorAfterClose(t *testing.T) {
	b := newBox(t)
	v := b.vector()
	b.message(v, 0x41, false)
	if err := errors.Join(v.Close(), v.Close()); err != nil {
		t.Fatal(err)
	}
	v.Signal()
	if v.Pending() || v.FD() != -1 || v.SetMessage(msiAddr, 0x41, false) == nil {
		t.Error("a closed vector lives")
	}
	w := b.vector()
	if w.(*vector).gsi != firstVector {
		t.Errorf("the route was not reused: %d", w.(*vector).gsi)
	}
	b.message(w, 0x43, false)
	w.Signal()
	b.eventually("the vector after it", func() bool { return b.arrived(0x43) })
}

func TestSignalAgainstEverything(t *testing.T) {
	b := newBox(t)
	v := b.vector()
	done := make(chan struct{})
	var signallers sync.WaitGroup
	for range 2 {
		signallers.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
					v.Signal()
					v.Pending()
				}
			}
		})
	}
	for i := range uint32(100) {
		b.message(v, 0x40+i, i%3 == 0)
	}
	if err := v.Close(); err != nil {
		t.Error(err)
	}
	close(done)
	signallers.Wait()
}

func TestRoutesRunOut(t *testing.T) {
	b := newBox(t)
	b.chip.routes.max = len(b.chip.routes.pins) + 2
	b.vector()
	b.vector()
	if _, err := b.chip.NewVector(); !errors.Is(err, errNoRoute) || !strings.Contains(err.Error(), "allocate an interrupt vector") {
		t.Error(err)
	}
}

func TestManyVectorsAtOnce(t *testing.T) {
	b := newBox(t)
	var group sync.WaitGroup
	for i := range uint32(64) {
		v := b.vector()
		group.Go(func() {
			if err := v.SetMessage(msiAddr, 0x40+i, false); err != nil {
				t.Error(err)
			}
			v.Signal()
		})
	}
	group.Wait()
	for i := range 64 {
		b.eventually("every vector", func() bool { return b.arrived(0x40 + i) })
	}
}

// TestCommitsAreShared looks at the table directly: whoever finds its change
// committed by another does not ask the kernel again.
func TestCommitsAreShared(t *testing.T) {
	b := newBox(t)
	r := &b.chip.routes
	before := r.committed
	if err := r.commit(); err != nil || r.committed != before {
		t.Error("nothing to commit was committed", err)
	}
	if err := r.route(firstVector, msiAddr, 1); err != nil || r.committed != before+1 {
		t.Error(r.committed, err)
	}
	if err := r.route(firstVector, msiAddr, 1); err != nil || r.committed != before+1 {
		t.Error("an unchanged route was committed", err)
	}
}

// pin returns whether an input of the I/O APIC is raised.
func (b *box) pin(n int) bool {
	b.t.Helper()
	c, err := b.vm.IRQChip(kvm.ChipIOAPIC)
	if err != nil {
		b.t.Fatal(err)
	}
	const irr = 16 // struct kvm_ioapic_state.irr
	return binary.LittleEndian.Uint32(c.Chip[irr:])>>n&1 == 1
}

func TestLines(t *testing.T) {
	b := newBox(t)
	for gsi, input := range map[int]int{0: 2, 1: 1, 4: 4, 16: 16, 23: 23} {
		l := b.chip.Line(gsi)
		for _, level := range []bool{true, true, false} {
			l.Set(level)
			if b.pin(input) != level {
				t.Errorf("interrupt %d set to %v: input %d is %v", gsi, level, input, b.pin(input))
			}
		}
	}
	b.chip.Line(24).Set(true)
	b.chip.Line(-1).Set(true)
}

func TestResetForgetsProgramming(t *testing.T) {
	b := newBox(t)
	c, err := b.vm.IRQChip(kvm.ChipIOAPIC)
	if err != nil {
		t.Fatal(err)
	}
	fresh := c.Chip
	const entry5 = 24 + 5*8 // struct kvm_ioapic_state.redirtbl[5]
	c.Chip[entry5], c.Chip[entry5+2] = 0x55, 0
	if err := b.vm.SetIRQChip(c); err != nil {
		t.Fatal(err)
	}
	p, err := b.vm.PIT()
	if err != nil {
		t.Fatal(err)
	}
	p.Channels[2].Mode = 3
	if err := errors.Join(b.vm.SetPIT(p), b.chip.Reset()); err != nil {
		t.Fatal(err)
	}
	if c, err = b.vm.IRQChip(kvm.ChipIOAPIC); err != nil || c.Chip != fresh {
		t.Errorf("the I/O APIC was not reset, %v", err)
	}
	if p, err = b.vm.PIT(); err != nil || p.Channels[2].Mode == 3 {
		t.Errorf("the timer was not reset, %v", err)
	}
}

func TestDoorbells(t *testing.T) {
	b := newBox(t)
	var d irq.Doorbells = b.chip
	fd := b.vector().FD()
	if err := d.AddDoorbell(0xc000_0000, 2, fd); err != nil {
		t.Fatal(err)
	}
	if err := d.AddDoorbell(0xc000_0000, 2, fd); !errors.Is(err, unix.EEXIST) {
		t.Error("one doorbell twice:", err)
	}
	if err := d.RemoveDoorbell(0xc000_0000, 2, fd); err != nil {
		t.Error(err)
	}
	if err := d.RemoveDoorbell(0xc000_0000, 2, fd); err == nil {
		t.Error("a doorbell was removed twice")
	}
	b.chip.anyLength = false
	if err := errors.Join(d.AddDoorbell(0xc000_0004, 2, fd), d.AddDoorbell(0xc000_0004, 4, fd)); err != nil {
		t.Error("doorbells of two sizes:", err)
	}
}

func TestNewFailsAfterVCPUs(t *testing.T) {
	b := newBox(t)
	if _, err := New(b.vm, false); err == nil {
		t.Error("two sets of interrupt controllers in one VM")
	}
}

func BenchmarkSignal(b *testing.B) {
	box := newBox(b)
	v := box.vector()
	box.message(v, 0x41, false)
	b.ReportAllocs()
	for b.Loop() {
		v.Signal()
	}
}

func BenchmarkSetMessage(b *testing.B) {
	box := newBox(b)
	v := box.vector()
	var data uint32
	for b.Loop() {
		data ^= 1
		box.message(v, 0x40+data, false)
	}
}
