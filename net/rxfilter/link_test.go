package rxfilter

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// sync has a link follow a guest, and fails if anything fails.
func (s *space) sync(y *Syncer, g Guest) Result {
	s.t.Helper()
	r := y.Sync(&g)
	if err := r.Err(); err != nil {
		s.t.Fatal(err)
	}
	return r
}

// check compares what the system's tools say of tap0.
func (s *space) check(mac MAC, flags string, unicast, groups []MAC) {
	s.t.Helper()
	link := strings.Fields(s.Run("ip -d link show tap0"))
	if i := slices.Index(link, "link/ether"); i < 0 || link[i+1] != mac.String() {
		s.t.Errorf("address: %v, not %s", link, mac)
	}
	var got []string
	for _, f := range strings.Split(strings.Trim(link[2], "<>"), ",") {
		if f == "PROMISC" || f == "ALLMULTI" {
			got = append(got, f)
		}
	}
	if slices.Sort(got); strings.Join(got, " ") != flags {
		s.t.Errorf("flags: %v, not '%s'", got, flags)
	}
	var list []MAC
	for _, line := range strings.Split(s.Run("bridge fdb show dev tap0"), "\n") {
		if f := strings.Fields(line); len(f) > 1 && f[1] == "self" {
			if m := parsed(s.t, f[0]); !m.Group() {
				list = append(list, m)
			}
		}
	}
	if !slices.Equal(sorted(list, anyMAC), sorted(unicast, anyMAC)) {
		s.t.Errorf("addresses: %v, not %v", list, unicast)
	}
	list = nil
	for _, line := range strings.Split(s.Run("ip maddr show dev tap0"), "\n") {
		if f := strings.Fields(line); len(f) > 1 && f[0] == "link" && f[len(f)-1] == "static" {
			list = append(list, parsed(s.t, f[1]))
		}
	}
	if !slices.Equal(sorted(list, anyMAC), sorted(groups, anyMAC)) {
		s.t.Errorf("groups: %v, not %v", list, groups)
	}
}

func anyMAC(MAC) bool { return true }

