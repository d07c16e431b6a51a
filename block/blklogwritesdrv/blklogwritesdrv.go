// Package blklogwritesdrv is the driver blklogwrites: a node that is another one, and notes
// in a third all that is written, in the format of Linux's dm-log-writes
// (Documentation/admin-guide/device-mapper/log-writes.rst).
//
// Requests come concurrently; entries of the log are made one at a time, when what they are
// about is done. It depends on block/graph.
package blklogwritesdrv

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync"

	"hv/block/graph"
)

// Config is a node's options.
type Config struct {
	SectorSize uint32 // of the log, 0 for what it has, or 512 for a new one
	Append     bool   // go on with a log that is there
	Interval   uint64 // after how many entries the log's head is written
}

// The log begins with a sector of magic, version, number of entries and size of sectors.
// Entries follow: a sector each of first sector, number of sectors, flags and length of what
// else is there, and the data unless it is a discard. All is little-endian.
const (
	magic     = 0x6a736677736872
	version   = 1
	superSize = 28
	entrySize = 32

	flagFlush   = 1 << 0
	flagDiscard = 1 << 2
	flagMask    = 1<<4 - 1
)

// Driver is an open node.
type Driver struct {
	cfg       Config
	file, log *graph.Child

	mu      sync.Mutex
	next    int64 // sector of the log
	entries uint64
	sector  []byte // for entries and the head
}

// Open makes a driver, and reads the log if it is to go on with that.
func Open(cfg Config, file, log *graph.Child) (*Driver, error) {
	d := &Driver{cfg: cfg, file: file, log: log, next: 1}
	if cfg.Append {
		if cfg.SectorSize != 0 {
			return nil, errors.New("log-append and log-sector-size are mutually exclusive")
		}
		if err := d.resume(); err != nil {
			return nil, err
		}
	} else if cfg.SectorSize == 0 {
		d.cfg.SectorSize = 512
	}
	if size := d.cfg.SectorSize; !valid(size) {
		return nil, fmt.Errorf("Invalid log sector size %d", size)
	}
	if cfg.Interval == 0 {
		return nil, errors.New("Invalid log superblock update interval 0")
	}
	d.sector = make([]byte, d.cfg.SectorSize)
	return d, nil
}

func valid(size uint32) bool { return size&(size-1) == 0 && size >= entrySize && size < 1<<24 }

// resume finds the end of a log, unless it is empty.
func (d *Driver) resume() error {
	d.cfg.SectorSize = 512
	if d.log.Size() == 0 {
		return nil
	}
	super := make([]byte, superSize)
	if err := d.log.Readv(0, [][]byte{super}); err != nil {
		return fmt.Errorf("Could not read log superblock: %s", graph.ErrorText(err))
	}
	le := binary.LittleEndian
	if le.Uint64(super) != magic {
		return errors.New("Invalid log superblock magic")
	}
	if v := le.Uint64(super[8:]); v != version {
		return fmt.Errorf("Unsupported log version %d", v)
	}
	d.entries, d.cfg.SectorSize = le.Uint64(super[16:]), le.Uint32(super[24:])
	if !valid(d.cfg.SectorSize) {
		return nil // refused by whoever called
	}
	return d.skip()
}

// skip goes over the entries that there are.
func (d *Driver) skip() error {
	le, size := binary.LittleEndian, int64(d.cfg.SectorSize)
	end := (d.log.Size() + size - 1) / size
	entry := make([]byte, entrySize)
	for i := range d.entries {
		if d.next >= end {
			return fmt.Errorf("Failed to read log entry %d: it is past the end of the log", i)
		}
		if err := d.log.Readv(d.next*size, [][]byte{entry}); err != nil {
			return fmt.Errorf("Failed to read log entry %d: %s", i, graph.ErrorText(err))
		}
		sectors, flags := le.Uint64(entry[8:]), le.Uint64(entry[16:])
		if flags&^flagMask != 0 {
			return fmt.Errorf("Invalid flags 0x%x in log entry %d", flags, i)
		}
		d.next++
		if flags&flagDiscard != 0 {
			continue
		}
		if sectors > uint64(end) {
			return fmt.Errorf("Log entry %d is longer than the log", i)
		}
		d.next += int64(sectors)
	}
	return nil
}

