package chardev

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"
)

// sunPath is the room for a path in a UNIX socket's address.
const sunPath = 108

// network returns what Go calls the address.
func (a *Address) network(inet string) (network, address string) {
	switch {
	case a.Path != "" && a.Abstract && !a.Tight:
		return "unix", "@" + a.Path + strings.Repeat("\x00", max(0, sunPath-1-len(a.Path)))
	case a.Path != "" && a.Abstract:
		return "unix", "@" + a.Path
	case a.Path != "":
		return "unix", a.Path
	}
	return inet + a.family(), net.JoinHostPort(a.Host, a.Port)
}

// family is the part of a network's name that IPv4 and IPv6 choose. What is not said
// is on if the other one is off, or if nothing is said.
func (a *Address) family() string {
	v4, v6 := a.IPv4 == nil && !is(a.IPv6) || is(a.IPv4), a.IPv6 == nil && !is(a.IPv4) || is(a.IPv6)
	switch {
	case v4 && !v6:
		return "4"
	case v6 && !v4:
		return "6"
	}
	return ""
}

// String returns the address as users write it.
func (a *Address) String() string {
	if a.Path != "" {
		return a.Path
	}
	return a.Host + ":" + a.Port
}

// dial connects to the address.
func (a *Address) dial(ctx context.Context) (net.Conn, error) {
	d := net.Dialer{KeepAlive: -1}
	if a.KeepAlive {
		d.KeepAlive = 0
	}
	network, address := a.network("tcp")
	c, err := d.DialContext(ctx, network, address)
	if err != nil {
		return nil, fmt.Errorf("Failed to connect to '%s': %w", a, reason(err))
	}
	return c, nil
}

// listen binds a server. A UNIX socket that nobody listens on any more is replaced; of
// a range of ports the first free one is taken.
func (a *Address) listen(ctx context.Context) (net.Listener, error) {
	network, address := a.network("tcp")
	if network == "unix" {
		if err := a.replace(); err != nil {
			return nil, err
		}
		return a.bind(ctx, network, address)
	}
	port, err := strconv.ParseUint(a.Port, 10, 16)
	if err != nil || a.To == 0 {
		return a.bind(ctx, network, address)
	}
	for ; ; port++ {
		l, err := a.bind(ctx, network, net.JoinHostPort(a.Host, strconv.FormatUint(port, 10)))
		if err == nil || !errors.Is(err, syscall.EADDRINUSE) || port >= uint64(a.To) {
			return l, err
		}
	}
}

func (a *Address) bind(ctx context.Context, network, address string) (net.Listener, error) {
	lc := net.ListenConfig{KeepAlive: -1}
	if a.KeepAlive {
		lc.KeepAlive = 0
	}
	l, err := lc.Listen(ctx, network, address)
	if err != nil {
		return nil, fmt.Errorf("Failed to bind socket to '%s': %w", a, reason(err))
	}
	return l, nil
}

// replace removes a socket that nobody listens on.
func (a *Address) replace() error {
	if a.Abstract {
		return nil
	}
	if c, err := net.Dial("unix", a.Path); err == nil {
		c.Close()
		return fmt.Errorf("Failed to bind socket to '%s': somebody listens there already", a.Path)
	}
	if st, err := os.Lstat(a.Path); err == nil && st.Mode()&os.ModeSocket != 0 {
		return os.Remove(a.Path)
	}
	return nil
}

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
	a := &o.Socket
	switch {
	case a.FD != "":
		return "fd:" + a.FD + o.suffix()
	case a.Path == "":
		host, port := a.Host, a.Port
		if l != nil {
			host, port, _ = net.SplitHostPort(l.Addr().String())
		}
		return o.protocol() + ":" + host + ":" + port + o.suffix()
	}
	s := "unix:" + a.Path
	if a.Abstract {
		s += ",abstract=on"
		if a.Tight {
			s += ",tight=on"
		}
	}
	return s + o.suffix()
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
	var d net.Dialer
	network, remote := o.Socket.network("udp")
	if l := o.Local; l != nil {
		at, err := net.ResolveUDPAddr(network, net.JoinHostPort(l.Host, l.Port))
		if err != nil {
			return nil, err
		}
		d.LocalAddr = at
	}
	if network == "unix" || o.Socket.Port == "" {
		return nil, errors.New("chardev: udp: remote port not specified")
	}
	c, err := d.DialContext(ctx, network, remote)
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
