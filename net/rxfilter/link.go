package rxfilter

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Link is a link of the network namespace that Open was called in.
type Link struct {
	index  int
	name   string
	route  *netlink.Handle
	raw    map[int]*nl.SocketHandle // for what the library has no functions for
	groups *os.File
	socket int // for ioctl
	watch  *nl.NetlinkSocket
	hurry  *Hurry
}

// Open opens a link by its name. The caller closes it. hurry may be nil.
func Open(name string, hurry *Hurry) (*Link, error) {
	l := &Link{socket: -1, hurry: hurry}
	if err := l.open(name); err != nil {
		l.Close()
		return nil, fmt.Errorf("link %s: %w", name, err)
	}
	return l, nil
}

func (l *Link) open(name string) (err error) {
	if l.route, err = netlink.NewHandle(unix.NETLINK_ROUTE, unix.NETLINK_GENERIC); err != nil {
		return err
	}
	if l.raw, err = rawSockets(); err != nil {
		return err
	}
	if l.socket, err = unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0); err != nil {
		return err
	}
	if l.groups, err = os.Open("/proc/thread-self/net/dev_mcast"); err != nil {
		return err
	}
	if l.watch, err = nl.Subscribe(unix.NETLINK_ROUTE, unix.RTNLGRP_LINK); err != nil {
		return err
	}
	link, err := l.route.LinkByName(name)
	if err != nil {
		return gone(err)
	}
	l.index = link.Attrs().Index
	return nil
}

// Close closes the link, which stays as it is. Watch ends.
func (l *Link) Close() {
	if l.route != nil {
		l.route.Close()
	}
	for _, s := range l.raw {
		s.Close()
	}
	if l.watch != nil {
		l.watch.Close()
	}
	if l.groups != nil {
		l.groups.Close()
	}
	if l.socket >= 0 {
		unix.Close(l.socket)
	}
}

// gone turns the ways in which the kernel says that there is no link into ErrGone.
func gone(err error) error {
	if errors.As(err, new(netlink.LinkNotFoundError)) || errors.Is(err, unix.ENODEV) || errors.Is(err, unix.ENXIO) {
		return ErrGone
	}
	return err
}

// Read implements Driver.
func (l *Link) Read() (Host, error) {
	link, err := l.route.LinkByIndex(l.index)
	if err != nil {
		return Host{}, gone(err)
	}
	a := link.Attrs()
	l.name = a.Name
	h := Host{
		Name: a.Name, Index: a.Index, Kind: link.Type(), Parent: a.ParentIndex, MAC: toMAC(a.HardwareAddr),
		Promisc: a.RawFlags&unix.IFF_PROMISC != 0, AllMulti: a.RawFlags&unix.IFF_ALLMULTI != 0,
	}
	m, ok := macvlan(link)
	if h.Open = !ok; ok {
		h.Mode = modes[m.Mode]
		alone := m.Mode == netlink.MACVLAN_MODE_PASSTHRU
		// A port that others share finds the receiver by its one address (macvlan_hash_lookup,
		// macvlan_fdb_add).
		h.Takes = Abilities{Unicast: alone, Promisc: alone}
		h.Filters = a.NetNsID < 0 && l.filtersVLANs(a.ParentIndex) && !(alone && l.isPromiscuous(a.ParentIndex))
	}
	return h, l.lists(&h)
}

// isPromiscuous says that a device receives everything. The one below a port that is alone
// does, unless that was made with nopromisc; and there the port's own flag changes nothing.
func (l *Link) isPromiscuous(index int) bool {
	link, err := l.route.LinkByIndex(index)
	return err == nil && link.Attrs().Promisc > 0
}

var modes = map[netlink.MacvlanMode]string{
	netlink.MACVLAN_MODE_PRIVATE: "private", netlink.MACVLAN_MODE_VEPA: "vepa", netlink.MACVLAN_MODE_BRIDGE: "bridge",
	netlink.MACVLAN_MODE_PASSTHRU: "passthru", netlink.MACVLAN_MODE_SOURCE: "source",
}

func macvlan(link netlink.Link) (*netlink.Macvlan, bool) {
	switch m := link.(type) {
	case *netlink.Macvtap:
		return &m.Macvlan, true
	case *netlink.Macvlan:
		return m, true
	}
	return nil, false
}

func toMAC(a net.HardwareAddr) (m MAC) {
	copy(m[:], a)
	return m
}

