package cordrv

import (
	"bytes"
	"errors"
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

// bed is a chain of nodes in memory, the first on top, with copy-on-read over it.
type bed struct {
	g     graph.Graph
	nodes []*graph.Node
	m     []*blocktest.Memory
	n     *graph.Node
	c     *graph.Child
}

const size = 300 << 10

// newBed makes a chain of depth nodes. bottom is the last that is copied from, -1 for all.
func newBed(t testing.TB, depth, bottom int, perm graph.Perm) *bed {
	t.Helper()
	b := &bed{nodes: make([]*graph.Node, depth), m: make([]*blocktest.Memory, depth)}
	for i := depth - 1; i >= 0; i-- {
		b.nodes[i], b.m[i] = blocktest.Node(t, &b.g, string(rune('a'+i)), size, i < depth-1, graph.Options{Discard: true})
		if i < depth-1 {
			var ch graph.Change
			wants(t, errors.Join(ch.SetBacking(b.nodes[i], b.nodes[i+1]), ch.Commit()), "")
		}
		b.fill(t, i)
	}
	var last *graph.Node
	if bottom >= 0 {
		last = b.nodes[bottom]
	}
	b.n = over(t, &b.g, b.nodes[0], last)
	var err error
	b.c, err = b.n.Use(func() string { return "the test" }, nil, perm, graph.AllPerms)
	wants(t, err, "")
	return b
}

// fill writes something to each node, at a place of its own.
func (b *bed) fill(t testing.TB, i int) {
	t.Helper()
	at := int64(i) * 70000 / blocktest.Block * blocktest.Block
	wants(t, b.m[i].Writev(at, [][]byte{bytes.Repeat([]byte{byte(i + 1)}, 2000)}, 0), "")
}

func over(t testing.TB, g *graph.Graph, file, bottom *graph.Node) *graph.Node {
	t.Helper()
	n, err := g.Open(graph.Spec{Name: "cor", Driver: "copy-on-read", Options: graph.Options{Discard: true}, Filename: file.Filename,
		Children: []graph.Edge{{Name: "file", Role: graph.Filtered, Node: file}},
		Open:     func(c []*graph.Child) (graph.Driver, error) { return Open(c[0], bottom) }})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

const rw = graph.ConsistentRead | graph.Write

func TestConformance(t *testing.T) {
	blocktest.Run(t, blocktest.Subject{Allocates: true, Open: func(t testing.TB, g *graph.Graph) *graph.Node {
		base, m := blocktest.Node(t, g, "base", 100000, false, graph.Options{})
		top, _ := blocktest.Node(t, g, "top", 100000, true, graph.Options{})
		wants(t, m.Writev(0, [][]byte{bytes.Repeat([]byte("text"), 20000)}, 0), "")
		var ch graph.Change
		wants(t, errors.Join(ch.SetBacking(top, base), ch.Commit(), base.Unref()), "")
		n := over(t, g, top, nil)
		wants(t, top.Unref(), "")
		return n
	}})
}

// TestCopies reads a little, and looks what was copied.
func TestCopies(t *testing.T) {
	b := newBed(t, 3, -1, graph.ConsistentRead)
	want := b.read(t, 0, size)
	for at := int64(0); at < size; at += blocktest.Block {
		if !b.m[0].Has(at) {
			t.Fatalf("what is at %d was read but not copied", at)
		}
	}
	if !bytes.Equal(b.m[0].Data(), want) {
		t.Error("another thing was copied")
	}
	b.m[0].Taken()
	b.read(t, 100, 5000)
	for _, r := range b.m[0].Taken() {
		if r.Op == "write" || r.Op == "zeroes" {
			t.Errorf("%+v: it is copied twice", r)
		}
	}
	// A small read copies what is next to it, and no more.
	b = newBed(t, 2, -1, graph.ConsistentRead)
	b.read(t, 130000, 1)
	for at := int64(0); at < size; at += blocktest.Block {
		if copied := at/unit == 130000/unit; at >= 2048 && b.m[0].Has(at) != copied {
			t.Fatalf("what is at %d is copied: %v", at, !copied)
		}
	}
}

func (b *bed) read(t testing.TB, off, n int64) []byte {
	t.Helper()
	got := make([]byte, n)
	wants(t, b.c.Readv(off, [][]byte{got[:n/2], got[n/2:]}), "")
	return got
}

// TestZeroesStaySparse has zeroes in backing nodes not be written as data.
func TestZeroesStaySparse(t *testing.T) {
	b := newBed(t, 2, -1, graph.ConsistentRead)
	b.read(t, 128<<10, 64<<10)
	b.read(t, 64<<10, 64<<10)
	var zeroes, data int64
	for _, r := range b.m[0].Taken() {
		switch {
		case r.Op == "zeroes":
			zeroes += r.N
		case r.Op == "write" && r.Off >= 64<<10:
			data += r.N
		}
	}
	if zeroes != 64<<10 || data != 64<<10 {
		t.Errorf("%d bytes of zeroes, %d of data", zeroes, data)
	}
}

// TestBottom copies from some of the nodes of a chain.
func TestBottom(t *testing.T) {
	for bottom := range 4 {
		b := newBed(t, 4, bottom, graph.ConsistentRead)
		b.read(t, 0, size)
		for i := range 4 {
			at := int64(i) * 70000 / blocktest.Block * blocktest.Block
			if want := i <= bottom && !(i == 3 && bottom < 3); b.m[0].Has(at) != want {
				t.Errorf("bottom %d: what lies in node %d is copied: %v", bottom, i, !want)
			}
		}
		n, err := b.g.Open(graph.Spec{Children: []graph.Edge{{Name: "file", Role: graph.Filtered, Node: b.nodes[bottom]}},
			Open: func(c []*graph.Child) (graph.Driver, error) { return Open(c[0], b.n) }})
		if err == nil {
			t.Errorf("%s has a bottom that stands on it", n.Name())
		}
		// The bottom stays as long as the filter does, and no longer.
		wants(t, errors.Join(b.c.Close(), b.n.Unref()), "")
		for _, x := range b.nodes {
			wants(t, x.Unref(), "")
		}
		if len(b.g.Nodes()) != 0 {
			t.Errorf("%d nodes are left", len(b.g.Nodes()))
		}
	}
}

// TestPermissions asks for copies to be written, but not for writes, of the file.
func TestPermissions(t *testing.T) {
	b := newBed(t, 2, -1, graph.ConsistentRead)
	if p := b.m[0].Perm(); p != graph.ConsistentRead|graph.WriteUnchanged {
		t.Errorf("%q", p)
	}
	if p := b.m[1].Perm(); p != graph.ConsistentRead {
		t.Errorf("%q of the backing node", p)
	}
	ro, _ := blocktest.Node(t, &b.g, "ro", 512, false, graph.Options{ReadOnly: true})
	_, err := b.g.Open(graph.Spec{Children: []graph.Edge{{Name: "file", Role: graph.Filtered, Node: ro}},
		Open: func(c []*graph.Child) (graph.Driver, error) { return Open(c[0], nil) }})
	wants(t, err, "Block node is read-only")
}

// TestErrors has a part of a copy fail: the read does, and later ones do not.
func TestErrors(t *testing.T) {
	for node, ops := range [][]string{{"status", "read", "write", "zeroes"}, {"read"}} {
		for _, op := range ops {
			b := newBed(t, 2, -1, rw)
			b.m[node].Hook = func(r blocktest.Request) error {
				if r.Op == op {
					return unix.ENOSPC
				}
				return nil
			}
			off := int64(60 << 10)
			if op == "zeroes" {
				off = 200 << 10 // where there is no data
			}
			v := [][]byte{make([]byte, 50<<10)}
			if err := b.c.Readv(off, v); !errors.Is(err, unix.ENOSPC) {
				t.Errorf("%s of node %d fails: %v", op, node, err)
			}
			b.m[node].Hook = nil
			wants(t, b.c.Readv(off, v), "")
			if !b.m[0].Has(off + 10000) {
				t.Error("nothing is copied after an error")
			}
		}
	}
}

// TestReadersAndWriters has copies never take back what was written meanwhile.
func TestReadersAndWriters(t *testing.T) {
	b := newBed(t, 2, -1, rw)
	base := b.m[1].Data()
	const workers, own = 8, 1000
	is := bytes.Clone(base)
	copy(is, b.m[0].Data()[:2048])
	var all sync.WaitGroup
	for w := range workers {
		all.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(w), 2))
			for range 60 {
				off := (rng.IntN(size/own/workers)*workers + w) * own
				mine := is[off : off+own]
				var err error
				switch rng.IntN(4) {
				case 0:
					clear(mine)
					err = b.c.WriteZeroes(int64(off), own, 0)
				case 1:
					for i := range mine {
						mine[i] = byte(rng.Uint32())
					}
					err = b.c.Writev(int64(off), [][]byte{bytes.Clone(mine)}, 0)
				default:
					got := make([]byte, own)
					if err = b.c.Readv(int64(off), [][]byte{got}); !bytes.Equal(got, mine) {
						t.Errorf("another thing is at %d", off)
					}
				}
				wants(t, err, "")
			}
		})
	}
	all.Wait()
	if !bytes.Equal(b.read(t, 0, size), is) {
		t.Error("another thing is there")
	}
	if !bytes.Equal(b.m[1].Data(), base) {
		t.Error("the backing node was written to")
	}
}
