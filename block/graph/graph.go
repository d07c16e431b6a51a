package graph

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"

	"hv/block/bitmap"
)

// Options is what nodes of all drivers have.
type Options struct {
	ReadOnly     bool
	ForceShare   bool // share everything with everybody
	Direct       bool // around the host's page cache
	NoFlush      bool // flushes do nothing
	Discard      bool // discards are passed on
	DetectZeroes bool // data of zeroes alone is made without data
	UnmapZeroes  bool // and may give space back
}

// Spec is what a new node is to be.
type Spec struct {
	Name     string // generated if empty
	Driver   string
	Options  Options
	Children []Edge
	// Open makes the driver, with a handle for each of Children.
	Open func(children []*Child) (Driver, error)
	// Named, unless it is nil, hears the node's name before Open.
	Named func(name string)
	// Filename returns what the node is known by, once it is open.
	Filename func() string
	// Source is what the node was described by, for Node.Source.
	Source any
	// Place is the node's among others, if it was reserved for it with its name.
	Place int
}

// Edge is a child that a new node is to have.
type Edge struct {
	Name string
	Role Role
	Node *Node
}

// Graph is all nodes of a VM. It belongs to the control goroutine, but for requests.
type Graph struct {
	// OnThreshold is called when a node was written to beyond its threshold, by whoever wrote.
	OnThreshold func(n *Node, threshold, exceeded uint64)

	nodes []*Node // the oldest first
	next  int
	place int // of the newest node, or the last that was reserved
}

// Node is a place for data.
type Node struct {
	graph    *Graph
	name     string
	kind     string
	opt      Options
	filename func() string
	source   any
	owner    *Node // within whose description this node was described
	place    int
	driver   Driver
	events   Eventer    // the driver, if it wants to know
	through  Bottomless // the driver, if it is that
	limits   *limits    // nil for none
	children []*Child
	parents  []*Child // the newest first
	refs     int      // parents, and others that keep it
	monitor  bool
	highest  atomic.Int64 // end of the furthest write
	bitmaps  atomic.Pointer[[]*bitmap.Bitmap]
	// threshold is where writes are told of that end beyond it, once; 0 for nowhere.
	threshold atomic.Uint64

	perm, shared Perm
	permitted    bool
}

// maxName is how long names of nodes are at most.
const maxName = 31

// checkName returns an error for a name that users cannot give to a node.
func (g *Graph) checkName(name string) error {
	valid := name != "" && isLetter(name[0])
	for _, c := range []byte(name) {
		valid = valid && (isLetter(c) || c >= '0' && c <= '9' || c == '-' || c == '.' || c == '_')
	}
	switch {
	case !valid:
		return fmt.Errorf("Invalid node-name: '%s'", name)
	case len(name) > maxName:
		return errors.New("Node name too long")
	}
	return g.unique(name)
}

func (g *Graph) unique(name string) error {
	if g.Find(name) != nil {
		return fmt.Errorf("Duplicate nodes with node-name='%s'", name)
	}
	return nil
}

func isLetter(c byte) bool { return c|0x20 >= 'a' && c|0x20 <= 'z' }

// Find returns the node with a name, nil if there is none.
func (g *Graph) Find(name string) *Node {
	i := slices.IndexFunc(g.nodes, func(n *Node) bool { return n.name == name })
	if i < 0 {
		return nil
	}
	return g.nodes[i]
}

// Nodes returns all nodes, the newest first.
func (g *Graph) Nodes() []*Node {
	all := slices.Clone(g.nodes)
	slices.Reverse(all)
	return all
}

// Reserve returns the name that a node will have, generated if it is empty, and its place
// among others, for nodes whose children are found later than they are named.
func (g *Graph) Reserve(name string) (string, int, error) {
	if name == "" {
		name = fmt.Sprintf("#block%03d", g.next)
		g.next++
	} else if err := g.checkName(name); err != nil {
		return "", 0, err
	}
	g.place++
	return name, g.place, nil
}

// Open makes a node, with one reference, which is the caller's.
func (g *Graph) Open(s Spec) (*Node, error) {
	name, err := s.Name, error(nil)
	if s.Place == 0 {
		if name, s.Place, err = g.Reserve(name); err != nil {
			return nil, err
		}
	}
	if s.Named != nil {
		s.Named(name)
	}
	n := &Node{graph: g, name: name, kind: s.Driver, opt: s.Options, filename: s.Filename, source: s.Source, place: s.Place, refs: 1}
	if s.Options.ForceShare && !s.Options.ReadOnly {
		return nil, errors.New("force-share=on can only be used with read-only images")
	}
	var users []*Child
	for _, e := range s.Children {
		users = e.Node.fronts(users)
	}
	undrain := drain(users)
	for _, e := range s.Children {
		if len(e.Node.parents) == 0 && !e.Node.monitor {
			e.Node.owner = n
		}
		n.attach(e)
	}
	err = n.start(s.Open)
	undrain()
	if err != nil {
		return nil, errors.Join(err, n.detachAll())
	}
	if err := g.unique(name); err != nil { // it was taken since it was reserved
		return nil, errors.Join(err, n.driver.Close(), n.detachAll())
	}
	i, _ := slices.BinarySearchFunc(g.nodes, n.place, func(x *Node, place int) int { return x.place - place })
	g.nodes = slices.Insert(g.nodes, i, n)
	return n, nil
}

// start makes the driver, which may do with the children from the first moment on what it
// will have to without users.
func (n *Node) start(open func([]*Child) (Driver, error)) error {
	if err := n.refresh(); err != nil {
		return err
	}
	d, err := open(n.children)
	if err != nil {
		return err
	}
	n.driver = d
	n.events, _ = d.(Eventer)
	n.through, _ = d.(Bottomless)
	n.limits = limitsOf(d)
	if err := n.refresh(); err != nil {
		return errors.Join(err, d.Close())
	}
	if err := n.loadBitmaps(); err != nil {
		return errors.Join(err, d.Close())
	}
	return nil
}

