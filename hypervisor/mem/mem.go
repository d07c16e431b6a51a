// Package mem is a guest's RAM: where it lies in guest-physical memory and
// checked ways to reach it.
//
// A Memory is a set of Regions, each a mapping of this process. Everything a
// guest names by address goes through Slice, ReadAt or WriteAt, which refuse
// what is not wholly RAM. Rings shared with a running guest are read and
// written with the ordered loads and stores of ring_unsafe.go.
//
// Lookups are lock-free and allocate nothing; regions are added and removed by
// the machine's control goroutine, and a removed region is unmapped by its
// owner only when no device uses a view of it any more.
//
// Allocate makes the mappings that regions are cut from: anonymous memory, memfd
// or a file, of small or huge pages.
//
// It depends on nothing of ours.
package mem

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
)

// PageSize is the size of a guest page, in bytes.
const PageSize = 4096

// ErrNotRAM is returned for a range that is not wholly RAM.
var ErrNotRAM = errors.New("address is not guest RAM")

// Region is a contiguous piece of guest RAM.
type Region struct {
	Base uint64 // guest-physical address, page-aligned
	Data []byte // this process's mapping of it
	// FD and Offset name the file behind Data, for sharing it with another
	// process; FD is -1 for memory that cannot be shared.
	FD     int
	Offset int64
	// Device says that a memory device has it: the guest learns of it from that
	// device and not from the memory map that it is started with.
	Device bool
}

// End returns the guest-physical address one past the region.
func (r *Region) End() uint64 { return r.Base + uint64(len(r.Data)) }

// Memory is a guest's RAM.
type Memory struct {
	regions atomic.Pointer[[]Region]
}

// New returns a Memory that holds regions, which must not overlap.
func New(regions ...Region) (*Memory, error) {
	m := &Memory{}
	for _, r := range regions {
		if err := m.Add(r); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// Add makes r part of guest RAM. It fails if r is empty, unaligned or overlaps
// another region.
func (m *Memory) Add(r Region) error {
	size := uint64(len(r.Data))
	if size == 0 || r.Base%PageSize != 0 || size%PageSize != 0 || r.Base+size < r.Base {
		return fmt.Errorf("RAM region %#x+%#x: empty or not a multiple of pages", r.Base, size)
	}
	old := m.Regions()
	i, found := slices.BinarySearchFunc(old, r.Base, func(x Region, base uint64) int { return cmp.Compare(x.Base, base) })
	if found || i > 0 && old[i-1].End() > r.Base || i < len(old) && old[i].Base < r.End() {
		return fmt.Errorf("RAM region %#x+%#x overlaps another", r.Base, size)
	}
	next := slices.Insert(slices.Clone(old), i, r)
	m.regions.Store(&next)
	return nil
}

// Remove takes the region that starts at base out of guest RAM and returns it.
func (m *Memory) Remove(base uint64) (Region, bool) {
	old := m.Regions()
	i := slices.IndexFunc(old, func(r Region) bool { return r.Base == base })
	if i < 0 {
		return Region{}, false
	}
	next := slices.Delete(slices.Clone(old), i, i+1)
	m.regions.Store(&next)
	return old[i], true
}

// Regions returns the regions in address order. They must not be changed.
func (m *Memory) Regions() []Region {
	if r := m.regions.Load(); r != nil {
		return *r
	}
	return nil
}

// Installed returns the regions that no memory device has, in address order.
func (m *Memory) Installed() []Region {
	return slices.DeleteFunc(slices.Clone(m.Regions()), func(r Region) bool { return r.Device })
}

// Size returns the bytes of RAM.
func (m *Memory) Size() uint64 {
	var n uint64
	for _, r := range m.Regions() {
		n += uint64(len(r.Data))
	}
	return n
}

// Slice returns a view of the n bytes at guest-physical address addr. They
// must lie in one region; a guest buffer that does not is no buffer. The guest
// may change the bytes at any time: copy what is checked before it is used.
func (m *Memory) Slice(addr, n uint64) ([]byte, error) {
	regions := m.Regions()
	for i := range regions {
		r := &regions[i]
		off := addr - r.Base
		if size := uint64(len(r.Data)); addr >= r.Base && off < size && n <= size-off {
			return r.Data[off : off+n : off+n], nil
		}
	}
	return nil, notRAM(addr, n)
}

func notRAM(addr, n uint64) error {
	return &RangeError{Addr: addr, Len: n}
}

// RangeError names a range that is not RAM. It is ErrNotRAM.
type RangeError struct{ Addr, Len uint64 }

func (e *RangeError) Error() string { return fmt.Sprintf("%#x+%#x: %v", e.Addr, e.Len, ErrNotRAM) }

// Unwrap makes a RangeError match ErrNotRAM.
func (e *RangeError) Unwrap() error { return ErrNotRAM }

// ReadAt copies guest RAM at addr to p; it may cross adjacent regions.
func (m *Memory) ReadAt(p []byte, addr uint64) error {
	return m.each(addr, len(p), func(off int, b []byte) { copy(p[off:], b) })
}

// WriteAt copies p to guest RAM at addr; it may cross adjacent regions.
func (m *Memory) WriteAt(p []byte, addr uint64) error {
	return m.each(addr, len(p), func(off int, b []byte) { copy(b, p[off:]) })
}

// each calls f with every piece of [addr, addr+n), or fails before any call.
func (m *Memory) each(addr uint64, n int, f func(off int, b []byte)) error {
	regions := m.Regions()
	for pass := range 2 {
		for off := 0; off < n; {
			b := piece(regions, addr+uint64(off), n-off)
			if b == nil {
				return notRAM(addr, uint64(n))
			}
			if pass == 1 {
				f(off, b)
			}
			off += len(b)
		}
	}
	return nil
}

// piece returns as many of the n bytes at addr as one region holds.
func piece(regions []Region, addr uint64, n int) []byte {
	for i := range regions {
		r := &regions[i]
		if addr >= r.Base && addr-r.Base < uint64(len(r.Data)) {
			b := r.Data[addr-r.Base:]
			return b[:min(n, len(b))]
		}
	}
	return nil
}
