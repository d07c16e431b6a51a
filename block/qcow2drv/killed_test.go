package qcow2drv_test

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"hv/block/bitmap"
	"hv/block/graph"
)

// The disk that is written to when the process is killed: each writer has stripes of its own.
const (
	writers    = 4
	stripes    = 64
	stripeSize = 16 << 10
	diskSize   = stripes * stripeSize
	flushEvery = 8 // requests of a writer
	below      = ^uint64(0)
)

// childEnv has the test's program be the one that is killed: an image, a seed, and a kind.
const childEnv = "HV_KILLED_WRITER"

func TestMain(m *testing.M) {
	if path := os.Getenv(childEnv); path != "" {
		killed(path)
		return
	}
	os.Exit(m.Run())
}

// killKind is a kind of image that is written to.
type killKind struct {
	options string // of qemu-img create
	packs   bool   // clusters are no larger than stripes, and may be compressed
	data    bool   // it has an external data file, and so no snapshots
	backed  bool   // there is an image below it, which holds the value below
	old     bool   // version 2, which can't be marked dirty, nor keep bitmaps
}

var killKinds = []killKind{
	{},
	{options: "lazy_refcounts=on"},
	{options: "cluster_size=4k", packs: true},
	{options: "extended_l2=on"},
	{options: "cluster_size=512,refcount_bits=64", packs: true},
	{options: "compat=0.10", old: true},
	{options: "data_file=DATA", data: true},
	{options: "data_file=DATA,data_file_raw=on,lazy_refcounts=on", data: true},
	{options: "extended_l2=on,cluster_size=16k,lazy_refcounts=on", packs: true, backed: true},
	{options: "compression_type=zstd,cluster_size=16k,refcount_bits=4", packs: true, backed: true},
	{options: "compat=0.10,cluster_size=4k", packs: true, old: true, backed: true},
}

// open opens an image of the kind.
func (k killKind) open(t testing.TB, path, more string) (*graph.Child, func()) {
	t.Helper()
	if k.data {
		more += fmt.Sprintf(`,"data-file":{"driver":"file","filename":%q}`, path+".data")
	}
	return opened(t, path, more)
}

// step is one request of a writer.
type step struct {
	kind   string
	stripe int64
	value  uint64 // of each 8 bytes
}

// steps makes the requests of a writer, the same ones for a seed.
type steps struct {
	rng    *rand.Rand
	packs  bool
	writer uint64
	n      uint64
	did    atomic.Uint64 // of n, for others
	begun  atomic.Uint64
}

func newSteps(k killKind, seed, writer uint64) *steps {
	return &steps{rng: rand.New(rand.NewPCG(seed, writer)), packs: k.packs, writer: writer}
}

func (s *steps) next() step {
	s.n++
	x := step{stripe: s.rng.Int64N(stripes/writers)*writers + int64(s.writer), value: s.writer<<32 | s.n}
	switch k := s.rng.IntN(10); {
	case s.n%flushEvery == 0:
		x.kind = "flush"
	case k < 6:
		x.kind = "write"
		if s.packs && k < 3 {
			x.kind = "pack"
		}
	case k < 8:
		x.kind, x.value = "zero", 0
	default:
		x.kind, x.value = "discard", 0
	}
	return x
}

// killed writes to the image until it is killed, and prints which requests of which writers
// are durable, and what is in which snapshot.
func killed(path string) {
	var t fatal
	var seed, kind uint64
	_, _ = fmt.Sscan(os.Getenv(childEnv+"_SEED"), &seed, &kind)
	k := killKinds[kind]
	var all [writers]*steps
	for w := range all {
		all[w] = newSteps(k, seed, uint64(w))
	}
	rng := rand.New(rand.NewPCG(seed, writers))
	for round := 0; ; round++ {
		// With cache.no-flush it would be the same: what was written stays when a process ends.
		c, finish := k.open(t, path, `,"discard":"unmap","l2-cache-size":4096`)
		var stop atomic.Bool
		var ended sync.WaitGroup
		for _, s := range all {
			ended.Go(func() { s.write(c, &stop) })
		}
		x := changes{kind: k, c: c, rng: rng, all: all[:], name: round * 1000}
		for range 20 + rng.IntN(100) {
			x.name++
			// Compressed clusters that share one leave few references to it for snapshots.
			if err := x.change(); err != nil && !strings.Contains(err.Error(), "reference count overflow") {
				panic(err)
			}
		}
		stop.Store(true)
		ended.Wait()
		finish()
	}
}