func parsed(t testing.TB, text string) MAC {
	t.Helper()
	m, err := ParseMAC(text)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func (s *space) syncer(p Policy) *Syncer {
	s.t.Helper()
	y, err := NewSyncer(p, s.open("tap0"))
	if err != nil {
		s.t.Fatal(err)
	}
	return y
}

// TestRealLink: each policy on each mode of macvtap, by the system's tools.
func TestRealLink(t *testing.T) {
	for _, mode := range []string{"bridge", "vepa", "private", "passthru"} {
		s := newSpace(t)
		s.Macvtap(a1.String(), mode)
		s.Run("ip maddr add %s dev tap0", g3)
		s.Run("ip link set tap0 allmulticast on")
		g := Guest{MAC: a2, Promisc: true, UnicastTable: []MAC{a3}, MulticastTable: []MAC{g1, g2, g3}}
		calm := g
		calm.Promisc, calm.MulticastTable = false, []MAC{g2}
		var more []MAC
		if mode == "passthru" {
			more = []MAC{a3}
		}
		y := s.syncer(policy(t, "none"))
		s.sync(y, g)
		s.check(a1, "ALLMULTI", nil, []MAC{g3})

		y = s.syncer(policy(t, "multicast"))
		s.sync(y, g)
		s.check(a1, "ALLMULTI", nil, []MAC{g1, g2, g3})
		s.sync(y, calm)
		s.check(a1, "ALLMULTI", nil, []MAC{g2, g3})
		y.Release()

		y = s.syncer(policy(t, "listed", a2, a3))
		s.sync(y, calm)
		s.check(a2, "ALLMULTI", more, []MAC{g2, g3})
		y.Release()

		s.Run("ip link set tap0 allmulticast off")
		y = s.syncer(policy(t, "full"))
		s.sync(y, g)
		s.check(a2, "ALLMULTI PROMISC", more, []MAC{g1, g2, g3})
		s.sync(y, calm)
		s.check(a2, "", more, []MAC{g2, g3})
		if h := y.Host(); h.Mode != mode || h.Kind != "macvtap" || h.Filters {
			t.Errorf("%+v", h)
		}
		y.Release()
		s.check(a1, "", nil, []MAC{g3})
	}
}

// TestForeign: what others add stays, also if the guest wants it too; what they take away
// comes back.
func TestForeign(t *testing.T) {
	s := newSpace(t)
	s.Macvtap(a1.String(), "passthru")
	s.Run("bridge fdb add %s dev tap0 self permanent", a2)
	y := s.syncer(policy(t, "full"))
	s.Run("bridge fdb add %s dev tap0 self permanent", a3) // which the syncer has not seen
	s.sync(y, Guest{MAC: a1, UnicastTable: []MAC{a2, a3}, MulticastTable: []MAC{g1}, Multicast: Listed})
	s.sync(y, Guest{MAC: a1})
	s.check(a1, "", []MAC{a2, a3}, nil)

	s.sync(y, Guest{MAC: a2, Promisc: true, MulticastTable: []MAC{g1, g2}})
	s.Run("ip maddr del %s dev tap0", g1)
	s.Run("ip link set tap0 promisc off address %s", a1)
	if r, err := y.Refresh(); err != nil || r.Err() != nil || len(r.Done) != 3 {
		t.Errorf("%v: %v, %v", r, err, r.Err())
	}
	s.check(a2, "ALLMULTI PROMISC", []MAC{a2, a3}, []MAC{g1, g2})

	// Groups of the kernel's own stay its own, and ours do not go with them.
	s.Run("ip link set tap0 addrgenmode eui64")
	s.Run("ip addr add fe80::5 dev tap0 nodad")
	own := MAC{0x33, 0x33, 0xff, 0, 0, 5}
	r := s.sync(y, Guest{MAC: a2, MulticastTable: []MAC{own}})
	if !slices.Contains(r.Done, Op{AddMulticast, own}) {
		t.Errorf("%v", r.Done)
	}
	s.Run("ip addr del fe80::5 dev tap0")
	s.check(a2, "", []MAC{a2, a3}, []MAC{own})
	y.Release()
	s.check(a1, "", []MAC{a2, a3}, nil)
}

// TestWatch: the kernel tells of changes, of those of other links nothing, and of the end.
func TestWatch(t *testing.T) {
	s := newSpace(t)
	s.Macvtap(a1.String(), "bridge")
	l := s.open("tap0")
	ctx, cancel := context.WithCancel(t.Context())
	notices := make(chan Notice, 100)
	var watch sync.WaitGroup
	watch.Go(func() {
		if err := l.Watch(ctx, func(n Notice) { notices <- n }); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
	defer watch.Wait()
	defer cancel()
	await := func(what string, ok func(Notice) bool) {
		t.Helper()
		for {
			select {
			case n := <-notices:
				if ok(n) {
					return
				}
			case <-time.After(10 * time.Second):
				t.Fatalf("no notice of %s", what)
			}
		}
	}
	s.Run("ip link set peer address %s", a3)
	s.Run("ip link set tap0 address %s", a2)
	await("an address", func(n Notice) bool { return n.MAC == a2 && n.Name == "tap0" && !n.Promisc })
	s.Run("ip link set tap0 promisc on allmulticast on")
	await("flags", func(n Notice) bool { return n.MAC == a2 && n.Promisc && n.AllMulti })
	s.Run("ip link del low")
	await("the end", func(n Notice) bool { return n.Gone })
	if _, err := l.Read(); !errors.Is(err, ErrGone) {
		t.Error(err)
	}
	for _, op := range []Op{{SetMAC, a1}, {Verb: PromiscOn}, {AddMulticast, g1}, {AddUnicast, a3}} {
		if err := l.Apply(op); !errors.Is(err, ErrGone) {
			t.Errorf("%s: %v", op, err)
		}
	}
}

// TestFilteringParent: a bond filters VLANs, until a macvtap on it is promiscuous.
func TestFilteringParent(t *testing.T) {
	s := newSpace(t)
	if exec.Command("ip", "-n", s.Name(), "link", "add", "low", "type", "bond").Run() != nil {
		t.Skip("SKIPPED: this kernel has no bonds: modprobe bonding, or the testbed")
	}
	for _, c := range []struct {
		mode    string
		filters bool
		flags   string
	}{{"bridge", true, "PROMISC"}, {"passthru nopromisc", true, ""}, {"passthru", false, ""}} {
		s.Run("ip link add link low name tap0 type macvtap mode %s", c.mode)
		s.Run("ip link set tap0 up")
		y := s.syncer(Full())
		h := y.Host()
		if h.Filters != c.filters {
			t.Errorf("%s: %+v", c.mode, h)
		}
		g := Guest{MAC: h.MAC, VLANTable: []uint16{0, 10}}
		s.sync(y, g)
		s.check(h.MAC, c.flags, nil, nil)
		if r, err := y.Refresh(); err != nil || len(r.Done) > 0 { // it does not go back and forth
			t.Errorf("%s: %v, %v", c.mode, r, err)
		}
		s.sync(y, Guest{MAC: h.MAC, VLANTable: []uint16{0}})
		s.check(h.MAC, "", nil, nil)
		s.Run("ip link del tap0")
	}
}

// TestTap: a tap hands everything over, and its address is the host's.
func TestTap(t *testing.T) {
	s := newSpace(t)
	s.Run("ip tuntap add dev tap0 mode tap")
	before := s.Run("ip -d link show tap0")
	y := s.syncer(Full())
	r := s.sync(y, Guest{MAC: a2, Promisc: true, UnicastTable: []MAC{a3}, MulticastTable: []MAC{g1}, VLANTable: []uint16{10}})
	if after := s.Run("ip -d link show tap0"); after != before || len(r.Done)+len(r.Lacks) > 0 || !y.Host().Open {
		t.Errorf("%+v: %s", r, after)
	}
}

func TestNoLink(t *testing.T) {
	if _, err := Open("rxf-there-is-none", nil); !errors.Is(err, ErrGone) {
		t.Error(err)
	}
}

func TestHurry(t *testing.T) {
	path := filepath.Join(t.TempDir(), "knob")
	for _, before := range []string{"0\n", "1\n"} {
		if err := os.WriteFile(path, []byte(before), 0o600); err != nil {
			t.Fatal(err)
		}
		h, err := NewHurry(path)
		if err != nil {
			t.Fatal(err)
		}
		no := errors.New("no")
		var within []byte
		err = h.Do(func() error {
			within, _ = os.ReadFile(path)
			return no
		})
		after, _ := os.ReadFile(path)
		if !errors.Is(err, no) || string(within) != "1\n" || string(after) != before {
			t.Errorf("%q: %q, then %q, %v", before, within, after, err)
		}
		h.Close()
	}
	if _, err := NewHurry(path + "2"); err == nil {
		t.Error("there is no such knob")
	}
}

func TestReadGroups(t *testing.T) {
	joined, ours, err := readGroups(strings.NewReader("2    eth0            1     0     333300000002\n"+
		"4    tap0            2     0     333300000001\n4    tap0            1     1     01005e000003\n4 tap0 1 1 00112233445566778899\n"), 4)
	if err != nil || !slices.Equal(joined, []MAC{g3, g1}) || !slices.Equal(ours, []MAC{g3}) {
		t.Error(joined, ours, err)
	}
	for _, bad := range []string{"4 tap0 1 1\n", "4 tap0 1 1 33330000000g\n"} {
		if _, _, err := readGroups(strings.NewReader(bad), 4); err == nil {
			t.Errorf("%q is no list of groups", bad)
		}
	}
}

// attr is a netlink attribute, and those in it.
func attr(kind uint16, parts ...[]byte) []byte {
	value := slices.Concat(parts...)
	out := append([]byte{byte(4 + len(value)), byte((4 + len(value)) >> 8), byte(kind), byte(kind >> 8)}, value...)
	return append(out, make([]byte, -len(out)&3)...)
}

func TestFeatures(t *testing.T) {
	bit := func(name string) []byte {
		return attr(unix.ETHTOOL_A_BITSET_BITS_BIT|unix.NLA_F_NESTED, attr(unix.ETHTOOL_A_BITSET_BIT_NAME, []byte(name+"\x00")))
	}
	set := func(kind uint16, names ...string) []byte {
		var bits []byte
		for _, n := range names {
			bits = append(bits, bit(n)...)
		}
		return attr(kind|unix.NLA_F_NESTED, attr(unix.ETHTOOL_A_BITSET_BITS|unix.NLA_F_NESTED, bits))
	}
	header := []byte{unix.ETHTOOL_MSG_FEATURES_GET, 1, 0, 0}
	on := slices.Concat(header, set(unix.ETHTOOL_A_FEATURES_HW, "tx-x"), set(unix.ETHTOOL_A_FEATURES_ACTIVE, "rx-a", vlanFilter))
	off := slices.Concat(header, set(unix.ETHTOOL_A_FEATURES_HW, vlanFilter), set(unix.ETHTOOL_A_FEATURES_ACTIVE, "rx-a"))
	if !hasFeature(on, vlanFilter) || hasFeature(off, vlanFilter) || hasFeature(nil, vlanFilter) {
		t.Error("features are read wrongly")
	}
}

// FuzzNetlink: nothing that could come from a socket stops a reader.
func FuzzNetlink(f *testing.F) {
	entry := slices.Concat([]byte{unix.AF_BRIDGE, 0, 0, 0, 4, 0, 0, 0, 0x80, 0, 2, 0}, attr(2, a2[:]))
	if m, ok := parseEntry(entry, 4); !ok || m != a2 {
		f.Fatal(m, ok)
	}
	if _, ok := parseEntry(entry, 5); ok {
		f.Fatal("another link's address")
	}
	f.Add(entry)
	f.Add(slices.Concat([]byte{11, 1, 0, 0}, attr(4, attr(3, attr(1, attr(2, []byte(vlanFilter)))))))
	f.Add(slices.Concat([]byte{0, 0, 1, 0, 4, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0}, attr(unix.IFLA_ADDRESS, a1[:]), attr(unix.IFLA_LINK, []byte{3, 0, 0, 0})))
	f.Add([]byte("\x18\x00\x01\x00\x12\x00\x02\x00rx-vlan-filter\x00")) // no padding at the end
	f.Fuzz(func(t *testing.T, b []byte) {
		hasFeature(b, vlanFilter)
		if m, ok := parseEntry(b, 4); ok && m == (MAC{}) && !strings.Contains(string(b), string(make([]byte, 6))) {
			t.Errorf("%v of nothing", m)
		}
		n, ok := parseNotice(&syscall.NetlinkMessage{Header: syscall.NlMsghdr{Type: unix.RTM_NEWLINK}, Data: b}, 4)
		if !ok && !reflect.DeepEqual(n, Notice{}) {
			t.Errorf("%+v of nothing", n)
		}
	})
}

func FuzzGroups(f *testing.F) {
	f.Add("4    tap0            2     0     333300000001\n")
	f.Fuzz(func(t *testing.T, text string) {
		joined, ours, err := readGroups(strings.NewReader(text), 4)
		if err == nil && len(ours) > len(joined) {
			t.Error(joined, ours)
		}
	})
}

// What a guest's change costs on a real link, by kind.
func BenchmarkLink(b *testing.B) {
	for _, mode := range []string{"bridge", "passthru"} {
		s := newSpace(b)
		s.Macvtap(a1.String(), mode)
		l := s.open("tap0")
		if _, err := l.Read(); err != nil {
			b.Fatal(err)
		}
		hurry, err := NewHurry("/sys/kernel/rcu_expedited")
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(hurry.Close)
		address := []Op{{SetMAC, a2}, {SetMAC, a3}}
		for _, c := range []struct {
			name  string
			hurry *Hurry
			ops   []Op
		}{
			{"address", nil, address},
			{"address-hurried", hurry, address},
			{"group", nil, []Op{{AddMulticast, g1}, {DelMulticast, g1}}},
			{"promiscuous", nil, []Op{{Verb: PromiscOn}, {Verb: PromiscOff}}},
			{"all-groups", nil, []Op{{Verb: AllMultiOn}, {Verb: AllMultiOff}}},
		} {
			b.Run(mode+"/"+c.name, func(b *testing.B) {
				l.hurry = c.hurry
				for i := 0; b.Loop(); i++ {
					if err := l.Apply(c.ops[i%len(c.ops)]); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
		b.Run(mode+"/read", func(b *testing.B) {
			for b.Loop() {
				if _, err := l.Read(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
