package e2e

import (
	"fmt"
	"io"
	"net"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"hv/qmp/client"
	"hv/qmp/qapi"
	"hv/test/hvrun"
)

// inNamespace runs f with a network of its own, which what it starts has too.
func inNamespace(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	t.Run("namespace", func(t *testing.T) {
		runtime.LockOSThread() // and never unlocked: the thread is thrown away
		if err := unix.Unshare(unix.CLONE_NEWNET | unix.CLONE_NEWNS); err != nil {
			t.Fatalf("network namespace: %v (tests of networking run as root)", err)
		}
		// /sys shows the network of who mounts it.
		if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
			t.Fatal(err)
		}
		if err := unix.Mount("sysfs", "/sys", "sysfs", 0, ""); err != nil {
			t.Fatal(err)
		}
		ip(t, "link set lo up")
		f(t)
	})
}

// ip runs ip.
func ip(t *testing.T, args string) string {
	t.Helper()
	out, err := exec.Command(hvrun.Tool(t, "ip"), strings.Fields(args)...).CombinedOutput()
	if err != nil {
		t.Fatalf("ip %s: %v: %s", args, err, out)
	}
	return string(out)
}

func filterOf(t *testing.T, v *vm, name string) qapi.RxFilterInfo {
	t.Helper()
	list := query(t, v, qapi.CmdQueryRxFilter, qapi.QueryRxFilterArgs{Name: &name})
	if len(list) != 1 {
		t.Fatalf("%d filters", len(list))
	}
	return list[0]
}

// TestRxFilter has the guest change its filter: each client is told once, and again after
// it has asked.
func TestRxFilter(t *testing.T) {
	inNamespace(t, func(t *testing.T) {
		socket := filepath.Join(t.TempDir(), "second")
		v, sh := startShell(t, "-qmp", "unix:"+socket+",server=on,wait=off",
			"-netdev", "tap,id=n0,ifname=hvt0,script=no,downscript=no", "-device", "virtio-net-pci,netdev=n0,id=nic", "-device", "virtio-net-pci")
		other := &vm{v.Proc, hvrun.Dial(t, v.Proc, socket)}
		for _, name := range []string{"n0", "none"} {
			want := map[string]string{"n0": "net client(n0) isn't a NIC", "none": "invalid net client name: none"}[name]
			v.failing(t, want, "query-rx-filter", fmt.Sprintf(`{"name":"%s"}`, name))
		}
		if all := query(t, v, qapi.CmdQueryRxFilter, qapi.QueryRxFilterArgs{}); len(all) != 2 || all[0].Name != "nic" || all[1].Name != "virtio-net-pci.0" {
			t.Errorf("%+v", all)
		}
		sh.types(t, "net.ctrl mac=52:54:00:aa:bb:cc promisc=off uni=52:54:00:00:00:09 multi=01:00:5e:00:00:01 vlan.add=5; print=changed")
		sh.expect(t, "guest: changed")
		for _, c := range []*vm{v, other} {
			e := c.event(t, "NIC_RX_FILTER_CHANGED")
			var data qapi.NicRxFilterChangedEvent
			if err := data.DecodeQAPI(e.Data); err != nil || *data.Name != "nic" || data.Path != "/machine/peripheral/nic/virtio-backend" {
				t.Errorf("%+v: %v", data, err)
			}
		}
		f := filterOf(t, v, "nic")
		if f.MainMac != "52:54:00:aa:bb:cc" || f.Promiscuous || !slices.Equal(f.MulticastTable, qapi.StringList{"01:00:5e:00:00:01"}) ||
			!slices.Equal(f.UnicastTable, qapi.StringList{"52:54:00:00:00:09"}) || !slices.Contains(f.VlanTable, 5) {
			t.Errorf("%+v", f)
		}
		sh.types(t, "net.ctrl allmulti=on; print=again")
		sh.expect(t, "guest: again")
		v.event(t, "NIC_RX_FILTER_CHANGED")
		if f := filterOf(t, v, "nic"); f.Multicast != qapi.RxStateAll {
			t.Errorf("%+v", f)
		}
		for _, c := range []*vm{v, other} {
			c.do(t, "stop")
			for e := c.next(t); e.Name != "STOP"; e = c.next(t) {
				if e.Name == "NIC_RX_FILTER_CHANGED" {
					t.Errorf("%s told twice", e.Name)
				}
			}
			c.do(t, "cont")
		}
	})
}

