package netdev

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"

	"golang.org/x/sys/unix"

	"hv/net/netdgram"
	"hv/qmp/qapi"
	"hv/qmp/strerror"
)

// dgram is a back end on a datagram socket.
type dgram struct {
	*netdgram.Link
	info string
	path string // of the socket, "" for none
}

// Info implements Backend.
func (d *dgram) Info(int) string { return d.info }

// Close ends the back end and removes its socket.
func (d *dgram) Close() error {
	err := d.Link.Close()
	if d.path != "" {
		err = errors.Join(err, ignoreMissing(os.Remove(d.path)))
	}
	return err
}

func ignoreMissing(err error) error {
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}

// dgram opens -netdev dgram.
func (o *opener) dgram(n *qapi.NetdevDgramOptions) (*dgram, error) {
	if r := n.Remote; r != nil && r.Inet != nil {
		group, err := inet(r.Inet.Host, r.Inet.Port)
		if err != nil {
			return nil, err
		}
		if group.Addr().IsMulticast() {
			return o.groupOf(group, n.Local)
		}
	}
	if err := checkDgram(n); err != nil {
		return nil, err
	}
	switch {
	case n.Local.Inet != nil:
		return o.dgramInet(n.Local.Inet, n.Remote.Inet)
	case n.Local.Unix != nil:
		return o.dgramUnix(n.Local.Unix.Path, n.Remote.Unix.Path)
	}
	fd, err := o.Descriptor(n.Local.Fd.Str)
	if err != nil {
		return nil, err
	}
	return o.datagrams(fd, nil, fmt.Sprintf("fd=%d %s", fd, family(fd)))
}

// checkDgram checks which addresses there are.
func checkDgram(n *qapi.NetdevDgramOptions) error {
	l, r := n.Local, n.Remote
	switch {
	case l == nil:
		return errors.New("dgram requires local= parameter")
	case r != nil && l.Fd != nil:
		return errors.New("don't set remote with local.fd")
	case r != nil && r.Type != l.Type:
		return errors.New("remote and local types must be the same")
	case r == nil && l.Fd == nil:
		return errors.New("type=inet or type=unix requires remote parameter")
	case l.Vsock != nil:
		return errors.New("only support inet or fd type for local")
	}
	return nil
}

// groupOf opens a multicast group.
func (o *opener) groupOf(group netip.AddrPort, local *qapi.SocketAddress) (*dgram, error) {
	var from *netip.Addr
	switch {
	case local != nil && local.Inet == nil:
		return nil, errors.New("only support inet type for local of a multicast group")
	case local != nil:
		a, err := localAddress(local.Inet.Host)
		if err != nil {
			return nil, err
		}
		from = &a
	}
	return o.group(group, from, "")
}

// localAddress returns the address of one of the host's interfaces.
func localAddress(s string) (netip.Addr, error) {
	a, err := netip.ParseAddr(s)
	if err != nil || !a.Is4() {
		return a, fmt.Errorf("localaddr '%s' is not a valid IPv4 address", s)
	}
	return a, nil
}

// group opens a multicast group. prefix comes before what describes it.
func (o *opener) group(group netip.AddrPort, from *netip.Addr, prefix string) (*dgram, error) {
	fd, err := joinGroup(group, from)
	if err != nil {
		return nil, err
	}
	return o.datagrams(fd, sockaddrOf(group), fmt.Sprintf("%smcast=%s", prefix, group))
}

func (o *opener) dgramInet(l, r *qapi.InetSocketAddress) (*dgram, error) {
	local, err := inet(l.Host, l.Port)
	if err != nil {
		return nil, err
	}
	remote, err := inet(r.Host, r.Port)
	if err != nil {
		return nil, err
	}
	return o.udp(local, remote, fmt.Sprintf("udp=%s/%s", local, remote))
}

// udp opens a socket from one address to another.
func (o *opener) udp(local, remote netip.AddrPort, info string) (*dgram, error) {
	fd, err := datagramSocket(unix.AF_INET)
	if err != nil {
		return nil, err
	}
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
	if err := unix.Bind(fd, sockaddrOf(local)); err != nil {
		return nil, errors.Join(fmt.Errorf("can't bind ip=%s to socket: %w", local.Addr(), strerror.Reason(err)), unix.Close(fd))
	}
	return o.datagrams(fd, sockaddrOf(remote), info)
}

