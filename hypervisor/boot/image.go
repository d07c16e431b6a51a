package boot

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"

	"hv/hypervisor/mem"
)

// Kind is the boot protocol of an image.
type Kind int

// Kinds.
const (
	BzImage Kind = iota // Linux's 64-bit boot protocol
	PVH                 // ELF with a PVH entry
)

// String names the kind as messages do.
func (k Kind) String() string {
	if k == PVH {
		return "PVH ELF"
	}
	return "bzImage"
}

// Image is a kernel file whose headers were found good.
type Image struct {
	name string
	kind Kind
	file io.ReaderAt
	c    io.Closer // nil when there is nothing to close
	bz   bzHeader
	elf  elfImage
}

// Params is what a kernel is loaded with.
type Params struct {
	Memory *mem.Memory // guest RAM; all boot data goes to the region at 0
	// LowTop is the address below which boot data may lie, under ACPI tables
	// and other firmware data at the top of low RAM. 0 is the region's end.
	LowTop uint64
	// Initrd is read when InitrdSize, in bytes, is not 0.
	Initrd     io.ReaderAt
	InitrdSize int64
	Cmdline    string      // without NUL
	RSDP       uint64      // address of the ACPI RSDP, or 0
	E820       []E820Entry // the memory map, see BuildE820
}

// Mode is the processor mode that a kernel is entered in.
type Mode int

// Modes.
const (
	// Protected32 is flat 32-bit protected mode, paging off.
	Protected32 Mode = iota
	// Long64 is 64-bit mode with four-level identity page tables.
	Long64
)

// Entry is the state that the boot processor starts in. The segments are flat:
// code is selector 0x10 and data 0x18 of the GDT. Interrupts are off, and the
// registers that are not listed are 0.
type Entry struct {
	Mode     Mode
	RIP      uint64
	RSP      uint64
	RSI      uint64 // zero page, Long64
	RBX      uint64 // start info, Protected32
	CR3      uint64 // Long64
	GDTBase  uint64
	GDTLimit uint16
}

// Open opens the kernel at path and checks its headers. The file stays open for
// Load until Close.
func Open(path string) (*Image, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("kernel: %w", err)
	}
	img, err := openFile(path, f)
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	img.c = f
	return img, nil
}

func openFile(path string, f *os.File) (*Image, error) {
	st, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("kernel: %w", err)
	}
	if !st.Mode().IsRegular() {
		return nil, fmt.Errorf("kernel %s: not a regular file", path)
	}
	return NewImage(path, f, st.Size())
}

// OpenBytes returns the image in data, which must not change. name is what
// errors call it.
func OpenBytes(name string, data []byte) (*Image, error) {
	return NewImage(name, bytes.NewReader(data), int64(len(data)))
}

// NewImage returns the image of size bytes in r, which it keeps. name is what
// errors call it.
func NewImage(name string, r io.ReaderAt, size int64) (*Image, error) {
	img := &Image{name: name, file: r}
	head := make([]byte, min(size, headSize))
	if err := readFull(r, head, 0); err != nil {
		return nil, fmt.Errorf("kernel %s: %w", name, err)
	}
	var err error
	switch {
	case bytes.HasPrefix(head, []byte(elfMagic)):
		img.kind = PVH
		img.elf, err = parseELF(r, size)
	case isBzImage(head):
		img.kind = BzImage
		img.bz, err = parseBzImage(head, size)
	default:
		err = errors.New("neither a Linux bzImage for x86-64 nor an ELF file with a PVH entry; only these can be booted")
	}
	if err != nil {
		return nil, fmt.Errorf("kernel %s: %w", name, err)
	}
	return img, nil
}

// Name returns the path or name that the image was opened by.
func (img *Image) Name() string { return img.name }

// Kind returns the image's boot protocol.
func (img *Image) Kind() Kind { return img.kind }

// Close closes the file that Open opened.
func (img *Image) Close() error {
	if img.c == nil {
		return nil
	}
	return img.c.Close()
}

// Load puts the kernel, its initrd, command line and tables into guest RAM and
// returns how to enter it. An error names the kernel and what does not fit.
func (img *Image) Load(p Params) (Entry, error) {
	l, err := newLoader(img, p)
	if err == nil {
		if img.kind == PVH {
			return l.loadPVH()
		}
		return l.loadBzImage()
	}
	return Entry{}, err
}

// readFull fills b from offset off of r.
func readFull(r io.ReaderAt, b []byte, off int64) error {
	n, err := r.ReadAt(b, off)
	switch {
	case n == len(b):
		return nil
	case err == nil || errors.Is(err, io.EOF):
		return fmt.Errorf("file ends at offset %d: %w", off+int64(n), io.ErrUnexpectedEOF)
	}
	return fmt.Errorf("read at offset %d: %w", off, err)
}
