package e2e

import (
	"context"
	"errors"
	"net"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"hv/net/rxfilter"
	"hv/test/hvrun"
)

const firstMAC = "52:54:00:00:00:01"

// startOnMacvtap starts a VM with the NIC nic on the macvtap mv0, on the veth v0 whose other
// end is v1, and returns the path of a second QMP socket.
func startOnMacvtap(t *testing.T) (*vm, *shell, string) {
	t.Helper()
	for _, line := range []string{"link add v0 type veth peer name v1", "link set v0 up", "link set v1 up"} {
		ip(t, line)
	}
	socket := filepath.Join(t.TempDir(), "second")
	v, sh := startShell(t, "-qmp", "unix:"+socket+",server=on,wait=off",
		"-netdev", "macvtap,id=n0,parent=v0,ifname=mv0", "-device", "virtio-net-pci,netdev=n0,id=nic,mac="+firstMAC)
	return v, sh, socket
}

// follow has links follow, and waits until they do.
func follow(t *testing.T, socket, policy string) *hvrun.Proc {
	t.Helper()
	p := hvrun.Start(t, filepath.Join(filepath.Dir(hvrun.Binary(t)), "hvctl"), append([]string{"rxfilter", "sync", socket, "--policy"}, strings.Fields(policy)...)...)
	p.Expect(t, "nic on mv0: follows")
	return p
}

// stopFollowing interrupts that.
func stopFollowing(t *testing.T, p *hvrun.Proc) {
	t.Helper()
	if err := p.Cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	if status := p.Wait(t); status != 0 {
		t.Errorf("status %d", status)
	}
}

// linkState is the address, the flags, and the groups that user space joined.
func linkState(t *testing.T) string {
	t.Helper()
	f := strings.Fields(ip(t, "-d link show mv0"))
	words := []string{f[slices.Index(f, "link/ether")+1]}
	for _, flag := range []string{"ALLMULTI", "PROMISC"} {
		if strings.Contains(f[2], flag) {
			words = append(words, flag)
		}
	}
	var groups []string
	for _, line := range strings.Split(ip(t, "maddr show dev mv0"), "\n") {
		if f := strings.Fields(line); len(f) > 1 && f[0] == "link" && f[len(f)-1] == "static" {
			groups = append(groups, f[1])
		}
	}
	slices.Sort(groups)
	return strings.Join(append(words, groups...), " ")
}

// becomes waits until the link is as it should be, which follow says something about when it
// changes it.
func becomes(t *testing.T, follow *hvrun.Proc, want string) {
	t.Helper()
	got := ""
	defer func() {
		if t.Failed() {
			t.Logf("%s, not %s", got, want)
		}
	}()
	for {
		seen := len(follow.Output())
		if got = linkState(t); got == want {
			return
		}
		follow.ExpectAfter(t, seen, "\n")
	}
}

// linkIs checks that it is so.
func linkIs(t *testing.T, want string) {
	t.Helper()
	if got := linkState(t); got != want {
		t.Errorf("%s, not %s", got, want)
	}
}

// TestFilterSync: what a guest asks for is what the host's link becomes, as far as the policy
// allows.
func TestFilterSync(t *testing.T) {
	const changed, other, group = "52:54:00:00:00:02", "52:54:00:00:00:03", "33:33:00:00:12:34"
	inNamespace(t, func(t *testing.T) {
		v, sh, socket := startOnMacvtap(t)
		control := func(words string) {
			t.Helper()
			sh.types(t, "net.ctrl "+words+"; print=done")
			sh.expect(t, "guest: done")
		}
		control("promisc=off mac=" + changed + " multi=" + group)
		linkIs(t, firstMAC)

		p := follow(t, socket, "multicast")
		becomes(t, p, firstMAC+" "+group)
		stopFollowing(t, p)
		linkIs(t, firstMAC)

		p = follow(t, socket, "listed --allow "+other)
		becomes(t, p, firstMAC+" "+group)
		control("mac=" + other + " allmulti=on")
		becomes(t, p, other+" ALLMULTI "+group)
		control("mac=" + changed)
		becomes(t, p, firstMAC+" ALLMULTI "+group)
		stopFollowing(t, p)

		p = follow(t, socket, "full")
		becomes(t, p, changed+" ALLMULTI "+group)
		control("allmulti=off promisc=on")
		becomes(t, p, changed+" ALLMULTI PROMISC "+group)
		control("promisc=off")
		becomes(t, p, changed+" "+group)
		ip(t, "link set mv0 address "+other) // by somebody else
		becomes(t, p, changed+" "+group)
		out, status := hvctl(t, "net", socket, "--interval", "0.1")
		if status != 0 || !strings.Contains(out, "nic: drift: none\n") || !strings.Contains(out, "n0 (macvtap)  mv0") {
			t.Errorf("%d %s", status, out)
		}
		if out, status = hvctl(t, "rxfilter", "show", socket); status != 0 || !strings.Contains(out, "nic on mv0 (macvtap bridge)\n") {
			t.Errorf("%d %s", status, out)
		}
		v.do(t, "system_reset")
		becomes(t, p, firstMAC+" ALLMULTI PROMISC")
		sh.expect(t, "guest: shell")
		v.do(t, "quit")
		v.ends(t, 0)
		p.Expect(t, "the VM has ended")
		if status := p.Wait(t); status != 0 {
			t.Errorf("status %d", status)
		}
	})
}

// TestFilterFollows: whatever the guest's pace, every address that it waits for comes.
func TestFilterFollows(t *testing.T) {
	inNamespace(t, func(t *testing.T) {
		took := followed(t, "20")
		t.Logf("from the guest's change to the host's link: p50 %d µs, p99 %d µs", took[0], took[1])
	})
}

// followed has a guest change its address n times, each time when the host's link has the
// one before, and returns how many microseconds that takes: median and 99th percentile.
func followed(t *testing.T, n string) (took [2]int) {
	t.Helper()
	v, sh, socket := startOnMacvtap(t)
	p := follow(t, socket, "full")
	tell := addresses(t)
	ctx, cancel := context.WithCancel(t.Context())
	var answers sync.WaitGroup
	answers.Go(func() { tell(ctx) })
	sh.types(t, "net.follow n="+n)
	line := sh.expect(t, "guest: net.follow dev=0 n=")
	cancel()
	answers.Wait()
	stopFollowing(t, p)
	v.do(t, "quit")
	v.ends(t, 0)
	m := regexp.MustCompile(`lost=0 mac=.* p50_us=(\d+) p99_us=(\d+)`).FindStringSubmatch(line)
	if m == nil {
		t.Fatal(line)
	}
	for i := range took {
		took[i], _ = strconv.Atoi(m[i+1])
	}
	return took
}

// addresses returns what sends the guest each address that the link gets, until a context
// ends.
func addresses(t *testing.T) func(context.Context) {
	t.Helper()
	link, err := rxfilter.Open("mv0", nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(link.Close)
	peer, err := net.InterfaceByName("v1")
	if err != nil {
		t.Fatal(err)
	}
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	to := &unix.SockaddrLinklayer{Ifindex: peer.Index}
	return func(ctx context.Context) {
		err := link.Watch(ctx, func(n rxfilter.Notice) {
			frame := slices.Concat(n.MAC[:], []byte{2, 0, 0, 0, 0, 1, 0x88, 0xb6}, n.MAC[:], make([]byte, 40))
			if err := unix.Sendto(fd, frame, 0, to); err != nil {
				t.Error(err)
			}
		})
		if !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	}
}
