// Package blkdebugdrv is the driver blkdebug: a node that is another one, but whose
// requests fail or wait when and where it is told so, and are no larger and no less aligned
// than it is told.
//
// Requests come concurrently, and tell what they come to by graph.Event; each may put rules
// into force, of which those hold that belong to the state the node is in. A request that
// waits at a breakpoint does so until somebody resumes it, or the node is drained. Rules are
// those of QEMU (docs/devel/blkdebug.txt there). It depends on block/graph and qmp/qapi.
package blkdebugdrv

import (
	"fmt"
	"math"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"

	"hv/block/graph"
)

// Config is a node's options.
type Config struct {
	Rules   []*Rule
	Limits  graph.Limits
	Take    graph.Perm // what the node does with its child in any case
	Unshare graph.Perm // what it never shares
	// Print tells the user of requests that wait, unless it is nil.
	Print func(text string)
}

// Check returns an error for limits that do not go together.
func (c *Config) Check() error {
	l := c.Limits
	bad := func(name string, n int64) error {
		return fmt.Errorf("Cannot meet constraints with %s %d", name, uint64(n))
	}
	if l.Align != 0 && (l.Align < 0 || l.Align >= math.MaxInt32 || l.Align&(l.Align-1) != 0) {
		return bad("align", l.Align)
	}
	align := max(l.Align, 1)
	for _, x := range []struct {
		name        string
		n, multiple int64
	}{
		{"max-transfer", l.MaxTransfer, align}, {"opt-write-zero", l.ZeroAlign, align}, {"max-write-zero", l.MaxZero, max(l.ZeroAlign, align)},
		{"opt-discard", l.DiscardAlign, align}, {"max-discard", l.MaxDiscard, max(l.DiscardAlign, align)},
	} {
		if x.n != 0 && (x.n < 0 || x.n >= math.MaxInt32 || x.n%x.multiple != 0) {
			return bad(x.name, x.n)
		}
	}
	return nil
}

// Driver is an open node.
type Driver struct {
	cfg  Config
	file *graph.Child

	written, flushed atomic.Uint64 // how many requests wrote, and how many did before the last flush

	mu        sync.Mutex
	state     int64
	rules     [graph.Events][]*Rule // the newest first
	active    []*Rule               // that have requests fail
	suspended []*waiting            // the newest first
	awaited   map[string]chan struct{}
	lifted    int
}

// waiting is a request at a breakpoint.
type waiting struct {
	tag    string
	resume chan struct{}
}

// Open makes a driver; the options were checked.
func Open(cfg Config, file *graph.Child) *Driver {
	d := &Driver{cfg: cfg, file: file, state: 1, awaited: map[string]chan struct{}{}}
	for _, r := range cfg.Rules {
		d.add(r)
	}
	d.Event(graph.EventNone)
	return d
}

func (d *Driver) add(r *Rule) { d.rules[r.event] = slices.Insert(d.rules[r.event], 0, r) }

// remove takes a rule away for good.
func (d *Driver) remove(r *Rule) {
	is := func(x *Rule) bool { return x == r }
	d.rules[r.event] = slices.DeleteFunc(d.rules[r.event], is)
	d.active = slices.DeleteFunc(d.active, is)
}

// Event implements graph.Eventer.
func (d *Driver) Event(e graph.Event) {
	for _, w := range d.process(e) {
		<-w.resume
	}
}

// process does what the rules of an event say, and returns what the request waits for.
func (d *Driver) process(e graph.Event) (waits []*waiting) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.rules[e]) == 0 {
		return nil
	}
	next, injected := d.state, false
	for _, r := range slices.Clone(d.rules[e]) {
		if r.state != 0 && r.state != d.state {
			continue
		}
		switch r.action {
		case inject:
			if !injected {
				d.active, injected = nil, true
			}
			d.active = slices.Insert(d.active, 0, r)
		case setState:
			next = r.newState
		case suspend:
			if d.lifted == 0 {
				waits = append(waits, d.suspend(r))
			}
		}
	}
	d.state = next
	return waits
}

// suspend has a request wait at a breakpoint, which is used up then.
func (d *Driver) suspend(r *Rule) *waiting {
	d.remove(r)
	w := &waiting{r.tag, make(chan struct{})}
	d.suspended = slices.Insert(d.suspended, 0, w)
	if c := d.awaited[r.tag]; c != nil {
		close(c)
		delete(d.awaited, r.tag)
	}
	d.print("blkdebug: Suspended request '%s'", r.tag)
	return w
}

func (d *Driver) print(format string, a ...any) {
	if d.cfg.Print != nil {
		d.cfg.Print(fmt.Sprintf(format, a...))
	}
}

// Break implements graph.Debugger.
func (d *Driver) Break(e graph.Event, tag string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.add(&Rule{event: e, action: suspend, tag: tag})
}