// sunPath is the room for a path in a UNIX socket's address.
const sunPath = 108

func (o *opener) dgramUnix(local, remote string) (*dgram, error) {
	for _, path := range []string{local, remote} {
		if len(path) >= sunPath {
			return nil, fmt.Errorf("UNIX socket path '%s' is too long", path)
		}
	}
	if st, err := os.Lstat(local); err == nil && st.Mode()&os.ModeSocket != 0 {
		if err := os.Remove(local); err != nil {
			return nil, fmt.Errorf("failed to unlink socket %s: %w", local, strerror.Reason(err))
		}
	}
	fd, err := datagramSocket(unix.AF_UNIX)
	if err != nil {
		return nil, err
	}
	if err := unix.Bind(fd, &unix.SockaddrUnix{Name: local}); err != nil {
		return nil, errors.Join(fmt.Errorf("can't bind unix=%s to socket: %w", local, strerror.Reason(err)), unix.Close(fd))
	}
	d, err := o.datagrams(fd, &unix.SockaddrUnix{Name: remote}, fmt.Sprintf("udp=%s:%s", local, remote))
	if err != nil {
		return nil, errors.Join(err, os.Remove(local))
	}
	d.path = local
	return d, nil
}

func datagramSocket(family int) (int, error) {
	fd, err := unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("can't create datagram socket: %w", strerror.Reason(err))
	}
	return fd, nil
}

// datagrams makes a back end of a socket, which it takes over.
func (o *opener) datagrams(fd int, to unix.Sockaddr, info string) (*dgram, error) {
	f := os.NewFile(uintptr(fd), o.id)
	defer f.Close()
	if kind, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE); err != nil || kind != unix.SOCK_DGRAM {
		return nil, fmt.Errorf("descriptor %d is no datagram socket", fd)
	}
	c, err := net.FileConn(f)
	if err != nil {
		return nil, err
	}
	s, ok := c.(netdgram.Socket)
	if !ok {
		return nil, errors.Join(fmt.Errorf("descriptor %d is no datagram socket", fd), c.Close())
	}
	l, err := netdgram.Open(s, to, func(err error) { o.Log.WithError(err).Warn("datagrams") })
	if err != nil {
		return nil, err
	}
	return &dgram{Link: l, info: info}, nil
}

// family is what kind of address a socket has.
func family(fd int) string {
	a, err := unix.Getsockname(fd)
	if err != nil {
		return ""
	}
	if _, ok := a.(*unix.SockaddrUnix); ok {
		return "unix"
	}
	return "inet"
}

// joinGroup returns a socket that is one of a multicast group. from chooses the interface.
func joinGroup(group netip.AddrPort, from *netip.Addr) (fd int, err error) {
	if !group.Addr().IsMulticast() {
		b := group.Addr().As4()
		return -1, fmt.Errorf("specified mcastaddr %s (0x%02x%02x%02x%02x) does not contain a multicast address", group.Addr(), b[0], b[1], b[2], b[3])
	}
	if fd, err = datagramSocket(unix.AF_INET); err != nil {
		return -1, err
	}
	req := &unix.IPMreq{Multiaddr: group.Addr().As4()}
	if from != nil {
		req.Interface = from.As4()
	}
	for _, step := range []struct {
		what string
		do   func() error
	}{
		{"can't set socket option SO_REUSEADDR", func() error { return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1) }},
		{fmt.Sprintf("can't bind ip=%s to socket", group.Addr()), func() error { return unix.Bind(fd, sockaddrOf(group)) }},
		{fmt.Sprintf("can't add socket to multicast group %s", group.Addr()), func() error { return unix.SetsockoptIPMreq(fd, unix.IPPROTO_IP, unix.IP_ADD_MEMBERSHIP, req) }},
		// Other virtual machines of this host are in the group, too.
		{"can't force multicast message to loopback", func() error { return unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_MULTICAST_LOOP, 1) }},
		{"can't set the default network send interface", func() error {
			if from == nil {
				return nil
			}
			return unix.SetsockoptInet4Addr(fd, unix.IPPROTO_IP, unix.IP_MULTICAST_IF, from.As4())
		}},
	} {
		if err := step.do(); err != nil {
			return -1, errors.Join(fmt.Errorf("%s: %w", step.what, strerror.Reason(err)), unix.Close(fd))
		}
	}
	return fd, nil
}
