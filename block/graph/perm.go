package graph

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Perm is a set of things that a user of a node does or lets others do. The numbers are
// those of the bytes that hostfile locks.
type Perm uint8

// The permissions.
const (
	ConsistentRead Perm = 1 << iota // reads that make sense
	Write
	WriteUnchanged // writes that do not change what is read
	Resize
	AllPerms = ConsistentRead | Write | WriteUnchanged | Resize
)

func (p Perm) String() string {
	var names []string
	for i, name := range []string{"consistent read", "write", "write unchanged", "resize"} {
		if p&(1<<i) != 0 {
			names = append(names, name)
		}
	}
	return strings.Join(names, ", ")
}

// Role is what a child is to its parent.
type Role uint8

// The roles.
const (
	Filtered Role = iota // the parent is it, as it is
	Part                 // the parent is a part of it
	Storage              // the parent keeps data and metadata of its own in it
	Backing              // what the parent does not have is read there
	Copy                 // the parent's data is there, and elsewhere
)

// ErrReadOnly is a node that nobody may write to.
var ErrReadOnly = errors.New("Block node is read-only")

// wants returns what a node whose users do perm and share shared does with a child.
func (r Role) wants(n *Node, perm, shared Perm) (Perm, Perm) {
	switch r {
	case Part:
		shared &^= Resize
	case Storage:
		if !n.opt.ReadOnly {
			perm |= Write | Resize
		}
		perm |= ConsistentRead
		shared &^= Write | Resize
	case Backing:
		perm &= ConsistentRead
		if shared&Write != 0 {
			shared = AllPerms
		} else {
			shared = ConsistentRead | WriteUnchanged
		}
	}
	if n.opt.ForceShare {
		shared = AllPerms
	}
	return perm, shared
}

// wants returns what a node whose users do perm and share shared does with a child.
func (c *Child) wants(perm, shared Perm) (Perm, Perm) {
	perm, shared = c.role.wants(c.parent, perm, shared)
	if d, ok := c.parent.driver.(Demander); ok {
		perm, shared = d.Demand(c, perm, shared)
	}
	return perm, shared
}

// total returns what all users of the node do, and what all of them share.
func (n *Node) total() (perm, shared Perm) {
	shared = AllPerms
	for _, c := range n.parents {
		perm |= c.perm
		shared &= c.shared
	}
	return perm, shared
}

// conflict returns an error if what a user does is not shared by another.
func (n *Node) conflict() error {
	for _, a := range n.parents {
		for _, b := range n.parents {
			if bad := b.perm &^ a.shared; a != b && bad != 0 {
				return fmt.Errorf("Permission conflict on node '%s': permissions '%s' are both required by %s (uses node '%s' as '%s' child)"+
					" and unshared by %s (uses node '%s' as '%s' child).", n.name, bad, b.User(), n.name, b.name, a.User(), n.name, a.name)
			}
		}
	}
	return nil
}

// below appends nodes and all that they stand on to seen, children before parents.
func below(seen []*Node, roots ...*Node) []*Node {
	for _, n := range roots {
		if slices.Contains(seen, n) {
			continue
		}
		for _, c := range n.children {
			seen = below(seen, c.node)
		}
		seen = append(seen, n)
	}
	return seen
}

// refresh has a node and what is below it know what its users do now; if that cannot be,
// everything is as before.
func (n *Node) refresh() error {
	var ch Change
	if err := ch.refresh(n); err != nil {
		ch.rollback()
		return err
	}
	return nil
}

// refresh has nodes and what is below them know what their users do now.
func (ch *Change) refresh(roots ...*Node) error {
	all := below(nil, roots...)
	for i := range all {
		if err := ch.update(all[len(all)-1-i]); err != nil {
			return err
		}
	}
	return nil
}

// update has a node, whose parents know what they want, and its children know it.
func (ch *Change) update(n *Node) error {
	if err := n.conflict(); err != nil {
		return err
	}
	perm, shared := n.total()
	if n.opt.ReadOnly && perm&(Write|WriteUnchanged) != 0 {
		if slices.Contains(ch.writable, n) {
			return fmt.Errorf("Read-only block node '%s' cannot support read-write users", n.name)
		}
		return ErrReadOnly
	}
	if err := n.permit(ch, perm, shared); err != nil {
		return err
	}
	for _, c := range n.children {
		p, s := c.wants(perm, shared)
		oldPerm, oldShared := c.perm, c.shared
		if p == oldPerm && s == oldShared {
			continue // requests that the driver makes on its own may look at them
		}
		c.perm, c.shared = p, s
		ch.undo = append(ch.undo, func() { c.perm, c.shared = oldPerm, oldShared })
	}
	return nil
}

// permit tells the driver, if it wants to know, what changes.
func (n *Node) permit(ch *Change, perm, shared Perm) error {
	p, ok := n.driver.(Permitter)
	if !ok || n.permitted && n.perm == perm && n.shared == shared {
		return nil
	}
	oldPerm, oldShared, was := n.perm, n.shared, n.permitted
	if err := p.Permit(perm, shared); err != nil {
		return err
	}
	n.perm, n.shared, n.permitted = perm, shared, true
	ch.undo = append(ch.undo, func() {
		n.perm, n.shared, n.permitted = oldPerm, oldShared, was
		if !was {
			oldPerm, oldShared = 0, AllPerms
		}
		// Less than now, which was there before: it is to be had.
		_ = p.Permit(oldPerm, oldShared)
	})
	return nil
}
