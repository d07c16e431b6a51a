package blocktest

import (
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"hv/block/graph"
)

// bounds makes requests that are not on the node.
func bounds(r *run) {
	size := r.c.Size()
	if size < 64<<10 || size >= 64<<20 {
		r.Fatalf("the node has %d bytes", size)
	}
	b := [][]byte{make([]byte, r.Align)}
	for _, off := range []int64{-1, -r.Align, size, size + r.Align, 1<<63 - 1, -1 << 63} {
		if r.c.Readv(off, b) == nil {
			r.Errorf("read at %d", off)
		}
		if r.c.Writev(off, b, 0) == nil || r.c.WriteZeroes(off, r.Align, 0) == nil || r.c.Discard(off, r.Align) == nil {
			r.Errorf("write at %d", off)
		}
		if _, err := r.c.BlockStatus(off, r.Align); err == nil {
			r.Errorf("status at %d", off)
		}
	}
	for _, n := range []int64{-r.Align, size + r.Align, 1<<63 - 1} {
		if r.c.WriteZeroes(0, n, 0) == nil || r.c.Discard(0, n) == nil {
			r.Errorf("write of %d", n)
		}
	}
	if err := errors.Join(r.c.Readv(size, nil), r.c.Readv(0, nil), r.c.Readv(0, [][]byte{{}})); err != nil {
		r.Errorf("nothing is read: %v", err)
	}
	r.verify(0, size)
}

// permissions has users of the node exclude each other.
func permissions(t *testing.T, s Subject) {
	r := start(t, s)
	try := func(perm, shared graph.Perm) error {
		c, err := r.node.Use(func() string { return "another" }, nil, perm, shared)
		if err == nil {
			err = c.Close()
		}
		return err
	}
	if err := try(graph.ConsistentRead, graph.AllPerms); err != nil {
		t.Errorf("reading is refused: %v", err)
	}
	if s.ReadOnly {
		if try(graph.Write, graph.AllPerms) == nil {
			t.Error("writing is not refused")
		}
		return
	}
	if try(graph.ConsistentRead, graph.ConsistentRead) == nil {
		t.Error("a user that shares nothing is not refused")
	}
	if err := r.c.SetPerm(graph.ConsistentRead, graph.ConsistentRead); err != nil {
		t.Fatal(err)
	}
	if try(graph.Write, graph.AllPerms) == nil {
		t.Error("writing is not refused")
	}
	if err := errors.Join(r.c.SetPerm(r.perm(), graph.AllPerms), try(graph.Write, graph.AllPerms)); err != nil {
		t.Error(err)
	}
	r.verify(0, r.c.Size())
}

// refusesWrites writes to a node that is only read.
func refusesWrites(r *run) {
	if r.c.Writev(0, [][]byte{make([]byte, r.Align)}, 0) == nil || r.c.WriteZeroes(0, r.Align, 0) == nil || r.c.Discard(0, r.Align) == nil {
		r.Error("it can be written to")
	}
	if err := r.c.Flush(); err != nil {
		r.Error(err)
	}
	r.verify(0, r.c.Size())
}

// zeroFlags are those of requests for zeroes.
var zeroFlags = []graph.Flags{0, graph.MayUnmap, graph.FUA, graph.MayUnmap | graph.FUA, graph.NoFallback}

// step carries out a random request.
func (r *run) step() {
	r.Helper()
	off, n := r.span(96 << 10)
	switch r.rng.IntN(10) {
	case 0, 1, 2:
		b := r.fill(n)
		r.try("write", off, n, r.c.Writev(off, r.cut(slices.Clone(b)), graph.Flags(r.rng.IntN(2))*graph.FUA))
		r.set(off, b)
	case 3:
		f := zeroFlags[r.rng.IntN(len(zeroFlags))]
		err := r.c.WriteZeroes(off, n, f)
		if f&graph.NoFallback != 0 && errors.Is(err, graph.ErrNotSupported) {
			r.maybeZero(off, n)
			return
		}
		r.try("zeroes", off, n, err)
		r.set(off, make([]byte, n))
	case 4:
		r.try("discard", off, n, r.c.Discard(off, n))
		for i := off; i < off+n; i++ {
			r.any[i] = true
		}
	case 5:
		r.try("flush", 0, 0, r.c.Flush())
	case 6:
		r.status(off, n)
	default:
		r.verify(off, n)
	}
}

// maybeZero looks at a range of which some has been made zeroes before a request failed.
func (r *run) maybeZero(off, n int64) {
	r.Helper()
	for i, b := range r.read(off, n) {
		if b == 0 {
			r.is[off+int64(i)], r.any[off+int64(i)] = 0, false
		}
	}
	r.verify(off, n)
}

// set notes what was written.
func (r *run) set(off int64, b []byte) {
	copy(r.is[off:], b)
	clear(r.any[off : off+int64(len(b))])
}

// status looks whether the run at off says the truth, and returns its length.
func (r *run) status(off, n int64) int64 {
	r.Helper()
	e, err := r.c.BlockStatus(off, n)
	r.try("status", off, n, err)
	if e.N < 1 || e.N > n {
		r.Fatalf("status of %d at %d has %d bytes", n, off, e.N)
	}
	if e.Status&graph.Zero != 0 && !r.Forgetful {
		for i, b := range r.read(off, e.N) {
			if b != 0 && !r.any[off+int64(i)] {
				r.Fatalf("status of %d at %d: %+v, but there is data at %d", n, off, e, i)
			}
		}
	}
	return e.N
}