// TestLinks takes the link away from under the guest, in every way that there is, and gives it
// another one.
func TestLinks(t *testing.T) {
	inNamespace(t, func(t *testing.T) {
		ip(t, "link add v0 type veth peer name v1")
		ip(t, "link set v0 up")
		ip(t, "link set v1 up")
		v, sh := startShell(t, "-netdev", "macvtap,id=n0,parent=v0,ifname=mv0", "-device", "virtio-net-pci,netdev=n0,id=nic")
		sh.types(t, "net.echo ip=10.0.9.2")
		mac := filterOf(t, v, "nic").MainMac
		if out := ip(t, "link show mv0"); !strings.Contains(out, mac) {
			t.Errorf("the link does not have the NIC's address %s: %s", mac, out)
		}
		ip(t, "addr add 10.0.9.1/24 dev v1")
		pings(t, guestEcho, true)
		v.works(t, "set_link", `{"name":"nic","up":false}`)
		pings(t, guestEcho, false)
		v.works(t, "set_link", `{"name":"n0","up":true}`)
		pings(t, guestEcho, true)
		v.works(t, "netdev_del", `{"id":"n0"}`)
		if _, err := net.InterfaceByName("mv0"); err == nil {
			t.Error("the macvtap is still there")
		}
		v.works(t, "netdev_add", `{"type":"macvtap","id":"n0","parent":"v0","mode":"private"}`)
		pings(t, guestEcho, true)
		ip(t, "link del v0")
		v.Expect(t, "the host's network link is gone")
		v.works(t, "netdev_del", `{"id":"n0"}`)
		ip(t, "link add v0 type veth peer name v1")
		ip(t, "link set v0 up")
		ip(t, "link set v1 up")
		ip(t, "addr add 10.0.9.1/24 dev v1")
		v.works(t, "netdev_add", `{"type":"macvtap","id":"n0","parent":"v0","mac":"`+mac+`"}`)
		pings(t, guestEcho, true)
		v.works(t, "netdev_del", `{"id":"n0"}`)
		v.works(t, "netdev_add", `{"type":"tap","id":"n0","ifname":"hvt1","script":"no","downscript":"no"}`)
		ip(t, "addr del 10.0.9.1/24 dev v1")
		ip(t, "addr add 10.0.9.1/24 dev hvt1")
		ip(t, "link set hvt1 up")
		pings(t, guestEcho, true)
		at := len(v.Output())
		ip(t, "link del hvt1")
		v.ExpectAfter(t, at, "the host's network link is gone")
		v.works(t, "netdev_del", `{"id":"n0"}`)
		v.do(t, "quit")
		v.ends(t, 0)
	})
}

// guestEcho is where the guest of TestLinks answers.
const guestEcho = "10.0.9.2:7"

// pings sends the guest datagrams, one of which is to be answered, or none.
func pings(t *testing.T, where string, answered bool) {
	t.Helper()
	c, err := net.Dial("udp", where)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	limit := time.Now().Add(hvrun.Patience)
	if !answered {
		limit = time.Now().Add(400 * time.Millisecond)
	}
	rest := time.NewTicker(50 * time.Millisecond) // a port where nobody listens is told of at once
	defer rest.Stop()
	for ; time.Now().Before(limit); <-rest.C {
		_, _ = c.Write([]byte("ping"))
		_ = c.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
		if n, err := c.Read(make([]byte, 100)); err == nil && n == 4 {
			if !answered {
				t.Fatal("the guest answers")
			}
			return
		}
	}
	if answered {
		t.Fatal("the guest does not answer")
	}
}

// next waits for an event.
func (v *vm) next(t *testing.T) client.Event {
	t.Helper()
	select {
	case e := <-v.c.Events():
		return e
	case <-time.After(hvrun.Patience):
		t.Fatal("no event")
		return client.Event{}
	}
}

// TestStreams has a guest at a socket, of which clients come and go, and which it announces
// itself to.
func TestStreams(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	v, sh := startShell(t, "-nic", "stream,id=n0,server=on,addr.type=unix,addr.path="+path+",mac=52:54:00:11:22:33")
	sh.types(t, "net.info")
	sh.expect(t, "guest: net.info dev=0 mac=52:54:00:11:22:33")
	for range 2 {
		c, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		e := v.event(t, "NETDEV_STREAM_CONNECTED")
		var data qapi.NetdevStreamConnectedEvent
		if err := data.DecodeQAPI(e.Data); err != nil || data.NetdevId != "n0" || data.Addr.Unix.Path != path {
			t.Errorf("%+v, %v", data, err)
		}
		v.works(t, "announce-self", `{"initial":1,"max":2,"rounds":2,"step":1}`)
		for range 2 {
			b := make([]byte, 64)
			if _, err := io.ReadFull(c, b); err != nil || fmt.Sprintf("%x", b[:24]) != "0000003cffffffffffff525400112233803500010800"+"0604" {
				t.Errorf("%x, %v", b, err)
			}
		}
		c.Close()
		v.event(t, "NETDEV_STREAM_DISCONNECTED")
	}
	for name, want := range map[string]bool{"#net000": false, "n0": true} {
		err := v.call("set_link", fmt.Sprintf(`{"name":"%s","up":true}`, name))
		if (err == nil) != want {
			t.Errorf("%s: %v", name, err)
		}
	}
	v.do(t, "quit")
	v.ends(t, 0)
}

