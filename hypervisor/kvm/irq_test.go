package kvm

import (
	"encoding/binary"
	"errors"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func eventfd(t *testing.T) int {
	t.Helper()
	fd, err := unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	return fd
}

// count takes what is in an eventfd.
func count(fd int) uint64 {
	var b [8]byte
	if n, err := unix.Read(fd, b[:]); n != len(b) || err != nil {
		return 0
	}
	return binary.LittleEndian.Uint64(b[:])
}

// eventually waits for what the kernel does in its own time.
func eventually(t *testing.T, what string, cond func() bool) {
	t.Helper()
	deadline, tick := time.After(10*time.Second), time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !cond() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("not within 10 s: %s", what)
		}
	}
}

func withIRQChip(t *testing.T) *VM {
	t.Helper()
	vm := newVM(t)
	if err := errors.Join(vm.CreateIRQChip(), vm.CreatePIT()); err != nil {
		t.Fatal(err)
	}
	return vm
}

// ioapicIRR returns which inputs of the I/O APIC are raised.
func ioapicIRR(t *testing.T, vm *VM) uint32 {
	t.Helper()
	c, err := vm.IRQChip(ChipIOAPIC)
	if err != nil {
		t.Fatal(err)
	}
	const irrOffset = 16 // struct kvm_ioapic_state.irr
	return binary.LittleEndian.Uint32(c.Chip[irrOffset:])
}

func TestIRQLine(t *testing.T) {
	vm := withIRQChip(t)
	for _, level := range []bool{true, false} {
		if err := vm.IRQLine(20, level); err != nil {
			t.Fatal(err)
		}
		if raised := ioapicIRR(t, vm)>>20&1 == 1; raised != level {
			t.Errorf("set %v, is %v", level, raised)
		}
	}
	if n := testing.AllocsPerRun(100, func() { vm.IRQLine(20, true); vm.IRQLine(20, false) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestChipStateRoundTrips(t *testing.T) {
	vm := withIRQChip(t)
	for _, id := range []uint32{ChipPICMaster, ChipPICSlave, ChipIOAPIC} {
		roundTrip(t, "interrupt controller", func() (*IRQChip, error) { return vm.IRQChip(id) }, vm.SetIRQChip)
	}
	p, err := vm.PIT()
	if err != nil {
		t.Fatal(err)
	}
	if err := vm.SetPIT(p); err != nil {
		t.Error(err)
	}
	if _, err := vm.IRQChip(99); err == nil {
		t.Error("interrupt controller 99 exists")
	}
}

func TestIRQFD(t *testing.T) {
	vm := withIRQChip(t)
	if err := vm.SetRoutes([]Route{PinRoute(30, ChipIOAPIC, 21)}); err != nil {
		t.Fatal(err)
	}
	fd, resample := eventfd(t), eventfd(t)
	if err := vm.AssignIRQFD(30, fd, resample); err != nil {
		t.Fatal(err)
	}
	if _, err := unix.Write(fd, []byte{1, 0, 0, 0, 0, 0, 0, 0}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the interrupt is raised", func() bool { return ioapicIRR(t, vm)>>21&1 == 1 && count(fd) == 0 })
	if err := vm.DeassignIRQFD(30, fd); err != nil {
		t.Fatal(err)
	}
	if _, err := unix.Write(fd, []byte{1, 0, 0, 0, 0, 0, 0, 0}); err != nil || count(fd) != 1 {
		t.Error("the eventfd is still listened to", err)
	}
	if err := vm.AssignIRQFD(30, -1, -1); err == nil {
		t.Error("a bad descriptor was accepted")
	}
}

func TestRoutesAreChecked(t *testing.T) {
	vm := withIRQChip(t)
	if err := vm.SetRoutes([]Route{MSIRoute(24, 0xfee00000, 0x41), MSIRoute(25, 0x100_fee00000, 0x42)}); err != nil {
		t.Error(err)
	}
	if err := vm.SetRoutes([]Route{{GSI: 24, Type: 77}}); err == nil {
		t.Error("an unknown kind of route was accepted")
	}
	if err := vm.SetRoutes(nil); err != nil {
		t.Error(err)
	}
}

func TestSignalMSIWithoutVCPU(t *testing.T) {
	vm := withIRQChip(t)
	if took, err := vm.SignalMSI(0xfee00000, 0x41); took {
		t.Error("an interrupt was taken by nobody", err)
	}
}

func TestIOEventFD(t *testing.T) {
	vm, v := guest(t,
		0xc7, 0x06, 0x10, 0x50, 0x34, 0x12, // mov word [0x5010], 0x1234
		0xa2, 0x10, 0x50, // mov [0x5010], al
		0xc7, 0x06, 0x10, 0x50, 0x34, 0x12, // mov word [0x5010], 0x1234
		0xf4, // hlt
	)
	any, word := eventfd(t), eventfd(t)
	if err := vm.AssignIOEventFD(0x5010, 2, word); err != nil {
		t.Fatal(err)
	}
	expect(t, v, ExitMMIO) // of one byte
	if n := count(word); n != 1 {
		t.Errorf("%d bells for words", n)
	}
	if err := vm.DeassignIOEventFD(0x5010, 2, word); err != nil {
		t.Fatal(err)
	}
	if vm.Check(CapIOEventFDAnyLen) <= 0 {
		t.Skip("SKIPPED: no bells of any length")
	}
	if err := vm.AssignIOEventFD(0x5010, 0, any); err != nil {
		t.Fatal(err)
	}
	expect(t, v, ExitHLT)
	if n, m := count(any), count(word); n != 1 || m != 0 {
		t.Errorf("%d bells of any length, %d for words", n, m)
	}
}

func TestResetCallsNeedAnIRQChip(t *testing.T) {
	vm := newVM(t)
	if vm.IRQLine(1, true) == nil || vm.CreatePIT() == nil {
		t.Error("interrupts without an interrupt controller")
	}
}
