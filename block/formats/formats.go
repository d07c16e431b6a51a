// Package formats opens nodes from what -blockdev and blockdev-add say. A new driver is
// plugged in here.
//
// It belongs to the goroutine that the graph belongs to. It depends on block/graph, the
// drivers and qmp/qapi.
package formats

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"hv/block/blockopts"
	"hv/block/filedrv"
	"hv/block/graph"
	"hv/block/nulldrv"
	"hv/block/qcow2"
	"hv/block/quorumdrv"
	"hv/block/rawdrv"
	"hv/block/throttle"
	"hv/qmp/qapi"
)

// Opener opens nodes.
type Opener struct {
	Graph *graph.Graph
	// OpenFile opens a path of the host.
	OpenFile func(path string, flags int, perm os.FileMode) (*os.File, error)
	// Drive returns the node of the drive with an id, nil if there is none.
	Drive func(id string) *graph.Node
	// Corrupted hears of damage in a node's image, unless it is nil. It must not wait for
	// requests.
	Corrupted func(node string, c qcow2.Corruption)
	// Groups are those that throttle nodes are in.
	Groups *throttle.Groups
	// Quorum hears what goes wrong in quorums, and of nodes that differ but must not.
	Quorum quorumdrv.Reports
	// Complain, unless it is nil, tells the user what went wrong when a node was closed.
	Complain func(text string)
	// Print, unless it is nil, tells the user of requests that wait at breakpoints.
	Print func(text string)
	// Said hears what QEMU would print when it makes an image, unless it is nil.
	Said func(text string)
	// Join, unless it is nil, may keep a node from becoming a child of another one.
	Join func(parent, child *graph.Node) error
	// Warn takes what the user should know, unless it is nil.
	Warn func(text string)
	// Network is for nodes on other machines.
	Network Network
	// WriteThrough has files durable whenever a write completes.
	WriteThrough bool
	// AIO is how files are read and written that do not say, if it is not empty.
	AIO qapi.BlockdevAioOptions
}

// inherited is what a node that is described within another has from that.
type inherited struct {
	readOnly, auto, share, discard bool
	cache                          *qapi.BlockdevCacheOptions
	// backing is what is said of the backing node when the driver is to find that.
	backing blockopts.Tree
	guessed bool // the driver was, by what the file begins with
	depth   int
}

// maxDepth is how many nodes may lie below one another, each described within the one
// above: images that are their own backing files have no end.
const maxDepth = 1000

var errDepth = fmt.Errorf("more than %d nodes on top of one another: is an image its own backing file?", maxDepth)

// plain returns what all children have.
func (from inherited) plain() inherited {
	from.backing, from.guessed = nil, false
	return from
}

// Open makes the node that o describes, with a reference for the caller.
func (x *Opener) Open(o *qapi.BlockdevOptions) (*graph.Node, error) { return x.open(o, inherited{}) }

func (x *Opener) open(o *qapi.BlockdevOptions, from inherited) (*graph.Node, error) {
	n, err := x.node(o, from)
	if err == nil {
		n.SetFilename(func() string { return Filename(n) })
	}
	return n, err
}

func (x *Opener) node(o *qapi.BlockdevOptions, from inherited) (*graph.Node, error) {
	s := graph.Spec{Driver: string(o.Driver), Source: o}
	if o.NodeName != nil {
		if s.Name = *o.NodeName; s.Name == "" {
			return nil, errors.New("Invalid node-name: ''")
		}
		if x.Drive(s.Name) != nil {
			return nil, fmt.Errorf("node-name=%s is conflicting with a device id", s.Name)
		}
	}
	if from.depth++; from.depth > maxDepth {
		return nil, errDepth
	}
	if err := options(o, &from, &s.Options); err != nil {
		return nil, err
	}
	switch o.Driver {
	case qapi.BlockdevDriverBlkdebug:
		return x.blkdebug(s, o.Blkdebug, from)
	case qapi.BlockdevDriverBlklogwrites:
		return x.blklogwrites(s, o.Blklogwrites, from)
	case qapi.BlockdevDriverBlkverify:
		return x.blkverify(s, o.Blkverify, from)
	case qapi.BlockdevDriverFile:
		return x.file(s, o, o.File, from)
	case qapi.BlockdevDriverHostDevice:
		return x.file(s, o, o.HostDevice, from)
	case qapi.BlockdevDriverNbd:
		return x.nbd(s, o.Nbd, from)
	case qapi.BlockdevDriverNullCo:
		return x.null(s, o.NullCo)
	case qapi.BlockdevDriverNullAio:
		return x.null(s, o.NullAio)
	case qapi.BlockdevDriverQcow2:
		return x.qcow2(s, o.Qcow2, from)
	case qapi.BlockdevDriverQuorum:
		return x.quorum(s, o.Quorum, from)
	case qapi.BlockdevDriverRaw:
		return x.raw(s, o.Raw, from)
	case qapi.BlockdevDriverCopyBeforeWrite:
		return x.copyBeforeWrite(s, o.CopyBeforeWrite, from)
	case qapi.BlockdevDriverCopyOnRead:
		return x.copyOnRead(s, o.CopyOnRead, from)
	case qapi.BlockdevDriverPreallocate:
		return x.preallocate(s, o.Preallocate, from)
	case qapi.BlockdevDriverSnapshotAccess:
		return x.snapshotAccess(s, o.SnapshotAccess, from)
	case qapi.BlockdevDriverThrottle:
		return x.throttle(s, o.Throttle, from)
	}
	return nil, fmt.Errorf("Unknown driver '%s'", o.Driver)
}

