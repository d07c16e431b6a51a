package graph

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// dump shows all that changes of the graph may change, orders included.
func dump(g *Graph) string {
	var s strings.Builder
	for _, n := range g.nodes {
		fmt.Fprintf(&s, "%s refs=%d opt=%+v told=%q/%q", n.name, n.refs, n.opt, n.perm, n.shared)
		if n.owner != nil {
			fmt.Fprintf(&s, " owner=%s", n.owner.name)
		}
		if d, ok := n.driver.(*cow); ok {
			fmt.Fprintf(&s, " has=%q/%q backing=%v", d.perm, d.shared, d.backing != nil)
		}
		for _, c := range n.children {
			fmt.Fprintf(&s, "\n  %s is %s (%d) %q/%q", c.name, c.node.name, c.role, c.perm, c.shared)
		}
		for _, c := range n.parents {
			fmt.Fprintf(&s, "\n  used by %s as %s", c.User(), c.name)
		}
		s.WriteByte('\n')
	}
	return s.String()
}

// consistent looks that all that hangs together says the same of it.
func consistent(t *testing.T, g *Graph) {
	t.Helper()
	for _, n := range g.nodes {
		for _, c := range n.children {
			if c.parent != n || !slices.Contains(c.node.parents, c) || !slices.Contains(g.nodes, c.node) {
				t.Errorf("%s does not know of %s above it", c.node.name, n.name)
			}
			if c.node.Reaches(n) {
				t.Errorf("%s stands on itself", n.name)
			}
		}
		for _, c := range n.parents {
			if c.node != n || c.parent != nil && !slices.Contains(c.parent.children, c) {
				t.Errorf("%s has a parent that does not know it", n.name)
			}
		}
		own := 0
		if n.monitor {
			own = 1
		}
		if n.refs != len(n.parents)+own {
			t.Errorf("%s has %d references, and %d parents", n.name, n.refs, len(n.parents))
		}
		wants(t, n.conflict(), "")
		perm, shared := n.total()
		if n.permitted && (n.perm != perm || n.shared != shared) {
			t.Errorf("%s was told %q/%q, not %q/%q", n.name, n.perm, n.shared, perm, shared)
		}
		for _, c := range n.children {
			if p, s := c.wants(perm, shared); p != c.perm || s != c.shared {
				t.Errorf("%s does %q/%q with %s, not %q/%q", n.name, c.perm, c.shared, c.node.name, p, s)
			}
		}
		if d, ok := n.driver.(*cow); ok && d.backing != n.Backing() {
			t.Errorf("the driver of %s has another backing node than that", n.name)
		}
	}
}

// changer makes random changes.
type changer struct {
	*testing.T
	g   Graph
	rng *rand.Rand
}

func (r *changer) node() *Node { return r.g.nodes[r.rng.IntN(len(r.g.nodes))] }

// grow makes some nodes: images, filters over others, and front ends.
func (r *changer) grow() {
	for i := range 5 {
		n, _ := image(r.T, &r.g, fmt.Sprintf("image%d", i), Options{})
		n.Own()
	}
	for i := range 3 {
		if n, err := over(&r.g, fmt.Sprintf("filter%d", i), Filtered, Options{}, r.node()); err == nil {
			n.Own()
		}
	}
	for i := range 4 {
		_, _ = use(r.node(), fmt.Sprint("disk", i), Perm(r.rng.IntN(16)), Perm(r.rng.IntN(16))|ConsistentRead|WriteUnchanged)
	}
}

// step makes a random change a part of ch.
func (r *changer) step(ch *Change) error {
	a, b := r.node(), r.node()
	switch r.rng.IntN(6) {
	case 0:
		return ch.SetBacking(a, b)
	case 1:
		return ch.SetBacking(a, nil)
	case 2:
		if a != b {
			ch.Replace(a, b)
		}
	case 3:
		o := a.Options()
		o.ReadOnly = !o.ReadOnly
		ch.SetOptions(a, o)
	case 4:
		if len(a.children) > 0 {
			return ch.Move(a.children[r.rng.IntN(len(a.children))], b)
		}
	case 5:
		if c := a.Child("extra"); c != nil {
			ch.Detach(c)
			return nil
		}
		_, err := ch.Attach(a, Edge{"extra", Filtered, b})
		return err
	}
	return nil
}

// TestRandomChanges makes changes together that may be refused, or are taken back. What is not
// committed leaves no trace, whatever it was.
func TestRandomChanges(t *testing.T) {
	committed, refused := 0, 0
	for seed := range uint64(60) {
		r := &changer{T: t, rng: rand.New(rand.NewPCG(seed, 5))}
		r.grow()
		for range 30 {
			before := dump(&r.g)
			undrain := r.drain()
			var ch Change
			err := error(nil)
			for range 1 + r.rng.IntN(4) {
				if err = r.step(&ch); err != nil {
					break
				}
			}
			switch {
			case err != nil || r.rng.IntN(4) == 0:
				ch.Rollback()
				err = errors.New("taken back")
			default:
				if err = ch.Commit(); err == nil {
					committed++
				} else {
					refused++
				}
			}
			undrain()
			if after := dump(&r.g); err != nil && after != before {
				t.Fatalf("seed %d, %v: before\n%s\nafter\n%s", seed, err, before, after)
			}
			if consistent(t, &r.g); t.Failed() {
				t.Fatalf("seed %d, %v:\n%s", seed, err, dump(&r.g))
			}
		}
	}
	if committed < 100 || refused < 100 {
		t.Errorf("%d changes were made, %d refused: nothing is tested", committed, refused)
	}
}

// drain has all nodes be drained.
func (r *changer) drain() (undrain func()) {
	var all []func()
	for _, n := range r.g.nodes {
		all = append(all, n.Drain())
	}
	return func() {
		for _, f := range slices.Backward(all) {
			f()
		}
	}
}

// TestLaterOrder has what is final come in order, and what is taken back the other way round.
func TestLaterOrder(t *testing.T) {
	var got []string
	note := func(s string) func() { return func() { got = append(got, s) } }
	build := func() *Change {
		got = nil
		ch := &Change{}
		for _, s := range []string{"a", "b", "c"} {
			ch.Later(func() error { note(s)(); return errors.New(s) }, note("not "+s))
		}
		return ch
	}
	if err := build().Commit(); err == nil || err.Error() != "a\nb\nc" || strings.Join(got, ",") != "a,b,c" {
		t.Errorf("%v, %v", got, err)
	}
	ch := build()
	ch.Rollback()
	ch.Rollback()
	if strings.Join(got, ",") != "not c,not b,not a" {
		t.Error(got)
	}
}
