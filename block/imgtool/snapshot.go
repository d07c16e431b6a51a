package imgtool

import (
	"errors"

	"golang.org/x/sys/unix"

	"hv/block/graph"
	"hv/block/qcow2"
	"hv/block/qcow2drv"
)

// past is the driver of a disk as an internal snapshot has it.
type past struct{ *qcow2.Image }

func (p past) Writev(int64, [][]byte, graph.Flags) error { return unix.EPERM }

// BlockStatus returns the run that begins at off. Where it lies is not told.
func (p past) BlockStatus(off, n int64) (graph.Extent, error) {
	x, err := p.Image.BlockStatus(off, n)
	e := graph.Extent{N: x.N}
	for from, to := range map[qcow2.Status]graph.Status{qcow2.Data: graph.Data, qcow2.Zero: graph.Zero, qcow2.Allocated: graph.Allocated} {
		if x.Status&from != 0 {
			e.Status |= to
		}
	}
	return e, err
}

// OpenSnapshot opens an image as it was when an internal snapshot was taken, to read it.
func OpenSnapshot(s Source, a Access, key string) (*Image, error) {
	im := &Image{}
	a.Write = false
	base, err := Open(s, a)
	if err != nil {
		return nil, err
	}
	below := child(base.Node(), "backing")
	file := child(base.Node(), "file")
	if base.Format() != "qcow2" || file == nil {
		return nil, errors.Join(errors.New("Failed to load snapshot: Device does not support snapshots"), base.Close())
	}
	opt := qcow2.Options{}
	if below != nil {
		opt.Backing = below
	}
	if data := child(base.Node(), "data-file"); data != nil {
		opt.DataFile = storage{qcow2drv.Storage{Child: data}}
	}
	spec := graph.Spec{Driver: "qcow2", Options: graph.Options{ReadOnly: true}, Filename: base.Node().Filename,
		Open: func([]*graph.Child) (graph.Driver, error) {
			p, err := qcow2.OpenSnapshot(storage{qcow2drv.Storage{Child: file}}, opt, key)
			if err != nil {
				return nil, err
			}
			return past{p}, nil
		}}
	n, err := im.graph.Open(spec)
	if err == nil {
		im.Child, err = n.Use(func() string { return "the tool" }, nil, graph.ConsistentRead, graph.AllPerms)
		err = errors.Join(err, n.Unref())
	}
	if err != nil {
		if errors.Is(err, qcow2.ErrNoSnapshot) {
			err = errors.New("Can't find snapshot")
		}
		return nil, errors.Join(errors.New("Failed to load snapshot: "+err.Error()), base.Close())
	}
	im.base = base
	return im, nil
}
