package graph

import "slices"

// StatusAbove returns what is read from off on, size bytes at most, whichever node of a
// chain has it. depth counts from 1 for the node itself; 0 is no node at all.
func (c *Child) StatusAbove(off, size int64) (e Extent, depth int, err error) {
	c.enter()
	defer c.leave()
	if err := c.node.check(off, size); err != nil || size == 0 {
		return Extent{}, 0, err
	}
	for n := c.node; ; {
		depth++
		if off >= n.driver.Size() {
			// Zeroes after the end of a node are as good as its own.
			return Extent{N: size, Status: Zero | Allocated}, depth, nil
		}
		e, err = n.status(off, min(size, n.driver.Size()-off))
		if err != nil || e.Status&Allocated != 0 {
			return e, depth, err
		}
		size = e.N
		below := n.beneath()
		if below == nil {
			return Extent{N: size, Status: Zero}, 0, nil
		}
		n = below
	}
}

// beneath returns the node that decides where n does not.
func (n *Node) beneath() *Node {
	for _, c := range n.children {
		if c.role == Backing || c.role == Filtered {
			return c.node
		}
	}
	return nil
}

// status asks a node, and the one that has its data for more.
func (n *Node) status(off, size int64) (Extent, error) {
	s, ok := n.driver.(Statuser)
	if !ok {
		return Extent{N: size, Status: Data | Allocated}, nil
	}
	e, err := s.BlockStatus(off, size)
	if err != nil || e.Status&Recurse == 0 || e.Child == nil {
		return e, err
	}
	child := e.Child.node
	if e.Offset >= child.driver.Size() {
		e.Status |= Zero
		return e, nil
	}
	below, err := child.status(e.Offset, min(e.N, child.driver.Size()-e.Offset))
	if e.Status&Data != 0 {
		below.Status = e.Status | below.Status&Zero
	}
	below.Status |= e.Status & Allocated
	return below, err
}

// HasFrontEnd reports whether something makes requests of its own that reach the node.
func (n *Node) HasFrontEnd() bool {
	return slices.ContainsFunc(n.fronts(nil), func(c *Child) bool { return c.quiet != nil })
}