// attach makes another node a child, with no permission for anything yet.
func (n *Node) attach(e Edge) *Child {
	c := &Child{name: e.Name, role: e.Role, parent: n, node: e.Node, shared: AllPerms}
	n.children = append(n.children, c)
	e.Node.adopt(c)
	e.Node.refs++
	return c
}

// detachAll lets all children go.
func (n *Node) detachAll() error {
	var errs []error
	for _, c := range n.children {
		errs = append(errs, c.Close())
	}
	n.children = nil
	return errors.Join(errs...)
}

// Ref keeps the node until Unref.
func (n *Node) Ref() { n.refs++ }

// Unref gives a reference up. With the last one the node is closed.
func (n *Node) Unref() error {
	if n.refs--; n.refs > 0 {
		return nil
	}
	n.graph.nodes = slices.DeleteFunc(n.graph.nodes, func(x *Node) bool { return x == n })
	return errors.Join(n.StoreBitmaps(), n.driver.Close(), n.detachAll())
}

// Own has the monitor keep the node, with a reference that was the caller's.
func (n *Node) Own() { n.monitor = true }

// Remove takes a node away that the monitor keeps and nobody uses.
func (g *Graph) Remove(name string) error {
	n := g.Find(name)
	switch {
	case n == nil:
		return fmt.Errorf("Failed to find node with node-name='%s'", name)
	case slices.ContainsFunc(n.parents, func(c *Child) bool { return c.parent == nil }):
		return fmt.Errorf("Node %s is in use", name)
	case n.Blocked() != nil:
		return n.Blocked()
	case !n.monitor:
		return fmt.Errorf("Node %s is not owned by the monitor", name)
	case n.refs > 1:
		return fmt.Errorf("Block device %s is in use", name)
	}
	n.monitor = false
	return n.Unref()
}

// Close gives up what the monitor keeps, parents before children.
func (g *Graph) Close() error {
	var errs []error
	for _, n := range g.Nodes() {
		if n.monitor {
			n.monitor = false
			errs = append(errs, n.Unref())
		}
	}
	return errors.Join(errs...)
}

// Name returns the node's name.
func (n *Node) Name() string { return n.name }

// Driver returns the name of its driver.
func (n *Node) Driver() string { return n.kind }

// Options returns the options it has.
func (n *Node) Options() Options { return n.opt }

// Children returns the children.
func (n *Node) Children() []*Child { return n.children }

// Source returns what the node was described by.
func (n *Node) Source() any { return n.source }

// SetSource notes another description.
func (n *Node) SetSource(s any) { n.source = s }

// Owner returns the node within whose description this one was described, and whose child
// it still is; nil for none.
func (n *Node) Owner() *Node { return n.owner }

// SetFilename has the node be known by something else.
func (n *Node) SetFilename(f func() string) { n.filename = f }

// As returns what a node's driver can do besides, if it can.
func As[T any](n *Node) (T, bool) {
	t, ok := n.driver.(T)
	return t, ok
}

// Filename returns what the node is known by.
func (n *Node) Filename() string { return n.filename() }

// Dir returns the folder that names of files in the node's data are relative to, with a
// slash at its end, or nothing for the current one.
func (n *Node) Dir() (string, error) {
	for _, c := range n.children {
		if c.name == "file" {
			return c.node.Dir()
		}
	}
	if len(n.children) > 0 || n.kind != "file" && n.kind != "host_device" {
		return "", fmt.Errorf("Cannot generate a base directory for %s nodes", n.kind)
	}
	name := n.Filename()
	return name[:strings.LastIndexByte(name, '/')+1], nil
}

// Resolve returns the name of a file that the node's data names, seen from the node's place.
func (n *Node) Resolve(name string) (string, error) {
	if name == "" || strings.HasPrefix(name, "/") || HasProtocol(name) {
		return name, nil
	}
	dir, err := n.Dir()
	return dir + name, err
}

// HasProtocol tells whether a file's name begins with how it is reached.
func HasProtocol(name string) bool {
	i := strings.IndexAny(name, ":/")
	return i >= 0 && name[i] == ':'
}

// Size returns the length in bytes.
func (n *Node) Size() int64 { return n.driver.Size() }

// Allocated returns how many bytes the node takes on the host, if that is known.
func (n *Node) Allocated() (int64, bool) {
	if a, ok := n.driver.(Allocater); ok {
		return a.Allocated(), true
	}
	var sum int64
	known := false
	for _, c := range n.children {
		if c.role != Backing {
			size, ok := c.node.Allocated()
			sum, known = sum+size, known || ok
		}
	}
	return sum, known
}

// Highest returns where the furthest write ended.
func (n *Node) Highest() int64 { return n.highest.Load() }

// SetThreshold has the first write told of that ends beyond an offset, if it is not 0.
func (n *Node) SetThreshold(offset uint64) { n.threshold.Store(offset) }

// Threshold returns what SetThreshold set, 0 once it was told of.
func (n *Node) Threshold() uint64 { return n.threshold.Load() }

// wrote notes a write, before it is done for who asked for it.
func (n *Node) wrote(off, size int64) {
	n.dirtied(off, size)
	end := off + size
	if t := n.threshold.Load(); t > 0 && uint64(end) > t && n.threshold.CompareAndSwap(t, 0) && n.graph.OnThreshold != nil {
		n.graph.OnThreshold(n, t, uint64(end)-t)
	}
	for {
		old := n.highest.Load()
		if end <= old || n.highest.CompareAndSwap(old, end) {
			return
		}
	}
}
