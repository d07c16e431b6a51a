package boot

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
)

var le = binary.LittleEndian

// loader is one Load: the low RAM and what was put there.
type loader struct {
	Params
	img *Image
	ram []byte // low RAM up to LowTop; its index is the address
}

func newLoader(img *Image, p Params) (*loader, error) {
	l := &loader{Params: p, img: img}
	regions := p.Memory.Regions()
	if len(regions) == 0 || regions[0].Base != 0 || len(regions[0].Data) <= kernelMin {
		return nil, l.fail(errors.New("guest has no RAM beyond 1 MiB at address 0"))
	}
	l.ram = regions[0].Data
	if p.LowTop != 0 && p.LowTop < uint64(len(l.ram)) {
		l.ram = l.ram[:p.LowTop]
	}
	if len(l.ram) <= kernelMin || len(l.ram) > limit32 {
		return nil, l.fail(fmt.Errorf("low RAM for boot ends at %#x, not between 1 MiB and 4 GiB", len(l.ram)))
	}
	return l, nil
}

func (l *loader) fail(err error) error { return fmt.Errorf("load kernel %s: %w", l.img.name, err) }

// room returns the n bytes of low RAM at addr.
func (l *loader) room(addr, n uint64) ([]byte, error) {
	if size := uint64(len(l.ram)); addr < kernelMin || addr > size || n > size-addr {
		return nil, fmt.Errorf("%#x+%#x is not in guest RAM from 1 MiB to %#x; give the guest more memory", addr, n, size)
	}
	return l.ram[addr : addr+n : addr+n], nil
}

// read fills n bytes of low RAM at addr from offset off of r.
func (l *loader) read(addr, n uint64, r io.ReaderAt, off int64) error {
	b, err := l.room(addr, n)
	if err != nil {
		return err
	}
	return readFull(r, b, off)
}

// putCmdline writes the command line, which may have limit bytes.
func (l *loader) putCmdline(limit uint64) error {
	limit = min(limit, cmdlineMax)
	if n := uint64(len(l.Cmdline)); n > limit {
		return fmt.Errorf("command line has %d bytes, the kernel takes %d", n, limit)
	}
	if strings.IndexByte(l.Cmdline, 0) >= 0 {
		return errors.New("command line has a NUL character")
	}
	n := copy(l.ram[cmdlineAddr:], l.Cmdline)
	l.ram[cmdlineAddr+n] = 0
	return nil
}

// putInitrd reads the initrd to the highest page under limit, above the
// kernel's end, and returns its address: 0 when there is none.
func (l *loader) putInitrd(kernelEnd, limit uint64) (uint64, error) {
	if l.InitrdSize == 0 {
		return 0, nil
	}
	size, top := uint64(l.InitrdSize), min(limit, uint64(len(l.ram)))
	if l.InitrdSize < 0 || size > top || (top-size)&^(pageSize-1) < alignUp(kernelEnd, pageSize) {
		return 0, fmt.Errorf("initrd of %d bytes does not fit between the kernel's end at %#x and %#x; give the guest more memory",
			l.InitrdSize, kernelEnd, top)
	}
	addr := (top - size) &^ (pageSize - 1)
	if err := l.read(addr, size, l.Initrd, 0); err != nil {
		return 0, fmt.Errorf("initrd: %w", err)
	}
	return addr, nil
}

// Segment descriptors (Intel SDM volume 3 §3.4.5): flat, present, ring 0,
// accessed.
const (
	descCode64 = 0x00af_9b00_0000_ffff
	descCode32 = 0x00cf_9b00_0000_ffff
	descData   = 0x00cf_9300_0000_ffff
)

// putGDT writes the flat segments, with code as selector 0x10 and data as 0x18,
// and completes e with them.
func (l *loader) putGDT(e Entry, code uint64) Entry {
	gdt := [4]uint64{2: code, 3: descData}
	for i, d := range gdt {
		le.PutUint64(l.ram[gdtAddr+8*i:], d)
	}
	e.RSP = stackTop
	e.GDTBase, e.GDTLimit = gdtAddr, uint16(8*len(gdt)-1)
	return e
}

// Page table entry bits (Intel SDM volume 3 §4.5).
const (
	pteTable = 0x3  // present, writable
	pteLarge = 0x83 // and a 2 MiB page
)

// putPageTables writes tables that map the first 4 GiB to themselves, as the
// 64-bit boot protocol wants at least of the kernel and its parameters.
func (l *loader) putPageTables() {
	const directories = 4
	t := l.ram[pageTableAddr : pageTableAddr+(2+directories)*pageSize]
	clear(t)
	le.PutUint64(t, pageTableAddr+pageSize|pteTable)
	for i := range directories {
		le.PutUint64(t[pageSize+8*i:], uint64(pageTableAddr+(2+i)*pageSize|pteTable))
	}
	for i := range directories * pageSize / 8 {
		le.PutUint64(t[2*pageSize+8*i:], uint64(i)<<21|pteLarge)
	}
}
