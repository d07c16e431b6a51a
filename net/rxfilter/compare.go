package rxfilter

import "slices"

// Drift is how a link differs from what a guest asks for.
type Drift struct {
	Missing []Op     // what the link does not let through
	Extra   []Op     // what it lets through besides
	Lacks   []string // what it can not do
}

// None says that there is no difference.
func (d *Drift) None() bool { return len(d.Missing)+len(d.Extra)+len(d.Lacks) == 0 }

// Compare says how a link differs from what a policy gives to a guest, whoever made it so.
func Compare(p Policy, g *Guest, h *Host) (d Drift) {
	if h.Open {
		return d
	}
	all := *h
	all.Multicast = h.Joined // those that the kernel joined are let through as well
	own := Owned{Promisc: h.Promisc, AllMulti: h.AllMulti, Unicast: h.Unicast, Multicast: h.Multicast}
	w := p.Want(g)
	if h.AllMulti { // which lets them through, listed or not
		all.Multicast = sorted(slices.Concat(h.Joined, w.Multicast), func(MAC) bool { return true })
	}
	var ops []Op
	ops, d.Lacks = Diff(w, &all, &own)
	i := slices.IndexFunc(ops, func(o Op) bool { return o.Verb >= DelMulticast })
	if i < 0 {
		i = len(ops)
	}
	d.Missing, d.Extra = ops[:i], ops[i:]
	return d
}
