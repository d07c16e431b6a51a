package e2e

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"testing"
	"time"

	"hv/test/hvrun"
	"hv/test/netlab"
)

// pinged waits until a ping comes back from the guest's net.echo. Those that are sent while the
// link is not there yet are lost.
func pinged(t *testing.T, s *netlab.Station) {
	t.Helper()
	guest, _ := net.ParseMAC(nicMAC)
	limit := time.Now().Add(hvrun.Patience)
	for n := uint16(0); time.Now().Before(limit); n++ {
		back, err := s.Ping(guest, n, 200, 100*time.Millisecond)
		if err != nil {
			t.Fatal(err)
		}
		if back {
			return
		}
	}
	t.Fatal("no ping comes back")
}

// TestLinkGoes takes the link of a running NIC away in every way. The VM goes on, and another
// netdev of the same id brings the NIC back.
func TestLinkGoes(t *testing.T) {
	for name, away := range map[string]func(t *testing.T, l *netlab.Lab){
		"parent deleted": func(_ *testing.T, l *netlab.Lab) { l.Cut() },
		"macvtap deleted": func(t *testing.T, _ *netlab.Lab) {
			if out, err := exec.Command("ip", "link", "del", "hvgoestap").CombinedOutput(); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
		},
		"namespace gone": func(t *testing.T, l *netlab.Lab) { l.Abandon(t) },
	} {
		t.Run(name, func(t *testing.T) {
			v, lab := onMacvtap(t, "hvgoes", "net.echo")
			v.Expect(t, "net.echo .* ready")
			station := lab.Station(t, netlab.IPv4)
			pinged(t, station)
			station.Close()
			away(t, lab)
			comesBack(t, v)
		})
	}
	t.Run("tap deleted", func(t *testing.T) {
		netlab.Tap(t, "hvgoestap", 1)
		v := start(t, bare(t, "net.echo", "-netdev", "tap,id=n0,ifname=hvgoestap,script=no,downscript=no",
			"-device", "virtio-net-pci,id=nic0,netdev=n0,mac="+nicMAC)...)
		v.Expect(t, "net.echo .* ready")
		pinged(t, netlab.On(t, "hvgoestap", netlab.IPv4))
		if out, err := exec.Command("ip", "link", "del", "hvgoestap").CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		comesBack(t, v)
	})
}

// comesBack gives the NIC another link.
func comesBack(t *testing.T, v *vm) {
	t.Helper()
	v.do(t, "query-status")
	if err := v.call("netdev_del", `{"id":"n0"}`); err != nil {
		t.Fatal(err)
	}
	lab := netlab.New(t, "hvback")
	if err := v.call("netdev_add", fmt.Sprintf(`{"type":"macvtap","id":"n0","parent":%q,"ifname":"hvbacktap","mac":%q}`, lab.Near, nicMAC)); err != nil {
		t.Fatal(err)
	}
	pinged(t, lab.Station(t, netlab.IPv4))
	v.do(t, "quit")
	v.ends(t, 0)
}

// TestSwaps pauses the VM, disconnects the NIC's cable and exchanges its netdev, while pings
// go back and forth: none that comes back has a byte changed, and no descriptor is left
// behind.
func TestSwaps(t *testing.T) {
	netlab.Tap(t, "hvswap", 1)
	const netdev = `{"type":"tap","id":"n0","ifname":"hvswap","script":"no","downscript":"no"}`
	v := start(t, bare(t, "net.echo", "-netdev", "tap,id=n0,ifname=hvswap,script=no,downscript=no", "-device", "virtio-net-pci,id=nic0,netdev=n0,mac="+nicMAC)...)
	v.Expect(t, "net.echo .* ready")
	station := netlab.On(t, "hvswap", netlab.IPv4)
	pinged(t, station)
	guest, _ := net.ParseMAC(nicMAC)
	stop, back := make(chan struct{}), make(chan int)
	go func() {
		came := 0
		defer func() { back <- came }()
		for n := uint16(0); ; n++ {
			select {
			case <-stop:
				return
			default:
			}
			ok, err := station.Ping(guest, n, 60+int(n)%1400, 10*time.Millisecond)
			if err != nil {
				t.Error(err)
				return
			}
			if ok {
				came++
			}
		}
	}()
	rounds := hvrun.Count(60, 20_000)
	var before []string
	for i := range rounds {
		for _, c := range [][]string{{"stop", "{}"}, {"cont", "{}"}, {"set_link", `{"name":"nic0","up":false}`}, {"set_link", `{"name":"nic0","up":true}`},
			{"netdev_del", `{"id":"n0"}`}, {"netdev_add", netdev}} {
			if err := v.call(c[0], c[1]); err != nil {
				t.Fatalf("round %d: %s: %v", i, c[0], err)
			}
			drain(v)
		}
		if i == 0 {
			before = descriptors(t, v)
		}
	}
	close(stop)
	t.Logf("%d pings came back", <-back)
	pinged(t, station)
	if after := descriptors(t, v); len(after) != len(before) {
		t.Errorf("descriptors after the first round: %v, after the last: %v", before, after)
	}
	v.do(t, "quit")
	v.ends(t, 0)
}

// descriptors lists what the VM has open, but for the ring that a queue has from its first batch of packets on.
func descriptors(t *testing.T, v *vm) (list []string) {
	t.Helper()
	dir := fmt.Sprintf("/proc/%d/fd/", v.Cmd.Process.Pid)
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if to, _ := os.Readlink(dir + e.Name()); to != "anon_inode:[io_uring]" {
			list = append(list, to)
		}
	}
	return list
}

// drain takes the events that have come.
func drain(v *vm) {
	for len(v.c.Events()) > 0 {
		<-v.c.Events()
	}
}
