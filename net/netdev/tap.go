package netdev

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"hv/net/macvtap"
	"hv/net/tap"
	"hv/qmp/qapi"
)

// What is run for a tap that says nothing else, and its bridge.
const (
	defaultScript     = "/etc/qemu-ifup"
	defaultDownScript = "/etc/qemu-ifdown"
	defaultBridge     = "br0"
)

// maxQueues is how many queues a tap may have.
const maxQueues = 256

// tap opens -netdev tap.
func (o *opener) tap(n *qapi.NetdevTapOptions) (*tap.Tap, error) {
	if err := checkTap(n); err != nil {
		return nil, err
	}
	cfg := tap.Config{
		ID: o.id, Ifname: value(n.Ifname, ""), Queues: int(value(n.Queues, 1)), Sndbuf: int(min(value(n.Sndbuf, 0), 1<<31-1)),
		Helper: value(n.Helper, ""), Bridge: value(n.Br, defaultBridge), Lost: o.lost,
	}
	var err error
	switch {
	case n.Fd != nil:
		cfg.FDs, err = o.descriptors([]string{*n.Fd})
	case n.Fds != nil:
		cfg.FDs, err = o.descriptors(strings.Split(*n.Fds, ":"))
	case n.Helper == nil:
		cfg.Script, cfg.DownScript = value(n.Script, defaultScript), value(n.Downscript, defaultDownScript)
	}
	if err != nil {
		return nil, err
	}
	return tap.Open(cfg)
}

// lost tells that the link is gone.
func (o *opener) lost(err error) { o.Lost(o.id, err) }

func value[T any](p *T, otherwise T) T {
	if p == nil {
		return otherwise
	}
	return *p
}

// descriptors returns what options name. After an error none is kept.
func (o *opener) descriptors(names []string) ([]int, error) {
	if len(names) > maxQueues {
		return nil, fmt.Errorf("there are more than %d descriptors", maxQueues)
	}
	var fds []int
	for _, name := range names {
		fd, err := o.Descriptor(name)
		if err == nil && slices.Contains(fds, fd) {
			err = fmt.Errorf("descriptor %d is named twice", fd)
		} else if err == nil {
			fds = append(fds, fd)
		}
		if err != nil {
			closeAll(fds)
			return nil, err
		}
	}
	return fds, nil
}

func closeAll(fds []int) {
	for _, fd := range fds {
		_ = unix.Close(fd)
	}
}

// checkTap checks which options there are.
func checkTap(n *qapi.NetdevTapOptions) error {
	script := n.Script != nil || n.Downscript != nil
	opened := n.Ifname != nil || script || n.VnetHdr != nil || n.Queues != nil
	switch {
	case n.Fd != nil && (opened || n.Helper != nil || n.Fds != nil || n.Vhostfds != nil):
		return errors.New("ifname=, script=, downscript=, vnet_hdr=, helper=, queues=, fds=, and vhostfds= are invalid with fd=")
	case n.Fds != nil && (opened || n.Helper != nil || n.Vhostfd != nil):
		return errors.New("ifname=, script=, downscript=, vnet_hdr=, helper=, queues=, and vhostfd= are invalid with fds=")
	case n.Helper != nil && (opened || n.Vhostfds != nil):
		return errors.New("ifname=, script=, downscript=, vnet_hdr=, queues=, and vhostfds= are invalid with helper=")
	case n.Vhostfds != nil && n.Fds == nil:
		return errors.New("vhostfds= is invalid if fds= wasn't specified")
	case n.VnetHdr != nil && !*n.VnetHdr:
		return errors.New("vnet_hdr=off is not available")
	case n.Queues != nil && (*n.Queues == 0 || *n.Queues > maxQueues):
		return fmt.Errorf("queues=%d is not from 1 to %d", *n.Queues, maxQueues)
	}
	return checkVhost(n)
}

// checkVhost checks the options of the kernel's data path.
func checkVhost(n *qapi.NetdevTapOptions) error {
	if !wantsVhost(n) && (n.Vhostfd != nil || n.Vhostfds != nil) {
		return errors.New("vhostfd(s)= is not valid without vhost")
	}
	return nil
}

// macvtapLink is a macvtap whose address is the NIC's unless it was given one.
type macvtapLink struct {
	*macvtap.Macvtap
	mode     string
	parent   string
	fixedMAC bool
}

// SetMAC tells the link its NIC's address.
func (m *macvtapLink) SetMAC(mac net.HardwareAddr) error {
	if m.fixedMAC {
		return nil
	}
	return m.Macvtap.SetMAC(mac)
}

// Info implements Backend.
func (m *macvtapLink) Info(int) string {
	return fmt.Sprintf("ifname=%s,parent=%s,mode=%s", m.Name(), m.parent, m.mode)
}

// macvtap opens -netdev macvtap.
func (o *opener) macvtap(n *qapi.NetdevMacvtapOptions) (*macvtapLink, error) {
	cfg := macvtap.Config{
		ID: o.id, Parent: n.Parent, Ifname: value(n.Ifname, ""), Mode: string(value(n.Mode, qapi.MacvtapModeBridge)),
		Queues: int(value(n.Queues, 1)), Sndbuf: int(min(value(n.Sndbuf, 0), 1<<31-1)), Lost: o.lost,
	}
	if cfg.Queues < 1 || cfg.Queues > maxQueues {
		return nil, fmt.Errorf("queues=%d is not from 1 to %d", cfg.Queues, maxQueues)
	}
	if n.Mac != nil {
		mac, err := net.ParseMAC(*n.Mac)
		if err != nil || len(mac) != 6 || mac[0]&1 != 0 {
			return nil, fmt.Errorf("mac=%s is no unicast address", *n.Mac)
		}
		cfg.MAC = mac
	}
	m, err := macvtap.Open(cfg)
	if err != nil {
		return nil, err
	}
	return &macvtapLink{Macvtap: m, mode: cfg.Mode, parent: cfg.Parent, fixedMAC: n.Mac != nil}, nil
}
