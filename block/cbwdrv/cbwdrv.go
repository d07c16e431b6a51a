// Package cbwdrv is the driver copy-before-write: a node that is another one, of which what
// is overwritten is copied to a target first, so that what it was can still be read.
//
// Methods may be called concurrently but for Close. A place is copied once, by the first who
// writes there; others wait for that, and writers for those who read there what was. Copies
// that took too long go on in goroutines that Close waits for. Follows qapi/block-core.json
// of QEMU (BlockdevOptionsCbw). It depends on block/graph, block/bitmap, block/bufs and
// block/ranges.
package cbwdrv

import (
	"math"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"hv/block/bitmap"
	"hv/block/bufs"
	"hv/block/graph"
	"hv/block/ranges"
)

// unit is what copies are multiples of, if the target has no larger one, and chunk what is
// copied at once.
const (
	unit  = 64 << 10
	chunk = 1 << 20
)

// Config is a node's options.
type Config struct {
	// Bitmap says what is to be copied, nil for all of it.
	Bitmap *bitmap.Bitmap
	// BreakSnapshot has writes go on when a copy fails: what was cannot be read then.
	BreakSnapshot bool
	// Timeout is how long a copy may take, 0 for any time.
	Timeout time.Duration
}

// Driver is an open node.
type Driver struct {
	cfg          Config
	file, target *graph.Child
	unit         int64

	copying  ranges.Lock
	reading  ranges.Lock // what was, in the file
	buffers  sync.Pool
	late     sync.WaitGroup // copies that nobody waits for any more
	todo     *bitmap.Bitmap // what has to be copied when it is written to
	snapshot sync.Mutex     // guards those below as a whole
	access   *bitmap.Bitmap // what can be read of what was
	done     *bitmap.Bitmap // what was copied
	broken   error          // why nothing can be read any more
}

// Open makes a driver.
func Open(cfg Config, file, target *graph.Child) (*Driver, error) {
	d := &Driver{cfg: cfg, file: file, target: target, unit: max(unit, target.Node().BitmapGranularity())}
	d.buffers.New = func() any { b := make([]byte, chunk+d.unit); return &b }
	size := file.Size()
	for _, b := range []**bitmap.Bitmap{&d.todo, &d.access, &d.done} {
		made, err := bitmap.New(bitmap.Config{Size: size, Granularity: d.unit, Enabled: true})
		if err != nil {
			return nil, err
		}
		*b = made
	}
	if cfg.Bitmap == nil {
		d.todo.Mark(0, size)
	} else {
		if err := d.todo.Mergeable(cfg.Bitmap); err != nil {
			return nil, err
		}
		d.todo.Merge(cfg.Bitmap)
	}
	d.access.Merge(d.todo)
	return d, nil
}

// Demand has the file be read for copies when it is written to, by nobody else, and the
// target written to.
func (d *Driver) Demand(c *graph.Child, perm, shared graph.Perm) (graph.Perm, graph.Perm) {
	if c.Role() != graph.Filtered {
		return graph.Write, graph.AllPerms &^ graph.Resize
	}
	if perm&graph.Write != 0 {
		perm |= graph.ConsistentRead
	}
	return perm, shared &^ (graph.Write | graph.Resize)
}

// Size returns the length in bytes.
func (d *Driver) Size() int64 { return d.file.Size() }

// Readv fills the buffers from off.
func (d *Driver) Readv(off int64, v [][]byte) error { return d.file.Readv(off, v) }

// Writev writes the buffers at off.
func (d *Driver) Writev(off int64, v [][]byte, f graph.Flags) error {
	if err := d.before(off, bufs.Len(v)); err != nil {
		return err
	}
	return d.file.Writev(off, v, f)
}

// WriteZeroes makes zeroes without data, if the child can.
func (d *Driver) WriteZeroes(off, n int64, f graph.Flags) error {
	if err := d.before(off, n); err != nil {
		return err
	}
	return d.file.WriteZeroes(off, n, f)
}

// Discard passes a discard on.
func (d *Driver) Discard(off, n int64) error {
	if err := d.before(off, n); err != nil {
		return err
	}
	return d.file.Discard(off, n)
}

// BlockStatus leaves the answer to the child.
func (d *Driver) BlockStatus(off, n int64) (graph.Extent, error) {
	return graph.Extent{N: n, Status: graph.Recurse | graph.OffsetValid, Child: d.file, Offset: off}, nil
}

// Flush does nothing: nothing is kept back.
func (d *Driver) Flush() error { return nil }

// Close waits for copies that took too long.
func (d *Driver) Close() error {
	held := d.target.Lifters()
	for _, l := range held {
		l.Lift()
	}
	d.late.Wait()
	for _, l := range held {
		l.Drop()
	}
	return nil
}

// failure returns why what was cannot be read.
func (d *Driver) failure() error {
	d.snapshot.Lock()
	defer d.snapshot.Unlock()
	return d.broken
}

// before is what comes before a write: the copy of what is there, and the end of those who
// read it.
func (d *Driver) before(off, n int64) error {
	if n == 0 || d.failure() != nil {
		return nil
	}
	end := off + n
	off = off / d.unit * d.unit
	if end > math.MaxInt64-d.unit {
		return unix.EIO
	}
	end = (end + d.unit - 1) / d.unit * d.unit
	if err := d.save(off, end); err != nil {
		if !d.cfg.BreakSnapshot {
			return err
		}
		d.snapshot.Lock()
		if d.broken == nil {
			d.broken = err
		}
		d.snapshot.Unlock()
	}
	d.reading.Unlock(d.reading.Lock(off, end-off, true))
	return nil
}

