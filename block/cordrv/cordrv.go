// Package cordrv is the driver copy-on-read: a node that is another one, into which is
// written what was read from its backing nodes.
//
// Methods may be called concurrently but for Truncate and Close. Copies keep apart from
// writes to the same place. Follows qapi/block-core.json of QEMU (BlockdevOptionsCor). It
// depends on block/graph, block/bufs and block/ranges.
package cordrv

import (
	"errors"
	"sync"

	"hv/block/bufs"
	"hv/block/graph"
	"hv/block/ranges"
)

// unit is what copies are multiples of, chunk how much is copied at once.
const (
	unit  = 64 << 10
	chunk = 1 << 20
)

// Driver is an open node.
type Driver struct {
	file    *graph.Child
	bottom  *graph.Node // the last one that is copied from; nil for all
	lock    ranges.Lock // writes share, copies are alone
	buffers sync.Pool
}

// Open makes a driver. Of what lies in backing nodes, only that is copied which is in
// bottom or above it, if there is a bottom.
func Open(file *graph.Child, bottom *graph.Node) (*Driver, error) {
	d := &Driver{file: file, bottom: bottom}
	d.buffers.New = func() any { b := make([]byte, chunk); return &b }
	if bottom != nil {
		if !inChain(file.Node(), bottom) {
			return nil, errors.New("Bottom node '" + bottom.Name() + "' is not in the backing chain")
		}
		bottom.Ref()
	}
	return d, nil
}

// inChain reports whether a node is the first of a chain, or lies behind it.
func inChain(n, want *graph.Node) bool {
	for n != nil && n != want {
		n = next(n)
	}
	return n != nil
}

// next returns what a filter filters, or the backing node of what is none.
func next(n *graph.Node) *graph.Node {
	for _, c := range n.Children() {
		if c.Role() == graph.Filtered || c.Role() == graph.Backing {
			return c.Node()
		}
	}
	return nil
}

// Demand lets copies be written, whatever users do.
func (d *Driver) Demand(_ *graph.Child, perm, shared graph.Perm) (graph.Perm, graph.Perm) {
	return perm | graph.WriteUnchanged, shared
}

// Size returns the length in bytes.
func (d *Driver) Size() int64 { return d.file.Size() }

// Readv fills the buffers from off, and copies what lies in backing nodes.
func (d *Driver) Readv(off int64, v [][]byte) error {
	for at, total := int64(0), bufs.Len(v); at < total; {
		n, missing, err := d.missing(off+at, total-at)
		if err == nil && missing {
			err = d.copy(off+at, n)
		}
		if err == nil {
			err = d.file.Readv(off+at, bufs.Cut(v, at, n))
		}
		if err != nil {
			return err
		}
		at += n
	}
	return nil
}

// missing reports how many bytes from off on are there, or have to be copied.
func (d *Driver) missing(off, n int64) (int64, bool, error) {
	e, err := d.file.BlockStatus(off, n)
	if err != nil {
		return 0, false, err
	}
	if e.N <= 0 {
		return n, false, nil // it is past the end
	}
	if e.Status&graph.Allocated != 0 || d.bottom == nil {
		return e.N, e.Status&graph.Allocated == 0, nil
	}
	return d.above(off, e.N)
}

// above reports whether backing nodes down to the bottom have what is not in the first.
func (d *Driver) above(off, n int64) (int64, bool, error) {
	first := d.file.Node()
	for first.IsFilter() || first.Backing() == nil && next(first) != nil {
		first = next(first)
	}
	if first == d.bottom {
		return n, false, nil
	}
	for c := first.Backing(); c != nil; c = backing(c.Node()) {
		if off < c.Size() {
			e, err := c.BlockStatus(off, min(n, c.Size()-off))
			if err != nil {
				return 0, false, err
			}
			n = e.N
			if e.Status&graph.Allocated != 0 {
				return n, true, nil
			}
		}
		if inFilters(c.Node(), d.bottom) {
			break
		}
	}
	return n, false, nil
}

// backing returns the hold on the next backing node, through filters.
func backing(n *graph.Node) *graph.Child {
	for n != nil {
		if c := n.Backing(); c != nil {
			return c
		}
		n = next(n)
	}
	return nil
}

// inFilters reports whether a node, or what filters filter, is another.
func inFilters(n, want *graph.Node) bool {
	for n != want && n.Backing() == nil && next(n) != nil {
		n = next(n)
	}
	return n == want
}

// copy copies what is missing in a range, and next to it.
func (d *Driver) copy(off, n int64) error {
	end := min((off+n+unit-1)/unit*unit, d.Size())
	for off = off / unit * unit; off < end; off += chunk {
		if err := d.copyChunk(off, min(end-off, chunk)); err != nil {
			return err
		}
	}
	return nil
}

func (d *Driver) copyChunk(off, n int64) error {
	defer d.lock.Unlock(d.lock.Lock(off, n, true))
	b := d.buffers.Get().(*[]byte)
	defer d.buffers.Put(b)
	for n > 0 {
		m, missing, err := d.missing(off, n)
		if err != nil {
			return err
		}
		if missing {
			if err := d.fill(off, (*b)[:m]); err != nil {
				return err
			}
		}
		off, n = off+m, n-m
	}
	return nil
}

// fill copies all of a range.
func (d *Driver) fill(off int64, b []byte) error {
	if err := d.file.Readv(off, [][]byte{b}); err != nil {
		return err
	}
	if bufs.IsZero(b) {
		return d.file.WriteZeroes(off, int64(len(b)), 0)
	}
	return d.file.Writev(off, [][]byte{b}, 0)
}

// Writev writes the buffers at off.
func (d *Driver) Writev(off int64, v [][]byte, f graph.Flags) error {
	defer d.lock.Unlock(d.lock.Lock(off, bufs.Len(v), false))
	return d.file.Writev(off, v, f)
}

// WriteZeroes makes zeroes without data, if the child can.
func (d *Driver) WriteZeroes(off, n int64, f graph.Flags) error {
	defer d.lock.Unlock(d.lock.Lock(off, n, false))
	return d.file.WriteZeroes(off, n, f)
}

// Discard passes a discard on.
func (d *Driver) Discard(off, n int64) error {
	defer d.lock.Unlock(d.lock.Lock(off, n, false))
	return d.file.Discard(off, n)
}

// BlockStatus leaves the answer to the child.
func (d *Driver) BlockStatus(off, n int64) (graph.Extent, error) {
	return graph.Extent{N: n, Status: graph.Recurse | graph.OffsetValid, Child: d.file, Offset: off}, nil
}

// Truncate changes the child's size.
func (d *Driver) Truncate(size int64) error { return d.file.Truncate(size) }

// Flush does nothing: nothing is kept back.
func (d *Driver) Flush() error { return nil }

// Close lets the bottom node go.
func (d *Driver) Close() error {
	if d.bottom != nil {
		return d.bottom.Unref()
	}
	return nil
}
