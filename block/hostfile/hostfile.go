// Package hostfile is a raw image in a file or on a block device of the host.
//
// A File is shared by the queues of a disk; each has an IO of its own, which one
// goroutine on a locked thread makes and uses. Requests go to io_uring, or to a pool of
// threads where that is not to be had. What Flush acknowledged is on the medium,
// unless the image was opened without flushes.
//
// Locks follow QEMU's protocol of open file description locks on single bytes, so
// that QEMU's tools and hv see each other's. It depends on block/uring.
package hostfile

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// Operations of IO.Submit. They are numbers, so that those who declare the
// interface need not import this package.
const (
	OpRead uint8 = iota
	OpWrite
	OpFlush
	OpDiscard
	OpWriteZeroes      // zero and keep allocated
	OpWriteZeroesUnmap // zero, and give the space back if that can be
)

// Config says how to open an image.
type Config struct {
	Path         string
	Opened       *os.File // the image, if it is open already; Path names it in errors
	ReadOnly     bool
	Direct       bool // around the host's page cache
	NoFlush      bool // flushes do nothing
	WriteThrough bool // every write is durable when it completes
	Discard      bool // pass discards on
	Threads      bool // no io_uring
	Lock         bool
	Shared       bool // others may write too
}

// File is an open image.
type File struct {
	cfg   Config
	f     *os.File
	fd    int
	size  uint64
	block bool // a block device
}

// Open opens an image and locks it.
func Open(cfg Config) (*File, error) {
	f := cfg.Opened
	if f == nil {
		var err error
		if f, err = openPath(cfg); err != nil {
			return nil, err
		}
	}
	file := &File{cfg: cfg, f: f, fd: int(f.Fd())}
	if err := file.inspect(); err != nil {
		f.Close()
		return nil, err
	}
	if cfg.Lock && !file.block {
		if err := file.lock(); err != nil {
			f.Close()
			return nil, err
		}
	}
	return file, nil
}

// openPath opens the file that cfg names.
func openPath(cfg Config) (*os.File, error) {
	flags := os.O_RDWR
	if cfg.ReadOnly {
		flags = os.O_RDONLY
	}
	if cfg.Direct {
		flags |= unix.O_DIRECT
	}
	f, err := os.OpenFile(cfg.Path, flags, 0)
	if errors.Is(err, unix.EINVAL) && cfg.Direct {
		return nil, fmt.Errorf("%s: the file system does not support cache.direct=on", cfg.Path)
	}
	return f, err
}

// inspect finds out what the file is and how large.
func (f *File) inspect() error {
	st, err := f.f.Stat()
	if err != nil {
		return err
	}
	switch mode := st.Mode(); {
	case mode.IsRegular():
		f.size = uint64(st.Size())
	case mode&os.ModeDevice != 0 && mode&os.ModeCharDevice == 0:
		f.block = true
		end, err := unix.Seek(f.fd, 0, unix.SEEK_END)
		if err != nil {
			return fmt.Errorf("%s: size: %w", f.cfg.Path, err)
		}
		f.size = uint64(end)
	default:
		return fmt.Errorf("%s: neither a file nor a block device", f.cfg.Path)
	}
	return nil
}

// Size returns the image's size in bytes.
func (f *File) Size() uint64 { return f.size }

// ReadOnly reports whether writes are refused.
func (f *File) ReadOnly() bool { return f.cfg.ReadOnly }

// CanDiscard reports whether discards are passed on.
func (f *File) CanDiscard() bool { return f.cfg.Discard }

// Flush makes all completed writes durable.
func (f *File) Flush() error {
	if f.cfg.NoFlush || f.cfg.ReadOnly {
		return nil
	}
	if err := unix.Fdatasync(f.fd); err != nil {
		return fmt.Errorf("%s: flush: %w", f.cfg.Path, err)
	}
	return nil
}

// Close closes the image, which releases its locks.
func (f *File) Close() error { return f.f.Close() }

// Bytes that are locked for permissions, from QEMU's block/file-posix.c: held ones
// and ones that are not shared.
const (
	lockHeld      = 100
	lockNotShared = 200

	permConsistentRead = 0
	permWrite          = 1
	permResize         = 3
)

// lock takes the locks of a device that reads, and writes unless it is read-only, and
// shares what Config says.
func (f *File) lock() error {
	held := []int64{permConsistentRead}
	notShared := []int64{}
	if !f.cfg.ReadOnly {
		held = append(held, permWrite)
	}
	if !f.cfg.Shared {
		notShared = append(notShared, permWrite, permResize)
	}
	for _, p := range held {
		if err := f.lockByte(lockHeld+p, unix.F_RDLCK, unix.F_OFD_SETLK); err != nil {
			return f.refused(err)
		}
	}
	for _, p := range notShared {
		if err := f.lockByte(lockNotShared+p, unix.F_RDLCK, unix.F_OFD_SETLK); err != nil {
			return f.refused(err)
		}
	}
	return f.conflicts(held, notShared)
}

// conflicts looks for others that hold what is not shared with them, or do not
// share what is held.
func (f *File) conflicts(held, notShared []int64) error {
	for _, p := range held {
		if f.taken(lockNotShared + p) {
			return f.refused(unix.EAGAIN)
		}
	}
	for _, p := range notShared {
		if f.taken(lockHeld + p) {
			return f.refused(unix.EAGAIN)
		}
	}
	return nil
}

func (f *File) lockByte(at int64, kind int16, cmd int) error {
	l := unix.Flock_t{Type: kind, Start: at, Len: 1}
	return unix.FcntlFlock(uintptr(f.fd), cmd, &l)
}

// taken reports whether somebody else has a lock on a byte.
func (f *File) taken(at int64) bool {
	l := unix.Flock_t{Type: unix.F_WRLCK, Start: at, Len: 1}
	err := unix.FcntlFlock(uintptr(f.fd), unix.F_OFD_GETLK, &l)
	return err == nil && l.Type != unix.F_UNLCK
}

func (f *File) refused(err error) error {
	if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EACCES) {
		return fmt.Errorf("%s: another process uses the image; end it, or use share-rw=on on both sides", f.cfg.Path)
	}
	return fmt.Errorf("%s: lock: %w", f.cfg.Path, err)
}
