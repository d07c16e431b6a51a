package cbwdrv_test

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"hv/block/accessdrv"
	"hv/block/bitmap"
	"hv/block/blocktest"
	"hv/block/cbwdrv"
	"hv/block/graph"
)

func wants(t testing.TB, err error, want string) {
	t.Helper()
	if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
		t.Errorf("%v, want %q", err, want)
	}
}

const (
	unit = 64 << 10
	size = 5*unit + 1000
	rw   = graph.ConsistentRead | graph.Write
)

// bed is a node with copy-before-write over it, and what gives access to what was.
type bed struct {
	g            graph.Graph
	file, target *blocktest.Memory
	cbw          *graph.Node
	c            *graph.Child // the writer
	was          *graph.Child // of the access node
	is           []byte       // what was there at first
}

func over(g *graph.Graph, cfg cbwdrv.Config, file, target *graph.Node) (*graph.Node, error) {
	return g.Open(graph.Spec{Name: "cbw", Driver: "copy-before-write", Options: graph.Options{Discard: true}, Filename: file.Filename,
		Children: []graph.Edge{{Name: "file", Role: graph.Filtered, Node: file}, {Name: "target", Role: graph.Part, Node: target}},
		Open:     func(c []*graph.Child) (graph.Driver, error) { return cbwdrv.Open(cfg, c[0], c[1]) }})
}

