package chardev

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"syscall"

	"hv/qmp/sockaddr"
)

func (o *Options) protocol() string {
	if o.Telnet {
		return "telnet"
	}
	return "tcp"
}

func (o *Options) suffix() string {
	if o.Server {
		return ",server=on"
	}
	return ""
}

// name returns what QEMU calls the socket while nobody is connected; of a server's
// port it is the real one.
func (o *Options) name(l net.Listener) string {
	switch a := o.Socket; {
	case a.Fd != nil:
		return "fd:" + a.Fd.Str + o.suffix()
	case a.Unix != nil:
		s := "unix:" + a.Unix.Path
		if is(a.Unix.Abstract) {
			s += ",abstract=on"
			if a.Unix.Tight == nil || *a.Unix.Tight {
				s += ",tight=on"
			}
		}
		return s + o.suffix()
	case a.Inet != nil:
		host, port := a.Inet.Host, a.Inet.Port
		if l != nil {
			host, port, _ = net.SplitHostPort(l.Addr().String())
		}
		return o.protocol() + ":" + host + ":" + port + o.suffix()
	}
	return string(o.Socket.Type) + o.suffix()
}

// peer returns what QEMU calls the socket while c is connected.
func (o *Options) peer(c net.Conn) string {
	local, remote := c.LocalAddr(), c.RemoteAddr()
	if _, ok := c.(*net.UnixConn); ok {
		return "unix:" + strings.TrimPrefix(local.String(), "@") + o.suffix()
	}
	return o.protocol() + ":" + local.String() + o.suffix() + " <-> " + remote.String()
}

// openUDP sends datagrams to one address and takes them at another.
func openUDP(ctx context.Context, o Options, log io.WriteCloser) (Backend, error) {
	if o.Socket == nil || o.Socket.Inet == nil || o.Socket.Inet.Port == "" {
		return nil, errors.New("chardev: udp: remote port not specified")
	}
	var d net.Dialer
	to := o.Socket.Inet
	network := "udp" + sockaddr.Family(to)
	if l := o.Local; l != nil && l.Inet != nil {
		at, err := net.ResolveUDPAddr(network, net.JoinHostPort(l.Inet.Host, l.Inet.Port))
		if err != nil {
			return nil, err
		}
		d.LocalAddr = at
	}
	c, err := d.DialContext(ctx, network, net.JoinHostPort(to.Host, to.Port))
	if err != nil {
		return nil, err
	}
	return newStream(o.Kind, log, datagrams{c}, nil), nil
}

// datagrams is a UDP socket, which has no end, whether somebody listens or not.
type datagrams struct{ net.Conn }

func (d datagrams) Read(p []byte) (int, error) {
	for {
		n, err := d.Conn.Read(p)
		if !errors.Is(err, syscall.ECONNREFUSED) {
			return n, err
		}
	}
}

// Write reports no error: that nobody listens is no reason to end.
func (d datagrams) Write(p []byte) (int, error) {
	_, _ = d.Conn.Write(p)
	return len(p), nil
}
