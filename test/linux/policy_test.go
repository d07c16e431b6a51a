package linux

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"hv/qmp/client"
	"hv/test/hvrun"
	"hv/test/netlab"
)

// ward is a NIC of TestPolicies and the policy that it is under.
type ward struct {
	policy, mode string
	nth          int // what is N in its addresses

	lab  *netlab.Lab
	far  *netlab.Station
	link string   // the macvtap
	base []string // groups that this machine's kernel joined there
}

func (w *ward) mac(last string) string { return fmt.Sprintf("52:54:00:00:%02x:%s", w.nth, last) }

// allowed is the addresses that policy listed has, but for one in TestPolicies' steps.
func (w *ward) allowed() string { return w.mac("02") + "," + w.mac("99") }

// wish is what the guest asks for, in a step: of addresses only the last byte is said.
type wish struct {
	name, guest    string
	mac            string
	groups         []string // besides those that every guest with IPv6 has
	macvlan        bool
	vlan           bool
	allmulti, free bool // free is promiscuous
}

var wishes = []wish{
	{name: "up", guest: "ip link set $d up", mac: "01"},
	{name: "address", guest: "ip link set $d address $m:02", mac: "02"},
	{name: "group", guest: "ip maddr add 01:00:5e:01:02:03 dev $d", mac: "02", groups: []string{"01:00:5e:01:02:03"}},
	{name: "macvlan", guest: "ip link add link $d name mv$n address $m:99 type macvlan mode bridge; echo 1 >/proc/sys/net/ipv6/conf/mv$n/disable_ipv6; ip link set mv$n up",
		mac: "02", groups: []string{"01:00:5e:01:02:03"}, macvlan: true},
	{name: "VLAN", guest: "ip link del mv$n; ip link add link $d name $d.10 type vlan id 10", mac: "02", vlan: true, groups: []string{"01:00:5e:01:02:03", "01:80:c2:00:00:21"}},
	{name: "allmulticast", guest: "ip link set $d allmulticast on", mac: "02", vlan: true, allmulti: true, groups: []string{"01:00:5e:01:02:03", "01:80:c2:00:00:21"}},
	{name: "promisc", guest: "ip link set $d allmulticast off; ip link set $d promisc on", mac: "02", vlan: true, free: true, groups: []string{"01:00:5e:01:02:03", "01:80:c2:00:00:21"}},
	{name: "stranger's address", guest: "ip link set $d promisc off; ip link set $d address $m:66", mac: "66", vlan: true, groups: []string{"01:00:5e:01:02:03", "01:80:c2:00:00:21"}},
}

// hostState is what the tools of this machine show of a link.
type hostState struct {
	Address           string
	Promisc, AllMulti bool
	Groups, Unicast   []string
}

func (w *ward) hostState(t *testing.T) (s hostState) {
	t.Helper()
	var links []struct {
		Address string
		Flags   []string
	}
	show(t, &links, "ip", "-j", "-d", "link", "show", "dev", w.link)
	var groups []struct {
		Maddr []struct{ Link string }
	}
	show(t, &groups, "ip", "-j", "maddr", "show", "dev", w.link)
	var fdb []struct{ MAC string }
	show(t, &fdb, "bridge", "-j", "fdb", "show", "dev", w.link)
	s.Address = links[0].Address
	s.Promisc, s.AllMulti = slices.Contains(links[0].Flags, "PROMISC"), slices.Contains(links[0].Flags, "ALLMULTI")
	for _, g := range groups[0].Maddr {
		if g.Link != "" {
			s.Groups = append(s.Groups, g.Link)
		}
	}
	for _, f := range fdb {
		if !slices.Contains(s.Groups, f.MAC) {
			s.Unicast = append(s.Unicast, f.MAC)
		}
	}
	slices.Sort(s.Groups)
	slices.Sort(s.Unicast)
	return s
}

func show(t *testing.T, into any, words ...string) {
	t.Helper()
	if out := run(t, words[0], words[1:]...); json.Unmarshal([]byte(out), into) != nil {
		t.Fatalf("%v printed %s", words, out)
	}
}

// trusts reports whether the policy lets the guest have an address.
func (w *ward) trusts(last string) bool {
	return w.policy == "full" || w.policy == "listed" && (last == "02" || last == "99")
}

