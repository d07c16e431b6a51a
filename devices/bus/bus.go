// Package bus dispatches port and memory accesses to device models.
//
// A Space is one address space: the 16-bit port space, or guest-physical
// memory that is not RAM. vCPU threads look handlers up concurrently and
// without locks or allocation; mapping and unmapping copy the table. A handler
// is called on the vCPU thread that made the access and does its own locking.
//
// It depends on nothing of ours.
package bus

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
)

// Handler is a device's view of a mapped range. Offsets are relative to the
// start of the mapping; len(data) is 1, 2, 4 or 8 and values are
// little-endian, as KVM hands them over. Read fills all of data.
type Handler interface {
	Read(off uint64, data []byte)
	Write(off uint64, data []byte)
}

// ErrOverlap is returned by Map when the range is taken.
var ErrOverlap = errors.New("address range is already mapped")

// Mapping is one range of a Space and who answers for it.
type Mapping struct {
	Base, Size uint64
	Name       string
	Handler    Handler
}

// Space is an address space. The zero value is empty and ready for use.
type Space struct {
	mu    sync.Mutex
	table atomic.Pointer[[]Mapping]
}

// Map makes h answer for [base, base+size). It fails with ErrOverlap, naming
// both ranges, if any part of it is taken, and for an empty or wrapping range.
func (s *Space) Map(base, size uint64, name string, h Handler) error {
	if size == 0 || base+size-1 < base {
		return fmt.Errorf("map %s: bad range %#x+%#x", name, base, size)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	old := s.Mappings()
	i := search(old, base)
	if i < len(old) && old[i].Base <= base+size-1 {
		return fmt.Errorf("map %s at %#x+%#x: %w by %s", name, base, size, ErrOverlap, old[i].Name)
	}
	next := slices.Insert(slices.Clone(old), i, Mapping{base, size, name, h})
	s.table.Store(&next)
	return nil
}

// Unmap removes the mapping that starts at base and reports whether there was
// one. Accesses already under way may still reach its handler.
func (s *Space) Unmap(base uint64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	old := s.Mappings()
	i, ok := slices.BinarySearchFunc(old, base, func(m Mapping, b uint64) int { return cmp.Compare(m.Base, b) })
	if !ok {
		return false
	}
	next := slices.Delete(slices.Clone(old), i, i+1)
	s.table.Store(&next)
	return true
}

// Mappings returns the current table in address order. It must not be changed.
func (s *Space) Mappings() []Mapping {
	if t := s.table.Load(); t != nil {
		return *t
	}
	return nil
}

// Read fills data from the handler at addr, or with ones when there is none,
// as an undriven bus does. It reports whether a handler answered.
func (s *Space) Read(addr uint64, data []byte) bool {
	if m := s.lookup(addr, len(data)); m != nil {
		m.Handler.Read(addr-m.Base, data)
		return true
	}
	for i := range data {
		data[i] = 0xff
	}
	return false
}

// Write hands data to the handler at addr and reports whether there is one.
func (s *Space) Write(addr uint64, data []byte) bool {
	if m := s.lookup(addr, len(data)); m != nil {
		m.Handler.Write(addr-m.Base, data)
		return true
	}
	return false
}

// lookup finds the mapping that holds all n bytes at addr.
func (s *Space) lookup(addr uint64, n int) *Mapping {
	t := s.Mappings()
	i := search(t, addr)
	if i == len(t) || addr < t[i].Base || addr-t[i].Base+uint64(n) > t[i].Size {
		return nil
	}
	return &t[i]
}

// search returns the index of the first mapping that ends at or after addr.
func search(t []Mapping, addr uint64) int {
	lo, hi := 0, len(t)
	for lo < hi {
		mid := int(uint(lo+hi) >> 1)
		if t[mid].Base+t[mid].Size-1 < addr {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	return lo
}
