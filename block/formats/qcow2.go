package formats

import (
	"errors"
	"fmt"
	"math"
	"time"

	"hv/block/blockopts"
	"hv/block/graph"
	"hv/block/qcow2"
	"hv/block/qcow2drv"
	"hv/qmp/qapi"
)

// cleanInterval is how often metadata that is not used leaves memory, unless it is said.
const cleanInterval = 600

// qcow2 opens an image, and what lies below it.
func (x *Opener) qcow2(s graph.Spec, o *qapi.BlockdevOptionsQcow2, from inherited) (n *graph.Node, err error) {
	opt, err := qcow2Options(o, &s.Options)
	if err != nil {
		return nil, err
	}
	file, err := x.child(&o.File, from.plain())
	if err != nil {
		return nil, err
	}
	held := []*graph.Node{file}
	if s.Name, s.Place, err = x.Graph.Reserve(s.Name); err != nil {
		return nil, errors.Join(err, file.Unref())
	}
	defer func() {
		for _, below := range held {
			err = errors.Join(err, below.Unref())
		}
	}()
	h, err := readHeader(file)
	if err != nil {
		return nil, err
	}
	s.Children = []graph.Edge{{Name: "file", Role: graph.Storage, Node: file}}
	data, err := x.dataFile(o, &h, from.plain())
	if err != nil {
		return nil, err
	}
	if data != nil {
		held = append(held, data)
		s.Children = append(s.Children, graph.Edge{Name: "data-file", Role: graph.Storage, Node: data})
	}
	backing, err := x.backing(o.Backing, &h, file, from)
	if err != nil {
		return nil, err
	}
	if backing != nil {
		held = append(held, backing)
		s.Children = append(s.Children, graph.Edge{Name: "backing", Role: graph.Backing, Node: backing})
	}
	name := s.Name
	if x.Complain != nil {
		opt.Unwritten = func(what string, err error) { x.Complain(what + ": " + graph.ErrorText(err)) }
	}
	opt.OnCorruption = func(c qcow2.Corruption) {
		if x.Corrupted != nil {
			x.Corrupted(name, c)
		}
	}
	s.Named = func(generated string) { name = generated }
	implicit := ""
	if o.Backing == nil && len(from.backing) == 0 && backing != nil {
		implicit = backing.Filename()
	}
	s.Open = func(children []*graph.Child) (graph.Driver, error) {
		c := map[string]*graph.Child{}
		for i, e := range s.Children {
			c[e.Name] = children[i]
		}
		d, err := qcow2drv.Open(opt, c["file"], c["data-file"], c["backing"])
		if err != nil {
			return nil, err
		}
		d.FoundBacking(implicit)
		return d, nil
	}
	s.Filename = file.Filename
	return x.Graph.Open(s)
}