// expected is what the link has to be under the ward's policy.
func (w *ward) expected(g wish) hostState {
	s := hostState{Address: w.mac("01"), Groups: slices.Clone(w.base)}
	if w.trusts(g.mac) {
		s.Address = w.mac(g.mac)
	}
	if w.policy != "none" {
		s.AllMulti = g.allmulti || g.free
		// The list is kept while all groups are let through.
		s.Groups = append(append(s.Groups, "01:00:5e:00:00:01", "33:33:00:00:00:01", fmt.Sprintf("33:33:ff:00:%02x:01", w.nth)), g.groups...)
	}
	s.Promisc = w.policy == "full" && g.free
	if w.mode == "passthru" && g.macvlan {
		s.Unicast = []string{w.mac("99")}
	}
	slices.Sort(s.Groups)
	s.Groups = slices.Compact(s.Groups)
	return s
}

// policyProbes are what is sent to each NIC, by name: last bytes of addresses, or groups.
var policyProbes = []struct {
	name, to string
	vlan     uint16
}{
	{"first", "01", 0}, {"second", "02", 0}, {"macvlan", "99", 0}, {"stranger", "66", 0}, {"nobody", "77", 0}, {"all", "ff:ff:ff:ff:ff:ff", 0},
	{"group", "01:00:5e:01:02:03", 0}, {"nodes6", "33:33:00:00:00:01", 0}, {"strangers", "01:00:5e:7f:7f:7f", 0},
	{"vlan10", "ff:ff:ff:ff:ff:ff", 10}, {"vlan300", "ff:ff:ff:ff:ff:ff", 300},
}

// hears returns the probes that have to come to the guest: those that the link lets
// through and the guest asked for.
func (w *ward) hears(g wish, s hostState) (names []string) {
	for _, p := range policyProbes {
		last, group := p.to, len(p.to) > 2
		var link, guest bool
		switch {
		case p.to == "ff:ff:ff:ff:ff:ff":
			link, guest = true, p.vlan == 0 || p.vlan == 10 && g.vlan
		case group:
			link = s.AllMulti || s.Promisc || slices.Contains(s.Groups, p.to)
			guest = g.allmulti || p.to == "33:33:00:00:00:01" || slices.Contains(g.groups, p.to)
		default:
			link = w.mode == "passthru" || s.Address == w.mac(last)
			guest = last == g.mac || g.macvlan && last == "99"
		}
		if link && (guest || g.free) {
			names = append(names, p.name)
		}
	}
	slices.Sort(names)
	return names
}

// TestPolicies has a guest ask for the same on NICs under different policies. What the tools of
// this machine show of their links, and the packets that come to the guest, are what the
// policies allow.
func TestPolicies(t *testing.T) { surviving(t, func() { keepPolicies(t) }) }

func keepPolicies(t *testing.T) {
	wards := []*ward{{policy: "none"}, {policy: "multicast"}, {policy: "listed"}, {policy: "full"}, {policy: "full", mode: "passthru"}}
	socket := scratch(t) + "/qmp"
	args := []string{"-qmp", "unix:" + socket + ",server=on,wait=off"}
	sync := []string{"rxfilter", "sync", socket}
	var files []*os.File
	for i, w := range wards {
		name := fmt.Sprintf("hvpol%d", i)
		w.nth, w.link, w.lab = i, name+"tap", netlab.New(t, name)
		if w.mode == "" {
			w.mode = "bridge"
		}
		args = append(args, "-netdev", fmt.Sprintf("tap,id=n%d,fd=%d", i, 3+i), "-device", fmt.Sprintf("virtio-net-pci,id=nic%d,netdev=n%d,mac=%s", i, i, w.mac("01")))
		files = append(files, w.lab.Macvtap(t, w.link, w.mode, w.mac("01"), 1)...)
		w.far, w.base = w.lab.Station(t, netlab.Ether), w.hostState(t).Groups
		sync = append(sync, "--policy", fmt.Sprintf("nic%d=%s", i, w.policy), "--link", fmt.Sprintf("nic%d=%s", i, w.link))
		if w.policy == "listed" {
			sync = append(sync, "--allow", fmt.Sprintf("nic%d=%s", i, w.allowed()))
		}
	}
	c := converse(t, files, hvrun.Binary(t), join(obeying(1), args)...)
	hvrun.StartCmd(t, exec.Command(filepath.Join(filepath.Dir(hvrun.Binary(t)), "hvctl"), sync...))
	for _, g := range wishes {
		// The first NIC is changed first: what is done to its link wrongly is done
		// when the last one's has followed.
		c.do(t, fmt.Sprintf("for n in $(seq 0 %d); do d=eth$n; m=52:54:00:00:0$n; %s; done", len(wards)-1, g.guest))
		if g.name == "up" {
			c.do(t, fmt.Sprintf("for n in $(seq 0 %d); do %s; done", len(wards)-1, strings.ReplaceAll(settled, "eth0", "eth$n")))
		}
		for i := range wards {
			wards[len(wards)-1-i].becomes(t, g)
		}
		for i, w := range wards {
			w.check(t, c, g, fmt.Sprintf("eth%d", i))
		}
	}
	q := hvrun.Dial(t, c.Proc, socket)
	wards[1].comesBack(t, c, q, wishes[len(wishes)-1])
	execute(t, q, "quit")
	c.Wait(t)
}

