package formats

import (
	"errors"
	"fmt"
	"time"

	"hv/block/accessdrv"
	"hv/block/cbwdrv"
	"hv/block/cordrv"
	"hv/block/graph"
	"hv/block/preallocdrv"
	"hv/qmp/qapi"
)

func (x *Opener) copyOnRead(s graph.Spec, o *qapi.BlockdevOptionsCor, from inherited) (*graph.Node, error) {
	return x.filter(s, &o.File, from, func(file *graph.Child) (graph.Driver, error) {
		if o.Bottom == nil {
			return cordrv.Open(file, nil)
		}
		bottom := x.Graph.Find(*o.Bottom)
		switch {
		case bottom == nil:
			return nil, fmt.Errorf("Bottom node '%s' not found", *o.Bottom)
		case bottom.IsFilter():
			return nil, fmt.Errorf("Bottom node '%s' is a filter", *o.Bottom)
		}
		return cordrv.Open(file, bottom)
	})
}

// CopyOnRead puts a copy-on-read node on a node, and takes its reference.
func (x *Opener) CopyOnRead(n *graph.Node) (*graph.Node, error) {
	if n.Options().ReadOnly {
		return nil, errors.Join(errors.New("Can't use copy-on-read on read-only device"), n.Unref())
	}
	name := n.Name()
	top, err := x.Open(&qapi.BlockdevOptions{Driver: qapi.BlockdevDriverCopyOnRead, CopyOnRead: &qapi.BlockdevOptionsCor{File: qapi.BlockdevRef{Reference: &name}}})
	return top, errors.Join(err, n.Unref())
}

func (x *Opener) preallocate(s graph.Spec, o *qapi.BlockdevOptionsPreallocate, from inherited) (*graph.Node, error) {
	cfg := preallocConfig(o)
	return x.filter(s, &o.File, from, func(file *graph.Child) (graph.Driver, error) { return preallocdrv.Open(cfg, file) })
}

func preallocConfig(o *qapi.BlockdevOptionsPreallocate) preallocdrv.Config {
	cfg := preallocdrv.Config{Align: 1 << 20, Size: 128 << 20}
	if o.PreallocAlign != nil {
		cfg.Align = *o.PreallocAlign
	}
	if o.PreallocSize != nil {
		cfg.Size = *o.PreallocSize
	}
	return cfg
}

func (x *Opener) copyBeforeWrite(s graph.Spec, o *qapi.BlockdevOptionsCbw, from inherited) (*graph.Node, error) {
	cfg := cbwdrv.Config{BreakSnapshot: o.OnCbwError != nil && *o.OnCbwError == qapi.OnCbwErrorBreakSnapshot}
	if o.CbwTimeout != nil {
		cfg.Timeout = time.Duration(*o.CbwTimeout) * time.Second
	}
	if b := o.Bitmap; b != nil {
		n, err := x.Find(b.Node)
		if err != nil {
			return nil, err
		}
		if cfg.Bitmap = n.Bitmap(b.Name); cfg.Bitmap == nil {
			return nil, fmt.Errorf("Dirty bitmap '%s' not found", b.Name)
		}
	}
	file, err := x.child(&o.File, from)
	if err != nil {
		return nil, err
	}
	target, err := x.child(&o.Target, inherited{discard: true})
	if err != nil {
		return nil, errors.Join(err, file.Unref())
	}
	s.Children = []graph.Edge{{Name: "file", Role: graph.Filtered, Node: file}, {Name: "target", Role: graph.Part, Node: target}}
	s.Open = func(c []*graph.Child) (graph.Driver, error) { return cbwdrv.Open(cfg, c[0], c[1]) }
	s.Filename = file.Filename
	n, err := x.Graph.Open(s)
	return n, errors.Join(err, file.Unref(), target.Unref())
}

func (x *Opener) snapshotAccess(s graph.Spec, o *qapi.BlockdevOptionsGenericFormat, from inherited) (*graph.Node, error) {
	file, err := x.child(&o.File, from)
	if err != nil {
		return nil, err
	}
	// Nothing is asked of the child, not even before there is a driver: a guest writes to it.
	s.Children = []graph.Edge{{Name: "file", Role: graph.Part, Node: file}}
	s.Open = func(c []*graph.Child) (graph.Driver, error) { return accessdrv.Open(c[0]), nil }
	s.Filename = file.Filename
	n, err := x.Graph.Open(s)
	return n, errors.Join(err, file.Unref())
}
