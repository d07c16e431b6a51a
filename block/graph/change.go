package graph

import (
	"errors"
	"fmt"
	"slices"
)

// Change is changes of the graph that are made together: Commit makes them final once all
// users of the nodes agree with them, otherwise all is as before. The nodes must be
// drained, and stay so until then.
type Change struct {
	undo     []func()
	final    []func() error
	touched  []*Node
	writable []*Node // that become read-only
}

// rollback takes everything back, the last first.
func (ch *Change) rollback() {
	for _, f := range slices.Backward(ch.undo) {
		f()
	}
	ch.undo = nil
}

// Later has f called when the change is final, or undo if it will not be.
func (ch *Change) Later(f func() error, undo func()) {
	ch.final = append(ch.final, f)
	ch.undo = append(ch.undo, undo)
}

// Commit makes the changes final, or takes them back. An error of the former kind can only
// be that of a node which could not be closed.
func (ch *Change) Commit() error {
	if err := ch.refresh(ch.touched...); err != nil {
		ch.Rollback()
		return err
	}
	ch.undo = nil
	var errs []error
	for _, f := range ch.final {
		errs = append(errs, f())
	}
	return errors.Join(errs...)
}

// Rollback takes the changes back that were not committed.
func (ch *Change) Rollback() { ch.rollback() }

// Reaches reports whether n is other or stands on it.
func (n *Node) Reaches(other *Node) bool { return slices.Contains(below(nil, n), other) }

// move has a hold be one on another node.
func (ch *Change) move(c *Child, to *Node) {
	from := c.node
	ch.disown(c)
	back := from.leave(c)
	c.node = to
	to.adopt(c)
	to.refs++
	ch.Later(from.Unref, func() {
		to.drop(c)
		to.refs--
		c.node = from
		back()
	})
	ch.touched = append(ch.touched, from, to)
}

// leave is drop; back puts the user where it was on the list.
func (n *Node) leave(c *Child) (back func()) {
	at := slices.Index(n.parents, c)
	n.drop(c)
	return func() { n.parents = slices.Insert(n.parents, at, c) }
}

// disown has the node that is held no longer be a part of its holder.
func (ch *Change) disown(c *Child) {
	if n := c.node; c.parent != nil && n.owner == c.parent {
		n.owner = nil
		ch.undo = append(ch.undo, func() { n.owner = c.parent })
	}
}

// Move has a child of a node be another node.
func (ch *Change) Move(c *Child, to *Node) error {
	if c.parent != nil && to.Reaches(c.parent) {
		return cycle(to, c.name, c.parent)
	}
	ch.move(c, to)
	return nil
}

func cycle(n *Node, name string, parent *Node) error {
	return fmt.Errorf("Making '%s' a %s child of '%s' would create a cycle", n.name, name, parent.name)
}

// Replace has all users of a node use another one, but for those which that stands on.
func (ch *Change) Replace(from, to *Node) {
	under := below(nil, to)
	for _, c := range slices.Backward(slices.Clone(from.parents)) {
		if c.parent == nil || !slices.Contains(under, c.parent) {
			ch.move(c, to)
		}
	}
	ch.touched = append(ch.touched, from, to)
}

// Attach makes a node a child of another one. Its driver is told by whoever attaches.
func (ch *Change) Attach(parent *Node, e Edge) (*Child, error) {
	if e.Node.Reaches(parent) {
		return nil, cycle(e.Node, e.Name, parent)
	}
	c := parent.attach(e)
	ch.undo = append(ch.undo, func() {
		parent.children = without(parent.children, c)
		e.Node.drop(c)
		e.Node.refs--
	})
	ch.touched = append(ch.touched, parent)
	return c, nil
}

// Detach lets a child go. Its parent's driver must no longer use it.
func (ch *Change) Detach(c *Child) {
	parent, node := c.parent, c.node
	ch.disown(c)
	at := slices.Index(parent.children, c)
	parent.children = without(parent.children, c)
	back := node.leave(c)
	ch.Later(node.Unref, func() {
		parent.children = slices.Insert(parent.children, at, c)
		back()
	})
	ch.touched = append(ch.touched, parent, node)
}

func without(list []*Child, c *Child) []*Child {
	return slices.DeleteFunc(slices.Clone(list), func(x *Child) bool { return x == c })
}

// SetOptions gives a node other options.
func (ch *Change) SetOptions(n *Node, o Options) {
	old := n.opt
	n.opt = o
	if o.ReadOnly && !old.ReadOnly {
		ch.writable = append(ch.writable, n)
	}
	ch.undo = append(ch.undo, func() { n.opt = old })
	ch.touched = append(ch.touched, n)
}

// SetBacking makes a node another one's backing node, in the place of the one that it has;
// nil for none.
func (ch *Change) SetBacking(n, to *Node) error {
	b, ok := n.driver.(Backer)
	if !ok {
		return fmt.Errorf("Driver '%s' of node '%s' does not support backing files", n.kind, n.name)
	}
	old := n.Backing()
	switch {
	case old == nil && to == nil:
		return nil
	case old != nil && to != nil:
		return ch.Move(old, to)
	case to == nil:
		b.SetBacking(nil)
		ch.undo = append(ch.undo, func() { b.SetBacking(old) })
		ch.Detach(old)
		return nil
	}
	c, err := ch.Attach(n, Edge{"backing", Backing, to})
	if err == nil {
		b.SetBacking(c)
		ch.undo = append(ch.undo, func() { b.SetBacking(nil) })
	}
	return err
}

// Append puts a node without backing over another one, in whose place it comes.
func (g *Graph) Append(overlay, n *Node) error {
	defer n.Drain()()
	defer overlay.Drain()()
	var ch Change
	if err := ch.SetBacking(overlay, n); err != nil {
		return err
	}
	ch.Replace(n, overlay)
	return ch.Commit()
}

// Unappend takes back what Append did.
func (g *Graph) Unappend(overlay, n *Node) error {
	defer overlay.Drain()()
	var ch Change
	if err := ch.SetBacking(overlay, nil); err != nil {
		return err
	}
	ch.Replace(overlay, n)
	return ch.Commit()
}

// Child returns the child that a node has under a name, nil if there is none.
func (n *Node) Child(name string) *Child {
	i := slices.IndexFunc(n.children, func(c *Child) bool { return c.name == name })
	if i < 0 {
		return nil
	}
	return n.children[i]
}

// Backing returns the hold on the backing node, nil if there is none.
func (n *Node) Backing() *Child {
	i := slices.IndexFunc(n.children, func(c *Child) bool { return c.role == Backing })
	if i < 0 {
		return nil
	}
	return n.children[i]
}

// IsFilter reports whether the node shows another one as it is, and is not one that could
// be given an offset.
func (n *Node) IsFilter() bool {
	return n.kind != "raw" && slices.ContainsFunc(n.children, func(c *Child) bool { return c.role == Filtered })
}

// Blocked returns an error if the node is another one's backing node, with which little may
// be done on its own.
func (n *Node) Blocked() error {
	for _, c := range n.parents {
		if c.role == Backing {
			return fmt.Errorf("Node '%s' is busy: node is used as backing hd of '%s'", n.name, c.parent.name)
		}
	}
	return nil
}

// IsRoot reports whether no other node stands on the node.
func (n *Node) IsRoot() bool {
	return !slices.ContainsFunc(n.parents, func(c *Child) bool { return c.parent != nil })
}

// Read reports whether somebody reads the node and relies on what is there.
func (n *Node) Read() bool {
	perm, _ := n.total()
	return perm&ConsistentRead != 0
}
