package boot

import (
	"errors"
	"fmt"
	"io"
)

// ELF constants (System V gABI chapters 4 and 5).
const (
	elfMagic    = "\x7fELF"
	elfClass32  = 1
	elfClass64  = 2
	elfDataLSB  = 1
	machine386  = 3
	machineX64  = 62
	ptLoad      = 1
	ptNote      = 4
	elfHeader64 = 64
	phdrSize32  = 32
	phdrSize64  = 56

	// Bounds on what is read of a file before it is loaded.
	phdrMax = 64
	noteMax = 64 << 10

	xenNoteName    = "Xen\x00"
	xenPhys32Entry = 18 // XEN_ELFNOTE_PHYS32_ENTRY
)

// elfImage is an ELF file to be started by PVH.
type elfImage struct {
	segments []segment
	entry    uint32
	end      uint64 // one past the highest byte of all segments
}

// segment is a PT_LOAD or PT_NOTE program header.
type segment struct {
	typ           uint32
	off           uint64 // in the file
	paddr         uint64
	filesz, memsz uint64
	align         uint64
}

// parseELF reads the headers and the notes of the ELF file of size bytes in r.
func parseELF(r io.ReaderAt, size int64) (elfImage, error) {
	table, class, err := readProgramHeaders(r, size)
	if err != nil {
		return elfImage{}, err
	}
	var img elfImage
	found := false
	for ; len(table) > 0; table = table[phdrSize(class):] {
		s := parseSegment(table, class)
		switch s.typ {
		case ptLoad:
			err = img.addSegment(s, size)
		case ptNote:
			found, err = img.readNotes(r, s, size, found)
		}
		if err != nil {
			return elfImage{}, err
		}
	}
	if !found {
		return elfImage{}, errors.New("the ELF file has no PVH entry note (Linux has it with CONFIG_PVH)")
	}
	return img, img.checkEntry()
}

func phdrSize(class byte) int {
	if class == elfClass64 {
		return phdrSize64
	}
	return phdrSize32
}

// readProgramHeaders returns the program header table and the file's class.
func readProgramHeaders(r io.ReaderAt, size int64) ([]byte, byte, error) {
	h := make([]byte, elfHeader64)
	if size < int64(len(h)) {
		return nil, 0, errors.New("ELF header is cut short")
	}
	if err := readFull(r, h, 0); err != nil {
		return nil, 0, err
	}
	class, machine := h[4], le.Uint16(h[18:])
	if h[5] != elfDataLSB || class != elfClass32 && class != elfClass64 || machine != machine386 && machine != machineX64 {
		return nil, 0, fmt.Errorf("ELF file of class %d, machine %d: only i386 and x86-64 can be booted", class, machine)
	}
	off, entsize, n := uint64(le.Uint32(h[28:])), le.Uint16(h[42:]), le.Uint16(h[44:])
	if class == elfClass64 {
		off, entsize, n = le.Uint64(h[32:]), le.Uint16(h[54:]), le.Uint16(h[56:])
	}
	if int(entsize) != phdrSize(class) || n == 0 || n > phdrMax {
		return nil, 0, fmt.Errorf("ELF file has %d program headers of %d bytes, not 1 to %d of %d", n, entsize, phdrMax, phdrSize(class))
	}
	table := make([]byte, int(n)*int(entsize))
	if !inFile(off, uint64(len(table)), size) {
		return nil, 0, errors.New("ELF program headers lie outside of the file")
	}
	return table, class, readFull(r, table, int64(off))
}

func inFile(off, n uint64, size int64) bool {
	return off <= uint64(size) && n <= uint64(size)-off
}

func parseSegment(b []byte, class byte) segment {
	if class == elfClass64 {
		return segment{
			typ: le.Uint32(b), off: le.Uint64(b[8:]), paddr: le.Uint64(b[24:]),
			filesz: le.Uint64(b[32:]), memsz: le.Uint64(b[40:]), align: le.Uint64(b[48:]),
		}
	}
	return segment{
		typ: le.Uint32(b), off: uint64(le.Uint32(b[4:])), paddr: uint64(le.Uint32(b[12:])),
		filesz: uint64(le.Uint32(b[16:])), memsz: uint64(le.Uint32(b[20:])), align: uint64(le.Uint32(b[28:])),
	}
}

func (img *elfImage) addSegment(s segment, size int64) error {
	if s.memsz == 0 {
		return nil
	}
	if !inFile(s.off, s.filesz, size) || s.filesz > s.memsz {
		return fmt.Errorf("ELF segment at %#x: %d bytes from offset %#x are not in the file", s.paddr, s.filesz, s.off)
	}
	if s.paddr < kernelMin || s.paddr >= limit32 || s.memsz > limit32-s.paddr {
		return fmt.Errorf("ELF segment at %#x+%#x: not between 1 MiB and 4 GiB", s.paddr, s.memsz)
	}
	img.segments = append(img.segments, s)
	img.end = max(img.end, s.paddr+s.memsz)
	return nil
}

// readNotes looks for the PVH entry in a note segment, unless it was found.
func (img *elfImage) readNotes(r io.ReaderAt, s segment, size int64, found bool) (bool, error) {
	if found || s.filesz > noteMax {
		return found, nil
	}
	if !inFile(s.off, s.filesz, size) {
		return false, errors.New("ELF notes lie outside of the file")
	}
	notes := make([]byte, s.filesz)
	if err := readFull(r, notes, int64(s.off)); err != nil {
		return false, err
	}
	img.entry, found = pvhEntry(notes, s.align)
	return found, nil
}

// pvhEntry returns the value of the PVH entry note.
func pvhEntry(notes []byte, align uint64) (uint32, bool) {
	if align != 8 {
		align = 4
	}
	for len(notes) >= 12 {
		nameLen, descLen, typ := uint64(le.Uint32(notes)), uint64(le.Uint32(notes[4:])), le.Uint32(notes[8:])
		desc := alignUp(12+nameLen, align)
		next := alignUp(desc+descLen, align)
		if desc+descLen > uint64(len(notes)) {
			break
		}
		if typ == xenPhys32Entry && string(notes[12:12+nameLen]) == xenNoteName && descLen >= 4 {
			return le.Uint32(notes[desc:]), true
		}
		notes = notes[min(next, uint64(len(notes))):]
	}
	return 0, false
}

// checkEntry makes sure that the entry is in a segment.
func (img *elfImage) checkEntry() error {
	for _, s := range img.segments {
		if e := uint64(img.entry); e >= s.paddr && e-s.paddr < s.memsz {
			return nil
		}
	}
	return fmt.Errorf("PVH entry %#x is in no segment of the ELF file", img.entry)
}
