// Package preallocdrv is the driver preallocate: a node that is a file, which is made longer
// in large steps as it is written to, and is as long as its data once nobody writes.
//
// Methods may be called concurrently but for Permit, Truncate and Close, which come while
// nothing is under way. Follows qapi/block-core.json of QEMU (BlockdevOptionsPreallocate).
// It depends on block/graph and block/bufs.
package preallocdrv

import (
	"errors"
	"fmt"
	"math"
	"sync"
	"sync/atomic"

	"hv/block/bufs"
	"hv/block/graph"
)

// Config says how much is allocated ahead.
type Config struct {
	Align int64 // what lengths of the file are multiples of
	Size  int64 // how much beyond what is written
}

// unknown is a length when others may change the file.
const unknown = -1

// sector is what Align is a multiple of.
const sector = 512

// Driver is an open node.
type Driver struct {
	cfg  Config
	file *graph.Child
	data atomic.Int64 // where the data ends, that is the node; or unknown

	mu     sync.Mutex
	end    int64 // of the file
	zeroes int64 // from here on the file is zeroes up to its end
}

// Open makes a driver.
func Open(cfg Config, file *graph.Child) (*Driver, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	d := &Driver{cfg: cfg, file: file}
	d.data.Store(unknown)
	return d, nil
}

func (c *Config) check() error {
	switch {
	case c.Align <= 0 || c.Align%sector != 0:
		return fmt.Errorf("prealloc-align parameter of preallocate filter is not aligned to %d", sector)
	case c.Size < 0:
		return errors.New("prealloc-size parameter of preallocate filter must not be negative")
	}
	return nil
}

// Reopen implements graph.Reopener; own is a Config. The file is cut before it cannot be
// any more.
func (d *Driver) Reopen(node graph.Options, own any) (commit func() error, undo func(), err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	old := d.cfg
	if cfg, ok := own.(Config); ok {
		if err := cfg.check(); err != nil {
			return nil, nil, err
		}
		d.cfg = cfg
	}
	if node.ReadOnly {
		if err := d.cut(); err != nil {
			d.cfg = old
			return nil, nil, err
		}
	}
	return func() error { return nil }, func() { d.cfg = old }, nil
}

// alone reports whether users that do perm have the file to themselves.
func alone(perm graph.Perm) bool {
	return perm&(graph.Write|graph.Resize) == graph.Write|graph.Resize
}

// Demand keeps others from a file that grows.
func (d *Driver) Demand(_ *graph.Child, perm, shared graph.Perm) (graph.Perm, graph.Perm) {
	if alone(perm) {
		shared &^= graph.Write | graph.Resize
	}
	return perm, shared
}

// Permit looks how long the file is when users begin to write, and cuts it when they end.
func (d *Driver) Permit(perm, _ graph.Perm) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch known := d.data.Load() != unknown; {
	case alone(perm) && !known:
		d.set(d.file.Size())
	case !alone(perm) && known:
		if err := d.cut(); err != nil {
			return fmt.Errorf("Failed to drop preallocation: %w", err)
		}
		d.data.Store(unknown)
	}
	return nil
}

// set notes a length of the file that is all data.
func (d *Driver) set(size int64) {
	d.data.Store(size)
	d.end, d.zeroes = size, size
}

// cut makes the file as long as its data.
func (d *Driver) cut() error {
	data := d.data.Load()
	if data == unknown || data >= d.end {
		return nil
	}
	if err := d.file.Truncate(data); err != nil {
		return err
	}
	d.end, d.zeroes = data, data
	return nil
}

// Size returns the length of the data.
func (d *Driver) Size() int64 {
	if data := d.data.Load(); data != unknown {
		return data
	}
	return d.file.Size()
}

// writes allocates ahead of a write, if that is needed, and reports whether the range is
// zeroes now, if somebody wants zeroes.
func (d *Driver) writes(off, n int64, zeroes bool) bool {
	data := d.data.Load()
	if data == unknown || off > math.MaxInt64-n || off+n <= data {
		return false
	}
	end := off + n
	d.mu.Lock()
	defer d.mu.Unlock()
	if end <= d.data.Load() {
		return false
	}
	if end > d.end && !d.extend(off, end, &zeroes) {
		zeroes = false
	}
	made := zeroes && off >= d.zeroes
	if !made {
		d.zeroes = max(d.zeroes, end)
	}
	// Reads may go there from now on.
	d.data.Store(end)
	return made
}

// extend makes the file longer than a write that ends at end needs.
func (d *Driver) extend(off, end int64, zeroes *bool) bool {
	from := d.end
	if *zeroes {
		from = min(off, from)
	}
	up := max(from, end)
	if up > math.MaxInt64-d.cfg.Size-d.cfg.Align {
		return false
	}
	to := (up + d.cfg.Size + d.cfg.Align - 1) / d.cfg.Align * d.cfg.Align
	if d.file.WriteZeroes(from, to-from, graph.NoFallback) != nil {
		d.end = max(d.end, d.file.Size())
		return false
	}
	d.end = to
	if *zeroes {
		d.zeroes = min(d.zeroes, from)
	}
	return true
}

// Readv fills the buffers from off.
func (d *Driver) Readv(off int64, v [][]byte) error { return d.file.Readv(off, v) }

// Writev writes the buffers at off.
func (d *Driver) Writev(off int64, v [][]byte, f graph.Flags) error {
	d.writes(off, bufs.Len(v), false)
	return d.file.Writev(off, v, f)
}

// WriteZeroes makes zeroes, of which some may be there already.
func (d *Driver) WriteZeroes(off, n int64, f graph.Flags) error {
	if d.writes(off, n, f&^graph.NoFallback == 0) {
		return nil
	}
	return d.file.WriteZeroes(off, n, f)
}

// Discard passes a discard on.
func (d *Driver) Discard(off, n int64) error { return d.file.Discard(off, n) }

// BlockStatus leaves the answer to the child.
func (d *Driver) BlockStatus(off, n int64) (graph.Extent, error) {
	return graph.Extent{N: n, Status: graph.Recurse | graph.OffsetValid, Child: d.file, Offset: off}, nil
}

// Truncate changes the size of the data, and of the file with it.
func (d *Driver) Truncate(size int64) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	known := d.data.Load() != unknown
	if err := d.cut(); err != nil {
		return err
	}
	err := d.file.Truncate(size)
	if known {
		d.set(d.file.Size())
	}
	return err
}

// Flush does nothing: nothing is kept back.
func (d *Driver) Flush() error { return nil }

// Close cuts the file.
func (d *Driver) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return errors.Join(d.cut())
}
