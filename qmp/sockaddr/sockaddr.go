// Package sockaddr listens on and connects to the socket addresses of QMP, for all that is
// served and used over sockets: disks, character devices, networks.
//
// It keeps nothing and may be called from any goroutine. Addresses are QEMU's
// (qapi/sockets.json). It depends on qmp/qapi and qmp/strerror.
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
	"hv/qmp/strerror"
)

// Descriptors gives away the descriptors that addresses of type fd name.
type Descriptors func(name string) (int, error)

// Unix returns the address of a UNIX socket at a path.
func Unix(path string) *qapi.SocketAddress {
	return &qapi.SocketAddress{Type: qapi.SocketAddressTypeUnix, Unix: &qapi.UnixSocketAddress{Path: path}}
}

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
		return "tcp" + Family(a.Inet), net.JoinHostPort(a.Inet.Host, a.Inet.Port), nil
	case a.Unix != nil:
		return "unix", unixName(a.Unix), checkPath(a.Unix)
	}
	return "", "", fmt.Errorf("addresses of type '%s' are not available", a.Type)
}

func is(b *bool) bool { return b != nil && *b }
func no(b *bool) bool { return b != nil && !*b }

// Family returns the part of the name that Go has for a network which chooses IPv4 or IPv6, "" for
// both. What is not said is on if the other is off, or if nothing is said.
func Family(a *qapi.InetSocketAddress) string {
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
		return nil, fmt.Errorf("Failed to connect to '%s': %w", Text(a), strerror.Reason(err))
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

// Listen binds a server. A UNIX socket that nobody listens on any more is replaced; of a range
// of ports the first free one is taken. That keep-alive is for those who connect only.
func Listen(a *qapi.SocketAddress, fds Descriptors) (net.Listener, error) {
	if a.Fd != nil {
		f, err := take(a.Fd, fds)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		// Who handed it over may only have bound it.
		if err := unix.Listen(int(f.Fd()), unix.SOMAXCONN); err != nil {
			return nil, fmt.Errorf("Failed to listen on fd socket: %w", strerror.Reason(err))
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
		switch c, err := net.Dial("unix", address); {
		case err == nil:
			return nil, errors.Join(unbound(a, syscall.EADDRINUSE), c.Close())
		case !errors.Is(err, syscall.ECONNREFUSED): // somebody may, who is busy
			return nil, unbound(a, err)
		}
		if err := os.Remove(address); err != nil {
			return nil, fmt.Errorf("Failed to unlink socket %s: %w", address, strerror.Reason(err))
		}
	}
	return bind(a, "unix", address)
}

func unbound(a *qapi.SocketAddress, err error) error {
	return fmt.Errorf("Failed to bind socket to %s: %w", Text(a), strerror.Reason(err))
}

func bind(a *qapi.SocketAddress, kind, address string) (net.Listener, error) {
	l, err := net.Listen(kind, address)
	if err != nil {
		return nil, unbound(a, err)
	}
	return l, nil
}
