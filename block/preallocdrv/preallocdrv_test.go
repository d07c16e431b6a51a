package preallocdrv

import (
	"bytes"
	"errors"
	"math"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"hv/block/blocktest"
	"hv/block/graph"
)

func wants(t testing.TB, err error, want string) {
	t.Helper()
	if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
		t.Errorf("%v, want %q", err, want)
	}
}

const (
	grows = graph.ConsistentRead | graph.Write | graph.Resize
	reads = graph.ConsistentRead
)

func over(g *graph.Graph, cfg Config, file *graph.Node) (*graph.Node, error) {
	return g.Open(graph.Spec{Name: "top", Driver: "preallocate", Options: graph.Options{Discard: true}, Filename: file.Filename,
		Children: []graph.Edge{{Name: "file", Role: graph.Filtered, Node: file}},
		Open:     func(c []*graph.Child) (graph.Driver, error) { return Open(cfg, c[0]) }})
}

// bed is a file in memory with the filter on it, and a user.
type bed struct {
	g    graph.Graph
	file *graph.Node
	m    *blocktest.Memory
	n    *graph.Node
	c    *graph.Child
}

func newBed(t testing.TB, cfg Config, size int64, perm graph.Perm) *bed {
	t.Helper()
	b := &bed{}
	b.file, b.m = blocktest.Node(t, &b.g, "file", size, false, graph.Options{Discard: true})
	var err error
	b.n, err = over(&b.g, cfg, b.file)
	wants(t, err, "")
	b.c, err = b.n.Use(func() string { return "the test" }, nil, perm, graph.AllPerms)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestConformance(t *testing.T) {
	for name, cfg := range map[string]Config{"usual": {Align: 1 << 20, Size: 1 << 20}, "small": {Align: 512, Size: 0}, "odd": {Align: 1536, Size: 777}} {
		t.Run(name, func(t *testing.T) {
			blocktest.Run(t, blocktest.Subject{Open: func(t testing.TB, g *graph.Graph) *graph.Node {
				file, _ := blocktest.Node(t, g, "file", 100000, false, graph.Options{Discard: true})
				n, err := over(g, cfg, file)
				wants(t, errors.Join(err, file.Unref()), "")
				return n
			}})
		})
	}
}

func TestOptions(t *testing.T) {
	for _, x := range []struct {
		cfg  Config
		want string
	}{
		{Config{Align: 512}, ""},
		{Config{Align: 513}, "prealloc-align parameter of preallocate filter is not aligned to 512"},
		{Config{Align: 0}, "is not aligned to 512"},
		{Config{Align: -512}, "is not aligned to 512"},
		{Config{Align: 512, Size: -1}, "must not be negative"},
		{Config{Align: math.MaxInt64 &^ 511, Size: math.MaxInt64}, ""},
	} {
		var g graph.Graph
		file, _ := blocktest.Node(t, &g, "file", 512, false, graph.Options{})
		_, err := over(&g, x.cfg, file)
		wants(t, err, x.want)
	}
}

// TestSteps writes past the end, and looks how long the file gets.
func TestSteps(t *testing.T) {
	b := newBed(t, Config{Align: 4096, Size: 10000}, 1000, grows)
	for _, x := range []struct {
		off, n     int64
		data, file int64
	}{
		{0, 1000, 1000, 1000},          // within the data
		{1000, 1, 1001, 12288},         // 1001 and 10000 more, aligned
		{1001, 11287, 12288, 12288},    // there is just room
		{12288, 100, 12388, 24576},     // 22388
		{50000, 10, 50010, 61440},      // with a gap
		{50000, 100, 50100, 61440},     // partly there
		{61440, 4096, 65536, 77824},    // from the file's end on
		{100000, 4096, 104096, 114688}, // which is aligned
	} {
		wants(t, b.c.Writev(x.off, [][]byte{bytes.Repeat([]byte{1}, int(x.n))}, 0), "")
		if b.n.Size() != x.data || b.m.Size() != x.file {
			t.Errorf("%+v: %d bytes in a file of %d", x, b.n.Size(), b.m.Size())
		}
	}
	wants(t, b.c.SetPerm(reads, graph.AllPerms), "")
	if b.n.Size() != 104096 || b.m.Size() != 104096 {
		t.Errorf("%d bytes, the file has %d, after the last writer", b.n.Size(), b.m.Size())
	}
	d := b.m.Data()
	if d[12388] != 0 || d[49999] != 0 || d[50000] != 1 || d[65536] != 0 {
		t.Error("a gap is not of zeroes")
	}
}

// TestOnlyGrowing leaves files alone that are written to but must not grow.
func TestOnlyGrowing(t *testing.T) {
	b := newBed(t, Config{Align: 4096, Size: 4096}, 1000, graph.ConsistentRead|graph.Write)
	if b.c.Writev(999, [][]byte{{1, 2}}, 0) == nil || b.m.Size() != 1000 {
		t.Error("a file grows that must not")
	}
	wants(t, b.c.SetPerm(grows, graph.AllPerms), "")
	wants(t, b.c.Writev(999, [][]byte{{1, 2}}, 0), "")
	// While it grows nobody else may.
	_, err := b.file.Use(func() string { return "another" }, nil, graph.Write, graph.AllPerms)
	wants(t, err, "Permission conflict on node 'file'")
	wants(t, b.c.SetPerm(reads, graph.AllPerms), "")
	if b.m.Size() != 1001 {
		t.Errorf("%d bytes", b.m.Size())
	}
	_, err = b.file.Use(func() string { return "another" }, nil, graph.Write, graph.AllPerms)
	wants(t, err, "")
}

// TestZeroesAreThere has zeroes past the end not be written twice, and only where nothing was
// written before.
func TestZeroesAreThere(t *testing.T) {
	b := newBed(t, Config{Align: 4096, Size: 8192}, 0, grows)
	wants(t, b.c.WriteZeroes(0, 100, 0), "")
	if r := b.m.Taken(); count(r, "zeroes") != 1 || b.m.Size() != 12288 || b.n.Size() != 100 {
		t.Errorf("%v, %d bytes of %d", r, b.n.Size(), b.m.Size())
	}
	wants(t, b.c.WriteZeroes(100, 1000, 0), "")
	if r := b.m.Taken(); count(r, "zeroes") != 0 {
		t.Errorf("zeroes that are there are written: %v", r)
	}
	wants(t, b.c.WriteZeroes(1100, 100, graph.MayUnmap), "") // as the user wants them
	if r := b.m.Taken(); count(r, "zeroes") != 1 {
		t.Errorf("%v", r)
	}
	wants(t, b.c.Writev(0, [][]byte{bytes.Repeat([]byte{1}, 5000)}, 0), "")
	wants(t, b.c.WriteZeroes(1000, 6000, 0), "")
	if d := b.m.Data(); d[999] != 1 || d[1000] != 0 || d[4999] != 0 {
		t.Error("data is taken for zeroes")
	}
}

func count(l []blocktest.Request, op string) (n int) {
	for _, r := range l {
		if r.Op == op {
			n++
		}
	}
	return n
}

// TestNoRoom has the file not be extensible: writes go on as without the filter.
func TestNoRoom(t *testing.T) {
	b := newBed(t, Config{Align: 4096, Size: 4096}, 100, grows)
	b.m.Hook = func(r blocktest.Request) error {
		if r.Op == "zeroes" {
			return unix.ENOSPC
		}
		return nil
	}
	wants(t, b.c.Writev(100, [][]byte{{1, 2}}, 0), "")
	if b.n.Size() != 102 || b.m.Size() != 102 {
		t.Errorf("%d bytes of %d", b.n.Size(), b.m.Size())
	}
	if err := b.c.WriteZeroes(102, 10, 0); !errors.Is(err, unix.ENOSPC) {
		t.Errorf("zeroes: %v", err)
	}
}

// TestCutFails has the file not be cut: nobody is told that all is well.
func TestCutFails(t *testing.T) {
	b := newBed(t, Config{Align: 4096, Size: 4096}, 100, grows)
	wants(t, b.c.Writev(100, [][]byte{{1}}, 0), "")
	failing := true
	b.m.Hook = func(r blocktest.Request) error {
		if failing && r.Op == "truncate" {
			return unix.EIO
		}
		return nil
	}
	wants(t, b.c.SetPerm(reads, graph.AllPerms), "Failed to drop preallocation")
	if p, _ := b.c.Perms(); p != grows || b.n.Size() != 101 || b.m.Size() == 101 {
		t.Errorf("%q, %d bytes of %d", p, b.n.Size(), b.m.Size())
	}
	wants(t, b.c.Writev(101, [][]byte{{1}}, 0), "")
	d, _ := graph.As[*Driver](b.n)
	undrain := b.n.Drain()
	var ch graph.Change
	if err := ch.Reopen(b.n, graph.Options{ReadOnly: true}, Config{Align: 512, Size: 7}); !errors.Is(err, unix.EIO) {
		t.Errorf("reopened: %v", err)
	}
	ch.Rollback()
	undrain()
	if d.cfg.Size != 4096 {
		t.Error("a reopening that failed leaves its options")
	}
	failing = false
	wants(t, b.c.SetPerm(reads, graph.AllPerms), "")
	if b.m.Size() != 102 {
		t.Errorf("%d bytes", b.m.Size())
	}
}

// TestClose cuts the file with its last user.
func TestClose(t *testing.T) {
	b := newBed(t, Config{Align: 4096, Size: 4096}, 0, grows)
	wants(t, b.c.Writev(0, [][]byte{make([]byte, 10)}, 0), "")
	b.file.Ref()
	wants(t, errors.Join(b.c.Close(), b.n.Unref()), "")
	if b.m.Size() != 10 {
		t.Errorf("%d bytes are left", b.m.Size())
	}
}

// TestResize has resizes of a node with and without room behind it.
func TestResize(t *testing.T) {
	b := newBed(t, Config{Align: 4096, Size: 4096}, 100, grows)
	wants(t, b.c.Writev(100, [][]byte{{1}}, 0), "")
	for _, size := range []int64{50, 5000, 20000, 0} {
		wants(t, b.n.Resize(size), "")
		if b.n.Size() != size || b.m.Size() != size {
			t.Errorf("%d bytes of %d, want %d", b.n.Size(), b.m.Size(), size)
		}
	}
	wants(t, b.c.Writev(3, [][]byte{{1}}, 0), "")
	if b.n.Size() != 4 || b.m.Size() != 8192 {
		t.Errorf("%d bytes of %d", b.n.Size(), b.m.Size())
	}
}

// TestGrowingWriters has many write past the end at once; each reads what it wrote, and gaps
// are zeroes.
func TestGrowingWriters(t *testing.T) {
	b := newBed(t, Config{Align: 512, Size: 1000}, 0, grows)
	const writers, each = 8, 300
	var all sync.WaitGroup
	for w := range int64(writers) {
		all.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(w), 1))
			for i := range int64(each) {
				off := (i*writers + w) * 64
				var err error
				switch data, got := bytes.Repeat([]byte{byte(w + 1)}, 64), make([]byte, 64); rng.IntN(3) {
				case 0:
					err = b.c.WriteZeroes(off, 64, 0)
				case 1:
					if err = errors.Join(b.c.Writev(off, [][]byte{data}, 0), b.c.Readv(off, [][]byte{got})); !bytes.Equal(data, got) {
						t.Errorf("another thing is at %d", off)
					}
				}
				wants(t, err, "")
			}
		})
	}
	all.Wait()
	size := b.n.Size()
	for i, x := range b.m.Data() {
		if w := byte(i/64%writers + 1); x != 0 && (x != w || int64(i) >= size) {
			t.Fatalf("byte %d is %d", i, x)
		}
	}
	wants(t, b.c.Close(), "")
	if b.m.Size() != size {
		t.Errorf("%d bytes are left of %d", b.m.Size(), size)
	}
}