func access(t testing.TB, g *graph.Graph, below *graph.Node) *graph.Node {
	t.Helper()
	n, err := g.Open(graph.Spec{Name: "access", Driver: "snapshot-access", Options: graph.Options{Discard: true}, Filename: below.Filename,
		Children: []graph.Edge{{Name: "file", Role: graph.Part, Node: below}},
		Open:     func(c []*graph.Child) (graph.Driver, error) { return accessdrv.Open(c[0]), nil }})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func use(t testing.TB, n *graph.Node, perm graph.Perm) *graph.Child {
	t.Helper()
	c, err := n.Use(func() string { return "the test" }, nil, perm, graph.AllPerms)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func newBed(t testing.TB, cfg cbwdrv.Config) *bed {
	t.Helper()
	b := &bed{is: make([]byte, size)}
	file, f := blocktest.Node(t, &b.g, "file", size, false, graph.Options{Discard: true})
	target, to := blocktest.Node(t, &b.g, "target", size, false, graph.Options{Discard: true})
	b.file, b.target = f, to
	for i := range b.is[:4*unit] { // the rest are zeroes
		b.is[i] = byte(i/1000) | 1
	}
	wants(t, f.Writev(0, [][]byte{b.is[:4*unit]}, 0), "")
	var err error
	b.cbw, err = over(&b.g, cfg, file, target)
	wants(t, err, "")
	b.c, b.was = use(t, b.cbw, rw), use(t, access(t, &b.g, b.cbw), rw)
	return b
}

// same looks whether what was is still read.
func (b *bed) same(t testing.TB, off, n int64) {
	t.Helper()
	got := make([]byte, n)
	wants(t, b.was.Readv(off, [][]byte{got[:n/3], got[n/3:]}), "")
	if !bytes.Equal(got, b.is[off:off+n]) {
		t.Errorf("%d at %d are not what they were", n, off)
	}
}

func TestConformance(t *testing.T) {
	blocktest.Run(t, blocktest.Subject{Fixed: true, Allocates: true, Open: func(t testing.TB, g *graph.Graph) *graph.Node {
		file, _ := blocktest.Node(t, g, "file", 100000, false, graph.Options{Discard: true})
		target, _ := blocktest.Node(t, g, "target", 100000, false, graph.Options{})
		n, err := over(g, cbwdrv.Config{}, file, target)
		wants(t, errors.Join(err, file.Unref(), target.Unref()), "")
		return n
	}})
}

// TestKeeps overwrites in all ways, and reads what was.
func TestKeeps(t *testing.T) {
	for what, write := range map[string]func(c *graph.Child, off, n int64) error{
		"write": func(c *graph.Child, off, n int64) error {
			return c.Writev(off, [][]byte{bytes.Repeat([]byte{0xee}, int(n))}, 0)
		},
		"zeroes":  func(c *graph.Child, off, n int64) error { return c.WriteZeroes(off, n, graph.MayUnmap) },
		"discard": (*graph.Child).Discard,
	} {
		b := newBed(t, cbwdrv.Config{})
		for _, r := range [][2]int64{{0, 1}, {unit - 1, 2}, {3*unit + 5, unit}, {size - 1, 1}, {0, size}} {
			if wants(t, write(b.c, r[0], r[1]), ""); t.Failed() {
				t.Fatal(what)
			}
			b.same(t, 0, size)
			b.same(t, r[0], r[1])
		}
		if bytes.Equal(b.file.Data(), b.is) {
			t.Errorf("%s: nothing was written", what)
		}
		if !bytes.Equal(b.target.Data(), b.is) {
			t.Errorf("%s: the target has not all that was", what)
		}
	}
}

// TestCopiesOnce copies no more than what is written to, and once.
func TestCopiesOnce(t *testing.T) {
	b := newBed(t, cbwdrv.Config{})
	b.target.Taken()
	for range 3 {
		wants(t, b.c.Writev(unit+7, [][]byte{{1, 2, 3}}, 0), "")
	}
	if r := b.target.Taken(); len(r) != 1 || r[0] != (blocktest.Request{Op: "write", Off: unit, N: unit}) {
		t.Errorf("%v", r)
	}
	wants(t, b.c.Writev(4*unit+7, [][]byte{{1, 2, 3}}, 0), "")
	if r := b.target.Taken(); len(r) != 1 || r[0].Op != "zeroes" {
		t.Errorf("zeroes are copied as %v", r)
	}
	wants(t, b.c.Readv(0, [][]byte{make([]byte, size)}), "")
	wants(t, b.c.Flush(), "")
	for _, r := range b.target.Taken() {
		if r.Op != "flush" {
			t.Errorf("a read or flush comes to %+v", r)
		}
	}
}

// TestAccess is read, and not written to.
func TestAccess(t *testing.T) {
	b := newBed(t, cbwdrv.Config{})
	v := [][]byte{{1}}
	for what, err := range map[string]error{"write": b.was.Writev(0, v, 0), "zeroes": b.was.WriteZeroes(0, 1, graph.NoFallback)} {
		if !errors.Is(err, unix.ENOTSUP) && !errors.Is(err, graph.ErrNotSupported) {
			t.Errorf("%s of what was: %v", what, err)
		}
	}
	wants(t, b.was.Flush(), "")
	wants(t, b.c.Writev(0, [][]byte{make([]byte, 2*unit)}, 0), "")
	zero := int64(0)
	for off := int64(0); off < size; {
		e, err := b.was.BlockStatus(off, size-off)
		if err != nil || e.N < 1 {
			t.Fatalf("%+v, %v", e, err)
		}
		if e.Status&graph.Zero != 0 {
			zero += e.N
			if !bytes.Equal(b.is[off:off+e.N], make([]byte, e.N)) {
				t.Errorf("%d at %d were no zeroes", e.N, off)
			}
		}
		off += e.N
	}
	if zero != size-4*unit {
		t.Errorf("%d bytes were zeroes", zero)
	}
	if b.was.Size() != size {
		t.Errorf("%d bytes", b.was.Size())
	}
	// A node over something else has nothing to show.
	var g graph.Graph
	plain, _ := blocktest.Node(t, &g, "plain", 4096, false, graph.Options{})
	c := use(t, access(t, &g, plain), graph.ConsistentRead|graph.Write)
	_, status := c.BlockStatus(0, 1)
	for _, err := range []error{c.Readv(0, v), c.Discard(0, 512), status} {
		if !errors.Is(err, unix.ENOTSUP) {
			t.Errorf("access to what is no snapshot: %v", err)
		}
	}
}

// TestDiscardOfSnapshot lets parts go, of which nothing is copied or can be read then.
func TestDiscardOfSnapshot(t *testing.T) {
	b := newBed(t, cbwdrv.Config{})
	wants(t, b.was.Discard(100, 2*unit), "") // the second unit is whole
	b.same(t, 0, unit)
	if err := b.was.Readv(unit+5, [][]byte{{0}}); !errors.Is(err, unix.EACCES) {
		t.Errorf("what was let go is read: %v", err)
	}
	if err := b.was.Readv(unit-5, [][]byte{make([]byte, 10)}); !errors.Is(err, unix.EACCES) {
		t.Errorf("what was let go in part is read: %v", err)
	}
	if _, err := b.was.BlockStatus(unit, 1); !errors.Is(err, unix.EACCES) {
		t.Errorf("there is a status of what was let go: %v", err)
	}
	b.same(t, 2*unit, size-2*unit)
	b.target.Taken()
	wants(t, b.c.Writev(unit, [][]byte{make([]byte, unit)}, 0), "")
	if r := b.target.Taken(); len(r) != 0 {
		t.Errorf("what was let go is copied: %v", r)
	}
	wants(t, b.was.Discard(4*unit, size-4*unit), "") // up to the end
	if err := b.was.Readv(size-1, [][]byte{{0}}); !errors.Is(err, unix.EACCES) {
		t.Errorf("the end was let go: %v", err)
	}
}

// TestBitmap copies and gives access to what a bitmap says.
func TestBitmap(t *testing.T) {
	m, err := bitmap.New(bitmap.Config{Name: "m", Size: size, Granularity: 4096, Enabled: true})
	wants(t, err, "")
	m.Mark(2*unit+100, 10)
	b := newBed(t, cbwdrv.Config{Bitmap: m})
	wants(t, b.c.Writev(0, [][]byte{make([]byte, size)}, 0), "")
	b.same(t, 2*unit, unit)
	for _, off := range []int64{0, 2*unit - 1, 3 * unit, size - 1} {
		if err := b.was.Readv(off, [][]byte{{0}}); !errors.Is(err, unix.EACCES) {
			t.Errorf("byte %d, which was not copied: %v", off, err)
		}
	}
	// One of another size is refused.
	other, err := bitmap.New(bitmap.Config{Name: "o", Size: 2 * size, Granularity: 4096})
	wants(t, err, "")
	f, _ := blocktest.Node(t, &b.g, "f", size, false, graph.Options{})
	to, _ := blocktest.Node(t, &b.g, "to", size, false, graph.Options{})
	if _, err := over(&b.g, cbwdrv.Config{Bitmap: other}, f, to); err == nil {
		t.Error("a bitmap of another size")
	}
}

// TestCopyFails has a copy fail: either the write does, or the snapshot is broken.
func TestCopyFails(t *testing.T) {
	for _, breaks := range []bool{false, true} {
		for _, at := range []string{"read", "write"} {
			b := newBed(t, cbwdrv.Config{BreakSnapshot: breaks})
			m := b.file
			if at == "write" {
				m = b.target
			}
			m.Hook = func(r blocktest.Request) error {
				if r.Op == at {
					return unix.ENOSPC
				}
				return nil
			}
			err := b.c.Writev(10, [][]byte{{9}}, 0)
			m.Hook = nil
			if !breaks {
				if !errors.Is(err, unix.ENOSPC) || b.file.Data()[10] == 9 {
					t.Errorf("%s: %v, and it is written", at, err)
				}
				b.same(t, 0, size)
				wants(t, b.c.Writev(10, [][]byte{{9}}, 0), "")
				b.same(t, 0, size)
				continue
			}
			if wants(t, err, ""); b.file.Data()[10] != 9 {
				t.Errorf("%s: it is not written", at)
			}
			if err := b.was.Readv(3*unit, [][]byte{{0}}); !errors.Is(err, unix.EACCES) {
				t.Errorf("%s: a broken snapshot is read: %v", at, err)
			}
			b.target.Taken()
			wants(t, b.c.Writev(3*unit, [][]byte{{9}}, 0), "")
			if r := b.target.Taken(); len(r) != 0 {
				t.Errorf("%s: copies for a broken snapshot: %v", at, r)
			}
		}
	}
}

// TestTimeout has a copy take too long. It goes on, and Close waits for it.
func TestTimeout(t *testing.T) {
	for _, breaks := range []bool{false, true} {
		b := newBed(t, cbwdrv.Config{Timeout: 10 * time.Millisecond, BreakSnapshot: breaks})
		hold := make(chan struct{})
		b.target.Hook = func(r blocktest.Request) error {
			if r.Op == "write" {
				<-hold
			}
			return nil
		}
		err := b.c.Writev(0, [][]byte{{9}}, 0)
		if !breaks && !errors.Is(err, unix.ETIMEDOUT) || breaks && err != nil {
			t.Errorf("breaks %v: %v", breaks, err)
		}
		if (b.file.Data()[0] == 9) != breaks {
			t.Errorf("breaks %v, but it is written: %v", breaks, !breaks)
		}
		closed := make(chan error)
		wants(t, errors.Join(b.was.Close(), b.g.Find("access").Unref(), b.c.Close()), "")
		go func() { closed <- b.cbw.Unref() }()
		select {
		case <-closed:
			t.Error("it is closed while a copy is under way")
		case <-time.After(20 * time.Millisecond):
		}
		close(hold)
		wants(t, <-closed, "")
		if !bytes.Equal(b.target.Data()[:unit], b.is[:unit]) {
			t.Error("the late copy did not come")
		}
	}
}

// TestPermissions wants the file for itself when it is written to.
func TestPermissions(t *testing.T) {
	b := newBed(t, cbwdrv.Config{})
	if p := b.target.Perm(); p != graph.Write {
		t.Errorf("%q of the target", p)
	}
	_, err := b.g.Find("file").Use(func() string { return "another" }, nil, graph.Write, graph.AllPerms)
	wants(t, err, "Permission conflict on node 'file'")
	wants(t, b.c.SetPerm(graph.Write, graph.AllPerms), "")
	if p := b.file.Perm(); p != rw {
		t.Errorf("%q of the file, which is read for copies", p)
	}
}

// TestReadersOfWhatWas read at any time, while many write.
func TestReadersOfWhatWas(t *testing.T) {
	b := newBed(t, cbwdrv.Config{})
	var all sync.WaitGroup
	for w := range uint64(4) {
		all.Go(func() {
			rng := rand.New(rand.NewPCG(w, 1))
			for range 40 {
				off := rng.Int64N(size - 3000)
				wants(t, b.c.Writev(off, [][]byte{bytes.Repeat([]byte{0xee}, 3000)}, 0), "")
				b.same(t, off, 3000)
			}
		})
		all.Go(func() {
			rng := rand.New(rand.NewPCG(w, 2))
			for range 60 {
				off := rng.Int64N(size)
				b.same(t, off, 1+rng.Int64N(size-off))
			}
		})
	}
	all.Wait()
	b.same(t, 0, size)
}
