package graph

import (
	"errors"
	"slices"
	"sync"
)

// Front is a front end that makes requests on its own.
type Front interface {
	// Quiesce returns once no request is under way, and no new one begins.
	Quiesce()
	// Unquiesce lets requests begin again.
	Unquiesce()
	// Resized tells that the node may have another size.
	Resized()
}

// Child is the hold that a node, or a front end, has on a node.
type Child struct {
	name   string
	role   Role
	parent *Node         // nil for a front end
	who    func() string // a front end's name
	quiet  Front         // a front end's
	node   *Node

	perm, shared Perm

	limit Limiter // of a front end's requests, nil for none

	// gate is held by each request of a front end, and by whoever drains.
	gate   sync.RWMutex
	drains int // how many keep a front end quiet
}

// Use gives a front end a hold on the node, for what perm says, and letting others do
// what shared says. who names it in errors.
func (n *Node) Use(who func() string, q Front, perm, shared Perm) (*Child, error) {
	c := &Child{name: "root", who: who, quiet: q, node: n, perm: perm, shared: shared}
	refresh := n.conflict
	if n.changedBy(perm, shared) {
		defer n.Drain()()
		refresh = n.refresh
	}
	n.adopt(c)
	if err := refresh(); err != nil {
		n.drop(c)
		return nil, err
	}
	n.refs++
	return c, nil
}

// adopt puts a user on the list, before those that came earlier.
func (n *Node) adopt(c *Child) { n.parents = slices.Insert(n.parents, 0, c) }

// changedBy reports whether one more user changes what is done with the node. Otherwise
// requests may go on while that comes or goes.
func (n *Node) changedBy(perm, shared Perm) bool {
	p, s := n.total()
	return perm&^p != 0 || s&^shared != 0
}

// drop takes a user off the list.
func (n *Node) drop(c *Child) {
	n.parents = slices.DeleteFunc(n.parents, func(x *Child) bool { return x == c })
}

// SetPerm changes what a front end does and shares.
func (c *Child) SetPerm(perm, shared Perm) error {
	oldPerm, oldShared := c.perm, c.shared
	defer c.node.Drain()()
	c.perm, c.shared = perm, shared
	if err := c.node.refresh(); err != nil {
		c.perm, c.shared = oldPerm, oldShared
		return err
	}
	return nil
}

// Perms returns what the holder does, and what it shares.
func (c *Child) Perms() (perm, shared Perm) { return c.perm, c.shared }

// Resize changes the size of the node, and tells all front ends.
func (n *Node) Resize(size int64) error {
	c, err := n.Use(func() string { return "an unnamed block device" }, nil, Resize, AllPerms)
	if err != nil {
		return err
	}
	undrain := n.Drain()
	err = n.truncate(size)
	undrain()
	for _, f := range n.fronts(nil) {
		if f.quiet != nil {
			f.quiet.Resized()
		}
	}
	return errors.Join(err, c.Close())
}

// Close gives the hold up. No request of its may be under way.
func (c *Child) Close() error {
	n := c.node
	n.drop(c)
	var err error
	if n.changedBy(c.perm, c.shared) {
		undrain := n.Drain()
		// Less is asked of the node than before.
		err = n.refresh()
		undrain()
	}
	return errors.Join(err, n.Unref())
}

// Node returns the node that is held.
func (c *Child) Node() *Node { return c.node }

// Parent returns the node that holds, nil for a front end.
func (c *Child) Parent() *Node { return c.parent }

// Name returns what the holder calls the node.
func (c *Child) Name() string { return c.name }

// Role returns what the node is to its holder.
func (c *Child) Role() Role { return c.role }

// User names the holder.
func (c *Child) User() string {
	if c.parent != nil {
		return "node '" + c.parent.name + "'"
	}
	return c.who()
}

// fronts returns the holds of all front ends whose requests may reach a node.
func (n *Node) fronts(seen []*Child) []*Child {
	for _, c := range n.parents {
		switch {
		case c.parent != nil:
			seen = c.parent.fronts(seen)
		case !slices.Contains(seen, c):
			seen = append(seen, c)
		}
	}
	return seen
}

// Drain returns once no request that could reach the node is under way, and keeps new
// ones waiting until the function is called that it returns. The graph may be changed in
// between. Drains nest; nobody may wait meanwhile for a front end.
func (n *Node) Drain() (undrain func()) { return drain(n.fronts(nil)) }

func drain(fronts []*Child) (undrain func()) {
	drop := lift(fronts)
	for _, c := range fronts {
		if c.drains++; c.drains > 1 {
			continue
		}
		if c.quiet != nil {
			c.quiet.Quiesce()
		}
		c.gate.Lock()
	}
	return func() {
		for _, c := range fronts {
			if c.drains--; c.drains > 0 {
				continue
			}
			c.gate.Unlock()
			if c.quiet != nil {
				c.quiet.Unquiesce()
			}
		}
		drop()
	}
}

// lift has no request wait for a limit that comes from a front end, until drop is called.
func lift(fronts []*Child) (drop func()) {
	var lifted []Lifter
	for _, c := range fronts {
		if c.limit != nil {
			lifted = append(lifted, c.limit)
		}
		lifted = c.node.lifters(lifted)
	}
	for _, l := range lifted {
		l.Lift()
	}
	return func() {
		for _, l := range lifted {
			l.Drop()
		}
	}
}

// lifters returns the drivers that hold requests back, of a node and what is below it.
func (n *Node) lifters(all []Lifter) []Lifter {
	if l, ok := n.driver.(Lifter); ok && !slices.Contains(all, l) {
		all = append(all, l)
	}
	for _, c := range n.children {
		all = c.node.lifters(all)
	}
	return all
}

// Lift has none of a front end's requests wait for limits, its own and those below, until
// drop is called.
func (c *Child) Lift() (drop func()) { return lift([]*Child{c}) }

// Lifters returns who holds requests back below a front end, until that is drained.
func (c *Child) Lifters() []Lifter { return c.node.lifters(nil) }

// SetLimiter has a front end's requests that read or write wait for admission. None may be
// under way.
func (c *Child) SetLimiter(l Limiter) { c.limit = l }

// wait waits for admission.
func (c *Child) wait(isWrite bool, size int64) {
	if c.limit != nil {
		c.limit.Wait(isWrite, size)
	}
}

// enter begins a request.
func (c *Child) enter() {
	if c.parent == nil {
		c.gate.RLock()
	}
}

func (c *Child) leave() {
	if c.parent == nil {
		c.gate.RUnlock()
	}
}
