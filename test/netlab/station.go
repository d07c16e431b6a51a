package netlab

import (
	"errors"
	"net"
	"runtime"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// Ether is a type of frames that no protocol of the kernel's takes: the one for local
// experiments.
const Ether = 0x88b5

// A Station sends and receives whole frames on a link.
type Station struct {
	fd  int
	MAC net.HardwareAddr
}

// Station opens a raw socket on the far end that hears frames of one type (unix.ETH_P_ALL
// for all). The link is not made promiscuous.
func (l *Lab) Station(t testing.TB, ether uint16) *Station {
	t.Helper()
	far, err := l.there.LinkByName(l.Far)
	if err != nil {
		t.Fatal(err)
	}
	var s *Station
	if err := l.inside(func() (err error) {
		s, err = open(far, ether)
		return err
	}); err != nil {
		t.Fatalf("raw socket on %s: %v", l.Far, err)
	}
	t.Cleanup(s.Close)
	return s
}

// On opens a raw socket on a link of this side.
func On(t testing.TB, name string, ether uint16) *Station {
	t.Helper()
	link, err := netlink.LinkByName(name)
	if err != nil {
		t.Fatal(err)
	}
	s, err := open(link, ether)
	if err != nil {
		t.Fatalf("raw socket on %s: %v", name, err)
	}
	t.Cleanup(s.Close)
	return s
}

// inside runs f on a thread that is in the namespace.
func (l *Lab) inside(f func() error) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	here, err := netns.Get()
	if err != nil {
		return err
	}
	defer here.Close()
	if err := netns.Set(l.ns); err != nil {
		return err
	}
	return errors.Join(f(), netns.Set(here))
}

// Close ends the station, which the test's end does too.
func (s *Station) Close() {
	if s.fd >= 0 {
		unix.Close(s.fd)
	}
	s.fd = -1
}

func swapped(v uint16) uint16 { return v<<8 | v>>8 }

func open(link netlink.Link, ether uint16) (*Station, error) {
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	// What guests send at full speed must fit until it is read.
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 8<<20)
	// A macvtap that nobody reads keeps the frames, and with them the room that the sender has.
	timeout := unix.NsecToTimeval(int64(100 * time.Millisecond))
	_ = unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &timeout)
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: swapped(ether), Ifindex: link.Attrs().Index}); err != nil {
		unix.Close(fd)
		return nil, err
	}
	return &Station{fd, link.Attrs().HardwareAddr}, nil
}

// Send sends a frame. A link that has no room drops it.
func (s *Station) Send(frame []byte) error {
	_, err := unix.Write(s.fd, frame)
	if errors.Is(err, unix.ENOBUFS) || errors.Is(err, unix.EAGAIN) {
		return nil
	}
	return err
}

// Receive reads the next frame into b and returns its length, 0 when none came in time.
func (s *Station) Receive(b []byte, limit time.Duration) (int, error) {
	deadline := time.Now().Add(limit)
	for {
		left := time.Until(deadline)
		if left <= 0 {
			return 0, nil
		}
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(s.fd), Events: unix.POLLIN}}, int(left/time.Millisecond)+1)
		if errors.Is(err, unix.EINTR) || err == nil && n == 0 {
			continue
		}
		if err != nil {
			return 0, err
		}
		n, from, err := unix.Recvfrom(s.fd, b, unix.MSG_DONTWAIT)
		if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR) {
			continue
		}
		if ll, ok := from.(*unix.SockaddrLinklayer); ok && ll.Pkttype == unix.PACKET_OUTGOING {
			continue // what was sent here
		}
		return n, err
	}
}

// Frame returns a frame of the lab's type with a payload, as long as Ethernet wants it.
func (s *Station) Frame(to net.HardwareAddr, payload []byte) []byte {
	f := make([]byte, 0, max(60, 14+len(payload)))
	f = append(append(f, to...), s.MAC...)
	f = append(append(f, Ether>>8, Ether&0xff), payload...)
	return f[:max(60, len(f))]
}

// Tagged puts a frame into a VLAN.
func Tagged(frame []byte, vlan uint16) []byte {
	f := append([]byte{}, frame[:12]...)
	return append(append(f, 0x81, 0, byte(vlan>>8), byte(vlan)), frame[12:]...)
}
