package qcow2drv

import (
	"hv/block/graph"
	"hv/block/qcow2"
)

// places are what each place is in the graph.
var places = [...]graph.Where{
	qcow2.Elsewhere: graph.Unknown, qcow2.InData: graph.InData, qcow2.InBacking: graph.InBelow, qcow2.InNothing: graph.InNothing,
	qcow2.InNew: graph.InData,
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
	return graph.Spot{Where: places[s.Place], Offset: s.Offset, Head: s.Head, Tail: s.Tail, Lease: s.Lease, New: s.New}
}

// Left implements graph.Finder.
func (d *Driver) Left(s graph.Spot, failed, wait bool) (bool, error) {
	return d.image.Left(qcow2.Spot{Lease: s.Lease, New: s.New}, failed, wait)
}
