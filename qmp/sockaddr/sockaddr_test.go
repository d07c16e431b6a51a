package sockaddr

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"hv/qmp/qapi"
)

func wants(t testing.TB, err error, want string) {
	t.Helper()
	if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
		t.Errorf("%v, want %q", err, want)
	}
}

func inet(host, port string) *qapi.SocketAddress {
	return &qapi.SocketAddress{Type: qapi.SocketAddressTypeInet, Inet: &qapi.InetSocketAddress{Host: host, Port: port}}
}

func local(path string) *qapi.SocketAddress {
	return &qapi.SocketAddress{Type: qapi.SocketAddressTypeUnix, Unix: &qapi.UnixSocketAddress{Path: path}}
}

func passed(name string) *qapi.SocketAddress {
	return &qapi.SocketAddress{Type: qapi.SocketAddressTypeFd, Fd: &qapi.SocketFd{Str: name}}
}

func ptr[T any](v T) *T { return &v }

// talk has a client and a server at an address say something to each other.
func talk(t *testing.T, l net.Listener, a *qapi.SocketAddress) {
	t.Helper()
	ended := make(chan error, 1)
	go func() {
		c, err := l.Accept()
		if err == nil {
			_, err = io.Copy(c, c)
			err = errors.Join(err, c.Close())
		}
		ended <- err
	}()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	c, err := Dial(ctx, a, nil)
	if err != nil {
		_ = l.Close()
		t.Fatal(err)
	}
	b := make([]byte, 5)
	_, write := c.Write([]byte("hello"))
	_, read := io.ReadFull(c, b)
	if err := errors.Join(write, read, c.Close(), <-ended); err != nil || string(b) != "hello" {
		t.Errorf("%v: %q came back", err, b)
	}
}

// TestAddresses listens at each kind of address, and connects to it.
func TestAddresses(t *testing.T) {
	dir := t.TempDir()
	abstract := local("hv-test-" + strconv.Itoa(os.Getpid()))
	abstract.Unix.Abstract = ptr(true)
	padded := local("hv-padded-" + strconv.Itoa(os.Getpid()))
	padded.Unix.Abstract, padded.Unix.Tight = ptr(true), ptr(false)
	kept := inet("127.0.0.1", "0")
	kept.Inet.KeepAlive = ptr(true)
	for name, a := range map[string]*qapi.SocketAddress{
		"inet": inet("127.0.0.1", "0"), "keep-alive": kept, "unix": local(dir + "/s"), "abstract": abstract, "padded": padded,
	} {
		l, err := Listen(a, nil)
		if err != nil {
			t.Fatal(name, err)
		}
		if a.Inet != nil {
			a.Inet.Port = strconv.Itoa(l.Addr().(*net.TCPAddr).Port)
		}
		talk(t, l, a)
		wants(t, l.Close(), "")
	}
	if l, err := Listen(abstract, nil); err != nil || Text(abstract) != abstract.Unix.Path {
		t.Errorf("%v", err)
	} else if _, err := Dial(t.Context(), func() *qapi.SocketAddress {
		p := *abstract.Unix
		p.Tight = ptr(false)
		a := *abstract
		a.Unix = &p
		return &a
	}(), nil); err == nil {
		t.Error("names that end in zeroes are others")
	} else {
		wants(t, l.Close(), "")
	}
}

