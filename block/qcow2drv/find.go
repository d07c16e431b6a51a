package qcow2drv

import (
	"hv/block/graph"
	"hv/block/qcow2"
)

// places are what each place is in the graph.
var places = [...]graph.Where{
	qcow2.Elsewhere: graph.Unknown, qcow2.InData: graph.InData, qcow2.InBacking: graph.InBelow, qcow2.InNothing: graph.InNothing,
}

// Places implements graph.Finder.
func (d *Driver) Places() (data, under *graph.Child) {
	if d.file.Listens() || d.data.Listens() {
		return nil, nil
	}
	b, _ := d.opt.Backing.(below)
	return d.data, b.Child
}

// Find implements graph.Finder.
func (d *Driver) Find(isWrite bool, off, n int64) graph.Spot {
	s := d.image.Find(isWrite, off, n)
	return graph.Spot{Where: places[s.Place], Offset: s.Offset, Lease: s.Lease}
}

// Left implements graph.Finder.
func (d *Driver) Left(s graph.Spot) { d.image.Left(s.Lease) }
