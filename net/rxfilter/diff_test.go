package rxfilter

import (
	"errors"
	"math/rand"
	"reflect"
	"slices"
	"testing"
)

// model is a link as the kernel keeps it.
type model struct {
	host  Host
	fails map[Op]error
	reads int
	gone  bool
}

func (m *model) Read() (Host, error) {
	m.reads++
	if m.gone {
		return Host{}, ErrGone
	}
	h := m.host
	h.Unicast, h.Multicast = slices.Clone(h.Unicast), slices.Clone(h.Multicast)
	return h, nil
}

// Apply does what the kernel does; what no list or flag calls for is an error.
func (m *model) Apply(op Op) error {
	if err := m.fails[op]; err != nil {
		return err
	}
	h := &m.host
	var bad bool
	switch op.Verb {
	case SetMAC:
		bad, h.MAC = !op.MAC.Station() || op.MAC == h.MAC, op.MAC
	case PromiscOn, PromiscOff:
		bad, h.Promisc = h.Promisc == (op.Verb == PromiscOn), op.Verb == PromiscOn
	case AllMultiOn, AllMultiOff:
		bad, h.AllMulti = h.AllMulti == (op.Verb == AllMultiOn), op.Verb == AllMultiOn
	case AddUnicast, DelUnicast:
		bad = !h.Takes.Unicast || has(h.Unicast, op.MAC) == (op.Verb == AddUnicast)
		h.Unicast = with(h.Unicast, op.MAC, op.Verb == AddUnicast)
	case AddMulticast, DelMulticast:
		bad = has(h.Multicast, op.MAC) == (op.Verb == AddMulticast)
		h.Multicast = with(h.Multicast, op.MAC, op.Verb == AddMulticast)
	}
	if bad {
		return errors.New("nothing called for that")
	}
	return nil
}

// randomHost is a link on which others were before.
func randomHost(r *rand.Rand) Host {
	all := func(m MAC) bool { return true }
	station := func(m MAC) bool { return m.Station() && m != a1 }
	able := r.Intn(2) == 0
	return Host{
		Name: "l", Kind: "macvtap", Mode: "bridge", MAC: a1, Promisc: r.Intn(4) == 0, AllMulti: r.Intn(4) == 0,
		Takes: Abilities{able, able}, Filters: r.Intn(2) == 0,
		Unicast: sorted(picks(r), station), Multicast: sorted(picks(r), func(m MAC) bool { return all(m) && m.Group() }),
	}
}

// expected is what a link has to be: what others had made of it, and what is wanted.
func expected(first Host, w Want) Host {
	h := first
	if w.MAC != (MAC{}) {
		h.MAC = w.MAC
	}
	h.Promisc = first.Promisc || w.Promisc || w.Tagged && h.Filters && !h.Takes.Promisc
	h.AllMulti = first.AllMulti || w.AllMulti
	h.Multicast = sorted(append(slices.Clone(first.Multicast), w.Multicast...), func(MAC) bool { return true })
	if h.Takes.Unicast {
		h.Unicast = sorted(append(slices.Clone(first.Unicast), with(slices.Clone(w.Unicast), h.MAC, false)...), func(MAC) bool { return true })
	}
	return h
}

func same(a, b Host) bool {
	return reflect.DeepEqual(canonical(a), canonical(b))
}

func canonical(h Host) Host {
	h.Unicast, h.Multicast = append([]MAC{}, h.Unicast...), append([]MAC{}, h.Multicast...)
	return h
}

// TestConverges: after any number of changes by a guest, a link is what others made of it
// and what the policy gives to the guest's last state; nothing is left to do; and all that
// was added goes when it is taken back.
func TestConverges(t *testing.T) {
	r := rand.New(rand.NewSource(2))
	for _, p := range []Policy{policy(t, "none"), policy(t, "multicast"), policy(t, "listed", a2, a3), policy(t, "full")} {
		for range 40 {
			m := &model{host: randomHost(r)}
			first, _ := m.Read()
			s, err := NewSyncer(p, m)
			if err != nil {
				t.Fatal(err)
			}
			everyMode(r, func(g Guest) {
				res := s.Sync(&g)
				if want := expected(first, p.Want(&g)); res.Err() != nil || !same(m.host, want) || !same(s.Host(), want) {
					t.Fatalf("%s: %+v on %+v: %+v, not %+v (%v)", p, g, first, m.host, want, res.Err())
				}
				if res := s.Sync(&g); len(res.Done) > 0 {
					t.Fatalf("%s: %+v: again %v", p, g, res.Done)
				}
			})
			if res := s.Release(); res.Err() != nil || !same(m.host, first) {
				t.Fatalf("%s: %+v is left of %+v (%v)", p, m.host, first, res.Err())
			}
		}
	}
}

