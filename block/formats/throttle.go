package formats

import (
	"errors"

	"hv/block/graph"
	"hv/block/throttledrv"
	"hv/qmp/qapi"
)

func (x *Opener) throttle(s graph.Spec, o *qapi.BlockdevOptionsThrottle, from inherited) (*graph.Node, error) {
	return x.filter(s, &o.File, from, func(file *graph.Child) (graph.Driver, error) {
		return throttledrv.Open(x.Groups, o.ThrottleGroup, file)
	})
}

// filter makes a node that is its child file, but for what its driver does.
func (x *Opener) filter(s graph.Spec, r *qapi.BlockdevRef, from inherited, open func(*graph.Child) (graph.Driver, error)) (*graph.Node, error) {
	file, err := x.child(r, from)
	if err != nil {
		return nil, err
	}
	s.Children = []graph.Edge{{Name: "file", Role: graph.Filtered, Node: file}}
	s.Open = func(c []*graph.Child) (graph.Driver, error) { return open(c[0]) }
	s.Filename = file.Filename
	n, err := x.Graph.Open(s)
	return n, errors.Join(err, file.Unref())
}
