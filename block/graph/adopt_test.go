package graph

import (
	"errors"
	"fmt"
	"slices"
	"testing"
)

// crowd is a driver whose children come and go.
type crowd struct {
	memory
	children []*Child
	full     bool
}

func (d *crowd) NextChild() (string, Role, error) {
	if d.full {
		return "", 0, errors.New("full")
	}
	return fmt.Sprintf("children.%d", len(d.children)), Storage, nil
}

func (d *crowd) AddChild(c *Child) { d.children = append(d.children, c) }

func (d *crowd) RemoveChild(c *Child) error {
	if len(d.children) == 1 {
		return errors.New("the last one")
	}
	d.children = slices.DeleteFunc(d.children, func(x *Child) bool { return x == c })
	return nil
}

// TestAdoption gives a node children, and takes them away again.
func TestAdoption(t *testing.T) {
	var g Graph
	d := &crowd{memory: memory{data: make([]byte, 1<<16)}}
	parent, err := g.Open(Spec{Name: "parent", Driver: "crowd", Filename: func() string { return "" }, Open: func([]*Child) (Driver, error) { return d, nil }})
	wants(t, err, "")
	a, ma := leaf(t, &g, "a", Options{})
	b, _ := leaf(t, &g, "b", Options{})
	ro, _ := leaf(t, &g, "ro", Options{ReadOnly: true})
	wants(t, g.AddChild(a, b), "The node a does not support adding a child")
	wants(t, g.AddChild(parent, a), "")
	wants(t, g.AddChild(parent, a), "The node a already has a parent")
	wants(t, g.AddChild(parent, b), "")
	wants(t, g.AddChild(parent, ro), "Block node is read-only")
	wants(t, g.AddChild(parent, parent), "Making 'parent' a children.2 child of 'parent' would create a cycle")
	if len(d.children) != 2 || parent.Child("children.0").Node() != a || parent.Child("children.2") != nil || ma.perm&Write == 0 || len(ro.parents) != 0 {
		t.Error(shape(&g))
	}
	wants(t, a.Unref(), "")
	other, _ := over(&g, "other", Filtered, Options{}, ro)
	wants(t, g.RemoveChild(other, other.Child("file")), "The node other does not support removing a child")
	wants(t, g.RemoveChild(parent, parent.Child("children.0")), "")
	if !ma.closed || g.Find("a") != nil || parent.Child("children.0") != nil {
		t.Error(shape(&g))
	}
	wants(t, g.RemoveChild(parent, parent.Child("children.1")), "the last one")
	d.full = true
	extra, _ := leaf(t, &g, "extra", Options{})
	wants(t, g.AddChild(parent, extra), "full")
}

// TestBelow follows a chain of images with a filter in it.
func TestBelow(t *testing.T) {
	var g Graph
	base, _ := image(t, &g, "base", Options{})
	filter, err := over(&g, "filter", Filtered, Options{}, base)
	wants(t, err, "")
	top, _ := image(t, &g, "top", Options{})
	wants(t, g.Append(top, filter), "")
	if top.Below() != filter || filter.Below() != base || base.Below() != nil || top.Backing().Node() != filter {
		t.Error(shape(&g))
	}
	if !top.IsRoot() || base.IsRoot() || filter.Blocked() == nil || base.Blocked() != nil {
		t.Error("who stands on whom is wrong")
	}
	wants(t, filter.Blocked(), "Node 'filter' is busy: node is used as backing hd of 'top'")
	front, err := use(top, "d", ConsistentRead, AllPerms)
	wants(t, err, "")
	if !top.Read() || len(top.Fronts()) != 1 || len(base.Fronts()) != 0 || front.User() != "block device 'd'" {
		t.Error(shape(&g))
	}
	undrain := base.DrainBelow()
	if front.drains != 1 {
		t.Errorf("%d drains", front.drains)
	}
	undrain()
}

// TestReopenRefused has a change of several nodes be taken back when the last refuses.
func TestReopenRefused(t *testing.T) {
	var g Graph
	a, _ := leaf(t, &g, "a", Options{})
	wants(t, (&Change{}).Reopen(a, Options{}, nil), "Block format 'mem' used by node 'a' does not support reopening files")
	if a.CanReopen() {
		t.Error("it cannot be reopened")
	}
	d := &reopened{}
	n, err := g.Open(Spec{Name: "n", Driver: "re", Filename: func() string { return "" }, Open: func([]*Child) (Driver, error) { return d, nil }})
	wants(t, err, "")
	undrain := n.Drain()
	var ch Change
	wants(t, ch.Reopen(n, Options{ReadOnly: true}, 7), "")
	if !n.Options().ReadOnly || d.own != 7 {
		t.Error(n.Options(), d.own)
	}
	ch.Rollback()
	if n.Options().ReadOnly || d.log != "undo " {
		t.Error(n.Options(), d.log)
	}
	ch = Change{}
	wants(t, ch.Reopen(n, Options{NoFlush: true}, nil), "")
	wants(t, ch.Commit(), "")
	undrain()
	if !n.Options().NoFlush || d.log != "undo commit " {
		t.Error(n.Options(), d.log)
	}
	d.fails = true
	wants(t, (&Change{}).Reopen(n, Options{}, nil), "not so")
}

// reopened is a driver that notes how it is reopened.
type reopened struct {
	memory
	own   any
	log   string
	fails bool
}

func (d *reopened) Reopen(_ Options, own any) (commit func() error, undo func(), err error) {
	if d.fails {
		return nil, nil, errors.New("not so")
	}
	d.own = own
	return func() error { d.log += "commit "; return nil }, func() { d.log += "undo " }, nil
}