// write does requests until it is to stop.
func (s *steps) write(c *graph.Child, stop *atomic.Bool) {
	for !stop.Load() {
		x := s.next()
		s.begun.Store(s.n)
		if err := s.request(c, x); err != nil {
			panic(err)
		}
		s.did.Store(s.n)
	}
}

func (s *steps) request(c *graph.Child, x step) error {
	at := x.stripe * stripeSize
	flags := graph.Flags(0)
	switch x.kind {
	case "pack":
		flags = graph.Compressed
		fallthrough
	case "write":
		b := make([]byte, stripeSize)
		for i := 0; i < len(b); i += 8 {
			binary.BigEndian.PutUint64(b[i:], x.value)
		}
		return c.Writev(at, [][]byte{b[:5000], b[5000:]}, flags)
	case "zero":
		return c.WriteZeroes(at, stripeSize, graph.MayUnmap)
	case "discard":
		// What version 2 has a backing file for can't be discarded.
		_ = c.Discard(at, stripeSize)
		return nil
	}
	if err := c.Flush(); err != nil {
		return err
	}
	fmt.Printf("flush %d %d\n", s.writer, s.n)
	return nil
}

// changes takes and deletes snapshots, adds and removes bitmaps, and resizes.
type changes struct {
	kind killKind
	c    *graph.Child
	rng  *rand.Rand
	all  []*steps
	name int
}

func (x *changes) change() error {
	node := x.c.Node()
	s, _ := graph.As[graph.Snapshotter](node)
	l := s.Snapshots()
	switch op := x.rng.IntN(8); {
	case op < 2:
		if x.kind.old && len(l) > 0 {
			return nil // is refused
		}
		return node.Resize(diskSize + x.rng.Int64N(64)<<16)
	case op < 4 && !x.kind.old:
		if b := node.Bitmap("b"); b != nil {
			err := node.ForgetBitmap(b)
			node.DropBitmap(b)
			return err
		}
		_, err := node.AddBitmap(bitmap.Config{Name: "b", Granularity: 4096, Enabled: true, Persistent: true})
		return err
	case x.kind.data:
		return x.c.Flush()
	case len(l) < 3:
		return x.take(s)
	default:
		id := l[x.rng.IntN(len(l))]
		fmt.Printf("drop %s\n", id.Name)
		return s.DeleteSnapshot(id.ID)
	}
}

// take takes a snapshot, and prints between which requests of each writer it was taken.
func (x *changes) take(s graph.Snapshotter) error {
	var line strings.Builder
	fmt.Fprintf(&line, "snapshot %d", x.name)
	var did [writers]uint64
	for w, s := range x.all {
		did[w] = s.did.Load()
	}
	if _, err := s.CreateSnapshot(graph.Snapshot{Name: fmt.Sprint(x.name)}); err != nil {
		return err
	}
	for w, s := range x.all {
		fmt.Fprintf(&line, " %d %d", did[w], s.begun.Load())
	}
	fmt.Println(line.String())
	return nil
}

// fatal is a test outside of tests.
type fatal struct{ testing.TB }

func (fatal) Helper()           {}
func (fatal) Error(args ...any) { panic(fmt.Sprint(args...)) }
func (fatal) Fatal(args ...any) { panic(fmt.Sprint(args...)) }