// lists reads the lists of addresses.
func (l *Link) lists(h *Host) (err error) {
	for range 10 {
		if h.Unicast, err = l.unicast(h.MAC); !errors.Is(err, netlink.ErrDumpInterrupted) {
			break
		}
	}
	if err != nil {
		return fmt.Errorf("addresses of link %s: %w", h.Name, err)
	}
	if _, err := l.groups.Seek(0, 0); err != nil {
		return err
	}
	h.Joined, h.Multicast, err = readGroups(l.groups, l.index)
	return err
}

// Apply implements Driver.
func (l *Link) Apply(op Op) error {
	link := &netlink.GenericLink{LinkAttrs: netlink.LinkAttrs{Index: l.index}}
	var err error
	switch op.Verb {
	case SetMAC:
		err = l.hurry.Do(func() error { return l.route.LinkSetHardwareAddr(link, op.MAC[:]) })
	case PromiscOn:
		err = l.route.SetPromiscOn(link)
	case PromiscOff:
		err = l.route.SetPromiscOff(link)
	case AllMultiOn:
		err = l.route.LinkSetAllmulticastOn(link)
	case AllMultiOff:
		err = l.route.LinkSetAllmulticastOff(link)
	case AddUnicast:
		err = l.route.NeighAdd(l.entry(op.MAC))
	case DelUnicast:
		err = l.route.NeighDel(l.entry(op.MAC))
	case AddMulticast:
		err = join(l.socket, l.name, op.MAC)
	case DelMulticast:
		err = leave(l.socket, l.name, op.MAC)
	}
	switch {
	case errors.Is(err, unix.EEXIST):
		return ErrPresent
	case errors.Is(err, unix.ENOENT) && (op.Verb == DelUnicast || op.Verb == DelMulticast):
		return nil // somebody was faster
	}
	return gone(err)
}

// entry is an address in a link's own list.
func (l *Link) entry(m MAC) *netlink.Neigh {
	return &netlink.Neigh{
		LinkIndex: l.index, Family: unix.AF_BRIDGE, State: netlink.NUD_PERMANENT, Flags: netlink.NTF_SELF, HardwareAddr: m[:],
	}
}

// Notice is what the kernel says of a link when that changes.
type Notice struct {
	Name              string
	Parent            int
	MAC               MAC
	Promisc, AllMulti bool
	Gone              bool
	Lost              bool // there were more changes than the kernel could tell
}

// Watch calls a function at each change of the link's address or flags until ctx ends.
func (l *Link) Watch(ctx context.Context, changed func(Notice)) error {
	stop := context.AfterFunc(ctx, l.watch.Close)
	defer stop()
	for {
		msgs, from, err := l.watch.Receive()
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, unix.ENOBUFS):
			changed(Notice{Lost: true})
			continue
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return fmt.Errorf("changes of links: %w", err)
		case from.Pid != nl.PidKernel:
			continue
		}
		for i := range msgs {
			if n, ok := parseNotice(&msgs[i], l.index); ok {
				changed(n)
			}
		}
	}
}

// parseNotice reads a message about a link, if it is one about ours.
func parseNotice(m *syscall.NetlinkMessage, index int) (Notice, bool) {
	if m.Header.Type != unix.RTM_NEWLINK && m.Header.Type != unix.RTM_DELLINK || len(m.Data) < unix.SizeofIfInfomsg {
		return Notice{}, false
	}
	info := nl.DeserializeIfInfomsg(m.Data)
	if int(info.Index) != index || info.Family == unix.AF_BRIDGE {
		return Notice{}, false
	}
	n := Notice{
		Promisc: info.Flags&unix.IFF_PROMISC != 0, AllMulti: info.Flags&unix.IFF_ALLMULTI != 0,
		Gone: m.Header.Type == unix.RTM_DELLINK,
	}
	attrs := m.Data[unix.SizeofIfInfomsg:]
	if !attributes(attrs, unix.IFLA_ADDRESS, func(b []byte) { n.MAC = toMAC(b) }) {
		return Notice{Lost: true}, true
	}
	attributes(attrs, unix.IFLA_IFNAME, func(b []byte) { n.Name = unix.ByteSliceToString(b) })
	attributes(attrs, unix.IFLA_LINK, func(b []byte) {
		if len(b) == 4 {
			n.Parent = int(int32(nl.NativeEndian().Uint32(b)))
		}
	})
	return n, true
}
