package rxfilter

import (
	"errors"
	"fmt"
)

// Trust says how much of what a guest asks for it gets.
type Trust uint8

// The policies.
const (
	TrustNone      Trust = iota // nothing: the link stays as it is
	TrustMulticast              // groups
	TrustListed                 // groups, and addresses from a list
	TrustFull                   // everything
)

var trustNames = [...]string{"none", "multicast", "listed", "full"}

// String returns the policy's name.
func (t Trust) String() string { return trustNames[t] }

// Policy is what guests are allowed on a link. The zero value allows nothing.
type Policy struct {
	trust   Trust
	allowed []MAC
}

// NewPolicy returns the policy with a name. Addresses are allowed with "listed" only, which
// needs some.
func NewPolicy(name string, allowed []MAC) (Policy, error) {
	for t, n := range trustNames {
		if n != name {
			continue
		}
		p := Policy{trust: Trust(t), allowed: sorted(allowed, func(MAC) bool { return true })}
		return p, p.check()
	}
	return Policy{}, fmt.Errorf("there is no policy '%s': it is none, multicast, listed or full", name)
}

// Full is the policy that gives a guest all that it asks for.
func Full() Policy { return Policy{trust: TrustFull} }

func (p *Policy) check() error {
	switch {
	case p.trust == TrustListed && len(p.allowed) == 0:
		return errors.New("policy listed needs a list of addresses")
	case p.trust != TrustListed && len(p.allowed) > 0:
		return fmt.Errorf("policy %s takes no list of addresses", p.trust)
	}
	for _, m := range p.allowed {
		if !m.Station() {
			return fmt.Errorf("no NIC can have the address %s", m)
		}
	}
	return nil
}

// String returns the policy's name.
func (p Policy) String() string { return p.trust.String() }

// Want is what a link has to let through.
type Want struct {
	MAC                MAC // zero for the one that the link had
	Promisc, AllMulti  bool
	Unicast, Multicast []MAC // in order
	Tagged             bool  // packets with tags of VLANs
}

// Want returns what a link has to let through of what a guest asks for. It knows no
// history: the same guest gets the same under the same policy.
func (p *Policy) Want(g *Guest) Want {
	var w Want
	if p.trust >= TrustMulticast {
		p.groups(g, &w)
	}
	switch p.trust {
	case TrustListed:
		p.listed(g, &w)
	case TrustFull:
		p.full(g, &w)
	}
	return w
}

// groups adds the groups. A promiscuous guest takes all of them.
func (p *Policy) groups(g *Guest, w *Want) {
	w.AllMulti = g.Promisc || g.Multicast == All || g.Multicast == Listed && g.MulticastOverflow
	if g.Multicast != None { // the list is kept for the time when not all are taken any more
		w.Multicast = sorted(g.MulticastTable, func(m MAC) bool { return m.Group() && m != broadcast })
	}
}

// listed adds what the list allows. A guest that takes packets to everybody gets those to
// every address in the list.
func (p *Policy) listed(g *Guest, w *Want) {
	if has(p.allowed, g.MAC) {
		w.MAC = g.MAC
	}
	asked := g.UnicastTable
	switch {
	case everybody(g):
		asked = p.allowed
	case g.Unicast == None:
		asked = nil
	}
	w.Unicast = sorted(asked, func(m MAC) bool { return has(p.allowed, m) && m != w.MAC })
}

// full adds everything else.
func (p *Policy) full(g *Guest, w *Want) {
	if g.MAC.Station() {
		w.MAC = g.MAC
	}
	w.Promisc = everybody(g)
	w.Tagged = g.tagged()
	if g.Unicast != None {
		w.Unicast = sorted(g.UnicastTable, func(m MAC) bool { return m.Station() && m != w.MAC })
	}
}

// everybody says that the guest takes packets to single addresses that are not listed.
func everybody(g *Guest) bool {
	return g.Promisc || g.Unicast == All || g.Unicast == Listed && g.UnicastOverflow
}
