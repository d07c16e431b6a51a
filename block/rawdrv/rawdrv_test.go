package rawdrv

import (
	"bytes"
	"errors"
	"math"
	"strings"
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

// over makes a raw node.
func over(g *graph.Graph, cfg Config, file *graph.Node, o graph.Options) (*graph.Node, error) {
	return g.Open(graph.Spec{Driver: "raw", Options: o, Filename: file.Filename, Children: []graph.Edge{{Name: "file", Role: cfg.Role(), Node: file}},
		Open: func(c []*graph.Child) (graph.Driver, error) { return Open(cfg, c[0]) }})
}

func use(t testing.TB, n *graph.Node, perm graph.Perm) *graph.Child {
	t.Helper()
	c, err := n.Use(func() string { return "the test" }, nil, perm, graph.AllPerms)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func ptr(n int64) *int64 { return &n }

// TestConformance has parts of a node, and guessed formats, go through the suite.
func TestConformance(t *testing.T) {
	for name, s := range map[string]struct {
		cfg   Config
		fixed bool
	}{
		"whole":   {},
		"rest":    {cfg: Config{Offset: 1000}},
		"part":    {cfg: Config{Offset: 512, Size: ptr(102400)}, fixed: true},
		"guessed": {cfg: Config{Guessed: func([]byte) bool { return false }}},
	} {
		t.Run(name, func(t *testing.T) {
			blocktest.Run(t, blocktest.Subject{Fixed: s.fixed, Allocates: true, Open: func(t testing.TB, g *graph.Graph) *graph.Node {
				below, _ := blocktest.Node(t, g, "below", 128<<10, false, graph.Options{Discard: true})
				n, err := over(g, s.cfg, below, graph.Options{Discard: true})
				wants(t, errors.Join(err, below.Unref()), "")
				return n
			}})
		})
	}
}

// TestParts has offsets and sizes that the child has, and others.
func TestParts(t *testing.T) {
	for _, x := range []struct {
		cfg  Config
		size int64
		want string
	}{
		{Config{}, 10000, ""},
		{Config{Offset: 10000}, 0, ""},
		{Config{Offset: 10001}, 0, "Offset (10001) cannot be greater than size of the containing file (10000)"},
		{Config{Offset: -1}, 0, "Parameter 'offset' expects a non-negative number below 2^64"},
		{Config{Offset: math.MaxInt64}, 0, "cannot be greater than size of the containing file"},
		{Config{Size: ptr(0)}, 0, ""},
		{Config{Size: ptr(9728)}, 9728, ""},
		{Config{Size: ptr(10000)}, 0, "Specified size is not multiple of 512"},
		{Config{Size: ptr(-1)}, 0, "The sum of offset (0) and size (-1) has to be smaller or equal to the  actual size of the containing file (10000)"},
		{Config{Offset: 9488, Size: ptr(512)}, 512, ""},
		{Config{Offset: 9000, Size: ptr(1001)}, 0, "The sum of offset (9000) and size (1001)"},
		{Config{Offset: 1, Size: ptr(math.MaxInt64)}, 0, "The sum of offset (1)"},
	} {
		var g graph.Graph
		below, _ := blocktest.Node(t, &g, "below", 10000, false, graph.Options{})
		n, err := over(&g, x.cfg, below, graph.Options{})
		if wants(t, err, x.want); err != nil {
			if len(below.Children()) != 0 || !below.IsRoot() {
				t.Error("a node that is none has a child")
			}
			continue
		}
		if n.Size() != x.size {
			t.Errorf("%+v: %d bytes", x.cfg, n.Size())
		}
	}
}

// TestPartStays writes at the ends of a part, and nothing beside it changes.
func TestPartStays(t *testing.T) {
	var g graph.Graph
	below, m := blocktest.Node(t, &g, "below", 4096, false, graph.Options{Discard: true})
	n, err := over(&g, Config{Offset: 1000, Size: ptr(2048)}, below, graph.Options{Discard: true})
	wants(t, err, "")
	wants(t, m.Writev(0, [][]byte{bytes.Repeat([]byte{1}, 4096)}, 0), "")
	c := use(t, n, graph.ConsistentRead|graph.Write)
	wants(t, errors.Join(c.WriteZeroes(0, 2048, 0), c.Discard(0, 2048), c.Writev(0, [][]byte{{2}}, 0), c.Writev(2047, [][]byte{{3}}, 0)), "")
	want := bytes.Repeat([]byte{1}, 4096)
	clear(want[1000:3048])
	want[1000], want[3047] = 2, 3
	if !bytes.Equal(m.Data(), want) {
		t.Error("the part lies elsewhere")
	}
	for _, off := range []int64{-1, 2048, 1 << 62} {
		if c.Writev(off, [][]byte{{9}}, 0) == nil || c.Readv(off, [][]byte{{9}}) == nil || c.Discard(off, 1) == nil || c.WriteZeroes(off, 1, 0) == nil {
			t.Errorf("a request at %d", off)
		}
	}
	e, err := c.BlockStatus(10, 100)
	if err != nil || e.Offset != 1010 || e.N > 100 || e.Status&graph.Data == 0 {
		t.Errorf("%+v, %v", e, err)
	}
	wants(t, n.Resize(100), "Cannot resize fixed-size raw disks")
	// The child may not be resized below a part.
	wants(t, below.Resize(8192), "permissions 'resize'")
}

// TestTruncate has the rest of a node grow and shrink with it.
func TestTruncate(t *testing.T) {
	var g graph.Graph
	below, _ := blocktest.Node(t, &g, "below", 4096, false, graph.Options{})
	n, err := over(&g, Config{Offset: 1000}, below, graph.Options{})
	wants(t, err, "")
	for _, size := range []int64{0, 5000, 1} {
		wants(t, n.Resize(size), "")
		if n.Size() != size || below.Size() != size+1000 {
			t.Errorf("%d bytes of %d, want %d", n.Size(), below.Size(), size)
		}
	}
	wants(t, n.Resize(graph.MaxSize+1), "exceeds maximum(9223372035781033984)")
	wants(t, n.Resize(graph.MaxSize), "exceeds maximum(9223372035781033984)")
}

// TestGuessed has what would be taken for another format not be written, however it comes.
func TestGuessed(t *testing.T) {
	var g graph.Graph
	below, m := blocktest.Node(t, &g, "below", 4096, false, graph.Options{})
	looks := func(first []byte) bool {
		if len(first) != 512 {
			t.Errorf("a guess by %d bytes", len(first))
		}
		return bytes.HasPrefix(first, []byte("MAGIC"))
	}
	n, err := over(&g, Config{Guessed: looks}, below, graph.Options{})
	wants(t, err, "")
	c := use(t, n, graph.ConsistentRead|graph.Write)
	wants(t, c.Writev(0, [][]byte{[]byte("MAG")}, 0), "")
	for what, err := range map[string]error{
		"the rest":     c.Writev(3, [][]byte{[]byte("IC")}, 0),
		"one byte":     c.Writev(3, [][]byte{[]byte("I"), []byte("C")}, 0),
		"sectors":      c.Writev(0, [][]byte{[]byte("M"), []byte("AGIC"), make([]byte, 1019)}, 0),
		"a large one":  c.Writev(0, [][]byte{append([]byte("MAGIC"), make([]byte, 4091)...)}, 0),
		"with a flush": c.Writev(2, [][]byte{[]byte("GIC")}, graph.FUA),
	} {
		if !errors.Is(err, unix.EPERM) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if d := m.Data(); string(d[:5]) != "MAG\x00\x00" {
		t.Errorf("%q is there", d[:5])
	}
	wants(t, c.Writev(512, [][]byte{[]byte("MAGIC")}, 0), "") // not where it is looked for
	wants(t, c.Writev(0, [][]byte{[]byte("magic")}, 0), "")
	if _, ok := n.Mapping(); ok {
		t.Error("writes may go by the driver")
	}
}

// TestReopen goes over to another part, unless there is none, and back.
func TestReopen(t *testing.T) {
	var g graph.Graph
	below, _ := blocktest.Node(t, &g, "below", 4096, false, graph.Options{})
	n, err := over(&g, Config{Offset: 96}, below, graph.Options{})
	wants(t, err, "")
	reopen := func(cfg Config, commit bool) error {
		defer n.Drain()()
		var ch graph.Change
		if err := ch.Reopen(n, graph.Options{}, cfg); err != nil || !commit {
			ch.Rollback()
			return err
		}
		return ch.Commit()
	}
	for _, x := range []struct {
		cfg    Config
		commit bool
		want   string
		size   int64
	}{
		{Config{Offset: 1096}, true, "", 3000},
		{Config{Offset: 2096}, false, "", 3000},
		{Config{Offset: 5000}, true, "Offset (5000)", 3000},
		{Config{Size: ptr(512)}, true, "", 512},
		{Config{Offset: 4000, Size: ptr(97)}, true, "The sum", 512},
		{Config{Size: ptr(7)}, true, "Specified size", 512},
	} {
		if wants(t, reopen(x.cfg, x.commit), x.want); n.Size() != x.size {
			t.Errorf("%+v: %d bytes", x, n.Size())
		}
	}
}

// TestErrors has errors of the child come up as they are.
func TestErrors(t *testing.T) {
	var g graph.Graph
	below, m := blocktest.Node(t, &g, "below", 4096, false, graph.Options{Discard: true})
	n, err := over(&g, Config{Offset: 512}, below, graph.Options{Discard: true})
	wants(t, err, "")
	c := use(t, n, graph.ConsistentRead|graph.Write)
	v := [][]byte{make([]byte, 512)}
	for op, do := range map[string]func() error{
		"read": func() error { return c.Readv(0, v) }, "write": func() error { return c.Writev(0, v, 0) },
		"zeroes": func() error { return c.WriteZeroes(0, 512, 0) }, "discard": func() error { return c.Discard(0, 512) }, "flush": c.Flush,
		"status": func() error { _, err := c.BlockStatus(0, 512); return err }, "truncate": func() error { return n.Resize(512) },
	} {
		m.Hook = func(r blocktest.Request) error {
			if r.Op == op {
				return unix.ENOSPC
			}
			return nil
		}
		if err := do(); !errors.Is(err, unix.ENOSPC) {
			t.Errorf("%s: %v", op, err)
		}
	}
}