// statuses looks at all runs.
func (r *run) statuses() {
	r.Helper()
	for off, size := int64(0), r.c.Size(); off < size; {
		off += r.status(off, size-off)
	}
}

// random makes random requests, one at a time.
func random(r *run) {
	for range 400 {
		r.step()
	}
	r.statuses()
	r.verify(0, r.c.Size())
}

// vectors makes requests of more buffers than the host takes at once, and of empty ones.
func vectors(r *run) {
	n := r.c.Size() &^ 4095
	b := r.fill(min(n, 64<<10))
	var v, in [][]byte
	got := make([]byte, len(b))
	for i := range b {
		if i%16 == 0 {
			end := min(i+16, len(b))
			v, in = append(v, b[i:end], nil), append(in, got[i:end], []byte{})
		}
	}
	r.try("write", 0, int64(len(b)), r.c.Writev(0, v, 0))
	r.try("read", 0, int64(len(b)), r.c.Readv(0, in))
	if !r.Forgetful && !slices.Equal(got, b) {
		r.Error("another thing is read")
	}
}

// concurrent has stripes of the node be written to and read at once, each by one goroutine.
func concurrent(r *run) {
	const writers = 8
	stripe := max(int64(1000)/r.Align, 1) * r.Align
	rows := r.c.Size() / (stripe * writers)
	var all sync.WaitGroup
	for w := range int64(writers) {
		all.Go(func() {
			want, got := make([]byte, stripe), make([]byte, stripe)
			for k := range 200 {
				off := (int64(k*7)%rows*writers + w) * stripe
				for i := range want {
					want[i] = byte(k + i + int(w))
				}
				err := r.c.Writev(off, [][]byte{want}, 0)
				switch {
				case k%16 == 5:
					clear(want)
					err = errors.Join(err, r.c.WriteZeroes(off, stripe, graph.MayUnmap))
				case k%16 == 7 && w == 0:
					err = errors.Join(err, r.c.Flush())
				case k%16 == 9:
					_, status := r.c.BlockStatus(off, stripe)
					err = errors.Join(err, status)
				}
				if err = errors.Join(err, r.c.Readv(off, [][]byte{got})); err != nil || !r.Forgetful && !slices.Equal(got, want) {
					r.Errorf("writer %d at %d: %v", w, off, err)
					return
				}
			}
		})
	}
	all.Wait()
	r.statuses()
}

// drains looks that no request is under way while the node is drained.
func drains(r *run) {
	var ended atomic.Int64
	var stop atomic.Bool
	var all sync.WaitGroup
	defer all.Wait()
	defer stop.Store(true)
	for w := range int64(4) {
		all.Go(func() {
			b := [][]byte{make([]byte, r.Align)}
			for !stop.Load() {
				if err := errors.Join(r.c.Writev(w*r.Align, b, 0), r.c.Readv(w*r.Align, b)); err != nil {
					r.Error(err)
					return
				}
				ended.Add(1)
			}
		})
	}
	for range 20 {
		undrain := r.node.Drain()
		before := ended.Load()
		if _, ok := r.node.Allocated(); !ok {
			_ = r.node.Size()
		}
		// Requests that were past the drained gate may just be counted now.
		if after := ended.Load(); after > before+4 {
			r.Errorf("%d requests ended while the node was drained", after-before)
		}
		undrain()
		for seen := ended.Load(); ended.Load() == seen && !r.Failed(); {
			r.verifyNothing()
		}
	}
}

// verifyNothing makes a request whose result does not matter.
func (r *run) verifyNothing() { r.read(0, r.Align) }

// resizes has the node grow and shrink.
func resizes(r *run) {
	size := r.c.Size()
	for _, to := range []int64{size + 64<<10, size / 2, size/2 + 3*r.Align, size + 200<<10, size} {
		to -= to % max(r.Align, 512)
		err := r.node.Resize(to)
		if r.Fixed {
			if err == nil || r.c.Size() != size {
				r.Fatal("it can be resized")
			}
			continue
		}
		r.try("resize", 0, to, err)
		if r.c.Size() != to {
			r.Fatalf("it has %d bytes after a resize to %d", r.c.Size(), to)
		}
		was := len(r.is)
		r.is, r.any = slices.Grow(r.is, int(to))[:to], slices.Grow(r.any, int(to))[:to]
		if int(to) > was {
			clear(r.is[was:])
			clear(r.any[was:])
		}
		r.verify(0, to)
		for range 10 {
			r.step()
		}
		r.statuses()
	}
}

// allocations counts those of requests on data that is there.
func allocations(r *run) {
	v := [][]byte{make([]byte, 4096)}
	write := func() { r.try("write", 8192, 4096, r.c.Writev(8192, v, 0)) }
	read := func() { r.try("read", 8192, 4096, r.c.Readv(8192, v)) }
	write()
	for name, f := range map[string]func(){"write": write, "read": read} {
		if n := testing.AllocsPerRun(100, f); n >= 1 && !r.Allocates && pooled {
			r.Errorf("a %s makes %v allocations", name, n)
		}
	}
}

// again opens the storage once more and looks at what is there.
func again(t *testing.T, s Subject) {
	g := &graph.Graph{}
	r := prepare(t, s, g, s.Open(t, g))
	for range 5 {
		for range 40 {
			r.step()
		}
		r.verify(0, r.c.Size())
		is := r.is
		r.end()
		r = prepare(t, s, g, s.Again(t, g))
		if !slices.Equal(r.is, is) {
			t.Fatal("another thing is read than was there")
		}
	}
	r.end()
}