// comesBack deletes the device below the ward's link, and gives its NIC another one of the same
// name. The guest sees both, and the policy is kept on the new link.
func (w *ward) comesBack(t *testing.T, c *console, q *client.Client, g wish) {
	t.Helper()
	iface := fmt.Sprintf("eth%d", w.nth)
	until := func(carrier int) {
		c.do(t, fmt.Sprintf("until [ $(cat /sys/class/net/%s/carrier) = %d ]; do sleep 0.1; done", iface, carrier))
	}
	w.lab.Cut()
	until(0)
	call(t, q, "netdev_del", fmt.Sprintf(`{"id":"n%d"}`, w.nth))
	w.lab = netlab.New(t, "hvpolback")
	call(t, q, "netdev_add", fmt.Sprintf(`{"type":"macvtap","id":"n%d","parent":%q,"ifname":%q,"mac":%q}`, w.nth, w.lab.Near, w.link, w.mac("01")))
	until(1)
	w.far = w.lab.Station(t, netlab.Ether)
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for limit := time.After(hvrun.Patience / 4); !slices.Contains(w.hostState(t).Groups, g.groups[0]); {
		select {
		case <-tick.C:
		case <-limit:
			t.Fatalf("nothing has the new link join groups: %+v", w.hostState(t))
		}
	}
	w.check(t, c, g, iface)
}

// becomes waits until the link is what the policy has it be.
func (w *ward) becomes(t *testing.T, g wish) {
	t.Helper()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	want, limit := fmt.Sprint(w.expected(g)), time.After(hvrun.Patience/4)
	for {
		got := fmt.Sprint(w.hostState(t))
		if got == want {
			return
		}
		select {
		case <-tick.C:
		case <-limit:
			t.Fatalf("%s: policy %s (%s): the link is %s, not %s", g.name, w.policy, w.mode, got, want)
		}
	}
}

// check compares what the guest hears. A macvtap knows groups by eight bits of a hash only,
// so that one that nobody asked for may come through.
func (w *ward) check(t *testing.T, c *console, g wish, iface string) {
	t.Helper()
	from := c.begin(t, "netguest frames "+iface)
	c.await(t, from, `listening=`)
	for _, p := range policyProbes {
		to := p.to
		if len(to) == 2 {
			to = w.mac(to)
		}
		send(t, w.far, p.name, to, p.vlan)
	}
	send(t, w.far, "last", "ff:ff:ff:ff:ff:ff", 0)
	got := strings.Fields(heardLine.FindStringSubmatch(c.end(t, from))[1])
	slices.Sort(got)
	want := w.hears(g, w.expected(g))
	lucky := slices.DeleteFunc(slices.Clone(got), func(n string) bool {
		return slices.Contains(want, n) || n != "group" && n != "nodes6" && n != "strangers"
	})
	if len(lucky) == 1 {
		t.Logf("%s: policy %s: %s has the hash of another group", g.name, w.policy, lucky[0])
		got = slices.DeleteFunc(got, func(n string) bool { return n == lucky[0] })
	}
	if !slices.Equal(got, want) {
		t.Errorf("%s: policy %s (%s): the guest heard %v, not %v", g.name, w.policy, w.mode, got, want)
	}
}
