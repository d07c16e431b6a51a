// Package filedrv is the drivers file and host_device: a file or block device of the
// host as a node.
//
// What users of the node may do is locked, as QEMU does, and with auto-read-only the file
// is open for writing only while somebody writes. Methods may be called concurrently but
// for Permit and Truncate, which come while nothing is under way. It depends on
// block/graph, block/hostfile and qmp/strerror.
package filedrv

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"hv/block/graph"
	"hv/block/hostfile"
	"hv/qmp/strerror"
)

// Config says what to open and how.
type Config struct {
	Path         string
	Device       bool // host_device rather than file
	Options      graph.Options
	AutoReadOnly bool
	Threads      bool // no io_uring
	WriteThrough bool // every write is durable when it completes
	Unlocked     bool
	// OpenFile opens a path of the host.
	OpenFile func(path string, flags int, perm os.FileMode) (*os.File, error)
}

// Driver is an open file.
type Driver struct {
	cfg  Config
	file *hostfile.File
}

// Open opens a file. Nobody uses it yet.
func Open(cfg Config) (*Driver, error) {
	d := &Driver{cfg: cfg}
	f, err := d.open(cfg.Options.ReadOnly || cfg.AutoReadOnly)
	if cfg.AutoReadOnly && !cfg.Options.ReadOnly && (errors.Is(err, unix.EACCES) || errors.Is(err, unix.EPERM)) {
		f, err = d.open(false) // a descriptor that was passed may be for writing alone
	}
	d.file = f
	return d, err
}

// open opens the file once more.
func (d *Driver) open(readOnly bool) (*hostfile.File, error) {
	flags := os.O_RDWR
	if readOnly {
		flags = os.O_RDONLY
	}
	if d.cfg.Options.Direct {
		flags |= unix.O_DIRECT
	}
	path := d.cfg.Path
	f, err := d.cfg.OpenFile(path, flags|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &openError{path, err}
	}
	if err := d.suits(f); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return hostfile.Open(hostfile.Config{
		Path: path, Opened: f, ReadOnly: readOnly, Direct: d.cfg.Options.Direct, NoFlush: d.cfg.Options.NoFlush,
		Discard: d.cfg.Options.Discard, Threads: d.cfg.Threads, WriteThrough: d.cfg.WriteThrough,
	})
}

// openError is a file that could not be opened.
type openError struct {
	path string
	err  error
}

func (e *openError) Error() string {
	return fmt.Sprintf("Could not open '%s': %s", e.path, strerror.Text(e.err))
}
func (e *openError) Unwrap() error { return e.err }

// suits returns an error for a file that is not of the driver's kind.
func (d *Driver) suits(f *os.File) error {
	st, err := f.Stat()
	if err != nil {
		return err
	}
	switch mode := st.Mode(); {
	case mode.IsDir():
		return fmt.Errorf("Could not open '%s': Is a directory", d.cfg.Path)
	case d.cfg.Device && mode&os.ModeDevice == 0:
		return fmt.Errorf("'host_device' driver requires '%s' to be either a character or block device", d.cfg.Path)
	case !d.cfg.Device && !mode.IsRegular():
		return fmt.Errorf("'file' driver requires '%s' to be a regular file", d.cfg.Path)
	}
	return nil
}

// Permit locks what users do, and opens the file for writing when they begin to write.
func (d *Driver) Permit(perm, shared graph.Perm) error {
	write := perm&(graph.Write|graph.WriteUnchanged|graph.Resize) != 0
	file := d.file
	if d.cfg.AutoReadOnly && !d.cfg.Options.ReadOnly && write == file.ReadOnly() {
		var err error
		if file, err = d.open(!write); err != nil && write {
			return err
		} else if err != nil {
			file = d.file // it cannot be had for reading alone
		}
	}
	if err := d.lock(file, perm, shared); err != nil {
		if file != d.file {
			err = errors.Join(err, file.Close())
		}
		return err
	}
	if file == d.file {
		return nil
	}
	old := d.file
	d.file = file
	return old.Close()
}

// lock has file locked, and no longer the one that it takes the place of.
func (d *Driver) lock(file *hostfile.File, perm, shared graph.Perm) error {
	if d.cfg.Unlocked {
		return nil
	}
	held, notShared := uint8(perm), uint8(graph.AllPerms&^shared)
	if file == d.file {
		return file.SetLocks(held, notShared)
	}
	// Our own locks would be in the way of those on the new descriptor.
	oldHeld, oldNotShared := d.file.Locks()
	if err := d.file.SetLocks(0, 0); err != nil {
		return err
	}
	if err := file.SetLocks(held, notShared); err != nil {
		return errors.Join(err, d.file.SetLocks(oldHeld, oldNotShared))
	}
	return nil
}

// Map tells that the node is the file.
func (d *Driver) Map() (graph.Place, bool) { return graph.Place{File: d.file}, true }

// Size returns the length in bytes.
func (d *Driver) Size() int64 { return int64(d.file.Size()) }

// Allocated returns how many bytes the file takes.
func (d *Driver) Allocated() int64 { return d.file.Allocated() }

// Readv fills the buffers from off.
func (d *Driver) Readv(off int64, v [][]byte) error {
	return d.file.Do(hostfile.OpRead, off, length(v), v)
}

// Writev writes the buffers at off.
func (d *Driver) Writev(off int64, v [][]byte, _ graph.Flags) error {
	return d.file.Do(hostfile.OpWrite, off, length(v), v)
}

func length(v [][]byte) (n int64) {
	for _, b := range v {
		n += int64(len(b))
	}
	return n
}

// WriteZeroes makes zeroes, as holes if that may be.
func (d *Driver) WriteZeroes(off, n int64, f graph.Flags) error {
	op := hostfile.OpWriteZeroes
	if f&graph.MayUnmap != 0 {
		op = hostfile.OpWriteZeroesUnmap
	}
	return d.file.Do(op, off, n, nil)
}

// Discard makes a hole.
func (d *Driver) Discard(off, n int64) error { return d.file.Do(hostfile.OpDiscard, off, n, nil) }

// BlockStatus tells holes from data. Holes read as zeroes.
func (d *Driver) BlockStatus(off, n int64) (graph.Extent, error) {
	length, data := d.file.Extent(off, n)
	status := graph.Zero | graph.Allocated
	if data {
		status = graph.Data | graph.Allocated
	}
	return graph.Extent{N: length, Status: status | graph.OffsetValid, Offset: off}, nil
}

// Truncate changes the file's size.
func (d *Driver) Truncate(size int64) error { return d.file.Truncate(size) }

// Flush makes completed writes durable.
func (d *Driver) Flush() error { return d.file.Flush() }

// Close closes the file, which releases its locks.
func (d *Driver) Close() error { return d.file.Close() }
