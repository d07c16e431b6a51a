// Package blocktest is a conformance suite that each block driver and filter runs: what a
// node has to do whatever it is made of.
//
// A test of a driver says how to make a node, and what it may do differently:
//
//	func TestConformance(t *testing.T) {
//		blocktest.Run(t, blocktest.Subject{
//			Open: func(t testing.TB, g *graph.Graph) *graph.Node {
//				return open(t, g, ...) // a new node of some 100 KiB or more, with a reference for the suite
//			},
//		})
//	}
//
// Data is compared with a copy in memory, byte by byte, after random reads, writes, zeroes,
// discards and flushes at any offsets and lengths, one at a time and concurrently. A seed is
// logged when something fails; HV_SEED repeats it.
//
// It depends on block/graph.
package blocktest

import (
	"errors"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"

	"hv/block/graph"
)

// Subject is what is tested.
type Subject struct {
	// Open makes a node over new storage, which reads as it likes. It and what it needs
	// are in g, and the reference is the suite's. The node has at least 64 KiB, and less
	// than 64 MiB.
	Open func(t testing.TB, g *graph.Graph) *graph.Node
	// Again opens the storage of the last Open once more, which has been closed; nil if
	// there is none that outlives its node.
	Again func(t testing.TB, g *graph.Graph) *graph.Node

	ReadOnly  bool  // the node refuses writes
	Forgetful bool  // what is written need not be read back
	Fixed     bool  // the size cannot change
	Align     int64 // of offsets and lengths, of resizes too; 0 is none
	// Allocates is for nodes whose requests on allocated data may allocate memory.
	Allocates bool
}

// Run has a subject go through the suite.
func Run(t *testing.T, s Subject) {
	if s.Align == 0 {
		s.Align = 1
	}
	t.Run("bounds", func(t *testing.T) { bounds(start(t, s)) })
	t.Run("permissions", func(t *testing.T) { permissions(t, s) })
	if s.ReadOnly {
		t.Run("read-only", func(t *testing.T) { refusesWrites(start(t, s)) })
		t.Run("status", func(t *testing.T) { start(t, s).statuses() })
		return
	}
	t.Run("random", func(t *testing.T) { random(start(t, s)) })
	t.Run("vectors", func(t *testing.T) { vectors(start(t, s)) })
	t.Run("concurrent", func(t *testing.T) { concurrent(start(t, s)) })
	t.Run("drain", func(t *testing.T) { drains(start(t, s)) })
	t.Run("resize", func(t *testing.T) { resizes(start(t, s)) })
	t.Run("allocations", func(t *testing.T) { allocations(start(t, s)) })
	if s.Again != nil && !s.Forgetful {
		t.Run("again", func(t *testing.T) { again(t, s) })
	}
}

// run is one part of the suite, with a node of its own.
type run struct {
	testing.TB
	Subject
	rng  *rand.Rand
	g    *graph.Graph
	node *graph.Node
	c    *graph.Child
	is   []byte // what the node is to read
	any  []bool // where it may read as it likes, up to the next write
}

// start makes a node and a user of it, for the length of the test.
func start(t *testing.T, s Subject) *run {
	t.Helper()
	g := &graph.Graph{}
	r := prepare(t, s, g, s.Open(t, g))
	t.Cleanup(r.end)
	return r
}

func prepare(t testing.TB, s Subject, g *graph.Graph, n *graph.Node) *run {
	t.Helper()
	seed := uint64(time.Now().UnixNano())
	if v, err := strconv.ParseUint(os.Getenv("HV_SEED"), 10, 64); err == nil {
		seed = v
	}
	r := &run{TB: t, Subject: s, rng: rand.New(rand.NewPCG(seed, 1)), g: g, node: n}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("HV_SEED=%d", seed)
		}
	})
	r.c = r.use("the test", r.perm(), graph.AllPerms)
	r.is = r.read(0, r.c.Size())
	r.any = make([]bool, len(r.is))
	return r
}

// perm is what the test does.
func (r *run) perm() graph.Perm {
	if r.ReadOnly {
		return graph.ConsistentRead
	}
	return graph.ConsistentRead | graph.Write
}

func (r *run) use(name string, perm, shared graph.Perm) *graph.Child {
	r.Helper()
	c, err := r.node.Use(func() string { return name }, nil, perm, shared)
	if err != nil {
		r.Fatal(err)
	}
	return c
}

// end gives everything back, and looks that nothing is left.
func (r *run) end() {
	r.Helper()
	if err := errors.Join(r.c.Close(), r.node.Unref(), r.g.Close()); err != nil {
		r.Error(err)
	}
	for _, n := range r.g.Nodes() {
		r.Errorf("node %s is left", n.Name())
	}
}

func (r *run) read(off, n int64) []byte {
	r.Helper()
	b := make([]byte, n)
	if err := r.c.Readv(off, [][]byte{b}); err != nil {
		r.Fatalf("read %d at %d: %v", n, off, err)
	}
	return b
}

// try has err fail the test, what is a request at a place.
func (r *run) try(what string, off, n int64, err error) {
	r.Helper()
	if err != nil {
		r.Fatalf("%s of %d at %d: %v", what, n, off, err)
	}
}

// span returns a random range that is aligned as the node wants.
func (r *run) span(limit int64) (off, n int64) {
	size := r.c.Size() / r.Align
	off = r.rng.Int64N(size)
	n = 1 + r.rng.Int64N(min(size-off, max(limit/r.Align, 1)))
	return off * r.Align, n * r.Align
}

// fill returns n random bytes, of which some are zeroes.
func (r *run) fill(n int64) []byte {
	b := make([]byte, n)
	if r.rng.IntN(8) > 0 {
		for i := range b {
			b[i] = byte(r.rng.Uint32())
		}
	}
	return b
}

// cut splits a buffer at random places.
func (r *run) cut(b []byte) [][]byte {
	var v [][]byte
	for len(b) > 0 && len(v) < 20 {
		n := 1 + r.rng.IntN(len(b))
		v, b = append(v, b[:n]), b[n:]
	}
	if len(b) > 0 {
		v = append(v, b)
	}
	return v
}

// verify compares a range with what it is to be.
func (r *run) verify(off, n int64) {
	r.Helper()
	if r.Forgetful {
		r.read(off, n)
		return
	}
	for i, b := range r.read(off, n) {
		at := off + int64(i)
		if r.any[at] {
			r.is[at], r.any[at] = b, false // from now on
		}
		if b != r.is[at] {
			r.Fatalf("byte %d of %d at %d is %#x, not %#x", at, n, off, b, r.is[at])
		}
	}
}
