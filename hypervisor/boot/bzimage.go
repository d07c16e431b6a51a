package boot

import (
	"bytes"
	"errors"
	"fmt"
)

// Fields of boot_params and of the setup header in it, which a bzImage has at
// the same offsets (Documentation/arch/x86/boot.rst, zero-page.rst).
const (
	offACPIRSDP        = 0x070
	offExtRamdiskImage = 0x0c0
	offExtRamdiskSize  = 0x0c4
	offExtCmdLinePtr   = 0x0c8
	offE820Entries     = 0x1e8
	offSetupHeader     = 0x1f1 // setup_sects, the first field
	offSysSize         = 0x1f4
	offBootFlag        = 0x1fe
	offJump            = 0x200 // its second byte is the header's length after 0x202
	offHeader          = 0x202
	offVersion         = 0x206
	offTypeOfLoader    = 0x210
	offLoadFlags       = 0x211
	offRamdiskImage    = 0x218
	offRamdiskSize     = 0x21c
	offCode32Start     = 0x214
	offCmdLinePtr      = 0x228
	offInitrdAddrMax   = 0x22c
	offKernelAlignment = 0x230
	offRelocatable     = 0x234
	offXLoadFlags      = 0x236
	offCmdlineSize     = 0x238
	offPrefAddress     = 0x258
	offInitSize        = 0x260
	offHeaderEnd       = 0x268 // of what is used here
	offE820Table       = 0x2d0

	headSize = 0x300 // how much of a file its kind is told from
)

// Values of those fields.
const (
	bootFlag        = 0xaa55
	headerMagic     = "HdrS"
	version212      = 0x20c // the first with xloadflags
	loadedHigh      = 1 << 0
	xlfKernel64     = 1 << 0
	loaderUndefined = 0xff
	entry64         = 0x200 // the 64-bit entry, from the kernel's start
	e820Max         = 128
	sector          = 512
	paragraph       = 16
)

// bzHeader is what is used of a bzImage's setup header.
type bzHeader struct {
	raw         []byte // from offSetupHeader to the header's end
	kernelOff   int64  // where the protected-mode part starts in the file
	kernelSize  uint64
	prefAddress uint64
	initSize    uint64 // memory that the kernel needs from its start
	alignment   uint64
	relocatable bool
	initrdMax   uint64 // one past the last address an initrd may have
	cmdlineSize uint64
}

func isBzImage(head []byte) bool {
	return len(head) >= offHeaderEnd && le.Uint16(head[offBootFlag:]) == bootFlag &&
		bytes.Equal(head[offHeader:offHeader+4], []byte(headerMagic))
}

// parseBzImage checks the setup header in head, the first bytes of a file of
// size bytes for which isBzImage is true.
func parseBzImage(head []byte, size int64) (bzHeader, error) {
	version := le.Uint16(head[offVersion:])
	if version < version212 {
		return bzHeader{}, fmt.Errorf("Linux boot protocol %d.%02d; at least 2.12 (Linux 3.8) is needed", version>>8, version&0xff)
	}
	if le.Uint16(head[offXLoadFlags:])&xlfKernel64 == 0 || head[offLoadFlags]&loadedHigh == 0 {
		return bzHeader{}, errors.New("the bzImage has no 64-bit entry; only x86-64 kernels can be booted")
	}
	end := offHeader + int(head[offJump+1])
	if end < offHeaderEnd || end > len(head) || end > offE820Table {
		return bzHeader{}, fmt.Errorf("setup header ends at %#x, not in %#x to %#x", end, offHeaderEnd, min(len(head), offE820Table))
	}
	h := bzHeader{
		raw:         bytes.Clone(head[offSetupHeader:end]),
		prefAddress: le.Uint64(head[offPrefAddress:]),
		initSize:    uint64(le.Uint32(head[offInitSize:])),
		alignment:   uint64(le.Uint32(head[offKernelAlignment:])),
		relocatable: head[offRelocatable] != 0,
		initrdMax:   uint64(le.Uint32(head[offInitrdAddrMax:])) + 1,
		cmdlineSize: uint64(le.Uint32(head[offCmdlineSize:])),
	}
	return h, h.measure(head, size)
}

