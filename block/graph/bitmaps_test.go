package graph

import (
	"errors"
	"strings"
	"testing"

	"hv/block/bitmap"
)

// keeper is memory that keeps bitmaps, as an image does.
type keeper struct {
	memory
	kept    []bitmap.Stored
	refusal error
	stores  int
}

func (k *keeper) LoadBitmaps() ([]bitmap.Stored, error) { return k.kept, k.refusal }

func (k *keeper) StoreBitmaps(all []bitmap.Stored) error {
	k.kept, k.stores = all, k.stores+1
	return k.refusal
}

func (k *keeper) RemoveBitmap(name string) error {
	var rest []bitmap.Stored
	for _, s := range k.kept {
		if s.Name != name {
			rest = append(rest, s)
		}
	}
	k.kept = rest
	return nil
}

func (k *keeper) KeepsBitmap(string, int64, []*bitmap.Bitmap) error { return k.refusal }

func (k *keeper) ClusterSize() int64 { return 1 << 20 }

// keeping makes a node with a driver.
func keeping(t *testing.T, g *Graph, name string, d Driver, o Options, children ...Edge) *Node {
	t.Helper()
	n, err := g.Open(Spec{Name: name, Driver: "test", Options: o, Children: children, Open: func([]*Child) (Driver, error) { return d, nil },
		Filename: func() string { return name }})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func addBitmap(t *testing.T, n *Node, c bitmap.Config) *bitmap.Bitmap {
	t.Helper()
	b, err := n.AddBitmap(c)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestWritesAreMarked(t *testing.T) {
	var g Graph
	n := keeping(t, &g, "n", &memory{data: make([]byte, 1<<20)}, Options{Discard: true})
	c, err := n.Use(func() string { return "test" }, nil, Write|ConsistentRead, AllPerms)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Writev(0, [][]byte{make([]byte, 512)}, 0); err != nil || n.Bitmaps() != nil {
		t.Fatal(err)
	}
	b := addBitmap(t, n, bitmap.Config{Name: "b", Granularity: 4096, Enabled: true})
	off := addBitmap(t, n, bitmap.Config{Name: "off", Granularity: 4096})
	steps := []func() error{
		func() error { return c.Writev(8192, [][]byte{make([]byte, 512), make([]byte, 4096)}, 0) },
		func() error { return c.WriteZeroes(65536, 4096, 0) },
		func() error { return c.Discard(131072, 8192) },
		func() error { return c.Readv(0, [][]byte{make([]byte, 512)}) },
		func() error { return c.Flush() },
	}
	for i, want := range []int64{8192, 12288, 20480, 20480, 20480} {
		if err := steps[i](); err != nil || b.Count() != want {
			t.Errorf("after step %d %d bytes are dirty, not %d: %v", i, b.Count(), want, err)
		}
	}
	if err := c.Writev(1<<20, [][]byte{make([]byte, 512)}, 0); err == nil || b.Count() != 20480 {
		t.Errorf("what is outside was marked: %v", err)
	}
	if off.Count() != 0 {
		t.Error("a disabled bitmap has marks")
	}
	for _, x := range []struct {
		c    bitmap.Config
		want string
	}{
		{bitmap.Config{Name: "b", Granularity: 512}, "Bitmap already exists: b"},
		{bitmap.Config{Name: strings.Repeat("x", 1024), Granularity: 512}, "Bitmap name too long: x"},
		{bitmap.Config{Name: "c", Granularity: 511}, "Granularity must be power of 2"},
		{bitmap.Config{Name: "c", Granularity: 512, Persistent: true}, "Can't store persistent bitmaps to n: Operation not supported"},
	} {
		if _, err := n.AddBitmap(x.c); err == nil || !strings.Contains(err.Error(), x.want) {
			t.Errorf("%.10s: %v", x.c.Name, err)
		}
	}
	if l := n.Bitmaps(); len(l) != 2 || l[0] != off || n.Bitmap("b") != b || n.Bitmap("x") != nil {
		t.Errorf("%v", l)
	}
	n.DropBitmap(b)
	n.DropBitmap(off)
	if n.Bitmaps() != nil || n.BitmapGranularity() != 64<<10 {
		t.Error("bitmaps are left")
	}
	if err := errors.Join(c.Close(), n.Unref()); err != nil {
		t.Error(err)
	}
}

// through is a node that is its child as it is.
type through struct{ c *Child }

func (x *through) Size() int64                                 { return x.c.Size() }
func (x *through) Readv(off int64, v [][]byte) error           { return x.c.Readv(off, v) }
func (x *through) Writev(off int64, v [][]byte, f Flags) error { return x.c.Writev(off, v, f) }
func (x *through) Truncate(size int64) error                   { return x.c.Truncate(size) }
func (x *through) Flush() error                                { return nil }
func (x *through) Close() error                                { return nil }

func TestBitmapsFollowSize(t *testing.T) {
	var g Graph
	low := keeping(t, &g, "low", &memory{data: make([]byte, 1<<20)}, Options{})
	top, err := g.Open(Spec{Name: "top", Driver: "test", Children: []Edge{{Name: "file", Role: Filtered, Node: low}},
		Open: func(c []*Child) (Driver, error) { return &through{c[0]}, nil }, Filename: func() string { return "" }})
	if err != nil {
		t.Fatal(err)
	}
	above := addBitmap(t, top, bitmap.Config{Name: "b", Granularity: 65536, Enabled: true})
	below := addBitmap(t, low, bitmap.Config{Name: "b", Granularity: 65536, Enabled: true})
	for _, size := range []int64{3 << 20, 1 << 19} {
		above.Mark(0, 1<<30)
		if err := top.Resize(size); err != nil || above.Size() != size || below.Size() != size || above.Count() > size {
			t.Errorf("%v: %d and %d of %d", err, above.Size(), below.Size(), size)
		}
	}
	if err := low.Resize(1 << 18); err != nil || above.Size() != 1<<18 {
		t.Errorf("%v: %d", err, above.Size())
	}
	if err := errors.Join(top.Unref(), low.Unref()); err != nil {
		t.Error(err)
	}
}

func TestPersistentBitmaps(t *testing.T) {
	var g Graph
	k := &keeper{memory: memory{data: make([]byte, 1<<30)}, kept: []bitmap.Stored{
		{Name: "a", Granularity: 1 << 20, Enabled: true, Bits: append([]byte{5}, make([]byte, 127)...)},
		{Name: "broken", Granularity: 1 << 20, Inconsistent: true},
	}}
	n := keeping(t, &g, "n", k, Options{})
	a := n.Bitmap("a")
	if a == nil || a.Count() != 2<<20 || !n.Bitmap("broken").Inconsistent() || n.BitmapGranularity() != 1<<20 {
		t.Fatalf("%v", n.Bitmaps())
	}
	a.Mark(1<<20, 1)
	addBitmap(t, n, bitmap.Config{Name: "new", Granularity: 1 << 20, Persistent: true})
	addBitmap(t, n, bitmap.Config{Name: "lost", Granularity: 1 << 20, Enabled: true})
	if err := n.FreezeBitmaps(); err != nil || len(k.kept) != 3 || k.kept[0].Name != "a" || k.kept[0].Bits[0] != 7 || !k.kept[1].Inconsistent || k.kept[2].Name != "new" {
		t.Errorf("%v %+v", err, k.kept)
	}
	if a.Check(bitmap.Changed) == nil || n.Bitmap("lost").Check(bitmap.Changed) != nil {
		t.Error("the wrong bitmaps are read-only")
	}
	if !n.Bitmap("new").Stored() || n.Bitmap("lost").Stored() {
		t.Error("it is not known what is stored")
	}
	if err := n.Resize(1 << 31); err == nil || err.Error() != "Bitmap 'new' is readonly and cannot be modified" && !strings.Contains(err.Error(), "cannot be") {
		t.Errorf("a node is resized with bitmaps that cannot follow: %v", err)
	}
	if err := n.StoreBitmaps(); err != nil || k.stores != 1 {
		t.Errorf("%v, stored %d times", err, k.stores)
	}
	if err := n.ThawBitmaps(); err != nil || a.ReadOnly() {
		t.Error(err)
	}
	if err := n.ForgetBitmap(a); err != nil || len(k.kept) != 2 {
		t.Error(err, k.kept)
	}
	n.DropBitmap(a)
	k.refusal = errors.New("no room")
	if _, err := n.AddBitmap(bitmap.Config{Name: "x", Granularity: 512, Persistent: true}); err == nil || err.Error() != "Can't make bitmap 'x' persistent in 'n': no room" {
		t.Error(err)
	}
	if err := n.Unref(); err == nil || !strings.Contains(err.Error(), "Lost persistent bitmaps during inactivation of node 'n': no room") || !k.closed {
		t.Error(err)
	}
	if len(k.kept) != 2 {
		t.Errorf("%+v", k.kept)
	}
}

func TestThawChecks(t *testing.T) {
	var g Graph
	k := &keeper{memory: memory{data: make([]byte, 1<<20)}, kept: []bitmap.Stored{{Name: "a", Granularity: 65536}}}
	n := keeping(t, &g, "n", k, Options{ReadOnly: true})
	if !n.Bitmap("a").ReadOnly() {
		t.Error("a bitmap of an image that cannot be written to can be changed")
	}
	k.kept = append(k.kept, bitmap.Stored{Name: "b", Granularity: 65536})
	if err := n.ThawBitmaps(); err == nil || !strings.Contains(err.Error(), "Unexpected bitmap 'b'") {
		t.Error(err)
	}
	k.kept = []bitmap.Stored{{Name: "a", Granularity: 65536, Inconsistent: true}}
	if err := n.ThawBitmaps(); err == nil || !strings.Contains(err.Error(), "Corruption") {
		t.Error(err)
	}
	if err := n.Unref(); err != nil {
		t.Error(err)
	}
}
