package linux

import (
	"encoding/json"
	"fmt"
	"net"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"hv/qmp/client"
	"hv/test/hvrun"
	"hv/test/netlab"
)

// settled waits in the guest until IPv6 has its address on eth0 and has looked for others
// that have it, after which nothing joins groups by itself.
const settled = `until ip -6 addr show dev eth0 scope link | grep inet6 | grep -qv tentative; do sleep 0.1; done`

// step is what a guest does with its NIC, and how often the managers are told.
type step struct {
	name, guest string
	events      int
}

// steps are carried out one after the other.
var steps = []step{
	{"loaded", "echo 1 >/proc/sys/net/ipv6/conf/eth0/disable_ipv6", 0},
	{"link up", "ip link set eth0 up", 1},
	{"IPv6 up", "echo 0 >/proc/sys/net/ipv6/conf/eth0/disable_ipv6\n" + settled, 1},
	{"address", "ip link set eth0 address 52:54:00:00:00:02", 1},
	{"group", "ip maddr add 01:00:5e:01:02:03 dev eth0", 1},
	{"IPv6 group", "ip maddr add 33:33:00:00:ab:cd dev eth0", 1},
	{"group left", "ip maddr del 33:33:00:00:ab:cd dev eth0", 1},
	{"VLAN", "ip link add link eth0 name eth0.10 type vlan id 10", 1},
	{"second VLAN", "ip link add link eth0 name eth0.200 type vlan id 200", 1},
	{"macvlan", "ip link add link eth0 name mv0 address 52:54:00:00:00:99 type macvlan mode bridge\necho 1 >/proc/sys/net/ipv6/conf/mv0/disable_ipv6\nip link set mv0 up", 1},
	{"allmulticast on", "ip link set eth0 allmulticast on", 1},
	{"allmulticast off", "ip link set eth0 allmulticast off", 1},
	{"promisc on", "ip link set eth0 promisc on", 1},
	{"promisc off", "ip link set eth0 promisc off", 1},
	{"VLAN gone", "ip link del eth0.10", 1},
	{"macvlan gone", "ip link del mv0", 1},
	{"module gone", "ip link del eth0.200\nrmmod virtio_net", 1},
	{"module back", "insmod /lib/hv/virtio_net.ko", 0},
	{"up again", "ip link set eth0 up\n" + settled, 1},
	{"rebooted", "reboot -f", 0},
	{"up after reboot", "ip link set eth0 up\n" + settled, 1},
}

// probes are the frames that are sent to the guest after each step, by what they are called.
var probes = []struct {
	name, to string
	vlan     uint16
}{
	{name: "first", to: "52:54:00:00:00:01"}, {name: "second", to: "52:54:00:00:00:02"}, {name: "macvlan", to: "52:54:00:00:00:99"},
	{name: "stranger", to: "52:54:00:00:00:77"}, {name: "all", to: "ff:ff:ff:ff:ff:ff"}, {name: "group", to: "01:00:5e:01:02:03"},
	{name: "group6", to: "33:33:00:00:ab:cd"}, {name: "nodes6", to: "33:33:00:00:00:01"}, {name: "strangers", to: "01:00:5e:7f:7f:7f"},
	{name: "vlan10", to: "ff:ff:ff:ff:ff:ff", vlan: 10}, {name: "vlan200", to: "ff:ff:ff:ff:ff:ff", vlan: 200}, {name: "vlan300", to: "ff:ff:ff:ff:ff:ff", vlan: 300},
}

// rxFilter is what query-rx-filter shows of a NIC.
type rxFilter struct {
	Name              string   `json:"name"`
	Promiscuous       bool     `json:"promiscuous"`
	Multicast         string   `json:"multicast"`
	Unicast           string   `json:"unicast"`
	VLAN              string   `json:"vlan"`
	Broadcast         bool     `json:"broadcast-allowed"`
	MulticastOverflow bool     `json:"multicast-overflow"`
	UnicastOverflow   bool     `json:"unicast-overflow"`
	MainMAC           string   `json:"main-mac"`
	VLANTable         []int    `json:"vlan-table"`
	UnicastTable      []string `json:"unicast-table"`
	MulticastTable    []string `json:"multicast-table"`
}

// String leaves out most of a long table.
func (f rxFilter) String() string {
	type plain rxFilter
	if n := len(f.VLANTable); n > 10 {
		f.VLANTable = []int{f.VLANTable[0], -n, f.VLANTable[n-1]}
	}
	return fmt.Sprintf("%+v", plain(f))
}

// seen is what came of a step: events, the filter then, and the probes that the
// guest heard.
type seen struct {
	Step   string
	Events int
	Filter rxFilter
	Heard  string
}