// Limits implements graph.Bounded: the log knows sectors only.
func (d *Driver) Limits() graph.Limits { return graph.Limits{Align: int64(d.cfg.SectorSize)} }

// Size returns the length in bytes.
func (d *Driver) Size() int64 { return d.file.Size() }

// Readv fills the buffers from off.
func (d *Driver) Readv(off int64, v [][]byte) error { return d.file.Readv(off, v) }

// Writev writes the buffers at off.
func (d *Driver) Writev(off int64, v [][]byte, f graph.Flags) error {
	err := d.file.Writev(off, v, f)
	return errors.Join(d.note(off, length(v), 0, v, 0), err)
}

func length(v [][]byte) (n int64) {
	for _, b := range v {
		n += int64(len(b))
	}
	return n
}

// WriteZeroes makes zeroes.
func (d *Driver) WriteZeroes(off, n int64, f graph.Flags) error {
	err := d.file.WriteZeroes(off, n, f)
	return errors.Join(d.note(off, n, 0, nil, n), err)
}

// Discard passes a discard on.
func (d *Driver) Discard(off, n int64) error {
	err := d.file.Discard(off, n)
	return errors.Join(d.note(off, n, flagDiscard, nil, 0), err)
}

// Flush flushes the node below and the log.
func (d *Driver) Flush() error {
	err := d.file.Flush()
	return errors.Join(d.note(0, 0, flagFlush, nil, 0), err)
}

// FlushesChildren implements graph.WholeFlusher.
func (d *Driver) FlushesChildren() {}

// BlockStatus leaves the answer to the child.
func (d *Driver) BlockStatus(off, n int64) (graph.Extent, error) {
	return graph.Extent{N: n, Status: graph.Recurse | graph.OffsetValid | graph.Allocated, Child: d.file, Offset: off}, nil
}

// note makes an entry, with its data or as many zeroes.
func (d *Driver) note(off, n int64, flags uint64, data [][]byte, zeroes int64) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	le, size := binary.LittleEndian, int64(d.cfg.SectorSize)
	clear(d.sector)
	le.PutUint64(d.sector, uint64(off/size))
	le.PutUint64(d.sector[8:], uint64((n+size-1)/size))
	le.PutUint64(d.sector[16:], flags)
	at := d.next * size
	v := append([][]byte{d.sector}, data...)
	if over := length(data) % size; over > 0 { // the end of the node
		v = append(v, make([]byte, size-over))
	}
	d.next += (length(v) + zeroes) / size
	d.entries++
	if err := d.log.Writev(at, v, 0); err != nil {
		return err
	}
	if zeroes > 0 {
		if err := d.log.WriteZeroes(at+size, zeroes, 0); err != nil {
			return err
		}
	}
	if flags&flagFlush == 0 && d.entries%d.cfg.Interval != 0 {
		return nil
	}
	return d.head()
}

// head writes how much there is in the log, and makes it durable.
func (d *Driver) head() error {
	le := binary.LittleEndian
	clear(d.sector)
	le.PutUint64(d.sector, magic)
	le.PutUint64(d.sector[8:], version)
	le.PutUint64(d.sector[16:], d.entries)
	le.PutUint32(d.sector[24:], d.cfg.SectorSize)
	if err := d.log.Writev(0, [][]byte{d.sector}, 0); err != nil {
		return err
	}
	return d.log.Flush()
}

// Truncate changes the child's size.
func (d *Driver) Truncate(size int64) error { return d.file.Truncate(size) }

// Close does nothing.
func (d *Driver) Close() error { return nil }
