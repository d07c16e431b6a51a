package formats

import (
	"errors"

	"hv/block/graph"
	"hv/block/quorumdrv"
	"hv/qmp/qapi"
)

// quorum opens a node that has its data several times over.
func (x *Opener) quorum(s graph.Spec, o *qapi.BlockdevOptionsQuorum, from inherited) (n *graph.Node, err error) {
	cfg := quorumdrv.Config{
		Threshold: o.VoteThreshold, Children: len(o.Children), Verify: isSet(o.Blkverify), Rewrite: isSet(o.RewriteCorrupted),
		FIFO: o.ReadPattern != nil && *o.ReadPattern == qapi.QuorumReadPatternFifo, Reports: x.Quorum,
	}
	if err := cfg.Check(); err != nil {
		return nil, err
	}
	var nodes []*graph.Node
	defer func() {
		for _, below := range nodes {
			err = errors.Join(err, below.Unref())
		}
	}()
	for i := range o.Children {
		below, err := x.child(&o.Children[i], from)
		if err != nil {
			return nil, err
		}
		nodes = append(nodes, below)
	}
	s.Children = quorumdrv.Edges(nodes)
	s.Open = func(c []*graph.Child) (graph.Driver, error) { return quorumdrv.Open(cfg, c) }
	s.Filename = func() string { return "" }
	return x.Graph.Open(s)
}
