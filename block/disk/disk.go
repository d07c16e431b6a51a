// Package disk is a front end's hold on a node: what a virtual disk, or something else that
// makes requests on its own, reads and writes through.
//
// Each queue has an IO, which one goroutine on a locked thread makes and uses. Where the
// node is a host file as it is, requests go straight to that, and so do those of which the
// drivers know at once where in which file they go (graph.Route); a few goroutines
// carry others through the graph. Requests are counted, and wait in the queues for what
// limits them. The graph's drains hold requests back there too, and so does an error that
// stops the VM (Policy), until Retry. It depends on block/graph, block/hostfile, block/account,
// block/throttle and qmp/qapi.
package disk

import (
	"slices"
	"sync"

	"hv/block/account"
	"hv/block/graph"
	"hv/qmp/qapi"
)

// Disk is a hold on a node.
type Disk struct {
	root     *graph.Child
	readOnly bool
	front    *Front
	flags    graph.Flags // of each write

	mu      sync.Mutex
	queues  []*Queue
	quiet   bool
	below   []graph.Lifter   // who holds requests back below
	lifted  [][]graph.Lifter // by each Lift
	status  qapi.BlockDeviceIoStatus
	resized func()

	carriers func() (least, most int)
	policy   Policy
	failed   func(Failure)
}

// Config says what a disk does with a node.
type Config struct {
	// Name names the disk in errors, such as "block device 'd0'".
	Name    func() string
	ShareRW bool // others may write too
	// ReadOnly writes nothing, and its node keeps its size.
	ReadOnly bool
	// Front is nil if the disk is to have one of its own.
	Front *Front
	// WriteThrough has each write durable when it completes.
	WriteThrough bool
	// Carriers, if not nil, returns how many goroutines a queue has to carry requests through the
	// graph, at least and at most.
	Carriers func() (least, most int)
	// Policy says what becomes of requests that fail, as far as it is not left to DefaultPolicy.
	Policy Policy
	// Failed, if not nil, is told of each request that failed, on a queue's thread. It does not wait.
	Failed func(Failure)
}

// Open takes a node for a disk, for reading and, if that can be, writing.
func Open(n *graph.Node, cfg Config) (*Disk, error) {
	d := &Disk{readOnly: n.Options().ReadOnly, front: cfg.Front, status: qapi.BlockDeviceIoStatusOk, policy: cfg.Policy.Or(DefaultPolicy), failed: cfg.Failed, carriers: cfg.Carriers}
	if d.front == nil {
		d.front = NewFront(account.Config{})
	}
	if cfg.WriteThrough {
		d.flags = graph.FUA
	}
	perm, shared := graph.ConsistentRead, graph.ConsistentRead|graph.WriteUnchanged|graph.Resize
	if cfg.ReadOnly {
		d.readOnly = true
		shared &^= graph.Resize
	}
	if !d.readOnly {
		perm |= graph.Write
	}
	if cfg.ShareRW {
		shared |= graph.Write
	}
	root, err := n.Use(cfg.Name, d, perm, shared)
	if err != nil {
		return nil, err
	}
	d.root, d.below = root, root.Lifters()
	return d, nil
}

// Close gives the node up. All queues must have ended.
func (d *Disk) Close() error { return d.root.Close() }

// Node returns what the disk is on.
func (d *Disk) Node() *graph.Node { return d.root.Node() }

// Size returns the length in bytes.
func (d *Disk) Size() uint64 { return uint64(d.root.Size()) }

// Need has the disk do what perm says with its node, besides what it does by itself, on
// somebody else's behalf.
func (d *Disk) Need(perm graph.Perm) error {
	has, shared := d.root.Perms()
	if perm&^has == 0 {
		return nil
	}
	return d.root.SetPerm(has|perm, shared)
}

// ReadOnly reports whether writes are refused.
func (d *Disk) ReadOnly() bool { return d.readOnly }

// Flush makes all completed writes durable.
func (d *Disk) Flush() error { return d.root.Flush() }

// OnResize has f called when the size has changed.
func (d *Disk) OnResize(f func()) { d.resized = f }

// Resized tells the front end that the size has changed.
func (d *Disk) Resized() {
	if d.resized != nil {
		d.resized()
	}
}

// NewIO makes a way to the node for the calling thread, for up to depth requests at once.
func (d *Disk) NewIO(kick int, depth uint32) (*Queue, error) {
	q := newQueue(d, kick, depth)
	if err := q.open(d.root.Route()); err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	// The graph may have changed meanwhile.
	q.quiet, q.stale = d.quiet, true
	d.queues = append(d.queues, q)
	return q, nil
}

// Quiesce holds new requests back and returns once none is under way. Limits do not hold
// meanwhile.
func (d *Disk) Quiesce() {
	d.front.Limits.Lift()
	d.mu.Lock()
	d.quiet = true
	d.mu.Unlock()
	for _, q := range d.all() {
		q.quiesce()
	}
}

// Unquiesce lets requests through again.
func (d *Disk) Unquiesce() {
	below := d.root.Lifters()
	d.mu.Lock()
	d.quiet, d.below = false, below
	d.mu.Unlock()
	for _, q := range d.all() {
		q.unquiesce()
	}
	d.front.Limits.Drop()
}

// Lift has no request wait for a limit until Drop, so that all under way end soon.
func (d *Disk) Lift() {
	d.mu.Lock()
	below := d.below
	d.lifted = append(d.lifted, below)
	d.mu.Unlock()
	d.front.Limits.Lift()
	for _, l := range below {
		l.Lift()
	}
}

// Drop takes a Lift back.
func (d *Disk) Drop() {
	d.mu.Lock()
	below := d.lifted[0]
	d.lifted = d.lifted[1:]
	d.mu.Unlock()
	for _, l := range below {
		l.Drop()
	}
	d.front.Limits.Drop()
}

// all returns the queues there are.
func (d *Disk) all() []*Queue {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.queues)
}

// forget drops a queue that has ended.
func (d *Disk) forget(q *Queue) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.queues = slices.DeleteFunc(d.queues, func(x *Queue) bool { return x == q })
	q.counts.End()
}

// Front returns the disk's limits and accounts.
func (d *Disk) Front() *Front { return d.front }
