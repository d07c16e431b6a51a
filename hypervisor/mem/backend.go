package mem

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// Kind says what guest RAM is made of.
type Kind int

// Kinds, after QEMU's memory-backend-ram, -memfd and -file.
const (
	Anonymous Kind = iota
	Memfd
	File
)

// BackendConfig describes the RAM to allocate.
type BackendConfig struct {
	ID   string // names it in errors
	Kind Kind
	Size uint64 // bytes, a multiple of the page size that backs it
	// Path is File's: a file, created if there is none, or a directory (such
	// as a hugetlbfs mount), in which a nameless one is made.
	Path string
	// Share makes other processes that map the file see the guest's writes.
	Share bool
	// HugeTLB has a Memfd made of huge pages of HugeTLBSize bytes, a power of
	// two, 0 for the host's default.
	HugeTLB     bool
	HugeTLBSize uint64
	// Seal keeps a Memfd from being resized by whoever gets its descriptor.
	Seal bool
	// Prealloc takes all memory from the host at once, with PreallocThreads
	// threads, 0 for one.
	Prealloc        bool
	PreallocThreads int
	// NoReserve takes no share of the host's commit limit or huge pages.
	NoReserve bool
	// Merge lets the host share equal pages (KSM), Dump puts the RAM into core
	// dumps, DiscardData drops a shared File's content at Close.
	Merge, Dump, DiscardData bool
}

// Backend is allocated RAM.
type Backend struct {
	Data []byte // the mapping, aligned to 2 MiB or the page size if that is larger
	FD   int    // the file behind it, -1 for none; offset 0 is Data's start

	id       string
	pageSize uint64
	share    bool
	discard  bool
	created  string // the file to remove if allocation fails
	m        mapping
}

// hugePage is the size that transparent huge pages have, and the alignment that
// lets the host use them.
const hugePage = 2 << 20

// Allocate makes RAM as c describes. Errors name c.ID.
func Allocate(c BackendConfig) (*Backend, error) {
	b := &Backend{FD: -1, id: c.ID, pageSize: PageSize, share: c.Share, discard: c.DiscardData && c.Kind == File && c.Share}
	if err := b.allocate(&c); err != nil {
		b.Close()
		if b.created != "" {
			os.Remove(b.created)
		}
		return nil, fmt.Errorf("memory backend %s: %w", c.ID, err)
	}
	return b, nil
}

func (b *Backend) allocate(c *BackendConfig) error {
	if err := b.open(c); err != nil {
		return err
	}
	if c.Size == 0 || c.Size%b.pageSize != 0 {
		return fmt.Errorf("size %#x is not a multiple of the page size %#x", c.Size, b.pageSize)
	}
	if b.FD >= 0 {
		if err := sizeFile(b.FD, c); err != nil {
			return err
		}
	}
	m, err := mapAligned(b.FD, c.Size, max(hugePage, b.pageSize), mapFlags(c))
	if err != nil {
		return fmt.Errorf("map %d MiB: %w: lower the size, or free memory on the host", c.Size>>20, err)
	}
	b.m, b.Data = m, m.bytes()
	b.advise(c)
	if c.Prealloc {
		return populate(b.Data, max(hugePage, b.pageSize), c.PreallocThreads)
	}
	return nil
}

// open makes or opens the file and learns its page size.
func (b *Backend) open(c *BackendConfig) (err error) {
	switch c.Kind {
	case Memfd:
		b.FD, err = openMemfd(c)
	case File:
		b.FD, err = b.openFile(c.Path)
	default:
		return nil
	}
	if err != nil {
		return err
	}
	var st unix.Statfs_t
	if err := unix.Fstatfs(b.FD, &st); err != nil {
		return fmt.Errorf("examine the file system: %w", err)
	}
	if st.Type == unix.HUGETLBFS_MAGIC {
		b.pageSize = uint64(st.Bsize)
	}
	return nil
}

// memfdHugeShift is where memfd_create takes the logarithm of the page size.
const memfdHugeShift = 26

