package rxfilter

import (
	"math/rand"
	"reflect"
	"slices"
	"testing"

	"hv/qmp/qapi"
	"hv/qmp/wire"
)

// Addresses of the tests. Those that hostile guests ask for besides are no station's.
var (
	a1, a2, a3 = MAC{0x52, 0x54, 0, 0, 0, 1}, MAC{0x52, 0x54, 0, 0, 0, 2}, MAC{0x52, 0x54, 0, 0, 0, 3}
	g1, g2, g3 = MAC{0x33, 0x33, 0, 0, 0, 1}, MAC{0x33, 0x33, 0, 0, 0, 2}, MAC{1, 0, 0x5e, 0, 0, 3}
	stations   = []MAC{a1, a2, a3}
	asked      = []MAC{a1, a2, a3, g1, g2, g3, broadcast, {}}
)

func TestMACs(t *testing.T) {
	for _, text := range []string{"52:54:00:00:00:01", "FF:ff:Ff:fF:ff:FF", "00:00:00:00:00:00"} {
		if m, err := ParseMAC(text); err != nil || len(m.String()) != 17 {
			t.Errorf("%s: %v, %v", text, m, err)
		}
	}
	for _, text := range []string{"", "52:54:00:00:00", "52:54:00:00:00:0", "52-54-00-00-00-01", "52:54:00:00:00:0g", "52:54:00:00:00:01:02", "+2:54:00:00:00:01"} {
		if m, err := ParseMAC(text); err == nil {
			t.Errorf("%s is %v", text, m)
		}
	}
	list, err := ParseMACs("52:54:00:00:00:02, 52:54:00:00:00:01")
	if err != nil || !slices.Equal(list, []MAC{a2, a1}) {
		t.Error(list, err)
	}
	if _, err := ParseMACs("52:54:00:00:00:02,"); err == nil {
		t.Error("an empty address is none")
	}
}

func TestPolicies(t *testing.T) {
	for _, c := range []struct {
		name    string
		allowed []MAC
		err     string
	}{
		{"none", nil, ""}, {"multicast", nil, ""}, {"full", nil, ""}, {"listed", []MAC{a1}, ""},
		{"listed", nil, "policy listed needs a list of addresses"},
		{"full", []MAC{a1}, "policy full takes no list of addresses"},
		{"listed", []MAC{g1}, "no NIC can have the address 33:33:00:00:00:01"},
		{"some", nil, "there is no policy 'some': it is none, multicast, listed or full"},
	} {
		p, err := NewPolicy(c.name, c.allowed)
		if got := errText(err); got != c.err || err == nil && p.String() != c.name {
			t.Errorf("%s %v: %v, '%s'", c.name, c.allowed, p, got)
		}
	}
}

