package graph

import "fmt"

// CanBack reports whether the node could have a backing node.
func (n *Node) CanBack() bool {
	_, ok := n.driver.(Backer)
	return ok
}

// BackingNamer returns what keeps the name of the backing file, nil if nothing does.
func (n *Node) BackingNamer() BackingNamer {
	b, _ := n.driver.(BackingNamer)
	return b
}

// Snapshotter returns what keeps snapshots of the node: its driver, or that of the node
// which it shows as it is; nil if none does.
func (n *Node) Snapshotter() Snapshotter {
	for {
		if s, ok := n.driver.(Snapshotter); ok {
			return s
		}
		if len(n.children) != 1 || n.children[0].role != Filtered {
			return nil
		}
		n = n.children[0].node
	}
}

// CanReopen reports whether the node could go over to other options.
func (n *Node) CanReopen() bool {
	_, ok := n.driver.(Reopener)
	return ok
}

// DrainBelow is Drain for the node and all that it stands on.
func (n *Node) DrainBelow() (undrain func()) {
	var fronts []*Child
	for _, x := range below(nil, n) {
		fronts = x.fronts(fronts)
	}
	return drain(fronts)
}

// Flush makes what was written to a node that is drained durable.
func (n *Node) Flush() error { return n.flush() }

// Reopen has a node that is drained go over to other options; own is the driver's own
// ones, nil for those that it has.
func (ch *Change) Reopen(n *Node, o Options, own any) error {
	r, ok := n.driver.(Reopener)
	if !ok {
		return fmt.Errorf("Block format '%s' used by node '%s' does not support reopening files", n.kind, n.name)
	}
	closing, opening := o.ReadOnly && !n.opt.ReadOnly, !o.ReadOnly && n.opt.ReadOnly
	if closing {
		if err := n.FreezeBitmaps(); err != nil {
			return err
		}
		ch.undo = append(ch.undo, func() { n.setReadOnlyBitmaps(false) })
	}
	commit, undo, err := r.Reopen(o, own)
	if err != nil {
		return err
	}
	ch.Later(commit, undo)
	if opening {
		ch.final = append(ch.final, n.ThawBitmaps)
	}
	ch.SetOptions(n, o)
	return nil
}

// AddChild gives a node one more child.
func (g *Graph) AddChild(parent, child *Node) error {
	d, ok := parent.driver.(Adopter)
	if !ok {
		return fmt.Errorf("The node %s does not support adding a child", parent.name)
	}
	if len(child.parents) > 0 {
		return fmt.Errorf("The node %s already has a parent", child.name)
	}
	name, role, err := d.NextChild()
	if err != nil {
		return err
	}
	defer parent.Drain()()
	defer child.Drain()()
	var ch Change
	c, err := ch.Attach(parent, Edge{name, role, child})
	if err != nil {
		return err
	}
	if err := ch.Commit(); err != nil {
		return err
	}
	d.AddChild(c)
	return nil
}

// RemoveChild takes a child from a node.
func (g *Graph) RemoveChild(parent *Node, c *Child) error {
	d, ok := parent.driver.(Adopter)
	if !ok {
		return fmt.Errorf("The node %s does not support removing a child", parent.name)
	}
	defer parent.Drain()()
	if err := d.RemoveChild(c); err != nil {
		return err
	}
	var ch Change
	ch.Detach(c)
	return ch.Commit()
}

// Below returns the node in a backing chain that comes after this one: what it filters, or
// else its backing node; nil for none.
func (n *Node) Below() *Node {
	for _, c := range n.children {
		if c.role == Backing || c.role == Filtered && n.IsFilter() {
			return c.node
		}
	}
	return nil
}

// Fronts returns the holds of the front ends on the node itself.
func (n *Node) Fronts() []*Child {
	var list []*Child
	for _, c := range n.parents {
		if c.parent == nil {
			list = append(list, c)
		}
	}
	return list
}