// TestReceiveFilterLikeQEMU takes a guest with hv and one with QEMU through the same steps, on
// macvtaps that pass everything, so that only what the guest asked for is between the
// wire and it.
func TestReceiveFilterLikeQEMU(t *testing.T) {
	transcripts := map[string][]seen{}
	t.Run("both", func(t *testing.T) {
		for name, program := range map[string]string{"qemu": qemu, "hv": hvrun.Binary(t)} {
			var all []seen
			t.Cleanup(func() { transcripts[name] = all })
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				surviving(t, func() { all = transcribe(t, "hvrx"+name, program) })
			})
		}
	})
	theirs, ours := transcripts["qemu"], transcripts["hv"]
	for i := range min(len(theirs), len(ours)) {
		if !reflect.DeepEqual(theirs[i], ours[i]) {
			t.Errorf("QEMU shows %+v\n         hv %+v", theirs[i], ours[i])
		}
	}
	if len(ours) != len(steps) || len(theirs) != len(steps) {
		t.Errorf("%d steps with QEMU, %d with hv, of %d", len(theirs), len(ours), len(steps))
	}
}

// obeying returns the options of a guest that obeys, with more for its kernel.
func obeying(cpus int, more ...string) []string {
	options := elf(kernel(obey, append([]string{"quiet", "mitigations=off", "cryptomgr.notests", "net.ifnames=0"}, more...)...))
	options[3] = assets.net
	return join(machine(cpus, 384), options)
}

func transcribe(t *testing.T, prefix, program string) (all []seen) {
	lab := netlab.New(t, prefix)
	tap := lab.Macvtap(t, prefix+"tap", "passthru", "52:54:00:00:00:01", 1)
	run(t, "ip", "link", "set", prefix+"tap", "promisc", "on")
	far := lab.Station(t, netlab.Ether)
	socket := scratch(t) + "/qmp"
	nic := "virtio-net-pci,id=nic0,netdev=net0,mac=52:54:00:00:00:01"
	if program == qemu {
		nic += ",romfile="
	}
	c := converse(t, tap, program, join(obeying(1), []string{
		"-qmp", "unix:" + socket + ",server=on,wait=off", "-netdev", "tap,id=net0,fd=3", "-device", nic,
	})...)
	q := hvrun.Dial(t, c.Proc, socket)
	query(t, q)
	for _, s := range steps {
		if from := c.begin(t, s.guest); s.name == "rebooted" {
			c.ExpectAfter(t, from, `obeying=\.`)
		} else {
			c.end(t, from)
		}
		f, events := query(t, q)
		if events != s.events {
			t.Errorf("%s: %d events, not %d", s.name, events, s.events)
		}
		now := seen{s.name, events, f, heard(t, c, far)}
		t.Logf("%+v", now)
		all = append(all, now)
	}
	execute(t, q, "quit")
	c.Wait(t)
	return all
}

// query asks for the filter, and returns how many events came before the answer.
func query(t *testing.T, q *client.Client) (rxFilter, int) {
	t.Helper()
	var raw json.RawMessage
	if err := q.Execute(t.Context(), "query-rx-filter", map[string]string{"name": "nic0"}, &raw); err != nil {
		t.Fatal(err)
	}
	var all []rxFilter
	if err := json.Unmarshal(raw, &all); err != nil || len(all) != 1 {
		t.Fatalf("query-rx-filter: %s, %v", raw, err)
	}
	events := 0
	for len(q.Events()) > 0 {
		if e := <-q.Events(); e.Name == "NIC_RX_FILTER_CHANGED" {
			events++
			if name, path := string(e.Data.Get("name").Text()), string(e.Data.Get("path").Text()); name != "nic0" || path != "/machine/peripheral/nic0/virtio-backend" {
				t.Errorf("the event is about %q, %q", name, path)
			}
		}
	}
	// In what order groups are joined is a matter of the guest's work queues.
	slices.Sort(all[0].MulticastTable)
	return all[0], events
}

var heardLine = regexp.MustCompile(`(?m)^heard=(.*?)\r?$`)

// heard sends the probes and returns which the guest got; "-" while it has no interface that
// is up.
func heard(t *testing.T, c *console, far *netlab.Station) string {
	t.Helper()
	from := c.begin(t, "[ ! -e /sys/class/net/eth0/flags ] || [ $(($(cat /sys/class/net/eth0/flags) & 1)) = 0 ] && echo heard=- || netguest frames eth0")
	if c.await(t, from, `(?m)^(listening|heard)=`)[1] == "listening" {
		for _, p := range probes {
			send(t, far, p.name, p.to, p.vlan)
		}
		send(t, far, "last", "ff:ff:ff:ff:ff:ff", 0)
	}
	// The guest's kernel delivers frames of its VLANs before others of the same batch.
	names := strings.Fields(heardLine.FindStringSubmatch(c.end(t, from))[1])
	slices.Sort(names)
	return strings.Join(names, " ")
}

func send(t *testing.T, far *netlab.Station, name, to string, vlan uint16) {
	t.Helper()
	mac, err := net.ParseMAC(to)
	if err != nil {
		t.Fatal(err)
	}
	frame := far.Frame(mac, []byte(name))
	if vlan != 0 {
		frame = netlab.Tagged(frame, vlan)
	}
	if err := far.Send(frame); err != nil {
		t.Fatal(fmt.Errorf("frame %s: %w", name, err))
	}
}
