// Package coredump writes a guest's memory and registers as an ELF core file, as QEMU's
// dump-guest-memory does: for gdb, crash and their like.
//
// A Dump is plain data: what memory there is, what of it is wanted, what maps it, the
// registers. Write may be run on a goroutine of its own while the guest stands still.
//
// Implements the System V ABI's ELF (chapters 4 and 5) with Linux's NT_PRSTATUS notes and
// QEMU's notes of processor state, version 1. Files are of the 64-bit class always. It
// depends on hypervisor/kvm for the registers.
package coredump

import (
	"bytes"
	"cmp"
	"context"
	"debug/elf"
	"encoding/binary"
	"io"
	"slices"
	"sync/atomic"
)

// Block is a piece of guest RAM.
type Block struct {
	Base uint64
	Data []byte
}

// Segment is guest memory at a linear address.
type Segment struct{ Linear, Phys, Size uint64 }

// Dump is what is to be written.
type Dump struct {
	Blocks []Block // by address
	CPUs   []CPU
	// Segments is what the page tables map; nil makes each block a segment at its
	// guest-physical address.
	Segments []Segment
}

// Clip returns what of the blocks lies in [begin, begin+length).
func Clip(blocks []Block, begin, length uint64) []Block {
	var out []Block
	for _, b := range blocks {
		lo, hi := max(begin, b.Base), min(saturate(begin, length), saturate(b.Base, uint64(len(b.Data))))
		if lo < hi {
			out = append(out, Block{lo, b.Data[lo-b.Base : hi-b.Base]})
		}
	}
	return out
}

// saturate adds without going round.
func saturate(a, b uint64) uint64 {
	if a+b < a {
		return ^uint64(0)
	}
	return a + b
}

// Size returns the bytes of memory in the blocks.
func Size(blocks []Block) uint64 {
	var n uint64
	for _, b := range blocks {
		n += uint64(len(b.Data))
	}
	return n
}

const (
	headerSize  = 64 // of the file
	sectionSize = 64
	programSize = 56
	sections    = 2 // the null section and the names
	// manyPrograms in the header says that the number is in the first section's info.
	manyPrograms = 0xffff
	names        = "\x00.shstrtab\x00"

	// chunk is what is written at once.
	chunk = 1 << 20
)

// Write writes the dump. It counts the bytes of memory written in done, and ends early with
// ctx's error.
func Write(ctx context.Context, w io.Writer, d *Dump, done *atomic.Int64) error {
	notes := d.notes()
	loads := d.loads()
	if _, err := w.Write(d.header(notes, loads)); err != nil {
		return err
	}
	for _, b := range d.Blocks {
		for data := b.Data; len(data) > 0; {
			if err := ctx.Err(); err != nil {
				return err
			}
			n, err := w.Write(data[:min(chunk, len(data))])
			done.Add(int64(n))
			if err != nil {
				return err
			}
			data = data[n:]
		}
	}
	_, err := w.Write([]byte(names))
	return err
}

// load is a segment with its place among the blocks' bytes.
type load struct {
	Segment
	off uint64
}

// loads returns the segments as far as they are memory that is dumped.
func (d *Dump) loads() []load {
	segments := d.Segments
	if segments == nil {
		for _, b := range d.Blocks {
			segments = append(segments, Segment{b.Base, b.Base, uint64(len(b.Data))})
		}
	}
	var out []load
	for _, s := range segments {
		off := uint64(0)
		for _, b := range d.Blocks {
			for _, part := range Clip([]Block{b}, s.Phys, s.Size) {
				out = append(out, load{Segment{s.Linear + part.Base - s.Phys, part.Base, uint64(len(part.Data))}, off + part.Base - b.Base})
			}
			off += uint64(len(b.Data))
		}
	}
	slices.SortStableFunc(out, func(a, b load) int { return cmp.Compare(a.Phys, b.Phys) })
	return out
}

// header returns everything before the memory: file header, sections, segments, notes.
func (d *Dump) header(notes []byte, loads []load) []byte {
	programs := 1 + len(loads)
	notesAt := uint64(headerSize + sections*sectionSize + programs*programSize)
	memory := notesAt + uint64(len(notes))
	var b bytes.Buffer
	put := func(v any) { _ = binary.Write(&b, binary.LittleEndian, v) } // a Buffer takes everything
	h := elf.Header64{
		Ident: [elf.EI_NIDENT]byte{0x7f, 'E', 'L', 'F', byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB), byte(elf.EV_CURRENT)},
		Type:  uint16(elf.ET_CORE), Machine: uint16(d.machine()), Version: uint32(elf.EV_CURRENT),
		Phoff: headerSize + sections*sectionSize, Shoff: headerSize, Ehsize: headerSize, Phentsize: programSize,
		Phnum: uint16(min(programs, manyPrograms)), Shentsize: sectionSize, Shnum: sections, Shstrndx: sections - 1,
	}
	put(h)
	null := elf.Section64{}
	if programs >= manyPrograms {
		null.Info = uint32(programs)
	}
	put(null)
	put(elf.Section64{Name: 1, Type: uint32(elf.SHT_STRTAB), Off: memory + Size(d.Blocks), Size: uint64(len(names))})
	put(elf.Prog64{Type: uint32(elf.PT_NOTE), Off: notesAt, Filesz: uint64(len(notes)), Memsz: uint64(len(notes))})
	for _, l := range loads {
		put(elf.Prog64{
			// QEMU's quirk: what is mapped at 0 is said to be where it is in memory.
			Type: uint32(elf.PT_LOAD), Off: memory + l.off, Vaddr: cmp.Or(l.Linear, l.Phys), Paddr: l.Phys, Filesz: l.Size, Memsz: l.Size,
		})
	}
	b.Write(notes)
	return b.Bytes()
}
