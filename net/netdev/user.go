package netdev

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"

	"hv/net/netstream"
	"hv/net/passt"
	"hv/qmp/qapi"
)

// user is the host's own network.
type user struct {
	*stream
	program *passt.Process
}

// Close ends the back end.
func (u *user) Close() error {
	err := u.stream.Close()
	u.program.Stop()
	return err
}

// user opens -netdev user.
func (o *opener) user(n *qapi.NetdevUserOptions) (*user, error) {
	cfg, err := passtConfig(n)
	if err != nil {
		return nil, err
	}
	p, err := passt.Start(cfg, o.lost)
	if err != nil {
		return nil, err
	}
	info := "passt"
	if n.Net != nil {
		info += ",net=" + *n.Net
	}
	s, err := o.oldStream(netstream.Config{Conn: p.Conn}, info, func(net.Conn) string { return info })
	if err != nil {
		p.Stop()
		return nil, err
	}
	return &user{s, p}, nil
}

// passtConfig makes passt's options of QEMU's.
func passtConfig(n *qapi.NetdevUserOptions) (passt.Config, error) {
	cfg := passt.Config{NoIPv4: !value(n.Ipv4, true), NoIPv6: !value(n.Ipv6, true)}
	if n.Ipv4 == nil && value(n.Ipv6, false) {
		cfg.NoIPv4 = true // naming one is choosing it
	}
	if n.Ipv6 == nil && value(n.Ipv4, false) {
		cfg.NoIPv6 = true
	}
	if cfg.NoIPv4 && cfg.NoIPv6 {
		return cfg, errors.New("IPv4 and IPv6 disabled")
	}
	if n.Net != nil {
		if err := guestNet(*n.Net, &cfg); err != nil {
			return cfg, err
		}
	}
	for _, a := range []struct {
		name string
		text *string
		to   *netip.Addr
	}{{"host", n.Host, &cfg.Gateway}, {"dhcpstart", n.Dhcpstart, &cfg.Address}, {"dns", n.Dns, &cfg.DNS}} {
		if a.text == nil {
			continue
		}
		addr, err := netip.ParseAddr(*a.text)
		if err != nil || !addr.Is4() {
			return cfg, fmt.Errorf("Parameter '%s' expects an IPv4 address", a.name)
		}
		*a.to = addr
	}
	for _, d := range n.Dnssearch {
		if d.Str == "" || strings.ContainsAny(d.Str, " \t") {
			return cfg, errors.New("Parameter 'dnssearch' expects a domain")
		}
		cfg.Search = append(cfg.Search, d.Str)
	}
	for _, h := range n.Hostfwd {
		f, err := passt.ParseForward(h.Str)
		if err != nil {
			return cfg, err
		}
		cfg.Forwards = append(cfg.Forwards, f)
	}
	return cfg, nil
}

// guestNet reads ADDRESS[/BITS]. The host is the second address, the guest the fifteenth.
func guestNet(text string, cfg *passt.Config) error {
	if !strings.Contains(text, "/") {
		text += "/24"
	}
	p, err := netip.ParsePrefix(text)
	if err != nil || !p.Addr().Is4() || p.Bits() < 8 || p.Bits() > 28 {
		return errors.New("Parameter 'net' expects an IPv4 network of 8 to 28 bits")
	}
	at := func(n byte) netip.Addr {
		b := p.Masked().Addr().As4()
		b[3] += n
		return netip.AddrFrom4(b)
	}
	cfg.Prefix, cfg.Gateway, cfg.Address = p.Bits(), at(2), at(15)
	return nil
}