// TestUnixReplaced has a socket that is left over be replaced, but none that somebody listens on,
// and no other file.
func TestUnixReplaced(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	for range 2 {
		l, err := net.Listen("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		l.(*net.UnixListener).SetUnlinkOnClose(false)
		wants(t, l.Close(), "")
		if l, err = Listen(local(path), nil); err != nil {
			t.Fatal(err)
		}
		talk(t, l, local(path))
		_, err = Listen(local(path), nil)
		wants(t, err, "Failed to bind socket to "+path+": Address already in use")
		wants(t, l.Close(), "")
	}
	if err := os.WriteFile(path, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := Listen(local(path), nil)
	wants(t, err, "Failed to bind socket to "+path+": Address already in use")
	if b, err := os.ReadFile(path); err != nil || string(b) != "precious" {
		t.Errorf("%v: %q is left of a file", err, b)
	}
}

// TestUnixBusy leaves a server alone that doesn't get to its clients.
func TestUnixBusy(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	wants(t, err, "")
	defer unix.Close(fd)
	wants(t, errors.Join(unix.Bind(fd, &unix.SockaddrUnix{Name: path}), unix.Listen(fd, 0)), "")
	waiting, err := net.Dial("unix", path)
	wants(t, err, "")
	defer waiting.Close()
	_, err = Listen(local(path), nil)
	wants(t, err, "Failed to bind socket to "+path+": Resource temporarily unavailable")
	if _, err := os.Lstat(path); err != nil {
		t.Error(err)
	}
}

// TestPortRange takes the first port that is free.
func TestPortRange(t *testing.T) {
	first, err := Listen(inet("127.0.0.1", "0"), nil)
	wants(t, err, "")
	defer first.Close()
	port := first.Addr().(*net.TCPAddr).Port
	a := inet("127.0.0.1", strconv.Itoa(port))
	_, err = Listen(a, nil)
	wants(t, err, fmt.Sprintf("Failed to bind socket to 127.0.0.1:%d: Address already in use", port))
	a.Inet.To = ptr(uint16(port))
	_, err = Listen(a, nil)
	wants(t, err, "Address already in use")
	a.Inet.To = ptr(uint16(min(port+20, 65535)))
	if l, err := Listen(a, nil); err != nil {
		t.Error(err)
	} else if got := l.Addr().(*net.TCPAddr).Port; got <= port || got > int(*a.Inet.To) {
		t.Errorf("port %d", got)
	} else {
		wants(t, l.Close(), "")
	}
}

// TestFamilies chooses IPv4 or IPv6 as QEMU does.
func TestFamilies(t *testing.T) {
	on, off := ptr(true), ptr(false)
	for _, x := range []struct {
		v4, v6 *bool
		want   string
	}{
		{nil, nil, "tcp"}, {on, nil, "tcp4"}, {nil, on, "tcp6"}, {on, on, "tcp"},
		{off, nil, "tcp6"}, {nil, off, "tcp4"}, {off, on, "tcp6"}, {on, off, "tcp4"}, {off, off, ""},
	} {
		a := inet("localhost", "1")
		a.Inet.Ipv4, a.Inet.Ipv6 = x.v4, x.v6
		kind, _, err := network(a)
		if x.want == "" {
			wants(t, err, "Cannot disable IPv4 and IPv6 at same time")
		} else if err != nil || kind != x.want {
			t.Errorf("%+v: %s, %v", x, kind, err)
		}
	}
}

// TestErrors has addresses at which nobody is, or can be.
func TestErrors(t *testing.T) {
	dir := t.TempDir()
	long := strings.Repeat("x", 108)
	vsock := &qapi.SocketAddress{Type: qapi.SocketAddressTypeVsock, Vsock: &qapi.VsockSocketAddress{Cid: "2", Port: "1"}}
	for _, x := range []struct {
		a            *qapi.SocketAddress
		dial, listen string
	}{
		{local(dir + "/none"), "Failed to connect to '" + dir + "/none': No such file or directory", ""},
		{local(dir + "/no/s"), "No such file or directory", "Failed to bind socket to " + dir + "/no/s: No such file or directory"},
		{local(long), "UNIX socket path '" + long + "' is too long", "is too long"},
		{inet("127.0.0.1", "1"), "Failed to connect to '127.0.0.1:1': Connection refused", ""},
		{inet("127.0.0.1", "99999"), "99999", "99999"},
		{inet("127.0.0.1", "x y"), "x y", "x y"},
		{vsock, "addresses of type 'vsock' are not available", "addresses of type 'vsock' are not available"},
	} {
		if c, err := Dial(t.Context(), x.a, nil); err == nil {
			t.Errorf("%s: connected to %s", Text(x.a), c.RemoteAddr())
		} else {
			wants(t, err, x.dial)
		}
		if x.listen != "" {
			_, err := Listen(x.a, nil)
			wants(t, err, x.listen)
		}
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Dial(ended, inet("127.0.0.1", "1"), nil); !errors.Is(err, context.Canceled) {
		t.Errorf("after the context ended: %v", err)
	}
	_, err := Dial(t.Context(), local(dir+"/none"), nil)
	if !errors.Is(err, unix.ENOENT) {
		t.Errorf("%v is not what the kernel says", err)
	}
}

// TestDescriptors uses sockets that are handed over, and refuses what is none.
func TestDescriptors(t *testing.T) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	wants(t, err, "")
	f, err := os.Open("/dev/null")
	wants(t, err, "")
	bound, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	wants(t, err, "")
	path := filepath.Join(t.TempDir(), "s")
	wants(t, unix.Bind(bound, &unix.SockaddrUnix{Name: path}), "")
	null, err := unix.Dup(int(f.Fd()))
	wants(t, errors.Join(err, f.Close()), "")
	have := map[string]int{"pair": pair[0], "null": null, "bound": bound}
	fds := func(name string) (int, error) {
		fd, ok := have[name]
		if !ok {
			return 0, fmt.Errorf("no file descriptor named '%s'", name)
		}
		delete(have, name)
		return fd, nil
	}
	_, err = Dial(t.Context(), passed("none"), fds)
	wants(t, err, "no file descriptor named 'none'")
	_, err = Dial(t.Context(), passed("null"), fds)
	wants(t, err, "File descriptor 'null' is not a socket")
	if _, err := unix.FcntlInt(uintptr(null), unix.F_GETFD, 0); err == nil {
		t.Error("a descriptor that is refused stays open")
	}
	c, err := Dial(t.Context(), passed("pair"), fds)
	if err != nil {
		t.Fatal(err)
	}
	other := os.NewFile(uintptr(pair[1]), "other")
	b := make([]byte, 2)
	_, write := other.Write([]byte("hi"))
	_, read := io.ReadFull(c, b)
	if err := errors.Join(write, read, c.Close(), other.Close()); err != nil || string(b) != "hi" {
		t.Errorf("%v: %q", err, b)
	}
	if Text(passed("pair")) != "fd pair" {
		t.Error(Text(passed("pair")))
	}
	// One that is bound but does not listen yet.
	l, err := Listen(passed("bound"), fds)
	if err != nil {
		t.Fatal(err)
	}
	talk(t, l, local(path))
	wants(t, l.Close(), "")
}

// TestFlat has each kind of address be what it was.
func TestFlat(t *testing.T) {
	for _, x := range []struct {
		a    qapi.SocketAddressLegacy
		want string
	}{
		{qapi.SocketAddressLegacy{Type: qapi.SocketAddressTypeInet, Inet: &qapi.InetSocketAddressWrapper{Data: qapi.InetSocketAddress{Host: "::1", Port: "7"}}}, "[::1]:7"},
		{qapi.SocketAddressLegacy{Type: qapi.SocketAddressTypeUnix, Unix: &qapi.UnixSocketAddressWrapper{Data: qapi.UnixSocketAddress{Path: "/s"}}}, "/s"},
		{qapi.SocketAddressLegacy{Type: qapi.SocketAddressTypeVsock, Vsock: &qapi.VsockSocketAddressWrapper{}}, "vsock"},
		{qapi.SocketAddressLegacy{Type: qapi.SocketAddressTypeFd, Fd: &qapi.SocketFdWrapper{Data: qapi.SocketFd{Str: "3"}}}, "fd 3"},
	} {
		if a := Flat(&x.a); Text(a) != x.want || a.Type != x.a.Type {
			t.Errorf("%+v is %s", x.a, Text(a))
		}
	}
}