// options reads what all drivers have. What is said of a node goes for those described
// within it.
func options(o *qapi.BlockdevOptions, from *inherited, to *graph.Options) error {
	override(&from.readOnly, o.ReadOnly)
	override(&from.auto, o.AutoReadOnly)
	override(&from.share, o.ForceShare)
	if o.Discard != nil {
		from.discard = *o.Discard == qapi.BlockdevDiscardOptionsUnmap
	}
	if o.Cache != nil {
		from.cache = joined(from.cache, o.Cache)
	}
	if c := from.cache; c != nil {
		override(&to.Direct, c.Direct)
		override(&to.NoFlush, c.NoFlush)
	}
	to.ReadOnly, to.ForceShare, to.Discard = from.readOnly, from.share, from.discard
	from.discard = true // what discards come, the node above lets through
	if o.DetectZeroes != nil {
		to.DetectZeroes = *o.DetectZeroes != qapi.BlockdevDetectZeroesOptionsOff
		to.UnmapZeroes = *o.DetectZeroes == qapi.BlockdevDetectZeroesOptionsUnmap
	}
	if to.UnmapZeroes && !to.Discard {
		return errors.New("setting detect-zeroes to unmap is not allowed without setting discard operation to unmap")
	}
	return nil
}

// joined returns what is said of caches, and otherwise what was said above.
func joined(above, said *qapi.BlockdevCacheOptions) *qapi.BlockdevCacheOptions {
	all := *said
	if above != nil && all.Direct == nil {
		all.Direct = above.Direct
	}
	if above != nil && all.NoFlush == nil {
		all.NoFlush = above.NoFlush
	}
	return &all
}

func override(to *bool, from *bool) {
	if from != nil {
		*to = *from
	}
}

func isSet(b *bool) bool { return b != nil && *b }

func (x *Opener) file(s graph.Spec, o *qapi.BlockdevOptions, f *qapi.BlockdevOptionsFile, from inherited) (*graph.Node, error) {
	cfg := filedrv.Config{
		Path: f.Filename, Device: o.Driver == qapi.BlockdevDriverHostDevice, Options: s.Options, AutoReadOnly: from.auto,
		WriteThrough: x.WriteThrough, Unlocked: f.Locking != nil && *f.Locking == qapi.OnOffAutoOff, OpenFile: x.OpenFile,
	}
	if f.Filename == "" {
		return nil, fmt.Errorf("The '%s' block driver requires a file name", s.Driver)
	}
	aio := x.AIO
	if f.Aio != nil {
		aio = *f.Aio
	}
	cfg.Threads = aio == qapi.BlockdevAioOptionsThreads
	if aio == qapi.BlockdevAioOptionsNative && !s.Options.Direct {
		return nil, errors.New("aio=native was specified, but it requires cache.direct=on, which was not specified.")
	}
	s.Open = func([]*graph.Child) (graph.Driver, error) { return filedrv.Open(cfg) }
	s.Filename = func() string { return f.Filename }
	return x.Graph.Open(s)
}

func (x *Opener) null(s graph.Spec, o *qapi.BlockdevOptionsNull) (*graph.Node, error) {
	cfg := nulldrv.Config{Size: 1 << 30, Zeroes: isSet(o.ReadZeroes)}
	if o.Size != nil {
		cfg.Size = *o.Size
	}
	if o.LatencyNs != nil {
		cfg.Latency = time.Duration(*o.LatencyNs)
	}
	s.Open = func([]*graph.Child) (graph.Driver, error) { return nulldrv.Open(cfg) }
	name := s.Driver + "://"
	s.Filename = func() string { return name }
	return x.Graph.Open(s)
}

func (x *Opener) raw(s graph.Spec, o *qapi.BlockdevOptionsRaw, from inherited) (*graph.Node, error) {
	cfg := rawConfig(o)
	guessed := from.guessed && !s.Options.ReadOnly
	file, err := x.child(&o.File, from.plain())
	if err != nil {
		return nil, err
	}
	if guessed {
		cfg.Guessed = misleading
		if x.Warn != nil {
			x.Warn(fmt.Sprintf("the format of '%s' was not given and is taken to be raw: no other format's header can be written to it; say format=raw to allow that", file.Filename()))
		}
	}
	s.Children = []graph.Edge{{Name: "file", Role: cfg.Role(), Node: file}}
	s.Open = func(c []*graph.Child) (graph.Driver, error) { return rawdrv.Open(cfg, c[0]) }
	s.Filename = func() string { return nameOver(s.Driver, file.Filename()) }
	n, err := x.Graph.Open(s)
	return n, errors.Join(err, file.Unref())
}

// nameOver returns the name of a node on one that needs more than a name, or the latter's name.
func nameOver(driver, name string) string {
	if options, ok := strings.CutPrefix(name, "json:"); ok {
		return fmt.Sprintf("json:{\"driver\": %q, \"file\": %s}", driver, options)
	}
	return name
}

// child returns the node that a reference means, with a reference for the caller.
func (x *Opener) child(r *qapi.BlockdevRef, from inherited) (*graph.Node, error) {
	if r.Definition != nil {
		return x.open(r.Definition, from)
	}
	n, err := x.Find(*r.Reference)
	if err == nil {
		n.Ref()
	}
	return n, err
}

// Find returns the node that a drive's id or a node's name means.
func (x *Opener) Find(name string) (*graph.Node, error) {
	if n := x.Drive(name); n != nil {
		return n, nil
	}
	if n := x.Graph.Find(name); n != nil {
		return n, nil
	}
	return nil, fmt.Errorf("Cannot find device='%s' nor node-name='%s'", name, name)
}