// readHeader reads an image's header while nobody uses the image.
func readHeader(file *graph.Node) (h qcow2.Header, err error) {
	c, err := file.Use(func() string { return "the image's header" }, nil, 0, graph.AllPerms)
	if err != nil {
		return h, err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	return qcow2.ParseHeader(header{qcow2drv.Storage{Child: c}})
}

// header reads zeroes past the end of a node, as images do.
type header struct{ qcow2drv.Storage }

func (h header) Readv(off int64, v [][]byte) error {
	for _, b := range v {
		n := min(max(h.Size()-off, 0), int64(len(b)))
		clear(b[n:])
		if n > 0 {
			if err := h.Storage.Readv(off, [][]byte{b[:n]}); err != nil {
				return err
			}
		}
		off += int64(len(b))
	}
	return nil
}

// dataFile opens the node with an image's data, nil if that is in the image.
func (x *Opener) dataFile(o *qapi.BlockdevOptionsQcow2, h *qcow2.Header, from inherited) (*graph.Node, error) {
	external := h.Incompatible&qcow2.IncompatDataFile != 0
	switch {
	case o.DataFile != nil && !external:
		return nil, errors.New("'data-file' can only be set for images with an external data file")
	case o.DataFile != nil:
		return x.child(o.DataFile, from)
	case !external:
		return nil, nil
	case h.DataFile == "":
		return nil, errors.New("'data-file' is required for this image")
	}
	return x.named(h.DataFile, blockopts.Tree{}, from, true)
}

// backing opens what lies below an image, nil for nothing.
func (x *Opener) backing(r *qapi.BlockdevRefOrNull, h *qcow2.Header, file *graph.Node, from inherited) (*graph.Node, error) {
	below := from.plain()
	below.readOnly, below.auto = true, false
	n, err := x.below(r, h, file, from.backing, below)
	if err != nil && !errors.Is(err, errDepth) { // which is the same at every level
		err = fmt.Errorf("Could not open backing file: %w", err)
	}
	return n, err
}

func (x *Opener) below(r *qapi.BlockdevRefOrNull, h *qcow2.Header, file *graph.Node, t blockopts.Tree, from inherited) (*graph.Node, error) {
	switch {
	case r != nil && (r.Null != nil || r.Reference != nil && *r.Reference == ""):
		return nil, nil
	case r != nil:
		return x.child(&qapi.BlockdevRef{Definition: r.Definition, Reference: r.Reference}, from)
	}
	if _, named := t.Sub("file").Text("filename"); named {
		return x.named("", t, from, false)
	}
	if h.BackingFile == "" && len(t) == 0 {
		return nil, nil
	}
	name, err := file.Resolve(h.BackingFile)
	if err != nil {
		return nil, err
	}
	if _, said := t["driver"]; !said && h.BackingFormat != "" {
		t = t.With("driver", h.BackingFormat)
	}
	return x.named(name, t, from, false)
}

// qcow2Options reads how an image is opened.
func qcow2Options(o *qapi.BlockdevOptionsQcow2, node *graph.Options) (qcow2.Options, error) {
	opt := qcow2.Options{
		ReadOnly: node.ReadOnly, LazyRefcounts: o.LazyRefcounts, DiscardRequest: node.Discard, DiscardSnapshot: true,
		Overlap: overlap(o.OverlapCheck), CacheCleanInterval: cleanInterval * time.Second,
	}
	override(&opt.DiscardRequest, o.PassDiscardRequest)
	override(&opt.DiscardSnapshot, o.PassDiscardSnapshot)
	override(&opt.DiscardOther, o.PassDiscardOther)
	for _, size := range []struct {
		name string
		from *int64
		to   *int64
	}{
		{"cache-size", o.CacheSize, &opt.CacheSize}, {"l2-cache-size", o.L2CacheSize, &opt.L2CacheSize},
		{"l2-cache-entry-size", o.L2CacheEntrySize, &opt.L2CacheEntrySize}, {"refcount-cache-size", o.RefcountCacheSize, &opt.RefcountCacheSize},
	} {
		if size.from == nil {
			continue
		}
		if *size.to = *size.from; *size.to < 0 {
			return opt, fmt.Errorf("Parameter '%s' expects a non-negative number below 2^64", size.name)
		}
	}
	if s := o.CacheCleanInterval; s != nil {
		if *s < 0 || *s > math.MaxUint32 {
			return opt, errors.New("Cache clean interval too big")
		}
		opt.CacheCleanInterval = time.Duration(*s) * time.Second
	}
	return opt, nil
}

// overlapModes is what each mode guards.
var overlapModes = map[qapi.Qcow2OverlapCheckMode]qcow2.Overlap{
	qapi.Qcow2OverlapCheckModeNone: qcow2.OverlapNone, qapi.Qcow2OverlapCheckModeConstant: qcow2.OverlapConstant,
	qapi.Qcow2OverlapCheckModeCached: qcow2.OverlapCached, qapi.Qcow2OverlapCheckModeAll: qcow2.OverlapAll,
}

// overlap returns which metadata is guarded.
func overlap(o *qapi.Qcow2OverlapChecks) qcow2.Overlap {
	switch {
	case o == nil:
		return qcow2.OverlapCached
	case o.Mode != nil:
		return overlapModes[*o.Mode]
	}
	f, guarded := o.Flags, qcow2.OverlapCached
	if f.Template != nil {
		guarded = overlapModes[*f.Template]
	}
	guarded &^= qcow2.OverlapNone
	for _, kind := range []struct {
		said *bool
		bit  qcow2.Overlap
	}{
		{f.MainHeader, qcow2.OverlapHeader}, {f.ActiveL1, qcow2.OverlapActiveL1}, {f.ActiveL2, qcow2.OverlapActiveL2},
		{f.RefcountTable, qcow2.OverlapRefTable}, {f.RefcountBlock, qcow2.OverlapRefBlock}, {f.SnapshotTable, qcow2.OverlapSnapshots},
		{f.InactiveL1, qcow2.OverlapInactiveL1}, {f.InactiveL2, qcow2.OverlapInactiveL2}, {f.BitmapDirectory, qcow2.OverlapBitmaps},
	} {
		switch {
		case kind.said == nil:
		case *kind.said:
			guarded |= kind.bit
		default:
			guarded &^= kind.bit
		}
	}
	if guarded == 0 {
		return qcow2.OverlapNone
	}
	return guarded
}
