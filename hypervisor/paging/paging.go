// Package paging follows a guest's page tables: which guest-physical address a linear
// address has, and which linear addresses there are.
//
// It reads guest memory and changes nothing, accessed bits included. The guest may be
// hostile: what is not RAM maps nothing, and a walk that would take too long is an error.
// Everything is a function of its arguments.
//
// Implements Intel SDM volume 3 §4.3 (32-bit, with PSE-36), §4.4 (PAE), §4.5 (4 and 5
// levels). It depends on nothing of ours.
package paging

import (
	"encoding/binary"
	"errors"
)

// Memory is guest RAM by guest-physical address; mem.Memory is one.
type Memory interface {
	ReadAt(p []byte, addr uint64) error
}

// State is the control registers that decide how addresses are translated.
type State struct{ CR0, CR3, CR4, EFER uint64 }

// Bits of the control registers, and of entries.
const (
	cr0PG    = 1 << 31
	cr4PSE   = 1 << 4
	cr4PAE   = 1 << 5
	cr4LA57  = 1 << 12
	eferLMA  = 1 << 10
	present  = 1 << 0
	pageSize = 1 << 7

	addressMask = 0x000f_ffff_ffff_f000
	pageShift   = 12
)

// level is one level of tables: the address bits that index it, and whether an entry may
// be a large page.
type level struct {
	shift, bits uint
	large       bool
}

// mode is a way to translate.
type mode struct {
	entry  uint   // bytes of an entry
	root   uint64 // of CR3, the bits that are an address
	levels []level
	width  uint // of linear addresses, in bits
}

var (
	long   = []level{{48, 9, false}, {39, 9, false}, {30, 9, true}, {21, 9, true}, {12, 9, false}}
	long4  = &mode{8, addressMask, long[1:], 48}
	long5  = &mode{8, addressMask, long, 57}
	pae    = &mode{8, 0xffff_ffe0, []level{{30, 2, false}, {21, 9, true}, {12, 9, false}}, 32}
	bits32 = &mode{4, 0xffff_f000, []level{{22, 10, false}, {12, 10, false}}, 32}
	pse    = &mode{4, 0xffff_f000, []level{{22, 10, true}, {12, 10, false}}, 32}
)

// Enabled reports whether there is translation at all.
func (s State) Enabled() bool { return s.CR0&cr0PG != 0 }

// Long reports whether the processor is in long mode.
func (s State) Long() bool { return s.EFER&eferLMA != 0 }

func (s State) mode() *mode {
	switch {
	case s.Long() && s.CR4&cr4LA57 != 0:
		return long5
	case s.Long():
		return long4
	case s.CR4&cr4PAE != 0:
		return pae
	case s.CR4&cr4PSE != 0:
		return pse
	}
	return bits32
}

// Translate returns the guest-physical address of a linear address and how many bytes from
// it on are in the same page; none if nothing is mapped there.
func Translate(m Memory, s State, linear uint64) (phys, n uint64, ok bool) {
	if !s.Enabled() {
		return linear, 1<<pageShift - linear&(1<<pageShift-1), true
	}
	t := s.mode()
	if !t.canonical(linear) {
		return 0, 0, false
	}
	at := s.CR3 & t.root
	for _, l := range t.levels {
		index := linear >> l.shift & (1<<l.bits - 1)
		b := make([]byte, t.entry)
		if m.ReadAt(b, at+index*uint64(t.entry)) != nil {
			return 0, 0, false
		}
		e := t.decode(b)
		if e&present == 0 {
			return 0, 0, false
		}
		if l.leaf(e) {
			off := linear & (1<<l.shift - 1)
			return t.page(e, l) + off, 1<<l.shift - off, true
		}
		at = t.next(e)
	}
	return 0, 0, false
}

// canonical reports whether a linear address is one: sign-extended in long mode, of 32
// bits else.
func (t *mode) canonical(linear uint64) bool { return t.extend(linear&(1<<t.width-1)) == linear }

// extend makes a linear address of the bits that tables translate.
func (t *mode) extend(bits uint64) uint64 {
	if t.width > 32 && bits>>(t.width-1) != 0 {
		return bits | ^uint64(0)<<t.width
	}
	return bits
}

// decode reads an entry.
func (t *mode) decode(b []byte) uint64 {
	if t.entry == 4 {
		return uint64(binary.LittleEndian.Uint32(b))
	}
	return binary.LittleEndian.Uint64(b)
}

// leaf reports whether an entry is a page and no table.
func (l level) leaf(e uint64) bool { return l.shift == pageShift || l.large && e&pageSize != 0 }

// next returns the address of the table that an entry points to.
func (t *mode) next(e uint64) uint64 { return e & addressMask }

// page returns the address of the page that an entry is.
func (t *mode) page(e uint64, l level) uint64 {
	base := e & addressMask &^ (1<<l.shift - 1)
	if t == pse && l.shift != pageShift {
		base |= e >> 13 & 0xff << 32 // PSE-36
	}
	return base
}

// Mapping is consecutive linear addresses with consecutive guest-physical ones.
type Mapping struct{ Linear, Phys, Size uint64 }

// ErrTooMany is returned for tables that are too many to look at.
var ErrTooMany = errors.New("the guest's page tables are too many")

// Limits of a walk. Tables that point to themselves would otherwise take hours.
const (
	maxTables   = 1 << 20
	maxMappings = 1 << 20
)

// Mappings returns what is mapped, in the order of linear addresses, neighbours joined.
func Mappings(m Memory, s State) ([]Mapping, error) {
	if !s.Enabled() {
		return nil, nil
	}
	w := walker{mem: m, mode: s.mode()}
	err := w.table(0, s.CR3&w.mode.root, 0)
	return w.found, err
}

// walker is a walk through all tables.
type walker struct {
	mem    Memory
	mode   *mode
	tables int
	found  []Mapping
}

// table looks at a table of a level, which translates addresses from linear on.
func (w *walker) table(depth int, at, linear uint64) error {
	t := w.mode
	l := t.levels[depth]
	if w.tables++; w.tables > maxTables {
		return ErrTooMany
	}
	b := make([]byte, t.entry<<l.bits)
	if w.mem.ReadAt(b, at) != nil {
		return nil
	}
	for i := range uint64(1) << l.bits {
		e := t.decode(b[i*uint64(t.entry):])
		if e&present == 0 {
			continue
		}
		here := linear | i<<l.shift
		if l.leaf(e) {
			w.add(Mapping{t.extend(here), t.page(e, l), 1 << l.shift})
		} else if err := w.table(depth+1, t.next(e), here); err != nil {
			return err
		}
		if len(w.found) > maxMappings {
			return ErrTooMany
		}
	}
	return nil
}

// add joins a mapping with the last one if it goes on there.
func (w *walker) add(m Mapping) {
	if n := len(w.found); n > 0 {
		last := &w.found[n-1]
		if last.Linear+last.Size == m.Linear && last.Phys+last.Size == m.Phys {
			last.Size += m.Size
			return
		}
	}
	w.found = append(w.found, m)
}