func errText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func policy(t testing.TB, name string, allowed ...MAC) Policy {
	t.Helper()
	p, err := NewPolicy(name, allowed)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestWant(t *testing.T) {
	usual := Guest{MAC: a2, MulticastTable: []MAC{g2, g1, g2, broadcast, a1}, UnicastTable: []MAC{a3, a1, a2, g1, {}}, VLANTable: []uint16{0, 10}}
	change := func(f func(*Guest)) Guest {
		g := usual
		f(&g)
		return g
	}
	promisc := change(func(g *Guest) { g.Promisc = true })
	overflow := change(func(g *Guest) { g.UnicastOverflow, g.MulticastOverflow = true, true })
	all := change(func(g *Guest) { g.Unicast, g.Multicast, g.VLANs = All, All, All })
	none := change(func(g *Guest) { g.Unicast, g.Multicast, g.VLANTable = None, None, []uint16{0} })
	bad := change(func(g *Guest) { g.MAC = g1 })
	groups := []MAC{g1, g2}
	for _, c := range []struct {
		name   string
		policy Policy
		guest  Guest
		want   Want
	}{
		{"none", policy(t, "none"), promisc, Want{}},
		{"multicast", policy(t, "multicast"), usual, Want{Multicast: groups}},
		{"multicast, promiscuous", policy(t, "multicast"), promisc, Want{Multicast: groups, AllMulti: true}},
		{"multicast, overflow", policy(t, "multicast"), overflow, Want{Multicast: groups, AllMulti: true}},
		{"multicast, all", policy(t, "multicast"), all, Want{Multicast: groups, AllMulti: true}},
		{"multicast, none", policy(t, "multicast"), none, Want{}},
		{"listed", policy(t, "listed", a2, a3), usual, Want{MAC: a2, Multicast: groups, Unicast: []MAC{a3}}},
		{"listed, not this one", policy(t, "listed", a3), usual, Want{Multicast: groups, Unicast: []MAC{a3}}},
		{"listed, promiscuous", policy(t, "listed", a1, a2, a3), promisc, Want{MAC: a2, AllMulti: true, Multicast: groups, Unicast: []MAC{a1, a3}}},
		{"listed, none", policy(t, "listed", a2, a3), none, Want{MAC: a2, Unicast: []MAC{}}},
		{"full", policy(t, "full"), usual, Want{MAC: a2, Multicast: groups, Unicast: []MAC{a1, a3}, Tagged: true}},
		{"full, promiscuous", policy(t, "full"), promisc, Want{MAC: a2, Multicast: groups, Unicast: []MAC{a1, a3}, Tagged: true, Promisc: true, AllMulti: true}},
		{"full, overflow", policy(t, "full"), overflow, Want{MAC: a2, Multicast: groups, Unicast: []MAC{a1, a3}, Tagged: true, Promisc: true, AllMulti: true}},
		{"full, all", policy(t, "full"), all, Want{MAC: a2, Multicast: groups, Unicast: []MAC{a1, a3}, Promisc: true, AllMulti: true}},
		{"full, none", policy(t, "full"), none, Want{MAC: a2}},
		{"full, no address", policy(t, "full"), bad, Want{Multicast: groups, Unicast: []MAC{a1, a2, a3}, Tagged: true}},
	} {
		if got := c.policy.Want(&c.guest); !reflect.DeepEqual(normal(got), normal(c.want)) {
			t.Errorf("%s: %+v, not %+v", c.name, got, c.want)
		}
	}
}

// normal has nil for lists without addresses.
func normal(w Want) Want {
	w.Unicast, w.Multicast = slices.Clip(append([]MAC(nil), w.Unicast...)), slices.Clip(append([]MAC(nil), w.Multicast...))
	return w
}

// everyMode calls f with each combination of flags and modes, and some tables.
func everyMode(r *rand.Rand, f func(Guest)) {
	for bits := range 8 {
		for modes := range 27 {
			f(Guest{
				MAC: pick(r), Promisc: bits&1 != 0, UnicastOverflow: bits&2 != 0, MulticastOverflow: bits&4 != 0,
				Unicast: Mode(modes % 3), Multicast: Mode(modes / 3 % 3), VLANs: Mode(modes / 9),
				UnicastTable: picks(r), MulticastTable: picks(r), VLANTable: []uint16{uint16(r.Intn(3))},
			})
		}
	}
}

func pick(r *rand.Rand) MAC { return asked[r.Intn(len(asked))] }

func picks(r *rand.Rand) (out []MAC) {
	for range r.Intn(6) {
		out = append(out, pick(r))
	}
	return out
}

// TestBounds: whatever a guest says, no policy gives more than it promises.
func TestBounds(t *testing.T) {
	r := rand.New(rand.NewSource(1))
	none, multicast, listed, full := policy(t, "none"), policy(t, "multicast"), policy(t, "listed", a2, a3), policy(t, "full")
	for range 20 {
		everyMode(r, func(g Guest) {
			if w := none.Want(&g); !reflect.DeepEqual(w, Want{}) {
				t.Fatalf("none: %+v gets %+v", g, w)
			}
			if w := multicast.Want(&g); w.MAC != (MAC{}) || w.Promisc || w.Tagged || len(w.Unicast) > 0 {
				t.Fatalf("multicast: %+v gets %+v", g, w)
			}
			w := listed.Want(&g)
			if w.Promisc || w.Tagged || w.MAC != (MAC{}) && !has(listed.allowed, w.MAC) {
				t.Fatalf("listed: %+v gets %+v", g, w)
			}
			for _, m := range w.Unicast {
				if !has(listed.allowed, m) {
					t.Fatalf("listed: %+v gets %s", g, m)
				}
			}
			w = full.Want(&g)
			wellFormed(t, &g, &w)
		})
	}
}

// wellFormed checks what holds of every Want.
func wellFormed(t *testing.T, g *Guest, w *Want) {
	for _, m := range w.Unicast {
		if !m.Station() || m == w.MAC || !slices.Contains(g.UnicastTable, m) {
			t.Fatalf("%+v gets %s", g, m)
		}
	}
	for _, m := range w.Multicast {
		if !m.Group() || m == broadcast || !slices.Contains(g.MulticastTable, m) {
			t.Fatalf("%+v gets %s", g, m)
		}
	}
	if !slices.IsSortedFunc(w.Unicast, compareMACs) || !slices.IsSortedFunc(w.Multicast, compareMACs) || g.Promisc && !w.Promisc {
		t.Fatalf("%+v gets %+v", g, w)
	}
}

func FuzzFromQMP(f *testing.F) {
	f.Add(`{"name":"n","promiscuous":true,"multicast":"all","unicast":"none","vlan":"normal","broadcast-allowed":false,"multicast-overflow":false,` +
		`"unicast-overflow":true,"main-mac":"52:54:00:00:00:01","vlan-table":[0,10],"unicast-table":["52:54:00:00:00:99"],"multicast-table":["33:33:00:00:00:01"]}`)
	f.Add(`{"name":"","promiscuous":false,"multicast":"normal","unicast":"normal","vlan":"all","broadcast-allowed":true,"multicast-overflow":true,` +
		`"unicast-overflow":false,"main-mac":"","vlan-table":[4096],"unicast-table":[""],"multicast-table":[]}`)
	full := policy(f, "full")
	f.Fuzz(func(t *testing.T, text string) {
		var info qapi.RxFilterInfo
		if v, err := wire.Parse([]byte(text)); err != nil || info.DecodeQAPI(v) != nil {
			return
		}
		g, err := FromQMP(&info)
		if err != nil {
			return
		}
		w := full.Want(&g)
		for _, m := range append(w.Unicast, w.Multicast...) {
			if m == (MAC{}) {
				t.Errorf("%s: %+v", text, w)
			}
		}
		for _, id := range g.VLANTable {
			if id > maxVLAN {
				t.Errorf("VLAN %d", id)
			}
		}
	})
}

func TestFromQMP(t *testing.T) {
	good := qapi.RxFilterInfo{
		Name: "n", Promiscuous: true, Multicast: qapi.RxStateAll, Unicast: qapi.RxStateNone, Vlan: qapi.RxStateNormal, UnicastOverflow: true,
		MainMac: a1.String(), VlanTable: []int64{10, 0}, UnicastTable: []string{a2.String()}, MulticastTable: []string{g1.String()},
	}
	g, err := FromQMP(&good)
	want := Guest{
		Name: "n", MAC: a1, Promisc: true, Multicast: All, Unicast: None, UnicastOverflow: true,
		UnicastTable: []MAC{a2}, MulticastTable: []MAC{g1}, VLANTable: []uint16{10, 0},
	}
	if err != nil || !reflect.DeepEqual(g, want) {
		t.Errorf("%+v, %v", g, err)
	}
	for want, spoil := range map[string]func(*qapi.RxFilterInfo){
		"filter of NIC n: main-mac: 'x' is no MAC address":       func(i *qapi.RxFilterInfo) { i.MainMac = "x" },
		"filter of NIC n: unicast-table: 'y' is no MAC address":  func(i *qapi.RxFilterInfo) { i.UnicastTable = []string{"y"} },
		"filter of NIC n: multicast-table: '' is no MAC address": func(i *qapi.RxFilterInfo) { i.MulticastTable = []string{""} },
		"filter of NIC n: there is no VLAN 4096":                 func(i *qapi.RxFilterInfo) { i.VlanTable = []int64{4096} },
		"filter of NIC n: there is no VLAN -1":                   func(i *qapi.RxFilterInfo) { i.VlanTable = []int64{-1} },
		"filter of NIC n: 5000 VLANs":                            func(i *qapi.RxFilterInfo) { i.VlanTable = make([]int64, 5000) },
		"filter of NIC n: unicast-table: 5000 addresses":         func(i *qapi.RxFilterInfo) { i.UnicastTable = make([]string, 5000) },
	} {
		i := good
		spoil(&i)
		if _, err := FromQMP(&i); errText(err) != want {
			t.Errorf("'%v', not '%s'", err, want)
		}
	}
}