// TestDrift: others take away and change what they like; a refresh brings it back.
func TestDrift(t *testing.T) {
	r := rand.New(rand.NewSource(3))
	p := policy(t, "full")
	for range 2000 {
		m := &model{host: Host{MAC: a1, Takes: Abilities{true, true}}}
		s, err := NewSyncer(p, m)
		if err != nil {
			t.Fatal(err)
		}
		g := Guest{MAC: a2, Promisc: r.Intn(2) == 0, Multicast: Mode(r.Intn(3)), UnicastTable: picks(r), MulticastTable: picks(r)}
		s.Sync(&g)
		want := m.host
		m.host.MAC, m.host.Promisc, m.host.AllMulti = stations[r.Intn(3)], m.host.Promisc && r.Intn(2) == 0, m.host.AllMulti && r.Intn(2) == 0
		some := func(MAC) bool { return r.Intn(2) == 0 }
		m.host.Unicast, m.host.Multicast = sorted(m.host.Unicast, some), sorted(m.host.Multicast, some)
		n := Notice{MAC: m.host.MAC, Promisc: m.host.Promisc, AllMulti: m.host.AllMulti}
		if flags := m.host.MAC != want.MAC || m.host.Promisc != want.Promisc || m.host.AllMulti != want.AllMulti; flags != s.Drifted(n) {
			t.Fatalf("%+v drifted: %v", n, flags)
		}
		res, err := s.Refresh()
		if err != nil || res.Err() != nil || !same(m.host, want) {
			t.Fatalf("%+v, not %+v (%v, %v)", m.host, want, err, res.Err())
		}
	}
}

// TestFailures: what fails is told and tried again, the rest is done, and somebody else's
// address is not taken away.
func TestFailures(t *testing.T) {
	no := errors.New("no")
	m := &model{
		host:  Host{MAC: a1, Takes: Abilities{true, true}},
		fails: map[Op]error{{SetMAC, a2}: no, {AddMulticast, g1}: no, {AddUnicast, a3}: ErrPresent},
	}
	s, err := NewSyncer(policy(t, "full"), m)
	if err != nil {
		t.Fatal(err)
	}
	g := Guest{MAC: a2, UnicastTable: []MAC{a3}, MulticastTable: []MAC{g1, g2}}
	res := s.Sync(&g)
	if got := errText(res.Err()); got != "address 52:54:00:00:00:02: no\nadd 33:33:00:00:00:01: no" {
		t.Error(got)
	}
	if got := res.String(); got != "add 33:33:00:00:00:02" {
		t.Error(got)
	}
	m.fails = nil
	m.host.Unicast = []MAC{a3} // which was there all the time
	res = s.Sync(&g)
	if got := res.String(); res.Err() != nil || got != "address 52:54:00:00:00:02, add 33:33:00:00:00:01" {
		t.Error(got, res.Err())
	}
	if m.reads != 1 {
		t.Errorf("the link was read %d times", m.reads)
	}
	s.Release()
	if want := (Host{MAC: a1, Takes: Abilities{true, true}, Unicast: []MAC{a3}}); !same(m.host, want) {
		t.Errorf("%+v", m.host)
	}
	m.gone = true
	if _, err := s.Refresh(); !errors.Is(err, ErrGone) {
		t.Error(err)
	}
}

// TestLacks: what a link can not do is said, and not tried.
func TestLacks(t *testing.T) {
	h := Host{Kind: "macvtap", Mode: "bridge", MAC: a1}
	w := Want{MAC: a1, Promisc: true, Unicast: []MAC{a2, a3}}
	ops, lacks := Diff(w, &h, &Owned{})
	if !slices.Equal(ops, []Op{{Verb: PromiscOn}}) || !slices.Equal(lacks, []string{
		"a macvtap in mode bridge receives no packets to all addresses", "a macvtap in mode bridge has one address, not 2 more",
	}) {
		t.Error(ops, lacks)
	}
	h.Filters = true
	if ops, lacks := Diff(Want{Tagged: true}, &h, &Owned{}); !slices.Equal(ops, []Op{{Verb: PromiscOn}}) || len(lacks) > 0 {
		t.Error(ops, lacks)
	}
	h.Mode, h.Takes.Promisc = "passthru", true
	if ops, lacks := Diff(Want{Tagged: true}, &h, &Owned{}); len(ops) > 0 || !slices.Equal(lacks, []string{
		"the device below drops packets with tags of VLANs, and a macvtap in mode passthru can not tell it",
	}) {
		t.Error(ops, lacks)
	}
}

func TestCompare(t *testing.T) {
	h := Host{Kind: "macvtap", Mode: "bridge", MAC: a1, Promisc: true, Joined: []MAC{g3, g1}, Multicast: []MAC{g3}}
	g := Guest{MAC: a2, UnicastTable: []MAC{a3}, MulticastTable: []MAC{g1, g2}}
	d := Compare(policy(t, "full"), &g, &h)
	want := Drift{
		Missing: []Op{{SetMAC, a2}, {AddMulticast, g2}}, Extra: []Op{{DelMulticast, g3}, {Verb: PromiscOff}},
		Lacks: []string{"a macvtap in mode bridge has one address, not 1 more"},
	}
	if !reflect.DeepEqual(d, want) || d.None() {
		t.Errorf("%+v", d)
	}
	open := h
	open.Open = true
	if d := Compare(policy(t, "full"), &g, &open); !d.None() {
		t.Errorf("%+v", d)
	}
	same := Guest{MAC: a1, Multicast: All, MulticastTable: []MAC{g3}}
	if d := Compare(policy(t, "full"), &same, &Host{MAC: a1, AllMulti: true}); !d.None() {
		t.Errorf("%+v", d)
	}
}
