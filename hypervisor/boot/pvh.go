package boot

import "fmt"

// hvm_start_info (xen/include/public/arch-x86/hvm/start_info.h), version 1.
const (
	startMagic        = 0x336ec578
	startVersion      = 1
	offStartVersion   = 4
	offStartModules   = 12 // nr_modules
	offStartModlist   = 16
	offStartCmdline   = 24
	offStartRSDP      = 32
	offStartMemmap    = 40
	offStartMemmapLen = 48
	startInfoSize     = 56
	moduleSize        = 32
	memmapSize        = 24
	memmapMax         = (zeroPageAddr - memMapAddr) / memmapSize
)

func (l *loader) loadPVH() (Entry, error) {
	img := &l.img.elf
	for _, s := range img.segments {
		if err := l.loadSegment(s); err != nil {
			return Entry{}, l.fail(err)
		}
	}
	initrd, err := l.putInitrd(img.end, limit32)
	if err != nil {
		return Entry{}, l.fail(err)
	}
	if err := l.putCmdline(cmdlineMax); err != nil {
		return Entry{}, l.fail(err)
	}
	if err := l.putStartInfo(initrd); err != nil {
		return Entry{}, l.fail(err)
	}
	e := Entry{Mode: Protected32, RIP: uint64(img.entry), RBX: startInfoAddr}
	return l.putGDT(e, descCode32), nil
}

// loadSegment reads a segment and clears the rest of its memory, which after a
// reset holds what the last run left.
func (l *loader) loadSegment(s segment) error {
	b, err := l.room(s.paddr, s.memsz)
	if err != nil {
		return fmt.Errorf("ELF segment: %w", err)
	}
	if err := readFull(l.img.file, b[:s.filesz], int64(s.off)); err != nil {
		return fmt.Errorf("ELF segment at %#x: %w", s.paddr, err)
	}
	clear(b[s.filesz:])
	return nil
}

// putStartInfo writes the start info, its module list and memory map.
func (l *loader) putStartInfo(initrd uint64) error {
	if len(l.E820) > memmapMax {
		return fmt.Errorf("memory map has %d entries, there is room for %d", len(l.E820), memmapMax)
	}
	s := l.ram[startInfoAddr : startInfoAddr+startInfoSize+moduleSize]
	clear(s)
	le.PutUint32(s, startMagic)
	le.PutUint32(s[offStartVersion:], startVersion)
	le.PutUint64(s[offStartCmdline:], cmdlineAddr)
	le.PutUint64(s[offStartRSDP:], l.RSDP)
	le.PutUint64(s[offStartMemmap:], memMapAddr)
	le.PutUint32(s[offStartMemmapLen:], uint32(len(l.E820)))
	if l.InitrdSize != 0 {
		le.PutUint32(s[offStartModules:], 1)
		le.PutUint64(s[offStartModlist:], startInfoAddr+startInfoSize)
		le.PutUint64(s[startInfoSize:], initrd)
		le.PutUint64(s[startInfoSize+8:], uint64(l.InitrdSize))
	}
	for i, e := range l.E820 {
		m := l.ram[memMapAddr+memmapSize*i:]
		le.PutUint64(m, e.Base)
		le.PutUint64(m[8:], e.Size)
		le.PutUint64(m[16:], uint64(e.Type)) // type and reserved
	}
	return nil
}
