// Package graph is the block layer's graph of nodes: what a driver is, how nodes hang
// together, who may do what with them, and how requests go through them.
//
// A node has one Driver, which does its I/O, and children, which the driver reaches
// through Child handles. Front ends have a Child each too, which has no parent node.
// Requests come concurrently and from any goroutine, and block until they are done.
// Changes of the graph are made by one goroutine, the control goroutine of a VM, with
// the affected nodes drained: see Node.Drain.
//
// Names, permissions and their conflicts are those of QEMU's block layer
// (docs/devel and qapi/block-core.json there). It depends on block/hostfile,
// block/bitmap and qmp/strerror.
package graph

import (
	"time"

	"hv/block/hostfile"
)

// Flags change what a request does.
type Flags uint32

// The flags.
const (
	// FUA has a write be durable when it returns.
	FUA Flags = 1 << iota
	// MayUnmap lets zeroes be made by deallocation.
	MayUnmap
	// NoFallback fails with ErrNotSupported rather than writing zeroes as data.
	NoFallback
	// Compressed has whole clusters be compressed; drivers that cannot do that write them as
	// they are.
	Compressed
)

// Driver does the I/O of a node. What is not in it is optional, and found by assertion of
// the interfaces below.
//
// Reads are within Size. Writes may end past it if the node has a parent that may resize
// it: a node that lies on the host grows then, others fail. The buffers belong to the
// caller again when a method returns. Methods may be called concurrently, but for
// Close, which comes last.
type Driver interface {
	// Size returns the length of the node in bytes.
	Size() int64
	// Readv fills the buffers from off.
	Readv(off int64, v [][]byte) error
	// Writev writes the buffers at off.
	Writev(off int64, v [][]byte, f Flags) error
	// Flush makes what was written durable on this node; its children are flushed by the
	// graph afterwards.
	Flush() error
	// Close writes back what is cached and gives up what the driver holds, but not its
	// children.
	Close() error
}

// WholeFlusher is a driver whose Flush makes what its children keep durable, too.
type WholeFlusher interface{ FlushesChildren() }

// Zeroer can write zeroes without data.
type Zeroer interface {
	WriteZeroes(off, n int64, f Flags) error
}

// Discarder can deallocate; what is read there afterwards is undefined unless the driver
// says otherwise in Status.
type Discarder interface {
	Discard(off, n int64) error
}

// Status says what lies at a place (QEMU's BDRV_BLOCK_*).
type Status uint32

// The bits of Status.
const (
	Data           Status = 1 << iota // there is data, here or in Extent.Child
	Zero                              // it reads as zeroes
	Allocated                         // this node decides what is read, not its backing node
	OffsetValid                       // the data lies in Extent.Child at Extent.Offset, as it is
	Recurse                           // Extent.Child knows more
	CompressedData                    // the data is compressed
)

// Extent is a run of bytes of one Status.
type Extent struct {
	N      int64
	Status Status
	Child  *Child // which has the data, nil for the node itself
	Offset int64  // in Child
}

// Statuser knows what of a node is allocated.
type Statuser interface {
	// BlockStatus returns the run that begins at off, of n bytes at most and one at least.
	BlockStatus(off, n int64) (Extent, error)
}

// Place is where the data of a node lies, as it is, from an offset on: in a host file, or
// in a child.
type Place struct {
	File   *hostfile.File
	Child  *Child
	Offset int64
}

// Mapper is a driver whose data lies in one place, so that requests can skip the graph.
// That holds until the node is drained.
type Mapper interface{ Map() (Place, bool) }

// Permitter is told what users of its node may do, before they do it. If it returns an
// error everything is as before.
type Permitter interface{ Permit(perm, shared Perm) error }

// Bottomless is a driver that may know of a range that it is read from a child, as it is.
type Bottomless interface {
	// Beneath returns that child, nil for none.
	Beneath(off, n int64) *Child
}

// Fleecer has, besides its node, what that was at some time.
type Fleecer interface {
	ReadSnapshot(off int64, v [][]byte) error
	SnapshotStatus(off, n int64) (Extent, error)
	// DiscardSnapshot lets a part go, which cannot be read any more.
	DiscardSnapshot(off, n int64) error
}

// Snapshot returns the node's other content, nil if there is none.
func (c *Child) Snapshot() Fleecer {
	s, _ := c.node.driver.(Fleecer)
	return s
}

// Allocater knows how many bytes its node takes on the host.
type Allocater interface{ Allocated() int64 }

// Truncater can change its size.
type Truncater interface{ Truncate(size int64) error }

// Backer is a driver that may read what it does not have from a backing node.
type Backer interface {
	// SetBacking exchanges the backing node while the driver's node is drained; nil for none.
	SetBacking(c *Child)
}

// Lifter holds requests back for some time. Drains lift that, so as not to wait for it.
type Lifter interface {
	// Lift lets everything through that waits, and comes until Drop.
	Lift()
	// Drop takes a Lift back.
	Drop()
}

// Limiter admits requests.
type Limiter interface {
	Lifter
	// Wait returns once a request of a size may go on.
	Wait(isWrite bool, size int64)
}

// Demander is a driver that wants other permissions on a child than its role says.
type Demander interface {
	// Demand returns what the node does with a child and what it shares, from what it would
	// do and share by the child's role.
	Demand(c *Child, perm, shared Perm) (Perm, Perm)
}

// BackingNamer keeps the name of its backing file in its image.
type BackingNamer interface {
	// BackingName returns what the image says, empty for no backing file.
	BackingName() (name, format string)
	// SetBackingName has the image say something else.
	SetBackingName(name, format string) error
}

// Snapshot is a state of a node that its image keeps.
type Snapshot struct {
	ID, Name    string
	Date        time.Time
	VMClock     time.Duration // how long the guest had run
	VMStateSize int64
	ICount      *int64
}

// Snapshotter keeps snapshots in its image.
type Snapshotter interface {
	Snapshots() []Snapshot
	// CreateSnapshot keeps the state as it is now, and returns the snapshot's id.
	CreateSnapshot(s Snapshot) (id string, err error)
	DeleteSnapshot(id string) error
}

// Reopener can be given other options while its node is drained.
type Reopener interface {
	// Reopen goes over to other options, own being the driver's own ones, nil for those that
	// it has. Either function that it returns is called then: commit ends the old ones, undo
	// goes back to them.
	Reopen(node Options, own any) (commit func() error, undo func(), err error)
}

// Adopter is a driver whose children may come and go, while its node is drained.
type Adopter interface {
	// NextChild returns the name and role of a child that is to come.
	NextChild() (name string, r Role, err error)
	// AddChild has the driver use a child that has come under that name.
	AddChild(c *Child)
	// RemoveChild has the driver no longer use a child, unless it needs it.
	RemoveChild(c *Child) error
}
