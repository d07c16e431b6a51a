package kvm

import (
	"errors"
	"testing"

	"golang.org/x/sys/unix"
)

func TestMapRAMRefusesWhatIsNoMemory(t *testing.T) {
	vm := newVM(t)
	data, _ := ram(t, vm, 0x10000, 2*pageSize, false)
	for _, c := range []struct {
		base uint64
		data []byte
	}{{0x20000, nil}, {0x20001, data}, {0x20000, data[:100]}} {
		if _, err := vm.MapRAM(c.base, c.data, false); err == nil {
			t.Errorf("%#x+%#x was mapped", c.base, len(c.data))
		}
	}
	if _, err := vm.MapRAM(0x11000, data[pageSize:], false); !errors.Is(err, unix.EEXIST) {
		t.Errorf("overlap: %v", err)
	}
}

func TestSlotsAreReused(t *testing.T) {
	vm := newVM(t)
	_, first := ram(t, vm, 0x10000, pageSize, false)
	_, second := ram(t, vm, 0x20000, pageSize, false)
	if err := first.Unmap(); err != nil {
		t.Fatal(err)
	}
	_, third := ram(t, vm, 0x30000, pageSize, false)
	if third.region.Slot != first.region.Slot || second.region.Slot == third.region.Slot {
		t.Errorf("slots %d %d %d", first.region.Slot, second.region.Slot, third.region.Slot)
	}
}

func TestUnmappedMemoryIsMMIO(t *testing.T) {
	vm, v := guest(t, 0xa2, 0x00, 0x50) // mov [0x5000], al
	_, slot := ram(t, vm, 0x5000, pageSize, false)
	if err := slot.Unmap(); err != nil {
		t.Fatal(err)
	}
	expect(t, v, ExitMMIO)
}

func TestReadonlyMemoryHandsOutWrites(t *testing.T) {
	vm, v := guest(t,
		0xa0, 0x00, 0x50, // mov al, [0x5000]
		0xa2, 0x01, 0x50, // mov [0x5001], al
	)
	if vm.Check(CapReadonlyMem) <= 0 {
		t.Skip("SKIPPED: no read-only memory")
	}
	data, _ := ram(t, vm, 0x5000, pageSize, true)
	data[0] = 9
	expect(t, v, ExitMMIO)
	if m := v.MMIO(); m.PhysAddr != 0x5001 || m.IsWrite != 1 || m.Data[0] != 9 || data[1] != 0 {
		t.Errorf("%+v", m)
	}
}

func TestDirtyLog(t *testing.T) {
	vm, v := guest(t,
		0xa2, 0x00, 0x60, // mov [0x6000], al: the slot's second page
		0xe6, 0x10, // out 0x10, al
		0xa2, 0x00, 0x70, // mov [0x7000], al: the third
		0xe6, 0x10, // out 0x10, al
	)
	_, slot := ram(t, vm, 0x5000, 3*pageSize, false)
	bitmap := make([]uint64, slot.DirtyWords())
	if err := slot.Dirty(bitmap); !errors.Is(err, unix.ENOENT) {
		t.Errorf("before it is switched on: %v", err)
	}
	if err := slot.LogDirty(true); err != nil {
		t.Fatal(err)
	}
	for _, want := range []uint64{1 << 1, 1 << 2} {
		expect(t, v, ExitIO)
		if err := slot.Dirty(bitmap); err != nil || bitmap[0] != want {
			t.Fatalf("bitmap %#x, want %#x, %v", bitmap[0], want, err)
		}
		if err := slot.ClearDirty(bitmap); err != nil {
			t.Fatal(err)
		}
	}
	if err := slot.Dirty(bitmap); err != nil || bitmap[0] != 0 {
		t.Errorf("bitmap %#x after it was cleared, %v", bitmap[0], err)
	}
	if slot.Dirty(nil) == nil || slot.ClearDirty(nil) == nil && vm.manualDirtyLog {
		t.Error("a bitmap that is too small was accepted")
	}
	if err := errors.Join(slot.LogDirty(true), slot.LogDirty(false)); err != nil {
		t.Error(err)
	}
}
