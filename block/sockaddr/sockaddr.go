// Package sockaddr listens on and connects to the socket addresses of QMP, for what the
// block layer serves and uses over the network.
//
// It keeps nothing and may be called from any goroutine. Addresses are QEMU's
// (qapi/sockets.json). It depends on qmp/qapi.
package sockaddr

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"hv/qmp/qapi"
)

// Descriptors gives away the descriptors that addresses of type fd name.
type Descriptors func(name string) (int, error)

// Flat returns an address in its form of today.
func Flat(a *qapi.SocketAddressLegacy) *qapi.SocketAddress {
	f := &qapi.SocketAddress{Type: a.Type}
	switch {
	case a.Inet != nil:
		f.Inet = &a.Inet.Data
	case a.Unix != nil:
		f.Unix = &a.Unix.Data
	case a.Vsock != nil:
		f.Vsock = &a.Vsock.Data
	case a.Fd != nil:
		f.Fd = &a.Fd.Data
	}
	return f
}

// Text returns an address as errors show it.
func Text(a *qapi.SocketAddress) string {
	switch {
	case a.Inet != nil:
		return net.JoinHostPort(a.Inet.Host, a.Inet.Port)
	case a.Unix != nil:
		return a.Unix.Path
	case a.Fd != nil:
		return "fd " + a.Fd.Str
	}
	return string(a.Type)
}

// sunPath is the room for a path in a UNIX socket's address.
const sunPath = 108

// network returns what Go calls an address.
func network(a *qapi.SocketAddress) (kind, address string, err error) {
	switch {
	case a.Inet != nil && no(a.Inet.Ipv4) && no(a.Inet.Ipv6):
		return "", "", errors.New("Cannot disable IPv4 and IPv6 at same time")
	case a.Inet != nil:
		return "tcp" + family(a.Inet), net.JoinHostPort(a.Inet.Host, a.Inet.Port), nil
	case a.Unix != nil:
		return "unix", unixName(a.Unix), checkPath(a.Unix)
	}
	return "", "", fmt.Errorf("addresses of type '%s' are not available", a.Type)
}

func is(b *bool) bool { return b != nil && *b }
func no(b *bool) bool { return b != nil && !*b }

// family is the part of a network's name that chooses IPv4 or IPv6. What is not said is on
// if the other is off, or if nothing is said.
func family(a *qapi.InetSocketAddress) string {
	v4, v6 := a.Ipv4 == nil && !is(a.Ipv6) || is(a.Ipv4), a.Ipv6 == nil && !is(a.Ipv4) || is(a.Ipv6)
	switch {
	case v4 && !v6:
		return "4"
	case v6 && !v4:
		return "6"
	}
	return ""
}

func unixName(a *qapi.UnixSocketAddress) string {
	switch {
	case !is(a.Abstract):
		return a.Path
	case a.Tight != nil && !*a.Tight:
		return "@" + a.Path + strings.Repeat("\x00", max(0, sunPath-1-len(a.Path)))
	}
	return "@" + a.Path
}

func checkPath(a *qapi.UnixSocketAddress) error {
	if len(a.Path) >= sunPath {
		return fmt.Errorf("UNIX socket path '%s' is too long", a.Path)
	}
	return nil
}

// reason is what a system call's error says, with a capital.
func reason(err error) error {
	var e syscall.Errno
	if errors.As(err, &e) {
		s := e.Error()
		return &because{strings.ToUpper(s[:1]) + s[1:], e}
	}
	return err
}

// because is an error of the kernel's in QEMU's words.
type because struct {
	text string
	err  error
}

func (b *because) Error() string { return b.text }
func (b *because) Unwrap() error { return b.err }

// Dial connects to an address.
func Dial(ctx context.Context, a *qapi.SocketAddress, fds Descriptors) (net.Conn, error) {
	if a.Fd != nil {
		f, err := take(a.Fd, fds)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		return net.FileConn(f)
	}
	kind, address, err := network(a)
	if err != nil {
		return nil, err
	}
	d := net.Dialer{KeepAlive: -1}
	if a.Inet != nil && is(a.Inet.KeepAlive) {
		d.KeepAlive = 0
	}
	c, err := d.DialContext(ctx, kind, address)
	if err != nil {
		return nil, fmt.Errorf("Failed to connect to '%s': %w", Text(a), reason(err))
	}
	return c, nil
}

// take returns a socket that was handed over, which the caller closes.
func take(a *qapi.SocketFd, fds Descriptors) (*os.File, error) {
	fd, err := fds(a.Str)
	if err != nil {
		return nil, err
	}
	if _, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE); err != nil {
		return nil, errors.Join(fmt.Errorf("File descriptor '%s' is not a socket", a.Str), unix.Close(fd))
	}
	return os.NewFile(uintptr(fd), "fd "+a.Str), nil
}

// Listen binds a server. A UNIX socket that is there is replaced, as QEMU does; of a range
// of ports the first free one is taken.
func Listen(a *qapi.SocketAddress, fds Descriptors) (net.Listener, error) {
	if a.Fd != nil {
		f, err := take(a.Fd, fds)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		// Who handed it over may only have bound it.
		if err := unix.Listen(int(f.Fd()), unix.SOMAXCONN); err != nil {
			return nil, fmt.Errorf("Failed to listen on fd socket: %w", reason(err))
		}
		return net.FileListener(f)
	}
	kind, address, err := network(a)
	if err != nil {
		return nil, err
	}
	if a.Unix != nil {
		return listenUnix(a, address)
	}
	port, err := strconv.ParseUint(a.Inet.Port, 10, 16)
	if err != nil || a.Inet.To == nil {
		return bind(a, kind, address)
	}
	for ; ; port++ {
		l, err := bind(a, kind, net.JoinHostPort(a.Inet.Host, strconv.FormatUint(port, 10)))
		if err == nil || !errors.Is(err, syscall.EADDRINUSE) || port >= uint64(*a.Inet.To) {
			return l, err
		}
	}
}

func listenUnix(a *qapi.SocketAddress, address string) (net.Listener, error) {
	if st, err := os.Lstat(address); err == nil && !is(a.Unix.Abstract) && st.Mode()&os.ModeSocket != 0 {
		if err := os.Remove(address); err != nil {
			return nil, fmt.Errorf("Failed to unlink socket %s: %w", address, reason(err))
		}
	}
	return bind(a, "unix", address)
}

func bind(a *qapi.SocketAddress, kind, address string) (net.Listener, error) {
	l, err := net.Listen(kind, address)
	if err != nil {
		return nil, fmt.Errorf("Failed to bind socket to %s: %w", Text(a), reason(err))
	}
	return l, nil
}
