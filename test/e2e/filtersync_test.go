package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"hv/test/hvrun"
)

// syncing runs `hvctl rxfilter sync` for a VM.
func syncing(t *testing.T, v *vm, policy string) *hvrun.Proc {
	t.Helper()
	program := filepath.Join(filepath.Dir(hvrun.Binary(t)), "hvctl")
	socket, _, _ := strings.Cut(strings.TrimPrefix(v.Cmd.Args[len(v.Cmd.Args)-1], "unix:"), ",")
	p := hvrun.StartCmd(t, exec.Command(program, "rxfilter", "sync", socket, "--policy", policy))
	t.Cleanup(func() {
		_ = p.Cmd.Process.Signal(os.Interrupt)
		<-p.Ended()
	})
	return p
}

// TestStormReachesHost has the host's link follow such a guest.
func TestStormReachesHost(t *testing.T) {
	ms := hvrun.Count(1000, 60_000)
	v, _ := onMacvtap(t, "hvsync", fmt.Sprintf("net.ctrl promisc=off; print=ready; spin ms=500; net.storm ms=%d; idle", ms))
	syncing(t, v, "full")
	final := v.stormed(t)
	updates, done := make(chan netlink.LinkUpdate), make(chan struct{})
	defer close(done)
	if err := netlink.LinkSubscribeWithOptions(updates, done, netlink.LinkSubscribeOptions{ListExisting: true}); err != nil {
		t.Fatal(err)
	}
	limit := time.After(hvrun.Patience)
	for mac := ""; mac != final.MainMAC; {
		select {
		case u := <-updates:
			if a := u.Link.Attrs(); a.Name == "hvsynctap" {
				mac = a.HardwareAddr.String()
			}
		case <-limit:
			t.Fatalf("the link has address %s, the guest %s", mac, final.MainMAC)
		}
	}
	v.do(t, "quit")
	v.ends(t, 0)
}

// TestHostFollows changes the guest's address again and again, each time until a
// packet that was sent once the host's link had followed has come to the guest.
func TestHostFollows(t *testing.T) {
	n := hvrun.Count(50, 5000)
	v, lab := onMacvtap(t, "hvfollow", fmt.Sprintf("net.ctrl promisc=off; net.follow n=%d ms=20000; idle", n))
	lab.Follow(t, "hvfollowtap")
	syncing(t, v, "full")
	m := v.Expect(t, `net\.follow dev=0 n=(\d+) lost=(\d+) mac=\S+ p50_us=(\d+) p99_us=(\d+) max_us=(\d+)\s`)
	if m[2] != "0" {
		t.Errorf("%s of %s changes did not reach the host's link", m[2], m[1])
	}
	t.Logf("%s changes, from the guest's command to a packet by the new address: %s us in the middle, %s us at the 99th percentile, %s us at most", m[1], m[3], m[4], m[5])
	v.do(t, "quit")
	v.ends(t, 0)
}
