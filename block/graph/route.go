package graph

import "hv/block/hostfile"

// Where says in what a Finder found a range.
type Where uint8

// The places.
const (
	Unknown Where = iota // or more than one
	InData
	InBelow
	InNothing // it reads as zeroes
)

// Spot is where a range lies.
type Spot struct {
	Where  Where
	Offset int64 // in the data
	// Head and Tail are how many zeroes are to be written before and after what is written.
	Head, Tail int64
	// Lease and New are what Left has to know.
	Lease uint32
	New   any
}

// Finder is a driver whose data lies in a child, in pieces, and that may know where.
type Finder interface {
	// Places returns the child that has the data, nil if that has to hear of each request, and
	// the one that is read where there is no data, which may be nil.
	Places() (data, below *Child)
	// Find tells where a range lies, without waiting for anything. For a write that is where it
	// may be written. What was found in the data stays there until Left.
	Find(isWrite bool, off, n int64) Spot
	// Left ends a request to what was found in the data, which may have failed. Unless it is to
	// wait it may have to be called again: it returns false then.
	Left(s Spot, failed, wait bool) (bool, error)
}

// Route is how requests of a front end may go past the graph to host files. It holds until
// the node is drained.
type Route struct {
	// Mapping leads to the file, or to the node of a driver that knows where its data is.
	Mapping
	node   *Node
	finder Finder // nil if all of the node lies in the file
	data   Mapping
	below  *Route
	// through tells cheaply of what is read below; nil if nobody does.
	through Bottomless
}

// Hop is where one request goes by a route.
type Hop struct {
	File   *hostfile.File // nil for zeroes that are read
	Offset int64
	// Head and Tail are how many zeroes are to be written before and after the data.
	Head, Tail int64

	route   *Route
	spot    Spot
	isWrite bool
	off, n  int64 // of the request
}

// Route returns how requests may go to the front end's node; nil if all have to go through the
// graph.
func (c *Child) Route() *Route {
	c.enter()
	defer c.leave()
	return c.node.Route()
}

// Route returns how requests may go to the node; nil if all have to go through the graph.
func (n *Node) Route() *Route {
	m, last, whole := n.mapping()
	if whole {
		return &Route{Mapping: m, node: n}
	}
	f, ok := last.driver.(Finder)
	if !ok || last.opt.DetectZeroes || last.limits != nil {
		return nil
	}
	data, below := f.Places()
	if data == nil {
		return nil
	}
	r := &Route{Mapping: m, node: n, finder: f}
	r.nodes = append(r.nodes, mapped{last, m.Offset})
	if r.data, whole = data.node.Mapping(); !whole {
		return nil
	}
	if below != nil {
		r.below, r.through = below.node.Route(), last.through
	}
	return r
}

// Whole reports whether all of the node lies in one file, as it is.
func (r *Route) Whole() bool { return r.finder == nil }

// First returns the file that writes go to.
func (r *Route) First() *hostfile.File {
	if r.Whole() {
		return r.File
	}
	return r.data.File
}

// Limit has requests go to no files but those that suit.
func (r *Route) Limit(suits func(*hostfile.File) bool) {
	for ; r.below != nil; r = r.below {
		if !suits(r.below.First()) {
			r.below = nil
			return
		}
	}
}

// Find returns where a request goes, if one file has all of it. Done is due after it.
func (r *Route) Find(isWrite bool, off, n int64) (h Hop, ok bool) {
	h = Hop{isWrite: isWrite, off: off, n: n}
	for !isWrite && r.below != nil && r.through != nil && r.through.Beneath(off+r.Offset, n) != nil {
		off += r.Offset
		r = r.below
	}
	for ; r != nil; r = r.below {
		if off < 0 || off > r.node.driver.Size()-n {
			return Hop{}, false
		}
		off += r.Offset
		if h.route = r; r.finder == nil {
			h.File, h.Offset = r.File, off
			return h, true
		}
		switch s := r.finder.Find(isWrite, off, n); {
		case s.Where == InData:
			h.File, h.Offset, h.Head, h.Tail, h.spot = r.data.File, s.Offset+r.data.Offset, s.Head, s.Tail, s
			return h, true
		case isWrite || s.Where == Unknown:
			return Hop{}, false
		case s.Where == InNothing:
			return Hop{}, true
		}
	}
	return Hop{}, false
}

// Done ends a request by a hop, which may have failed; what was written is noted with all nodes that
// it went by. Unless it is to wait for what it needs it may have to be called again: it returns
// false then.
func (h *Hop) Done(failed, wait bool) (bool, error) {
	ok, err := h.leave(failed, wait)
	if !ok || h.route == nil || !h.isWrite {
		return ok, err
	}
	// One that failed may have changed something, too.
	h.route.Wrote(h.off, h.n)
	if h.route.finder != nil {
		h.route.data.Wrote(h.spot.Offset, h.Head+h.n+h.Tail)
	}
	return true, err
}

// Cancel ends a hop by which no request went.
func (h *Hop) Cancel() { _, _ = h.leave(true, true) }

func (h *Hop) leave(failed, wait bool) (bool, error) {
	if h.route == nil || h.route.finder == nil {
		return true, nil
	}
	return h.route.finder.Left(h.spot, failed, wait)
}