// RemoveBreak implements graph.Debugger.
func (d *Driver) RemoveBreak(tag string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	found := false
	for e := range d.rules {
		for _, r := range slices.Clone(d.rules[e]) {
			if r.action == suspend && r.tag == tag {
				d.remove(r)
				found = true
			}
		}
	}
	for d.resume(tag) {
		found = true
	}
	return found
}

// Resume implements graph.Debugger.
func (d *Driver) Resume(tag string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.resume(tag)
}

func (d *Driver) resume(tag string) bool {
	i := slices.IndexFunc(d.suspended, func(w *waiting) bool { return w.tag == tag })
	if i < 0 {
		return false
	}
	d.print("blkdebug: Resuming request '%s'", tag)
	close(d.suspended[i].resume)
	d.suspended = slices.Delete(d.suspended, i, i+1)
	return true
}

// Suspended implements graph.Debugger.
func (d *Driver) Suspended(tag string) <-chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	c := d.awaited[tag]
	if c == nil {
		c = make(chan struct{})
	}
	if slices.ContainsFunc(d.suspended, func(w *waiting) bool { return w.tag == tag }) {
		close(c)
		return c
	}
	d.awaited[tag] = c
	return c
}

// Lift implements graph.Lifter: a drain does not wait for requests at breakpoints.
func (d *Driver) Lift() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.lifted++
	for len(d.suspended) > 0 {
		d.resume(d.suspended[0].tag)
	}
}

// Drop implements graph.Lifter.
func (d *Driver) Drop() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.lifted--
}

// fails returns the error that a request is to fail with.
func (d *Driver) fails(kind ioTypes, off, n int64) error {
	r := d.match(kind, off, n)
	if r == nil {
		return nil
	}
	if !r.immediately {
		runtime.Gosched()
	}
	return r.errno
}

// match returns the rule in force for a request, nil if there is none.
func (d *Driver) match(kind ioTypes, off, n int64) *Rule {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, r := range d.active {
		if r.types&kind == 0 || r.offset != -1 && (r.offset < off || r.offset >= off+n) {
			continue
		}
		if r.errno == 0 {
			return nil
		}
		if r.once {
			d.remove(r)
		}
		return r
	}
	return nil
}

// Limits implements graph.Bounded.
func (d *Driver) Limits() graph.Limits { return d.cfg.Limits }

// Demand implements graph.Demander.
func (d *Driver) Demand(_ *graph.Child, perm, shared graph.Perm) (graph.Perm, graph.Perm) {
	return perm | d.cfg.Take, shared &^ d.cfg.Unshare
}

// Size returns the length in bytes.
func (d *Driver) Size() int64 { return d.file.Size() }

// Readv fills the buffers from off.
func (d *Driver) Readv(off int64, v [][]byte) error {
	if err := d.fails(ioRead, off, length(v)); err != nil {
		return err
	}
	return d.file.Readv(off, v)
}

// Writev writes the buffers at off.
func (d *Driver) Writev(off int64, v [][]byte, f graph.Flags) error {
	defer d.written.Add(1)
	if err := d.fails(ioWrite, off, length(v)); err != nil {
		return err
	}
	return d.file.Writev(off, v, f)
}

func length(v [][]byte) (n int64) {
	for _, b := range v {
		n += int64(len(b))
	}
	return n
}

// WriteZeroes makes zeroes.
func (d *Driver) WriteZeroes(off, n int64, f graph.Flags) error {
	defer d.written.Add(1)
	if err := d.fails(ioWriteZeroes, off, n); err != nil {
		return err
	}
	return d.file.WriteZeroes(off, n, f)
}

// Discard passes a discard on.
func (d *Driver) Discard(off, n int64) error {
	defer d.written.Add(1)
	if err := d.fails(ioDiscard, off, n); err != nil {
		return err
	}
	return d.file.Discard(off, n)
}

// BlockStatus leaves the answer to the child.
func (d *Driver) BlockStatus(off, n int64) (graph.Extent, error) {
	if err := d.fails(ioBlockStatus, off, n); err != nil {
		return graph.Extent{}, err
	}
	return graph.Extent{N: n, Status: graph.Recurse | graph.OffsetValid | graph.Allocated, Child: d.file, Offset: off}, nil
}

// Flush fails if it is to, and there is something to flush; the child is flushed by the
// graph.
func (d *Driver) Flush() error {
	written := d.written.Load()
	if d.flushed.Load() == written {
		return nil
	}
	if err := d.fails(ioFlush, 0, 0); err != nil {
		return err
	}
	d.flushed.Store(written)
	return nil
}

// Truncate changes the child's size.
func (d *Driver) Truncate(size int64) error { return d.file.Truncate(size) }

// Close does nothing.
func (d *Driver) Close() error { return nil }
