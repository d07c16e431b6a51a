package netdev

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// hostPort returns the IPv4 address and port of HOST:PORT.
func hostPort(s string) (netip.AddrPort, error) {
	host, port, ok := strings.Cut(s, ":")
	if !ok {
		return netip.AddrPort{}, fmt.Errorf("host address '%s' doesn't contain ':' separating host from port", s)
	}
	return inet(host, port)
}

// inet returns an IPv4 address and port. No host is any.
func inet(host, port string) (netip.AddrPort, error) {
	a := netip.IPv4Unspecified()
	switch {
	case host == "":
	case host[0] >= '0' && host[0] <= '9':
		var err error
		if a, err = netip.ParseAddr(host); err != nil || !a.Is4() {
			return netip.AddrPort{}, fmt.Errorf("host address '%s' is not a valid IPv4 address", host)
		}
	default:
		var err error
		if a, err = resolve(host); err != nil {
			return netip.AddrPort{}, err
		}
	}
	n, err := strconv.ParseUint(port, 0, 16)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("port number '%s' is invalid", port)
	}
	return netip.AddrPortFrom(a, uint16(n)), nil
}

func sockaddrOf(a netip.AddrPort) *unix.SockaddrInet4 {
	return &unix.SockaddrInet4{Port: int(a.Port()), Addr: a.Addr().As4()}
}

// resolveTime bounds how long the VM waits for a name.
const resolveTime = 5 * time.Second

// resolve returns a host's first IPv4 address.
func resolve(host string) (netip.Addr, error) {
	ctx, cancel := context.WithTimeout(context.Background(), resolveTime)
	defer cancel()
	list, err := net.DefaultResolver.LookupNetIP(ctx, "ip4", host)
	if err != nil || len(list) == 0 {
		return netip.Addr{}, fmt.Errorf("can't resolve host address '%s'", host)
	}
	return list[0].Unmap(), nil
}