func openMemfd(c *BackendConfig) (int, error) {
	flags := unix.MFD_CLOEXEC
	if c.Seal {
		flags |= unix.MFD_ALLOW_SEALING
	}
	if c.HugeTLB {
		if c.HugeTLBSize&(c.HugeTLBSize-1) != 0 {
			return -1, fmt.Errorf("huge page size %#x is not a power of two", c.HugeTLBSize)
		}
		flags |= unix.MFD_HUGETLB
		if c.HugeTLBSize != 0 {
			flags |= log2(c.HugeTLBSize) << memfdHugeShift
		}
	}
	fd, err := unix.MemfdCreate(c.ID, flags)
	if err != nil {
		return -1, fmt.Errorf("create a memfd: %w", err)
	}
	return fd, nil
}

func log2(v uint64) int {
	n := 0
	for ; v > 1; v >>= 1 {
		n++
	}
	return n
}

// openFile opens or creates the file at path, or makes one without a name in the
// directory there.
func (b *Backend) openFile(path string) (int, error) {
	if st, err := os.Stat(path); err == nil && st.IsDir() {
		return openNameless(path)
	}
	const flags = unix.O_RDWR | unix.O_CLOEXEC
	fd, err := unix.Open(path, flags, 0)
	if errors.Is(err, unix.ENOENT) {
		if fd, err = unix.Open(path, flags|unix.O_CREAT|unix.O_EXCL, 0o644); err == nil {
			b.created = path
		}
	}
	if err != nil {
		return -1, fmt.Errorf("open %s: %w", path, err)
	}
	return fd, nil
}

// openNameless makes a file that is gone when it is closed. hugetlbfs has no
// O_TMPFILE.
func openNameless(dir string) (int, error) {
	f, err := os.CreateTemp(dir, "guest-ram-*")
	if err != nil {
		return -1, err
	}
	defer f.Close()
	if err := os.Remove(f.Name()); err != nil {
		return -1, err
	}
	fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("duplicate the descriptor of %s: %w", f.Name(), err)
	}
	return fd, nil
}

// sizeFile gives an empty file its size, refuses one that is too small, and
// seals a memfd.
func sizeFile(fd int, c *BackendConfig) error {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return fmt.Errorf("examine the file: %w", err)
	}
	regular := st.Mode&unix.S_IFMT == unix.S_IFREG
	switch {
	case regular && st.Size == 0:
		if err := unix.Ftruncate(fd, int64(c.Size)); err != nil {
			return fmt.Errorf("set the file's size: %w", err)
		}
	case regular && uint64(st.Size) < c.Size:
		return fmt.Errorf("%s has %d bytes, fewer than size %d", c.Path, st.Size, c.Size)
	}
	if c.Kind != Memfd || !c.Seal {
		return nil
	}
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, unix.F_SEAL_GROW|unix.F_SEAL_SHRINK|unix.F_SEAL_SEAL); err != nil {
		return fmt.Errorf("seal the memfd: %w", err)
	}
	return nil
}

func mapFlags(c *BackendConfig) int {
	flags := unix.MAP_PRIVATE
	if c.Share {
		flags = unix.MAP_SHARED
	}
	if c.Kind == Anonymous {
		flags |= unix.MAP_ANONYMOUS
	}
	if c.NoReserve {
		flags |= unix.MAP_NORESERVE
	}
	return flags
}

// advise passes on wishes that a kernel may lack the means for, which is no
// reason to fail: KSM and transparent huge pages can be compiled out.
func (b *Backend) advise(c *BackendConfig) {
	if b.pageSize == PageSize {
		_ = unix.Madvise(b.Data, unix.MADV_HUGEPAGE)
	}
	if c.Merge {
		_ = unix.Madvise(b.Data, unix.MADV_MERGEABLE)
	}
	if !c.Dump {
		_ = unix.Madvise(b.Data, unix.MADV_DONTDUMP)
	}
}

// SharedFD returns the file by which another process can see what is written to the RAM, -1
// if there is none.
func (b *Backend) SharedFD() int {
	if !b.share {
		return -1
	}
	return b.FD
}

// Close unmaps the RAM and closes the file. No view of it may be in use, and no
// guest may have it mapped.
func (b *Backend) Close() error {
	var errs []error
	if b.Data != nil {
		if b.discard {
			errs = append(errs, unix.Madvise(b.Data, unix.MADV_REMOVE))
		}
		errs = append(errs, b.m.unmap())
	}
	if b.FD >= 0 {
		errs = append(errs, unix.Close(b.FD))
	}
	b.Data, b.FD = nil, -1
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("close memory backend %s: %w", b.id, err)
	}
	return nil
}
