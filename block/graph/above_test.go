package graph

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
)

// block is what layers know things by.
const block = 512

// layer is an image of which some blocks are allocated, and some of those are zeroes.
type layer struct {
	cow
	status []Status
	fails  bool
}

func (l *layer) Size() int64 { return int64(len(l.status)) * block }

func (l *layer) BlockStatus(off, n int64) (Extent, error) {
	if l.fails {
		return Extent{}, errors.New("no status")
	}
	first := off / block
	end := first + 1
	for end < int64(len(l.status)) && l.status[end] == l.status[first] {
		end++
	}
	return Extent{N: min(n, end*block-off), Status: l.status[first], Offset: off}, nil
}

// passing is a filter whose answer is that of its child.
type passing struct{ filter }

func (p passing) BlockStatus(off, n int64) (Extent, error) {
	return Extent{N: n, Status: Recurse | OffsetValid, Child: p.Child, Offset: off}, nil
}

// chain makes layers of random sizes, some with filters in between, the last one on top.
func chain(t *testing.T, g *Graph, rng *rand.Rand) (top *Node, layers []*layer, depths []int) {
	t.Helper()
	depth := 0
	for i := range 4 {
		l := &layer{status: make([]Status, 10+rng.IntN(20))}
		for j := range l.status {
			l.status[j] = []Status{0, Data | Allocated, Zero | Allocated}[rng.IntN(3)]
		}
		n, err := g.Open(Spec{Name: fmt.Sprint("layer", i), Driver: "layer", Filename: func() string { return "" },
			Open: func([]*Child) (Driver, error) { return l, nil }})
		wants(t, err, "")
		if top != nil {
			wants(t, (&Change{}).SetBacking(n, top), "")
		}
		layers, depths, top = append(layers, l), append(depths, depth), n
		if depth++; rng.IntN(3) == 0 {
			top, err = g.Open(Spec{Driver: "pass", Filename: n.Filename, Children: []Edge{{"file", Filtered, n}},
				Open: func(c []*Child) (Driver, error) { return passing{filter{c[0]}}, nil }})
			wants(t, err, "")
			depth++
		}
	}
	for i := range depths {
		depths[i] = depth - depths[i]
	}
	return top, layers, depths
}

// decides returns the status of a block, and the layer that decides it, -1 for none.
func decides(layers []*layer, at int) (Status, int) {
	for i := len(layers) - 1; i >= 0; i-- {
		switch l := layers[i]; {
		case at >= len(l.status):
			return Zero, i // it ends before
		case l.status[at]&Allocated != 0:
			return l.status[at] &^ Allocated, i
		}
	}
	return Zero, -1
}

// TestStatusAbove compares chains with what each block is by itself.
func TestStatusAbove(t *testing.T) {
	for seed := range uint64(40) {
		var g Graph
		rng := rand.New(rand.NewPCG(seed, 3))
		top, layers, depths := chain(t, &g, rng)
		c, err := use(top, "d", ConsistentRead, AllPerms)
		wants(t, err, "")
		for off := int64(rng.IntN(block)); off < top.Size(); {
			e, depth, err := c.StatusAbove(off, top.Size()-off)
			if err != nil || e.N < 1 || off+e.N > top.Size() {
				t.Fatalf("seed %d at %d: %+v, %v", seed, off, e, err)
			}
			for at := off / block; at*block < off+e.N; at++ {
				want, i := decides(layers, int(at))
				// A filter answers for what it filters.
				nearest := i >= 0 && (depth == depths[i] || depth == depths[i]-1)
				if i < 0 && depth != 0 || i >= 0 && !nearest || e.Status&(Data|Zero) != want {
					t.Fatalf("seed %d, block %d: %+v at depth %d, want %v of layer %d at %d", seed, at, e, depth, want, i, depths)
				}
			}
			off += e.N
		}
		for _, at := range []int64{-1, top.Size(), 1 << 62} {
			if _, _, err := c.StatusAbove(at, 1); err == nil {
				t.Errorf("status at %d", at)
			}
		}
		if e, _, err := c.StatusAbove(0, 0); err != nil || e != (Extent{}) {
			t.Errorf("status of nothing: %+v, %v", e, err)
		}
		for i := range layers {
			layers[i].fails = true
		}
		_, _, err = c.StatusAbove(0, block)
		wants(t, err, "no status")
	}
}

// TestStatusRecursion has a node whose data lies in a child ask that for zeroes.
func TestStatusRecursion(t *testing.T) {
	var g Graph
	below := &layer{status: []Status{Data | Allocated, Zero | Allocated, Data | Allocated}}
	n, err := g.Open(Spec{Driver: "layer", Open: func([]*Child) (Driver, error) { return below, nil }})
	wants(t, err, "")
	var at placed
	top, err := g.Open(Spec{Driver: "placed", Children: []Edge{{"file", Storage, n}}, Open: func(c []*Child) (Driver, error) {
		at.filter = filter{c[0]}
		return &at, nil
	}})
	wants(t, err, "")
	c, err := use(top, "d", ConsistentRead, AllPerms)
	wants(t, err, "")
	for _, x := range []struct {
		off, n int64
		own    Status
		want   Extent
	}{
		{0, 1536, Data | Allocated, Extent{N: 512, Status: Data | Allocated}},
		{512, 1024, Data | Allocated, Extent{N: 512, Status: Data | Allocated | Zero}},
		{700, 1000, 0, Extent{N: 324, Status: Zero | Allocated}},
		{1024, 5000, Data | Allocated, Extent{N: 512, Status: Data | Allocated}},
		{4096, 77, Data | Allocated, Extent{N: 77, Status: Data | Allocated | Zero}}, // after the end of the child
	} {
		at.e = Extent{N: x.n, Status: x.own | Recurse | OffsetValid, Child: at.Child, Offset: x.off}
		e, err := c.BlockStatus(0, x.n)
		if e.Status &= Data | Zero | Allocated; err != nil || e.N != x.want.N || e.Status != x.want.Status {
			t.Errorf("%+v: %+v, %v", x, e, err)
		}
	}
	below.fails = true
	at.e = Extent{N: 512, Status: Data | Recurse, Child: at.Child}
	_, err = c.BlockStatus(0, 512)
	wants(t, err, "no status")
}

// placed is a driver whose answer the test gives.
type placed struct {
	filter
	e Extent
}

func (p *placed) Size() int64                              { return 1 << 20 }
func (p *placed) BlockStatus(int64, int64) (Extent, error) { return p.e, nil }
