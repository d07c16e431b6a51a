package netdev

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"

	"golang.org/x/sys/unix"

	"hv/net/netstream"
	"hv/qmp/qapi"
	"hv/qmp/strerror"
)

// socket opens -netdev socket.
func (o *opener) socket(n *qapi.NetdevSocketOptions) (Backend, error) {
	given := 0
	for _, p := range []*string{n.Fd, n.Listen, n.Connect, n.Mcast, n.Udp} {
		if p != nil {
			given++
		}
	}
	switch {
	case given != 1:
		return nil, errors.New("exactly one of listen=, connect=, mcast= or udp= is required")
	case n.Localaddr != nil && n.Mcast == nil && n.Udp == nil:
		return nil, errors.New("localaddr= is only valid with mcast= or udp=")
	case n.Fd != nil:
		return o.socketFD(*n.Fd)
	case n.Listen != nil:
		return backend(o.socketListen(*n.Listen))
	case n.Connect != nil:
		return backend(o.socketConnect(*n.Connect))
	case n.Mcast != nil:
		return backend(o.socketGroup(*n.Mcast, n.Localaddr))
	case n.Localaddr == nil:
		return nil, errors.New("localaddr= is mandatory with udp=")
	}
	return backend(o.socketUDP(*n.Localaddr, *n.Udp))
}

// socketFD takes over a socket of either kind.
func (o *opener) socketFD(name string) (Backend, error) {
	fd, err := o.Descriptor(name)
	if err != nil {
		return nil, err
	}
	kind, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE)
	switch {
	case err != nil:
		return nil, errors.Join(errors.New("can't get socket option SO_TYPE"), unix.Close(fd))
	case kind == unix.SOCK_DGRAM:
		return backend(o.datagrams(fd, nil, fmt.Sprintf("socket: fd=%d %s", fd, family(fd))))
	case kind != unix.SOCK_STREAM:
		return nil, errors.Join(fmt.Errorf("socket type=%d for fd=%d must be either SOCK_DGRAM or SOCK_STREAM", kind, fd), unix.Close(fd))
	}
	f := os.NewFile(uintptr(fd), name)
	defer f.Close()
	c, err := net.FileConn(f)
	if err != nil {
		return nil, err
	}
	return backend(o.oldStream(netstream.Config{Conn: c}, fmt.Sprintf("socket: fd=%d", fd), nil))
}

// oldStream is a stream without events. text describes a connection; at first it is as info
// says, and so it stays if text is nil.
func (o *opener) oldStream(cfg netstream.Config, info string, text func(net.Conn) string) (*stream, error) {
	if text == nil {
		text = func(net.Conn) string { return info }
	}
	w := &observer{o: o, quiet: true, text: text}
	return w.open(cfg)
}

func (o *opener) socketListen(where string) (*stream, error) {
	at, err := hostPort(where)
	if err != nil {
		return nil, err
	}
	l, err := net.Listen("tcp4", at.String())
	if err != nil {
		return nil, fmt.Errorf("can't bind ip=%s to socket: %w", at.Addr(), strerror.Reason(err))
	}
	return o.oldStream(netstream.Config{Listener: l}, "", func(c net.Conn) string {
		return fmt.Sprintf("socket: connection from %s", c.RemoteAddr())
	})
}

func (o *opener) socketConnect(where string) (*stream, error) {
	to, err := hostPort(where)
	if err != nil {
		return nil, err
	}
	dial := func(ctx context.Context) (net.Conn, error) {
		var d net.Dialer
		c, err := d.DialContext(ctx, "tcp4", to.String())
		if err != nil {
			return nil, fmt.Errorf("can't connect socket: %w", strerror.Reason(err))
		}
		return c, nil
	}
	return o.oldStream(netstream.Config{Dial: dial}, fmt.Sprintf("socket: connect to %s", to), nil)
}

func (o *opener) socketGroup(where string, local *string) (*dgram, error) {
	group, err := hostPort(where)
	if err != nil {
		return nil, err
	}
	if local == nil {
		return o.group(group, nil, "socket: ")
	}
	from, err := localAddress(*local)
	if err != nil {
		return nil, err
	}
	return o.group(group, &from, "socket: ")
}

func (o *opener) socketUDP(local, remote string) (*dgram, error) {
	from, err := hostPort(local)
	if err != nil {
		return nil, err
	}
	to, err := hostPort(remote)
	if err != nil {
		return nil, err
	}
	return o.udp(from, to, fmt.Sprintf("socket: udp=%s", to))
}
