package graph

import (
	"strings"
	"testing"
	"time"
)

// cow is a driver with a backing node.
type cow struct {
	memory
	backing *Child
}

func (c *cow) SetBacking(b *Child) { c.backing = b }

// image makes a node that may stand on another one.
func image(t *testing.T, g *Graph, name string, o Options) (*Node, *cow) {
	t.Helper()
	d := &cow{memory: memory{data: make([]byte, 1<<16)}}
	n, err := g.Open(Spec{Name: name, Driver: "cow", Options: o, Filename: func() string { return name },
		Open: func([]*Child) (Driver, error) { return d, nil }})
	if err != nil {
		t.Fatal(err)
	}
	return n, d
}

// shape shows all nodes with who uses them, and how many references they have.
func shape(g *Graph) string {
	var s []string
	for _, n := range g.nodes {
		one := n.name + ":"
		for _, c := range n.parents {
			if c.parent != nil {
				one += " " + c.parent.name
			} else {
				one += " " + c.who()
			}
			one += "(" + c.perm.String() + ")"
		}
		s = append(s, one)
	}
	return strings.Join(s, "; ")
}

func TestAppend(t *testing.T) {
	var g Graph
	base, _ := image(t, &g, "base", Options{})
	top, driver := image(t, &g, "top", Options{})
	disk, err := use(base, "d", ConsistentRead|Write, ConsistentRead)
	wants(t, err, "")
	before := shape(&g)
	wants(t, g.Append(top, base), "")
	if got := shape(&g); got != "base: top(consistent read); top: block device 'd'(consistent read, write)" || driver.backing.Node() != base || disk.Node() != top {
		t.Error(got)
	}
	wants(t, g.Append(base, top), "Making 'top' a backing child of 'base' would create a cycle")
	wants(t, g.Unappend(top, base), "")
	if got := shape(&g); got != before || driver.backing != nil || disk.Node() != base {
		t.Error(got)
	}
	// One that cannot be is not.
	bad, driver := image(t, &g, "bad", Options{ReadOnly: true})
	before = shape(&g)
	wants(t, g.Append(bad, base), "Block node is read-only")
	if got := shape(&g); got != before || driver.backing != nil {
		t.Errorf("%s, not %s", got, before)
	}
	other, _ := leaf(t, &g, "other", Options{})
	wants(t, g.Append(other, base), "Driver 'mem' of node 'other' does not support backing files")
	wants(t, disk.Close(), "")
	for _, n := range []*Node{base, top, bad, other} {
		wants(t, n.Unref(), "")
	}
	if len(g.nodes) != 0 {
		t.Error(shape(&g))
	}
}

// TestAppendOrder puts a node over one that is used by two, one of them below the other.
func TestAppendOrder(t *testing.T) {
	var g Graph
	base, _ := image(t, &g, "base", Options{})
	filter, err := over(&g, "filter", Filtered, Options{}, base)
	wants(t, err, "")
	a, err := use(filter, "a", ConsistentRead|Write, AllPerms)
	wants(t, err, "")
	b, err := use(base, "b", ConsistentRead, AllPerms)
	wants(t, err, "")
	top, _ := image(t, &g, "top", Options{})
	wants(t, g.Append(top, base), "")
	if a.Node() != filter || b.Node() != top || filter.Child("file").Node() != top || filter.IsFilter() != true || top.IsFilter() {
		t.Error(shape(&g))
	}
	// Writes are wanted of what stands in the place of base now, not of base.
	if perm, _ := base.total(); perm&Write != 0 {
		t.Errorf("base is to be written: %s", perm)
	}
}

func TestOptionsChange(t *testing.T) {
	var g Graph
	below, m := leaf(t, &g, "below", Options{})
	n, err := over(&g, "n", Storage, Options{ReadOnly: true}, below)
	wants(t, err, "")
	if m.perm&Write != 0 {
		t.Error(m.perm)
	}
	set := func(ro bool) error {
		defer n.Drain()()
		var ch Change
		o := n.Options()
		o.ReadOnly = ro
		ch.SetOptions(n, o)
		return ch.Commit()
	}
	wants(t, set(false), "")
	if m.perm&Write == 0 {
		t.Error(m.perm)
	}
	disk, err := use(n, "d", Write, AllPerms)
	wants(t, err, "")
	wants(t, set(true), "Read-only block node 'n' cannot support read-write users")
	if n.Options().ReadOnly || m.perm&Write == 0 {
		t.Error(n.Options(), m.perm)
	}
	wants(t, disk.Close(), "")
	m.refuse = Resize
	wants(t, set(true), "")
	wants(t, set(false), "refused")
	if !n.Options().ReadOnly {
		t.Error("a node is writable whose child is not")
	}
}

// TestMove exchanges a child for another.
func TestMove(t *testing.T) {
	var g Graph
	a, ma := leaf(t, &g, "a", Options{})
	b, mb := leaf(t, &g, "b", Options{})
	n, err := over(&g, "n", Filtered, Options{}, a)
	wants(t, err, "")
	disk, err := use(n, "d", ConsistentRead|Write, ConsistentRead)
	wants(t, err, "")
	wants(t, a.Unref(), "")
	move := func(to *Node) error {
		defer n.Drain()()
		var ch Change
		if err := ch.Move(n.Child("file"), to); err != nil {
			return err
		}
		return ch.Commit()
	}
	wants(t, move(n), "Making 'n' a file child of 'n' would create a cycle")
	mb.refuse = Write
	wants(t, move(b), "refused")
	if n.Child("file").Node() != a || ma.closed || ma.perm != ConsistentRead|Write {
		t.Error(shape(&g))
	}
	mb.refuse = 0
	wants(t, move(b), "")
	if n.Child("file").Node() != b || !ma.closed || mb.perm != ConsistentRead|Write {
		t.Error(shape(&g))
	}
	wants(t, disk.Writev(0, [][]byte{{1}}, 0), "")
	if mb.data[0] != 1 {
		t.Error("written elsewhere")
	}
}

// TestNestedDrains has a request wait for the last of them.
func TestNestedDrains(t *testing.T) {
	var g Graph
	n, m := leaf(t, &g, "n", Options{})
	disk, err := use(n, "d", ConsistentRead, AllPerms)
	wants(t, err, "")
	m.hold, m.entered = make(chan struct{}), make(chan struct{}, 1)
	close(m.hold)
	first, second := n.Drain(), n.Drain()
	done := make(chan error)
	go func() { done <- disk.Readv(0, [][]byte{make([]byte, 1)}) }()
	first()
	select {
	case <-m.entered:
		t.Error("a request came through one of two drains")
	case <-time.After(20 * time.Millisecond):
	}
	second()
	wants(t, <-done, "")
}