// measure finds the kernel in the file and checks it against the header.
func (h *bzHeader) measure(head []byte, size int64) error {
	sects := int64(head[offSetupHeader])
	if sects == 0 {
		sects = 4
	}
	h.kernelOff = (sects + 1) * sector
	h.kernelSize = uint64(le.Uint32(head[offSysSize:])) * paragraph
	// What follows in the file, such as a signature, is not the kernel's; the
	// last paragraph may be cut short.
	have := uint64(max(size-h.kernelOff, 0))
	if h.kernelSize <= entry64 || have+paragraph <= h.kernelSize {
		return fmt.Errorf("kernel has %d bytes by its header, but the file has %d after the setup code", h.kernelSize, have)
	}
	h.kernelSize = min(h.kernelSize, have)
	h.initSize = max(h.initSize, h.kernelSize)
	if h.alignment == 0 || h.alignment&(h.alignment-1) != 0 {
		return fmt.Errorf("kernel_alignment %#x is not a power of two", h.alignment)
	}
	return nil
}

// loadAddress returns where the kernel goes in low RAM that ends at top: where
// it prefers to be, or at the lowest address when only that leaves room.
func (h *bzHeader) loadAddress(top uint64) (uint64, error) {
	lowest := alignUp(kernelMin, h.alignment)
	for _, addr := range [...]uint64{h.prefAddress, lowest} {
		if addr >= kernelMin && addr <= top && h.initSize <= top-addr && (addr == h.prefAddress || h.relocatable) {
			return addr, nil
		}
	}
	return 0, fmt.Errorf("the kernel needs %d KiB of RAM from %#x, low RAM ends at %#x; give the guest more memory",
		h.initSize>>10, h.prefAddress, top)
}

func (l *loader) loadBzImage() (Entry, error) {
	h := &l.img.bz
	addr, err := h.loadAddress(uint64(len(l.ram)))
	if err != nil {
		return Entry{}, l.fail(err)
	}
	if err := l.read(addr, h.kernelSize, l.img.file, h.kernelOff); err != nil {
		return Entry{}, l.fail(err)
	}
	initrd, err := l.putInitrd(addr+h.initSize, h.initrdMax)
	if err != nil {
		return Entry{}, l.fail(err)
	}
	if err := l.putCmdline(h.cmdlineSize); err != nil {
		return Entry{}, l.fail(err)
	}
	if err := l.putZeroPage(addr, initrd); err != nil {
		return Entry{}, l.fail(err)
	}
	l.putPageTables()
	e := Entry{Mode: Long64, RIP: addr + entry64, RSI: zeroPageAddr, CR3: pageTableAddr}
	return l.putGDT(e, descCode64), nil
}

// putZeroPage writes boot_params for the kernel at addr.
func (l *loader) putZeroPage(addr, initrd uint64) error {
	if len(l.E820) > e820Max {
		return fmt.Errorf("memory map has %d entries, the boot protocol takes %d", len(l.E820), e820Max)
	}
	z := l.ram[zeroPageAddr : zeroPageAddr+pageSize]
	clear(z)
	copy(z[offSetupHeader:], l.img.bz.raw)
	z[offTypeOfLoader] = loaderUndefined
	le.PutUint32(z[offCode32Start:], uint32(addr))
	le.PutUint32(z[offCmdLinePtr:], cmdlineAddr)
	le.PutUint32(z[offExtCmdLinePtr:], 0)
	le.PutUint32(z[offRamdiskImage:], uint32(initrd))
	le.PutUint32(z[offExtRamdiskImage:], uint32(initrd>>32))
	le.PutUint32(z[offRamdiskSize:], uint32(l.InitrdSize))
	le.PutUint32(z[offExtRamdiskSize:], uint32(uint64(l.InitrdSize)>>32))
	le.PutUint64(z[offACPIRSDP:], l.RSDP)
	z[offE820Entries] = byte(len(l.E820))
	for i, e := range l.E820 {
		t := z[offE820Table+20*i:]
		le.PutUint64(t, e.Base)
		le.PutUint64(t[8:], e.Size)
		le.PutUint32(t[16:], uint32(e.Type))
	}
	return nil
}
