package netdgram

import (
	"bytes"
	"errors"
	"net"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"hv/net/relay"
)

// patience is after what time a test gives up.
const patience = 20 * time.Second

func socket(t testing.TB) *net.UDPConn {
	t.Helper()
	c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	return c
}

func address(c *net.UDPConn) *unix.SockaddrInet4 {
	return &unix.SockaddrInet4{Port: c.LocalAddr().(*net.UDPAddr).Port, Addr: [4]byte{127, 0, 0, 1}}
}

// exchange passes frames both ways between a link's device and a far end.
func exchange(t *testing.T, l *Link, far net.PacketConn, near net.Addr) {
	t.Helper()
	frame := bytes.Repeat([]byte("frame"), 300)
	if _, err := unix.Write(l.QueueFD(0), append(make([]byte, relay.Header), frame...)); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 2000)
	n, _, err := far.ReadFrom(b)
	if err != nil || !bytes.Equal(b[:n], frame) {
		t.Fatalf("%d bytes, %v", n, err)
	}
	if _, err := far.WriteTo(frame, near); err != nil {
		t.Fatal(err)
	}
	fds := []unix.PollFd{{Fd: int32(l.QueueFD(0)), Events: unix.POLLIN}}
	for errno := error(unix.EINTR); errors.Is(errno, unix.EINTR); {
		_, errno = unix.Poll(fds, int(patience/time.Millisecond))
	}
	n, err = unix.Read(l.QueueFD(0), b)
	if err != nil || n < relay.Header || !bytes.Equal(b[relay.Header:n], frame) {
		t.Fatalf("the guest: %d bytes, %v", n, err)
	}
}

func TestInet(t *testing.T) {
	near, far := socket(t), socket(t)
	defer far.Close()
	where := near.LocalAddr()
	l, err := Open(near, address(far), func(err error) { t.Error(err) })
	if err != nil {
		t.Fatal(err)
	}
	exchange(t, l, far, where)
	if err := l.Close(); err != nil {
		t.Error(err)
	}
}

// TestNobodyThere loses frames for a port that is closed, and goes on.
func TestNobodyThere(t *testing.T) {
	near, far := socket(t), socket(t)
	to, where := address(far), near.LocalAddr()
	far.Close()
	l, err := Open(near, to, func(err error) { t.Error(err) })
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for range 10 {
		if _, err := unix.Write(l.QueueFD(0), make([]byte, relay.Header+60)); err != nil {
			t.Fatal(err)
		}
	}
	back, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: to.Port})
	if err != nil {
		t.Fatal(err)
	}
	defer back.Close()
	if _, err := back.WriteTo([]byte("hello"), where); err != nil {
		t.Fatal(err)
	}
	fds := []unix.PollFd{{Fd: int32(l.QueueFD(0)), Events: unix.POLLIN}}
	if n, err := unix.Poll(fds, int(patience/time.Millisecond)); n != 1 {
		t.Errorf("the guest receives nothing: %v", err)
	}
}

// BenchmarkSend passes frames of the guest to a far end.
func BenchmarkSend(b *testing.B) {
	near, far := socket(b), socket(b)
	defer far.Close()
	l, err := Open(near, address(far), func(err error) { b.Error(err) })
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	p, in := make([]byte, relay.Header+1500), make([]byte, 2000)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := unix.Write(l.QueueFD(0), p); err != nil {
			b.Fatal(err)
		}
		if _, err := far.Read(in); err != nil {
			b.Fatal(err)
		}
	}
}
