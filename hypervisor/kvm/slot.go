package kvm

import (
	"fmt"
	"slices"
)

const pageSize = 4096

// Slot is a piece of guest-physical memory backed by a mapping of this process.
// Its methods are called one at a time.
type Slot struct {
	vm     *VM
	region userspaceMemoryRegion
}

// MapRAM makes data, a mapping made of whole pages that stays until Unmap
// returned, appear at guest-physical address base; readonly hands the guest's
// writes to the MMIO handlers instead. It may not overlap another slot.
func (vm *VM) MapRAM(base uint64, data []byte, readonly bool) (*Slot, error) {
	size := uint64(len(data))
	if size == 0 || base%pageSize != 0 || size%pageSize != 0 {
		return nil, fmt.Errorf("map guest memory at %#x+%#x: not a multiple of pages", base, size)
	}
	n, err := vm.takeSlot()
	if err != nil {
		return nil, fmt.Errorf("map guest memory at %#x+%#x: %w", base, size, err)
	}
	s := &Slot{vm, userspaceMemoryRegion{Slot: n, GuestPhysAddr: base, MemorySize: size, UserspaceAddr: addressOf(data)}}
	if readonly {
		s.region.Flags |= memReadonly
	}
	if err := s.set(); err != nil {
		vm.releaseSlot(n)
		return nil, fmt.Errorf("map guest memory at %#x+%#x: %w", base, size, err)
	}
	return s, nil
}

func (vm *VM) takeSlot() (uint32, error) {
	vm.mu.Lock()
	defer vm.mu.Unlock()
	n := slices.Index(vm.slots, false)
	if n < 0 {
		if n = len(vm.slots); n >= vm.MemSlots() {
			return 0, fmt.Errorf("all %d memory slots are in use", n)
		}
		vm.slots = append(vm.slots, false)
	}
	vm.slots[n] = true
	return uint32(n), nil
}

func (vm *VM) releaseSlot(n uint32) {
	vm.mu.Lock()
	defer vm.mu.Unlock()
	vm.slots[n] = false
}

// MemSlots returns the most memory slots that the VM can have.
func (vm *VM) MemSlots() int {
	if n := vm.Check(CapNRMemSlots); n > 0 {
		return n
	}
	return defaultMemSlots
}

func (s *Slot) set() error { return set(s.vm.fd, nrSetUserMemoryRegion, &s.region) }

// Unmap takes the memory away from the guest; afterwards the mapping may go.
func (s *Slot) Unmap() error {
	gone := s.region
	gone.MemorySize = 0
	if err := set(s.vm.fd, nrSetUserMemoryRegion, &gone); err != nil {
		return fmt.Errorf("unmap guest memory at %#x: %w", s.region.GuestPhysAddr, err)
	}
	s.vm.releaseSlot(s.region.Slot)
	return nil
}

// LogDirty starts or stops noting which pages the guest writes. Starting does
// not forget what was noted before.
func (s *Slot) LogDirty(on bool) error {
	old := s.region.Flags
	s.region.Flags &^= memLogDirtyPages
	if on {
		s.region.Flags |= memLogDirtyPages
	}
	if s.region.Flags == old {
		return nil
	}
	if err := s.set(); err != nil {
		s.region.Flags = old
		return fmt.Errorf("dirty log of guest memory at %#x: %w", s.region.GuestPhysAddr, err)
	}
	return nil
}

// DirtyWords returns the length of the slot's dirty bitmap in 64-bit words.
func (s *Slot) DirtyWords() int { return int((s.region.MemorySize/pageSize + 63) / 64) }

// Dirty fills bitmap, of DirtyWords words, with the pages that the guest wrote
// since they were last cleared; bit 0 is the first page. Devices' writes from
// this process are not in it.
func (s *Slot) Dirty(bitmap []uint64) error {
	if len(bitmap) < s.DirtyWords() {
		return fmt.Errorf("dirty log of guest memory at %#x: bitmap of %d words, %d needed", s.region.GuestPhysAddr, len(bitmap), s.DirtyWords())
	}
	if err := getDirtyLog(s.vm.fd, s.region.Slot, bitmap); err != nil {
		return fmt.Errorf("dirty log of guest memory at %#x: %w", s.region.GuestPhysAddr, err)
	}
	return nil
}

// ClearDirty forgets the pages that are set in bitmap, as Dirty filled it, and
// watches them again. Where KVM does that as part of Dirty it does nothing.
func (s *Slot) ClearDirty(bitmap []uint64) error {
	if !s.vm.manualDirtyLog {
		return nil
	}
	if len(bitmap) < s.DirtyWords() {
		return fmt.Errorf("clear the dirty log at %#x: bitmap of %d words, %d needed", s.region.GuestPhysAddr, len(bitmap), s.DirtyWords())
	}
	c := clearDirtyLog{slot: s.region.Slot, numPages: uint32(s.region.MemorySize / pageSize)}
	if err := c.clear(s.vm.fd, bitmap); err != nil {
		return fmt.Errorf("clear the dirty log at %#x: %w", s.region.GuestPhysAddr, err)
	}
	return nil
}
