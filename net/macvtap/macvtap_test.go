package macvtap

import (
	"bytes"
	"errors"
	"net"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// patience is after what time a test gives up.
const patience = 20 * time.Second

// inNamespace runs f with a network of its own: two ends of a cable, v0 and v1.
func inNamespace(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	t.Run("namespace", func(t *testing.T) {
		runtime.LockOSThread() // and never unlocked: the thread is thrown away
		if err := unix.Unshare(unix.CLONE_NEWNET | unix.CLONE_NEWNS); err != nil {
			t.Fatalf("network namespace: %v (tests of macvtaps run as root)", err)
		}
		// /sys shows the network of who mounts it.
		if err := errors.Join(unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""), unix.Mount("sysfs", "/sys", "sysfs", 0, "")); err != nil {
			t.Fatal(err)
		}
		cable(t)
		f(t)
	})
}

func cable(t *testing.T) {
	t.Helper()
	attrs := netlink.NewLinkAttrs()
	attrs.Name = "v0"
	if err := netlink.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: "v1"}); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"v0", "v1"} {
		if err := netlink.LinkSetUp(link(t, name)); err != nil {
			t.Fatal(err)
		}
	}
}

func link(t *testing.T, name string) netlink.Link {
	t.Helper()
	l, err := netlink.LinkByName(name)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// TestPackets makes a macvtap of each mode, sends through it and removes it.
func TestPackets(t *testing.T) {
	inNamespace(t, func(t *testing.T) {
		far, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0xb588)
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(far)
		if err := unix.Bind(far, &unix.SockaddrLinklayer{Protocol: 0xb588, Ifindex: link(t, "v1").Attrs().Index}); err != nil {
			t.Fatal(err)
		}
		_ = unix.SetsockoptTimeval(far, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: int64(patience / time.Second)})
		mac := net.HardwareAddr{0x52, 0x54, 0, 1, 2, 3}
		for mode := range modes {
			m, err := Open(Config{ID: "n0", Parent: "v0", Ifname: "mv", Mode: mode, MAC: mac, Queues: 2, Sndbuf: 1 << 20})
			if err != nil {
				t.Fatalf("%s: %v", mode, err)
			}
			if got := link(t, "mv").(*netlink.Macvtap); got.Mode != modes[mode] || !bytes.Equal(got.HardwareAddr, mac) || m.Queues() != 2 {
				t.Errorf("%s: %+v, %d queues", mode, got, m.Queues())
			}
			frame := append(bytes.Repeat([]byte{0xff}, 6), append(mac, 0x88, 0xb5, 'h', 'i')...)
			frame = append(frame, make([]byte, 60-len(frame))...)
			if _, err := unix.Write(m.QueueFD(0), append(make([]byte, 12), frame...)); err != nil {
				t.Errorf("%s: %v", mode, err)
			}
			b := make([]byte, 2000)
			if n, err := unix.Read(far, b); err != nil || !bytes.Equal(b[:n], frame) {
				t.Errorf("%s: the far end received %x, %v", mode, b[:max(n, 0)], err)
			}
			mac[5]++
			if err := m.SetMAC(mac); err != nil || !bytes.Equal(link(t, "mv").Attrs().HardwareAddr, mac) {
				t.Errorf("%s: address %s, %v", mode, link(t, "mv").Attrs().HardwareAddr, err)
			}
			if err := m.Close(); err != nil {
				t.Errorf("%s: %v", mode, err)
			}
			if _, err := netlink.LinkByName("mv"); err == nil {
				t.Errorf("%s: the link is still there", mode)
			}
		}
		if left, _ := filepath.Glob("/dev/.hv-*"); len(left) > 0 {
			t.Errorf("%v are left", left)
		}
	})
}

// TestLost tells when the parent goes, and closes what is left.
func TestLost(t *testing.T) {
	inNamespace(t, func(t *testing.T) {
		lost := make(chan error, 1)
		m, err := Open(Config{ID: "n0", Parent: "v0", Mode: "bridge", Lost: func(err error) { lost <- err }})
		if err != nil {
			t.Fatal(err)
		}
		if !strings.HasPrefix(m.Name(), "mvt") {
			t.Errorf("called %s", m.Name())
		}
		other := netlink.NewLinkAttrs()
		other.Name = "other"
		if err := netlink.LinkAdd(&netlink.Veth{LinkAttrs: other, PeerName: "another"}); err != nil {
			t.Fatal(err)
		}
		if err := netlink.LinkDel(link(t, "other")); err != nil {
			t.Fatal(err)
		}
		select {
		case err := <-lost:
			t.Fatalf("lost with somebody else's link: %v", err)
		default:
		}
		if err := netlink.LinkDel(link(t, "v0")); err != nil {
			t.Fatal(err)
		}
		select {
		case err := <-lost:
			if !errors.Is(err, unix.ENOLINK) {
				t.Error(err)
			}
		case <-time.After(patience):
			t.Error("nobody is told that the link is gone")
		}
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	})
}

func TestRefusals(t *testing.T) {
	inNamespace(t, func(t *testing.T) {
		for want, c := range map[string]Config{
			"there is no mode 'wild'": {Parent: "v0", Mode: "wild"},
			"Link not found":          {Parent: "none", Mode: "bridge"},
			"v1: file exists":         {Parent: "v0", Mode: "bridge", Ifname: "v1"},
		} {
			c.ID = "n0"
			if _, err := Open(c); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "netdev n0") {
				t.Errorf("%v, not %q", err, want)
			}
		}
	})
}
