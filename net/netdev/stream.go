package netdev

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync/atomic"
	"time"

	"hv/net/netstream"
	"hv/qmp/qapi"
	"hv/qmp/sockaddr"
)

// stream is a back end on a stream socket.
type stream struct {
	*netstream.Link
	info atomic.Pointer[string]
}

// Info implements Backend.
func (s *stream) Info(int) string { return *s.info.Load() }

func (s *stream) describe(text string) { s.info.Store(&text) }

// observer turns what a stream does into events and log lines.
type observer struct {
	o      *opener
	s      *stream
	server bool
	quiet  bool                  // there are no events: -netdev socket has none
	text   func(net.Conn) string // Info of a connection
	last   string                // what failed last, not to say it over and over
}

// Connected implements netstream.Watcher.
func (w *observer) Connected(c net.Conn) {
	w.last = ""
	if t, ok := c.(*net.TCPConn); ok {
		_ = t.SetNoDelay(true)
	}
	w.s.describe(w.text(c))
	if !w.quiet {
		w.o.Connected(w.o.id, endpoint(c, w.server))
	}
}

// Disconnected implements netstream.Watcher.
func (w *observer) Disconnected() {
	w.s.describe("")
	if !w.quiet {
		w.o.Disconnected(w.o.id)
	}
}

// Failed implements netstream.Watcher.
func (w *observer) Failed(err error) {
	if !w.quiet && *w.s.info.Load() == "" && w.last == "" {
		w.s.describe("connection error")
	}
	if text := err.Error(); text != w.last {
		w.last = text
		w.o.Log.WithError(err).Warn("stream")
	}
}

// endpoint returns the address that events show: the far end's, or the own one of a server
// on a UNIX socket, whose clients have none.
func endpoint(c net.Conn, server bool) *qapi.SocketAddress {
	if _, unix := c.(*net.UnixConn); unix && server {
		return addressOf(c.LocalAddr())
	}
	return addressOf(c.RemoteAddr())
}

func addressOf(a net.Addr) *qapi.SocketAddress {
	yes := true
	switch a := a.(type) {
	case *net.TCPAddr:
		host, port, _ := net.SplitHostPort(a.String())
		in := &qapi.InetSocketAddress{Host: host, Port: port}
		if a.IP.To4() != nil {
			in.Ipv4 = &yes
		} else {
			in.Ipv6 = &yes
		}
		return &qapi.SocketAddress{Type: qapi.SocketAddressTypeInet, Inet: in}
	case *net.UnixAddr:
		u := &qapi.UnixSocketAddress{Path: a.Name}
		if name, abstract := strings.CutPrefix(a.Name, "@"); abstract {
			u.Path, u.Abstract = name, &yes
		}
		return &qapi.SocketAddress{Type: qapi.SocketAddressTypeUnix, Unix: u}
	}
	return &qapi.SocketAddress{Type: qapi.SocketAddressTypeUnix, Unix: &qapi.UnixSocketAddress{}}
}

// uri is how `info network` shows an address.
func uri(a *qapi.SocketAddress) string {
	if a.Inet != nil {
		return "tcp:" + a.Inet.Host + ":" + a.Inet.Port
	}
	return "unix:" + a.Unix.Path
}

// stream opens -netdev stream.
func (o *opener) stream(n *qapi.NetdevStreamOptions) (*stream, error) {
	if n.Addr.Vsock != nil {
		return nil, errors.New("Only 'unix', 'inet' and 'fd' addresses are supported")
	}
	server := n.Server != nil && *n.Server
	cfg := netstream.Config{}
	if n.Reconnect != nil {
		cfg.Reconnect = time.Duration(*n.Reconnect) * time.Second
	}
	switch {
	case server && cfg.Reconnect > 0:
		return nil, errors.New("'reconnect' option is incompatible with socket in server mode")
	case server:
		l, err := sockaddr.Listen(&n.Addr, o.Descriptor)
		if err != nil {
			return nil, err
		}
		cfg.Listener = l
	case n.Addr.Fd != nil && cfg.Reconnect > 0:
		return nil, errors.New("'reconnect' option is incompatible with 'fd' addresses")
	case n.Addr.Fd != nil:
		c, err := sockaddr.Dial(context.Background(), &n.Addr, o.Descriptor)
		if err != nil {
			return nil, err
		}
		cfg.Conn = c
	default:
		cfg.Dial = func(ctx context.Context) (net.Conn, error) { return sockaddr.Dial(ctx, &n.Addr, nil) }
	}
	w := &observer{o: o, server: server}
	w.text = func(c net.Conn) string { return uri(endpoint(c, server)) }
	return w.open(cfg)
}

// open makes the back end.
func (w *observer) open(cfg netstream.Config) (*stream, error) {
	w.s = &stream{}
	w.s.describe("")
	l, err := netstream.Open(cfg, w)
	if err != nil {
		if cfg.Listener != nil {
			cfg.Listener.Close()
		}
		if cfg.Conn != nil {
			cfg.Conn.Close()
		}
		return nil, err
	}
	w.s.Link = l
	return w.s, nil
}