// TestPacketDump keeps a back end's packets in files that tcpdump reads.
func TestPacketDump(t *testing.T) {
	dir := t.TempDir()
	v, sh := startShell(t, "-netdev", "stream,id=n0,server=on,addr.type=unix,addr.path="+dir+"/s", "-device", "virtio-net-pci,netdev=n0,mac=52:54:00:11:22:33",
		"-object", "filter-dump,id=all,netdev=n0,file="+dir+"/all")
	c, err := net.Dial("unix", dir+"/s")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	v.event(t, "NETDEV_STREAM_CONNECTED")
	v.failing(t, "Parameter 'netdev' expects a network backend id", "object-add", `{"qom-type":"filter-dump","id":"x","netdev":"x","file":"x"}`)
	v.failing(t, "Invalid value for netfilter status, should be 'on' or 'off'", "object-add", `{"qom-type":"filter-dump","id":"x","netdev":"n0","file":"x","status":"maybe"}`)
	v.works(t, "object-add", fmt.Sprintf(`{"qom-type":"filter-dump","id":"tx","netdev":"n0","file":"%s/tx","queue":"tx","maxlen":20}`, dir))
	v.works(t, "object-add", fmt.Sprintf(`{"qom-type":"filter-dump","id":"off","netdev":"n0","file":"%s/off"}`, dir))
	v.works(t, "qom-set", `{"path":"/objects/off","property":"status","value":"off"}`)
	if text := query(t, v, qapi.CmdHumanMonitorCommand, qapi.HumanMonitorCommandArgs{CommandLine: "info network"}); !strings.Contains(strings.ReplaceAll(string(text), "\r", ""),
		"filters:\n  - all: type=filter-dump,file="+dir+"/all,maxlen=65536,netdev=n0,queue=all,status=on\n") {
		t.Error(text)
	}
	sh.types(t, "net.flood n=3 size=100; net.rx n=2 ms=20000")
	b := make([]byte, 104)
	for range 3 {
		if _, err := io.ReadFull(c, b); err != nil {
			t.Fatal(err)
		}
	}
	frame := append([]byte{0, 0, 0, 60, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 1, 0x88, 0xb5}, make([]byte, 46)...)
	for range 2 {
		if _, err := c.Write(frame); err != nil {
			t.Fatal(err)
		}
	}
	sh.expect(t, "guest: net.rx")
	v.works(t, "object-del", `{"id":"tx"}`)
	n := query(t, v, qapi.CmdXQueryNicCounters, qapi.QueryNicCountersArgs{})[0]
	if n.Name != "virtio-net-pci.0" || *n.Netdev != "n0" || !n.LinkUp || n.Tx[0].Packets != 3 || n.Tx[0].Bytes != 300 || n.Rx[0].Packets != 2 || n.Tx[0].Kicks == 0 {
		t.Errorf("%+v", n)
	}
	v.works(t, "netdev_del", `{"id":"n0"}`)
	v.failing(t, "object 'all' not found", "object-del", `{"id":"all"}`)
	for name, want := range map[string][2]int{"all": {3, 2}, "tx": {0, 2}, "off": {0, 0}} {
		out, err := exec.Command(hvrun.Tool(t, "tcpdump"), "-enr", filepath.Join(dir, name)).Output()
		if err != nil {
			t.Fatal(err)
		}
		guest, far := strings.Count(string(out), "length 100"), strings.Count(string(out), "02:00:00:00:00:01 > ff:ff:ff:ff:ff:ff, ethertype Unknown (0x88b5), length 60")
		if guest != want[0] || far != want[1] {
			t.Errorf("%s has %d and %d packets:\n%s", name, guest, far, out)
		}
	}
}

// TestUser has a guest in the host's own network, through passt, at a port of the host.
func TestUser(t *testing.T) {
	hvrun.Tool(t, "passt")
	inNamespace(t, func(t *testing.T) {
		for _, args := range []string{"link add v0 type veth peer name v1", "link set v0 up", "link set v1 up", "addr add 192.0.2.10/24 dev v0", "route add default via 192.0.2.1"} {
			ip(t, args)
		}
		v, sh := startShell(t, "-nic", "user,id=n0,net=10.0.2.0/24,dns=10.0.2.3,hostfwd=udp:127.0.0.1:7777-:7")
		sh.types(t, "net.echo ip=10.0.2.15")
		pings(t, "127.0.0.1:7777", true)
		v.works(t, "netdev_del", `{"id":"n0"}`)
		pings(t, "127.0.0.1:7777", false)
		v.works(t, "netdev_add", `{"type":"user","id":"n0","net":"10.0.2.0/24","hostfwd":[{"str":"udp::7777-:7"}]}`)
		pings(t, "127.0.0.1:7777", true)
		v.do(t, "quit")
		v.ends(t, 0)
	})
}