// save copies what is still to be copied of a range, in the time that there is.
func (d *Driver) save(off, end int64) error {
	if d.cfg.Timeout == 0 {
		return d.copy(off, end)
	}
	if _, _, ok := d.todo.Next(off, end); !ok {
		return d.copy(off, end)
	}
	result := make(chan error, 1)
	d.late.Go(func() { result <- d.copy(off, end) })
	limit := time.NewTimer(d.cfg.Timeout)
	defer limit.Stop()
	select {
	case err := <-result:
		return err
	case <-limit.C:
		return unix.ETIMEDOUT
	}
}

// copy copies what is still to be copied of a range, or waits for who does that.
func (d *Driver) copy(off, end int64) error {
	for {
		start, n, ok := d.todo.Next(off, end)
		if !ok {
			return nil
		}
		if err := d.copyChunk(start, min(n, chunk)); err != nil {
			return err
		}
		off = start
	}
}

// copyChunk copies the first of what is still to be copied of a chunk.
func (d *Driver) copyChunk(off, n int64) error {
	end := min((off+n+d.unit-1)/d.unit*d.unit, d.todo.Size())
	off = off / d.unit * d.unit
	defer d.copying.Unlock(d.copying.Lock(off, end-off, true))
	start, n, ok := d.todo.Next(off, end)
	if !ok {
		return nil
	}
	n, err := d.move(start, min(n, end-start))
	if err != nil {
		return err
	}
	d.snapshot.Lock()
	defer d.snapshot.Unlock()
	d.done.Mark(start, n)
	d.todo.Unmark(start, n)
	return nil
}

// move copies the first bytes of a range to the target, and returns how many.
func (d *Driver) move(off, n int64) (int64, error) {
	if e, err := d.file.BlockStatus(off, n); err == nil && e.Status&graph.Zero != 0 {
		if whole := e.N / d.unit * d.unit; e.N == n || whole > 0 {
			if e.N < n {
				n = whole
			}
			return n, d.target.WriteZeroes(off, n, 0)
		}
	}
	b := d.buffers.Get().(*[]byte)
	defer d.buffers.Put(b)
	data := (*b)[:n]
	if err := d.file.Readv(off, [][]byte{data}); err != nil {
		return 0, err
	}
	return n, d.target.Writev(off, [][]byte{data}, 0)
}

// locate returns where n bytes of what was are from off on, at most. What is in the file
// stays there until key is unlocked; -1 is none.
func (d *Driver) locate(off, n int64) (from *graph.Child, m int64, key int, err error) {
	// Nobody may overwrite the range between the look and the lock.
	key = d.reading.Lock(off, n, false)
	d.snapshot.Lock()
	from, m, err = d.look(off, n)
	d.snapshot.Unlock()
	if err != nil || from == d.target {
		d.reading.Unlock(key)
		key = -1
	}
	return from, m, key, err
}

// look says where the first bytes of a range are, and how many.
func (d *Driver) look(off, n int64) (*graph.Child, int64, error) {
	if d.broken != nil {
		return nil, 0, unix.EACCES
	}
	for at := off; at < off+n; {
		start, m, ok := d.access.Next(at, off+n)
		if !ok || start > at {
			return nil, 0, unix.EACCES
		}
		at = start + m
	}
	start, m, ok := d.done.Next(off, off+n)
	switch {
	case !ok:
		return d.file, n, nil
	case start > off:
		return d.file, start - off, nil
	}
	return d.target, min(m-(off-start), n), nil
}

// ReadSnapshot reads what was when the node was made.
func (d *Driver) ReadSnapshot(off int64, v [][]byte) error {
	for at, total := int64(0), bufs.Len(v); at < total; {
		from, n, key, err := d.locate(off+at, total-at)
		if err != nil {
			return err
		}
		err = from.Readv(off+at, bufs.Cut(v, at, n))
		if key >= 0 {
			d.reading.Unlock(key)
		}
		if err != nil {
			return err
		}
		at += n
	}
	return nil
}

// SnapshotStatus says what was when the node was made.
func (d *Driver) SnapshotStatus(off, n int64) (graph.Extent, error) {
	from, n, key, err := d.locate(off, n)
	if err != nil {
		return graph.Extent{}, err
	}
	e, err := from.BlockStatus(off, n)
	if key >= 0 {
		d.reading.Unlock(key)
	}
	return e, err
}

// DiscardSnapshot lets a part of what was go.
func (d *Driver) DiscardSnapshot(off, n int64) error {
	first, end := (off+d.unit-1)/d.unit*d.unit, off+n
	if end < d.Size() {
		end = end / d.unit * d.unit
	}
	if first >= end {
		return nil
	}
	n = end - first
	defer d.copying.Unlock(d.copying.Lock(first, n, true))
	d.snapshot.Lock()
	d.access.Unmark(first, n)
	d.todo.Unmark(first, n)
	d.snapshot.Unlock()
	return d.target.Discard(first, n)
}
