package main

import (
	"bytes"
	"context"
	"io"
	"net"
	"regexp"
	"strings"
	"testing"
	"time"

	"hv/net/netspace"
	"hv/qmp/events"
	"hv/qmp/qapi"
	"hv/qmp/server"
)

func TestFilterLines(t *testing.T) {
	r := newRig(t)
	if status, _, errOut := r.run("", "status", "vm"); status != 0 {
		t.Fatal(errOut)
	}
	for _, c := range []struct {
		args   string
		status int
		err    string
	}{
		{"rxfilter", 2, "rxfilter: which command?"},
		{"rxfilter ask vm", 2, "rxfilter: there is no command 'ask'"},
		{"rxfilter show", 2, "rxfilter show: which VM?"},
		{"rxfilter show vm --policy full", 2, "rxfilter show: unrecognized option '--policy'"},
		{"rxfilter show vm --link tap0", 2, "--link: 'tap0' is not NIC=VALUE"},
		{"rxfilter sync vm", 2, "rxfilter sync: which --policy?"},
		{"rxfilter sync vm --policy some", 2, "there is no policy 'some': it is none, multicast, listed or full"},
		{"rxfilter sync vm --policy listed", 2, "policy listed needs a list of addresses"},
		{"rxfilter sync vm --policy listed --allow x", 2, "'x' is no MAC address"},
		{"rxfilter sync vm --policy full --allow n0=52:54:00:00:00:01", 2, "--allow is for NIC 'n0', which has no policy of its own"},
		{"rxfilter sync vm --policy full --audit 0", 2, "--audit: '0' is no number of seconds"},
		{"net", 2, "net: which VM?"},
		{"net vm --interval x", 2, "--interval: 'x' is no number of seconds"},
		{"net nobody", 1, "connect to QMP server"},
	} {
		status, out, errOut := r.run("", strings.Fields(c.args)...)
		if status != c.status || out != "" || !strings.HasPrefix(errOut, "hvctl: "+c.err) {
			t.Errorf("%s: %d %q %q", c.args, status, out, errOut)
		}
	}
	if status, out, _ := r.run("", "rxfilter", "help"); status != 0 || out != filterUsage {
		t.Error(status, out)
	}
}

func TestPolicies(t *testing.T) {
	o, err := getopt(strings.Fields("--policy multicast --policy n1=listed --allow n1=52:54:00:00:00:01,52:54:00:00:00:02 --allow n1=52:54:00:00:00:03"), "",
		[]string{"policy=", "allow="})
	if err != nil {
		t.Fatal(err)
	}
	p, err := o.policies()
	if err != nil || p.of("n0").String() != "multicast" || p.of("n1").String() != "listed" {
		t.Error(p, err)
	}
}

// nicRig is a VM with a NIC on the macvtap tap0 and one without a link.
func nicRig(t *testing.T) (*rig, *netspace.Space) {
	s := netspace.New(t)
	s.Macvtap("52:54:00:00:00:01", "bridge")
	r := newRig(t)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.network = "n0: index=0,type=nic,model=virtio-net-pci,macaddr=52:54:00:00:00:01\n \\ h0: index=0,type=macvtap,ifname=tap0,parent=low,mode=bridge\n" +
		"n1: index=0,type=nic,model=virtio-net-pci,macaddr=52:54:00:00:00:05\n"
	r.filters = []qapi.RxFilterInfo{{
		Name: "n0", MainMac: "52:54:00:00:00:02", Multicast: qapi.RxStateNormal, Unicast: qapi.RxStateNormal, Vlan: qapi.RxStateNormal,
		VlanTable: []int64{0, 200, 10}, UnicastTable: []string{"52:54:00:00:00:09"}, MulticastTable: []string{"33:33:00:00:00:77", "33:33:00:00:00:01"},
	}}
	return r, s
}

const shown = `n0 on tap0 (macvtap bridge)
             GUEST              LINK
address      52:54:00:00:00:02  52:54:00:00:00:01
promiscuous  no                 no
addresses    52:54:00:00:00:09  
all groups   no                 no
groups       33:33:00:00:00:01  01:00:5e:00:00:01
             33:33:00:00:00:77  33:33:00:00:00:01
VLANs        0 10 200           all
drift: the link lacks address 52:54:00:00:00:02, 33:33:00:00:00:77; a macvtap in mode bridge has one address, not 1 more

n1
             GUEST             LINK
address      it has no filter  there is none
promiscuous                    
addresses                      
all groups                     
groups                         
VLANs                          
drift: unknown, the NIC has no filter
`

const tabled = `NIC  MODEL           ADDRESS            NETDEV        LINK  TO GUEST       FROM GUEST     DROPS
n0   virtio-net-pci  52:54:00:00:00:02  h0 (macvtap)  tap0  R  R  0
n1   virtio-net-pci  52:54:00:00:00:05  -             -     -              -              -
n0: guest: 52:54:00:00:00:02, 1 more address, 2 groups, 2 VLANs
n0: link: 52:54:00:00:00:01, no more addresses, 2 groups
n0: drift: the link lacks address 52:54:00:00:00:02, 33:33:00:00:00:77; a macvtap in mode bridge has one address, not 1 more
n1: guest: no filter
n1: drift: unknown, the NIC has no filter
`

