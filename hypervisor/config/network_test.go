package config

import (
	"strings"
	"testing"

	"hv/qmp/qapi"
)

// TestNICs reads every way to ask for a network device.
func TestNICs(t *testing.T) {
	for line, want := range map[string]struct {
		kinds qapi.NetClientDriver
		id    string // of the back end
		nics  int
	}{
		"-nic none":                  {"", "", 0},
		"-net none":                  {"", "", 0},
		"-nic tap,id=x,model=virtio": {qapi.NetClientDriverTap, "x", 1},
		"-nic mac=52:54:00:00:00:09": {qapi.NetClientDriverUser, "#net000", 1},
		"-net nic,macaddr=52:54:00:00:00:09 -net tap,ifname=a": {qapi.NetClientDriverTap, "#net000", 1},
		"-net user,id=y -net nic,model=virtio-net-pci":         {qapi.NetClientDriverUser, "y", 1},
		"-netdev tap,id=z -net nic,netdev=z":                   {qapi.NetClientDriverTap, "z", 1},
		"-net tap":                                             {qapi.NetClientDriverTap, "#net000", 0},
	} {
		c, err := Parse(strings.Fields(line), testEnv())
		if err != nil {
			t.Errorf("%s: %v", line, err)
			continue
		}
		if len(c.Devices) != want.nics || (want.kinds == "") != (len(c.Netdevs) == 0) {
			t.Errorf("%s: %d devices, %d back ends", line, len(c.Devices), len(c.Netdevs))
			continue
		}
		if want.kinds != "" && (c.Netdevs[0].Type != want.kinds || c.Netdevs[0].Id != want.id) {
			t.Errorf("%s: %+v", line, c.Netdevs[0])
		}
		if want.nics == 1 {
			n := c.Devices[0].Config.(*nicConfig)
			if n.Netdev != want.id || strings.Contains(line, ":09") != (n.MAC == "52:54:00:00:00:09") {
				t.Errorf("%s: %+v", line, n)
			}
		}
	}
}

// TestNetdevOptions reads options of all types.
func TestNetdevOptions(t *testing.T) {
	c, err := Parse([]string{
		"-netdev", "user,id=a,hostfwd=tcp::1-:2,dnssearch=x.example,hostfwd=udp::3-:4,ipv6=off",
		"-netdev", "stream,id=b,server=on,addr.type=inet,addr.host=::1,addr.port=1234",
		"-netdev", `{"type":"dgram","id":"c","local":{"type":"unix","path":"l"},"remote":{"type":"unix","path":"r"}}`,
		"-netdev", "tap,id=d,sndbuf=1M,queues=4,vhost=off", "-set", "netdev.d.ifname=tap7",
		"-netdev", "macvtap,id=e,parent=eth0,mode=vepa",
	}, testEnv())
	if err != nil {
		t.Fatal(err)
	}
	n := c.Netdevs
	if u := n[0].User; len(u.Hostfwd) != 2 || u.Hostfwd[1].Str != "udp::3-:4" || u.Dnssearch[0].Str != "x.example" || *u.Ipv6 {
		t.Errorf("%+v", u)
	}
	if s := n[1].Stream; !*s.Server || s.Addr.Inet.Host != "::1" || s.Addr.Inet.Port != "1234" {
		t.Errorf("%+v", s)
	}
	if d := n[2].Dgram; d.Local.Unix.Path != "l" || d.Remote.Unix.Path != "r" {
		t.Errorf("%+v", d)
	}
	if d := n[3].Tap; *d.Sndbuf != 1<<20 || *d.Queues != 4 || *d.Vhost || *d.Ifname != "tap7" {
		t.Errorf("%+v", d)
	}
	if m := n[4].Macvtap; m.Parent != "eth0" || *m.Mode != qapi.MacvtapModeVepa {
		t.Errorf("%+v", m)
	}
}

func TestFilterDump(t *testing.T) {
	c, err := Parse(strings.Fields("-object filter-dump,id=d,netdev=n,file=f,queue=rx"), testEnv())
	if err != nil || *c.Objects[0].Dump != (FilterDump{Netdev: "n", Queue: "rx", Status: "on", File: "f", MaxLen: 65536}) {
		t.Errorf("%+v, %v", c, err)
	}
	for text, want := range map[string]string{
		"file=f":                      "Parameter 'netdev' is required",
		"netdev=n":                    "dump filter needs 'file' property set!",
		"netdev=n,file=f,maxlen=0":    "doesn't take value '0'",
		"netdev=n,file=f,queue=both":  "Parameter 'queue' does not accept value 'both'",
		"netdev=n,file=f,status=true": "should be 'on' or 'off'",
	} {
		if _, err := Parse([]string{"-object", "filter-dump,id=d," + text}, testEnv()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", text, err)
		}
	}
}

func FuzzNetdev(f *testing.F) {
	f.Add("user,id=a,hostfwd=tcp::1-:2,hostfwd=x")
	f.Add("stream,id=b,addr.type=inet,addr.host=h,addr.port=1,addr=x")
	f.Add(`{"type":"tap","id":"n"}`)
	f.Fuzz(func(t *testing.T, arg string) {
		ps, err := args(arg, "type")
		if err != nil {
			return
		}
		if n, err := netdevOf(ps); err == nil && (n.Id == "" && !strings.Contains(arg, "id") || n.Type == "") {
			t.Errorf("%q: %+v", arg, n)
		}
	})
}
