package hmp

import (
	"encoding/binary"
	"errors"
)

// Bits of page-table entries and control registers.
const (
	ptePresent = 1 << 0
	pteWrite   = 1 << 1
	pteUser    = 1 << 2
	pteLarge   = 1 << 7

	cr0Paging = 1 << 31
	cr4PSE    = 1 << 4
	cr4PAE    = 1 << 5
	cr4LA57   = 1 << 12
	eferLMA   = 1 << 10
)

// maxTables bounds how many page tables are read: a guest may link them into circles.
const maxTables = 64 << 10

// paging is how the CPU translates addresses.
type paging struct {
	root    uint64
	levels  []int  // the address bits at which each table's index begins, top first
	sizes   []int  // and the number of entries
	entry   int    // bytes
	mask    uint64 // of the address in an entry
	large   bool   // entries below the top may map large pages
	bits    int    // of an address
	extends bool   // addresses are sign-extended
}

// paging reads the CPU's registers; nil means that paging is off.
func (c *call) paging() *paging {
	cr0, _ := c.register("cr0")
	cr3, _ := c.register("cr3")
	cr4, _ := c.register("cr4")
	efer, _ := c.register("efer")
	const long = 0x000f_ffff_ffff_f000
	switch {
	case cr0&cr0Paging == 0:
		return nil
	case cr4&cr4PAE == 0:
		return &paging{root: cr3 & 0xffff_f000, levels: []int{22, 12}, sizes: []int{1024, 1024}, entry: 4, mask: 0xffff_f000, large: cr4&cr4PSE != 0, bits: 32}
	case efer&eferLMA == 0:
		return &paging{root: cr3 & 0xffff_ffe0, levels: []int{30, 21, 12}, sizes: []int{4, 512, 512}, entry: 8, mask: long, large: true, bits: 32}
	case cr4&cr4LA57 == 0:
		return &paging{root: cr3 & long, levels: []int{39, 30, 21, 12}, sizes: []int{512, 512, 512, 512}, entry: 8, mask: long, large: true, bits: 48, extends: true}
	}
	return &paging{
		root: cr3 & long, levels: []int{48, 39, 30, 21, 12}, sizes: []int{512, 512, 512, 512, 512}, entry: 8, mask: long, large: true, bits: 57, extends: true,
	}
}

func (p *paging) canonical(addr uint64) uint64 {
	if p.extends && addr>>(p.bits-1)&1 != 0 {
		return addr | ^uint64(0)<<p.bits
	}
	return addr
}

// walk prints runs of addresses with equal rights.
type walk struct {
	*call
	p      *paging
	start  uint64
	rights uint64 // of the run that began at start, 0 for none
	tables int
}

func (c *call) infoMem() error {
	p := c.paging()
	if p == nil {
		c.printf("PG disabled\n")
		return nil
	}
	w := walk{call: c, p: p}
	err := w.table(p.root, 0, 0, ptePresent|pteWrite|pteUser)
	w.at(1<<p.bits, 0)
	return err
}

var errTables = errors.New("there are too many page tables, or they are linked into a circle")

func (w *walk) table(at uint64, level int, base, rights uint64) error {
	if w.tables++; w.tables > maxTables {
		return errTables
	}
	b := make([]byte, w.p.sizes[level]*w.p.entry)
	if err := w.physical(at, b); err != nil {
		w.at(base, 0)
		return nil //nolint:nilerr // what is not memory maps nothing
	}
	for i := range w.p.sizes[level] {
		addr := base + uint64(i)<<w.p.levels[level]
		e := w.load(b[i*w.p.entry:])
		r := rights
		if w.p.bits != 32 || w.p.entry != 8 || level > 0 { // the top entries of PAE have no rights
			r &= e
		}
		last := level == len(w.p.levels)-1
		switch large := e&pteLarge != 0 && w.p.large && w.mapsPages(level); {
		case e&ptePresent == 0:
			w.at(addr, 0)
		case last || large:
			w.at(addr, r)
		default:
			if err := w.table(e&w.p.mask, level+1, addr, r); err != nil {
				return err
			}
		}
	}
	return nil
}

// mapsPages tells whether entries at a level may map pages larger than the smallest.
func (w *walk) mapsPages(level int) bool {
	shift := w.p.levels[level]
	return shift == 21 || shift == 22 || shift == 30 && w.p.extends
}

func (w *walk) load(b []byte) uint64 {
	if w.p.entry == 4 {
		return uint64(binary.LittleEndian.Uint32(b))
	}
	return binary.LittleEndian.Uint64(b)
}

// at says what the rights are from an address on.
func (w *walk) at(addr, rights uint64) {
	if rights == w.rights {
		return
	}
	if w.rights != 0 {
		w.printf("%016x-%016x %016x %sr%s\n", w.p.canonical(w.start), w.p.canonical(addr), w.p.canonical(addr-w.start),
			choose(w.rights&pteUser != 0, "u", "-"), choose(w.rights&pteWrite != 0, "w", "-"))
	}
	w.start, w.rights = addr, rights
}