func TestShowFilters(t *testing.T) {
	r, s := nicRig(t)
	s.Inside(func() {
		if status, out, errOut := r.run("", "rxfilter", "show", "vm"); status != 0 || out != shown || errOut != "" {
			t.Errorf("%d %s %s", status, out, errOut)
		}
		rates := regexp.MustCompile(`\d+ p/s [\d.]+ \w+/s`)
		status, out, errOut := r.run("", "net", "vm", "--interval", "0.01")
		if out = rates.ReplaceAllString(out, "R"); status != 0 || !sameWords(out, tabled) || errOut != "" {
			t.Errorf("%d %s %s", status, out, errOut)
		}
	})
	s.Run("ip tuntap add dev tap1 mode tap")
	s.Inside(func() {
		status, out, _ := r.run("", "rxfilter", "show", "vm", "--link", "n0=tap1")
		if want := "address      52:54:00:00:00:02  everything\n"; status != 0 || !strings.Contains(out, want) || !strings.Contains(out, "drift: none\n") {
			t.Errorf("%d %s", status, out)
		}
		if status, out, _ := r.run("", "net", "vm", "--link", "n0=tap1", "--interval", "0.01"); status != 0 || !strings.Contains(out, "n0: link: everything\n") {
			t.Errorf("%d %s", status, out)
		}
	})
	if p := paint(true); p.in(red, "x") != "\x1b[31mx\x1b[0m" || p.in("", "x") != "x" || paint(false).in(red, "x") != "x" {
		t.Error("colours are wrong")
	}
}

// sameWords compares texts but for the spaces in them.
func sameWords(a, b string) bool {
	return strings.Join(strings.Fields(a), " ") == strings.Join(strings.Fields(b), " ")
}

// TestNetWatch: tables come until the VM ends.
func TestNetWatch(t *testing.T) {
	r, s := nicRig(t)
	in, out := io.Pipe()
	go s.Inside(func() {
		tool := tool{out: out, errOut: out, dir: r.dir}
		status := tool.run(t.Context(), []string{"net", "vm", "--watch", "--interval", "0.01"})
		if status != 0 {
			t.Errorf("status %d", status)
		}
		out.Close()
	})
	var text bytes.Buffer
	b := make([]byte, 4096)
	for closed := false; ; {
		n, err := in.Read(b)
		text.Write(b[:n])
		if err != nil {
			break
		}
		if !closed && strings.Count(text.String(), "NIC  MODEL") > 2 {
			closed = true
			go r.close()
		}
	}
	if !strings.Contains(text.String(), "no filter\n\nNIC  MODEL") {
		t.Error(text.String())
	}
}

// TestSyncFilters: a link follows, is left as it was, and follows the next VM.
func TestSyncFilters(t *testing.T) {
	r, s := nicRig(t)
	in, out := io.Pipe()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan int, 1)
	go s.Inside(func() {
		tool := tool{out: out, errOut: out, dir: r.dir}
		ended <- tool.run(ctx, strings.Fields("rxfilter sync vm --policy full --wait --no-expedite"))
		out.Close()
	})
	var text bytes.Buffer
	await := func(want string) {
		t.Helper()
		b := make([]byte, 4096)
		for deadline := time.Now().Add(10 * time.Second); !strings.Contains(text.String(), want); {
			n, err := in.Read(b)
			text.Write(b[:n])
			if err != nil || time.Now().After(deadline) {
				t.Fatalf("no '%s' in %s", want, text.String())
			}
		}
		text.Reset()
	}
	await("n0 on tap0: address 52:54:00:00:00:02, add 33:33:00:00:00:01, add 33:33:00:00:00:77\nn0 on tap0: a macvtap in mode bridge has one address, not 1 more\n")
	r.mu.Lock()
	r.filters[0].MulticastTable = nil
	r.mu.Unlock()
	events.Emit(r.events, qapi.EventReset, qapi.ResetEvent{})
	await("n0 on tap0: remove 33:33:00:00:00:01, remove 33:33:00:00:00:77\n")
	r.close()
	await("the VM has ended\n")

	l, err := net.Listen("unix", r.socket())
	if err != nil {
		t.Fatal(err)
	}
	next := server.New(server.Config{Table: r.table(), Events: r.events, Exec: &direct{}, Version: "test"})
	served := make(chan error, 1)
	go func() { served <- next.Serve(l, server.Monitor{Name: "next"}) }()
	await("n0 on tap0: address 52:54:00:00:00:02\n")
	go func() { _, _ = io.Copy(io.Discard, in) }()
	cancel()
	if status := <-ended; status != 0 {
		t.Errorf("status %d", status)
	}
	if text := s.Run("ip link show tap0"); !strings.Contains(text, "52:54:00:00:00:01") {
		t.Error(text)
	}
	_ = next.Close(context.Background())
	if err := <-served; err != nil {
		t.Error(err)
	}
}
