// Package hostfile is a raw image in a file or on a block device of the host.
//
// A File is shared by the queues of a disk; each has an IO of its own, which one
// goroutine on a locked thread makes and uses. Requests go to io_uring, or to a pool of
// threads where that is not to be had; writes to the page cache are made at once while that is quick. What Flush acknowledged is on the medium,
// unless the image was opened without flushes.
//
// Locks follow QEMU's protocol of open file description locks on single bytes, so
// that QEMU's tools and hv see each other's. It depends on block/uring.
package hostfile

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"

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
}

// File is an open image.
type File struct {
	cfg   Config
	f     *os.File
	fd    int
	size  atomic.Uint64
	block bool  // a block device
	align int64 // of requests around the page cache
	// memory says that nothing ever waits for a disk.
	memory bool
	// buffered says that writes go to the page cache, and no further.
	buffered bool
	// writtenZeroes says that the file system makes no zeroes by itself.
	writtenZeroes atomic.Bool
	// around is held by all writes through Do in a file with an alignment, alone by those that
	// have to write what lies around them, too.
	around sync.RWMutex

	held, notShared uint8 // what is locked
}

// Open opens an image, which is locked for nobody yet.
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
	file.align, file.memory = file.findAlign(), inMemory(file.fd)
	file.buffered = !cfg.Direct && !cfg.WriteThrough
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
		f.size.Store(uint64(st.Size()))
	case mode&os.ModeDevice != 0 && mode&os.ModeCharDevice == 0:
		f.block = true
		end, err := unix.Seek(f.fd, 0, unix.SEEK_END)
		if err != nil {
			return fmt.Errorf("%s: size: %w", f.cfg.Path, err)
		}
		f.size.Store(uint64(end))
	default:
		return fmt.Errorf("%s: neither a file nor a block device", f.cfg.Path)
	}
	return nil
}

// Size returns the image's size in bytes.
func (f *File) Size() uint64 { return f.size.Load() }

// IsDevice reports whether it is a block device.
func (f *File) IsDevice() bool { return f.block }

// ReadOnly reports whether writes are refused.
func (f *File) ReadOnly() bool { return f.cfg.ReadOnly }

// CanDiscard reports whether discards are passed on.
func (f *File) CanDiscard() bool { return f.cfg.Discard }

// Takes reports whether a read or write can go by an IO as it is.
func (f *File) Takes(off int64, bufs [][]byte) bool {
	if f.align == 1 {
		return true
	}
	for _, b := range bufs {
		if off |= int64(len(b)); len(b) == 0 || off&(f.align-1) != 0 || !suits(b, f.align) {
			return false
		}
	}
	return true
}

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
