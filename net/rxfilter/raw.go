package rxfilter

import (
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// ndaIfindex is NDA_IFINDEX of linux/neighbour.h.
const ndaIfindex = 8

// rawSockets opens the sockets of requests that the library has no functions for. The
// kernel reads these strictly: otherwise it would not look at which link is meant.
func rawSockets() (map[int]*nl.SocketHandle, error) {
	out := map[int]*nl.SocketHandle{}
	for _, protocol := range []int{unix.NETLINK_ROUTE, unix.NETLINK_GENERIC} {
		s, err := nl.GetNetlinkSocketAt(netns.None(), netns.None(), protocol)
		if err != nil {
			return out, err
		}
		out[protocol] = &nl.SocketHandle{Socket: s}
		if err := unix.SetsockoptInt(s.GetFd(), unix.SOL_NETLINK, unix.NETLINK_GET_STRICT_CHK, 1); err != nil {
			return out, err
		}
	}
	return out, nil
}

// unicast lists the further addresses that a link has beside its own.
func (l *Link) unicast(own MAC) ([]MAC, error) {
	req := nl.NewNetlinkRequest(unix.RTM_GETNEIGH, unix.NLM_F_DUMP)
	req.Sockets = l.raw
	req.AddData(&netlink.Ndmsg{Family: unix.AF_BRIDGE})
	req.AddData(nl.NewRtAttr(ndaIfindex, nl.Uint32Attr(uint32(l.index))))
	msgs, err := req.Execute(unix.NETLINK_ROUTE, unix.RTM_NEWNEIGH)
	if err != nil {
		return nil, err
	}
	var list []MAC
	for _, m := range msgs {
		if a, ok := parseEntry(m, l.index); ok && !a.Group() && a != own {
			list = append(list, a)
		}
	}
	return sorted(list, func(MAC) bool { return true }), nil
}

// parseEntry reads a message about a link's list of addresses (struct ndmsg and attributes).
func parseEntry(msg []byte, index int) (m MAC, ok bool) {
	if len(msg) < unix.SizeofNdMsg {
		return m, false
	}
	link, flags := int(int32(nl.NativeEndian().Uint32(msg[4:8]))), msg[10]
	if link != index || flags&netlink.NTF_SELF == 0 {
		return m, false
	}
	attributes(msg[unix.SizeofNdMsg:], netlink.NDA_LLADDR, func(b []byte) {
		if len(b) == len(m) {
			m, ok = MAC(b), true
		}
	})
	return m, ok
}
