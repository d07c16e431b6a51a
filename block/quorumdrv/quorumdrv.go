// Package quorumdrv is the driver quorum: a node that has its data in several children, and
// reads what enough of them agree on.
//
// Requests come concurrently; the children's parts of each are carried out at the same time.
// Children come and go while the node is drained. What is read is compared with what the
// first child has, and if that does not settle it by SHA-256. It depends on block/fanout,
// block/graph and qmp/qapi.
package quorumdrv

import (
	"errors"
	"fmt"
	"math"
	"slices"

	"hv/block/fanout"
	"hv/block/graph"
	"hv/qmp/qapi"
)

// Reports hears what went wrong. Its methods must not wait for requests.
type Reports interface {
	// Bad tells of a child that failed or was voted down.
	Bad(qapi.QuorumReportBadEvent)
	// Failed tells of a request that failed; its reference is the node's name.
	Failed(qapi.QuorumFailureEvent)
	// Mismatch tells of two children that must not differ but do; nothing is to go on then.
	Mismatch(text string)
}

// Config is a node's options.
type Config struct {
	Threshold int64 // how many children must agree
	Children  int   // how many there are at first
	Verify    bool  // end everything when two children differ
	Rewrite   bool  // put right what was voted down
	FIFO      bool  // read from the first child that can be read
	Reports   Reports
}

// Check returns an error for options that do not go together.
func (c *Config) Check() error {
	switch {
	case c.Children < 1:
		return errors.New("Number of provided children must be 1 or more")
	case c.Threshold < 1:
		return errors.New("Parameter 'vote-threshold' expects a value >= 1")
	case c.Threshold > int64(c.Children):
		return errors.New("threshold may not exceed children count")
	case c.FIFO: // the others do not matter
	case c.Verify && (c.Children != 2 || c.Threshold != 2):
		return errors.New("blkverify=on can only be set if there are exactly two files and vote-threshold is 2")
	case c.Verify && c.Rewrite:
		return errors.New("rewrite-corrupted=on cannot be used with blkverify=on")
	}
	return nil
}

// Driver is an open node.
type Driver struct {
	cfg      Config
	children []*graph.Child // changed while the node is drained
	next     int            // number of the child that comes next
	pool     fanout.Pool
	requests requests
}

// Open makes a driver; the options were checked.
func Open(cfg Config, children []*graph.Child) (*Driver, error) {
	if cfg.FIFO {
		cfg.Verify, cfg.Rewrite = false, false
	}
	for _, c := range children {
		if c.Size() != children[0].Size() {
			return nil, errors.New("Could not refresh total sector count: Input/output error")
		}
	}
	return &Driver{cfg: cfg, children: slices.Clone(children), next: len(children)}, nil
}

// childName returns what the child with a number is called.
func childName(i int) string { return fmt.Sprintf("children.%d", i) }

// Edges returns how the node holds its first children.
func Edges(nodes []*graph.Node) []graph.Edge {
	var edges []graph.Edge
	for i, n := range nodes {
		edges = append(edges, graph.Edge{Name: childName(i), Role: graph.Copy, Node: n})
	}
	return edges
}

// NextChild implements graph.Adopter.
func (d *Driver) NextChild() (string, graph.Role, error) {
	switch {
	case d.cfg.Verify:
		return "", 0, errors.New("Cannot add a child to a quorum in blkverify mode")
	case d.next == math.MaxInt32:
		return "", 0, errors.New("Too many children")
	}
	return childName(d.next), graph.Copy, nil
}

// AddChild implements graph.Adopter.
func (d *Driver) AddChild(c *graph.Child) {
	d.children = append(d.children, c)
	d.next++
}

// RemoveChild implements graph.Adopter.
func (d *Driver) RemoveChild(c *graph.Child) error {
	if int64(len(d.children)) <= d.cfg.Threshold {
		return fmt.Errorf("The number of children cannot be lower than the vote threshold %d", d.cfg.Threshold)
	}
	d.children = slices.DeleteFunc(d.children, func(x *graph.Child) bool { return x == c })
	if c.Name() == childName(d.next-1) {
		d.next--
	}
	return nil
}

// Demand implements graph.Demander: nobody else may write to or resize a child, as it would
// differ from the others then.
func (d *Driver) Demand(_ *graph.Child, perm, shared graph.Perm) (graph.Perm, graph.Perm) {
	if d.cfg.Rewrite {
		perm |= graph.Write
	}
	return perm, shared&graph.ConsistentRead | graph.WriteUnchanged
}

// Size returns the length in bytes.
func (d *Driver) Size() int64 { return d.children[0].Size() }

// FlushesChildren implements graph.WholeFlusher.
func (d *Driver) FlushesChildren() {}

// Close ends the driver's goroutines.
func (d *Driver) Close() error {
	d.pool.Close()
	return nil
}

// BlockStatus says that there are zeroes where all children say so, and data elsewhere.
func (d *Driver) BlockStatus(off, n int64) (graph.Extent, error) {
	zero, data := n, int64(0)
	for _, c := range d.children {
		e, _, err := c.StatusAbove(off, n)
		switch {
		case err != nil:
			d.bad(qapi.QuorumOpTypeRead, off, n, c, err)
			data = n
		case e.Status&graph.Zero != 0:
			zero = min(zero, e.N)
		default:
			data = max(data, e.N)
		}
		if err != nil {
			break
		}
	}
	if data > 0 {
		return graph.Extent{N: data, Status: graph.Data | graph.Allocated, Offset: off}, nil
	}
	return graph.Extent{N: zero, Status: graph.Zero | graph.Allocated, Offset: off}, nil
}

// sectors returns a range in sectors of 512 bytes, which it may only touch.
func sectors(off, n int64) (first, count int64) {
	first = off / 512
	return first, (off+n+511)/512 - first
}

// bad reports a child, which has other data than the others if err is nil.
func (d *Driver) bad(op qapi.QuorumOpType, off, n int64, c *graph.Child, err error) {
	e := qapi.QuorumReportBadEvent{Type: op, NodeName: c.Node().Name()}
	e.SectorNum, e.SectorsCount = sectors(off, n)
	if err != nil {
		text := graph.ErrorText(err)
		e.Error = &text
	}
	d.cfg.Reports.Bad(e)
}

// failed reports a request.
func (d *Driver) failed(off, n int64) {
	e := qapi.QuorumFailureEvent{Reference: d.children[0].Parent().Name()}
	e.SectorNum, e.SectorsCount = sectors(off, n)
	d.cfg.Reports.Failed(e)
}
