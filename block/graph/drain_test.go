package graph

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
)

// watched is a driver that knows how many requests are under way, and finds those that come
// while there must be none.
type watched struct {
	memory
	under  atomic.Int64
	closed atomic.Bool // no request may come
	wrong  atomic.Int64
	served atomic.Int64
}

func (w *watched) Readv(int64, [][]byte) error {
	w.under.Add(1)
	if w.closed.Load() {
		w.wrong.Add(1)
	}
	w.served.Add(1)
	w.under.Add(-1)
	return nil
}

// waiting is a front end that finds out when it is told the same twice.
type waiting struct {
	t     *testing.T
	quiet bool
	times int
}

func (w *waiting) Quiesce() {
	if w.quiet {
		w.t.Error("a front end is made quiet twice")
	}
	w.quiet = true
	w.times++
}

func (w *waiting) Unquiesce() {
	if !w.quiet {
		w.t.Error("a front end goes on that was not quiet")
	}
	w.quiet = false
}

func (w *waiting) Resized() {}

// TestRandomDrains nests drains of nodes that others stand on, in any order,
// while requests come all the time.
func TestRandomDrains(t *testing.T) {
	var g Graph
	leaves := make([]*watched, 3)
	var nodes []*Node
	for i := range leaves {
		leaves[i] = &watched{memory: memory{data: make([]byte, 4096)}}
		n, err := g.Open(Spec{Name: fmt.Sprint("leaf", i), Filename: func() string { return "" },
			Open: func([]*Child) (Driver, error) { return leaves[i], nil }})
		wants(t, err, "")
		nodes = append(nodes, n)
	}
	for i := range 10 {
		n, err := over(&g, fmt.Sprint("filter", i), Filtered, Options{}, nodes[i/2])
		wants(t, err, "")
		nodes = append(nodes, n)
	}
	var fronts []*waiting
	var holds []*Child
	for _, n := range nodes {
		f := &waiting{t: t}
		c, err := n.Use(n.Name, f, ConsistentRead, AllPerms)
		wants(t, err, "")
		fronts, holds = append(fronts, f), append(holds, c)
	}
	var stop atomic.Bool
	var all sync.WaitGroup
	for _, c := range holds {
		all.Go(func() {
			v := [][]byte{make([]byte, 1)}
			for !stop.Load() {
				if err := c.Readv(0, v); err != nil {
					t.Error(err)
				}
			}
		})
	}
	rng := rand.New(rand.NewPCG(9, 9))
	type open struct {
		leaf    *watched
		undrain func()
	}
	var drained []open
	for range 300 {
		if len(drained) < 6 && rng.IntN(2) == 0 {
			i := rng.IntN(len(leaves))
			u := nodes[i].Drain()
			if n := leaves[i].under.Load(); n != 0 {
				t.Fatalf("%d requests are under way on a drained node", n)
			}
			leaves[i].closed.Store(true)
			drained = append(drained, open{leaves[i], u})
		} else if len(drained) > 0 {
			i := rng.IntN(len(drained))
			d := drained[i]
			drained = slices.Delete(drained, i, i+1)
			// It is only open when the last drain of it ends.
			d.leaf.closed.Store(slices.ContainsFunc(drained, func(o open) bool { return o.leaf == d.leaf }))
			d.undrain()
		}
	}
	for _, d := range drained {
		d.leaf.closed.Store(false)
	}
	for _, d := range drained {
		d.undrain()
	}
	// All go on.
	for _, l := range leaves {
		for was := l.served.Load(); l.served.Load() == was; {
		}
	}
	stop.Store(true)
	all.Wait()
	for i, l := range leaves {
		if l.wrong.Load() != 0 || l.served.Load() == 0 {
			t.Errorf("leaf %d: %d requests, %d while it was drained", i, l.served.Load(), l.wrong.Load())
		}
	}
	for i, f := range fronts {
		if f.quiet || f.times == 0 || holds[i].drains != 0 {
			t.Errorf("the front end of %s is quiet, or never was", nodes[i].Name())
		}
	}
}

// TestDrainBelow keeps those quiet that use what a node stands on.
func TestDrainBelow(t *testing.T) {
	var g Graph
	base, _ := leaf(t, &g, "base", Options{})
	top, err := over(&g, "top", Filtered, Options{}, base)
	wants(t, err, "")
	beside, err := over(&g, "beside", Filtered, Options{}, base)
	wants(t, err, "")
	quiet := map[string]*front{}
	for _, n := range []*Node{base, top, beside} {
		quiet[n.Name()] = &front{}
		_, err := n.Use(n.Name, quiet[n.Name()], ConsistentRead, AllPerms)
		wants(t, err, "")
	}
	is := func(b, t, s int) bool {
		return quiet["base"].quiet == b && quiet["top"].quiet == t && quiet["beside"].quiet == s
	}
	undrain := top.Drain()
	if !is(0, 1, 0) {
		t.Error("a drain is for those above")
	}
	below := top.DrainBelow()
	if !is(1, 1, 1) {
		t.Error("users of what is below are not quiet")
	}
	undrain()
	if !is(1, 1, 1) {
		t.Error("an outer drain that ends takes an inner one with it")
	}
	below()
	if !is(0, 0, 0) {
		t.Error("somebody is still quiet")
	}
}

// gatekeeper holds requests back until it is lifted.
type gatekeeper struct {
	memory
	mu      sync.Mutex
	lifted  int
	changed sync.Cond
}

func (k *gatekeeper) Lift() { k.add(1) }
func (k *gatekeeper) Drop() { k.add(-1) }

func (k *gatekeeper) add(n int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.lifted += n
	k.changed.Broadcast()
}

func (k *gatekeeper) Wait(bool, int64) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for k.lifted == 0 {
		k.changed.Wait()
	}
}

func (k *gatekeeper) Readv(int64, [][]byte) error { k.Wait(false, 0); return nil }

// TestDrainLifts has drains not wait for limits, of a node or of a front end, and others wait
// for those again afterwards.
func TestDrainLifts(t *testing.T) {
	for _, own := range []bool{false, true} {
		var g Graph
		k := &gatekeeper{}
		k.changed.L, k.data = &k.mu, make([]byte, 512)
		m := Driver(k)
		if own {
			m = &memory{data: make([]byte, 512)}
		}
		n, err := g.Open(Spec{Filename: func() string { return "" }, Open: func([]*Child) (Driver, error) { return m, nil }})
		wants(t, err, "")
		c, err := use(n, "d", ConsistentRead, AllPerms)
		wants(t, err, "")
		if own {
			c.SetLimiter(k)
		}
		done := make(chan error)
		read := func() { done <- c.Readv(0, [][]byte{make([]byte, 1)}) }
		go read()
		undrain := n.Drain() // which would wait for ever for the request
		inner := n.Drain()
		inner()
		undrain()
		if own || len(c.Lifters()) == 1 {
			// The request came before the drain, or waits now.
			drop := c.Lift()
			wants(t, <-done, "")
			drop()
		} else {
			t.Error("nobody holds requests back")
		}
		if k.lifted != 0 {
			t.Errorf("lifted %d times after all", k.lifted)
		}
	}
}
