package rxfilter

import (
	"fmt"
	"slices"
)

// Host is the state of a link of the host.
type Host struct {
	Name  string
	Index int
	Kind  string // such as macvtap
	Mode  string // of a macvtap or macvlan: bridge, passthru, ...
	// Open says that the link hands everything over whatever its lists say, as a tap does,
	// whose address is the host's own: there is nothing to change.
	Open bool
	// Takes says what the link can have.
	Takes  Abilities
	Parent int // index of the device below a macvtap
	MAC    MAC
	// Promisc and AllMulti are what user space has set, not what packet sockets and bridges
	// have the link do besides.
	Promisc, AllMulti bool
	// Multicast are the groups that user space had the link join: those that the kernel joined
	// may go with the kernel's reason for them. Joined are all. Both are in order.
	Multicast, Joined []MAC
	Unicast           []MAC // further addresses, in order
	// Filters says that the device below drops packets with tags of VLANs that it was not
	// told of.
	Filters bool
}

// Abilities is what a link can do for a guest.
type Abilities struct {
	Unicast bool // receive for further addresses
	Promisc bool // receive for all addresses
}

// Owned is what a Syncer added to a link.
type Owned struct {
	// First is the link's address from before the first change, and MAC the one that was set
	// last; both zero if none was.
	First, MAC         MAC
	Promisc, AllMulti  bool
	Unicast, Multicast []MAC // in order
}

// Verb is what an operation does.
type Verb uint8

// The verbs, in the order in which they are done: a link lets through too much for a
// moment rather than too little.
const (
	SetMAC Verb = iota
	PromiscOn
	AllMultiOn
	AddUnicast
	AddMulticast
	DelMulticast
	DelUnicast
	AllMultiOff
	PromiscOff
)

// Op is an operation on a link.
type Op struct {
	Verb Verb
	MAC  MAC // of those that are about one
}

// String says what the operation does.
func (o Op) String() string {
	switch o.Verb {
	case SetMAC:
		return o.About()
	case PromiscOn, AllMultiOn:
		return o.About() + " on"
	case PromiscOff, AllMultiOff:
		return o.About() + " off"
	case AddUnicast, AddMulticast:
		return "add " + o.About()
	}
	return "remove " + o.About()
}

// About names what the operation changes.
func (o Op) About() string {
	switch o.Verb {
	case SetMAC:
		return "address " + o.MAC.String()
	case PromiscOn, PromiscOff:
		return "promiscuous"
	case AllMultiOn, AllMultiOff:
		return "all groups"
	}
	return o.MAC.String()
}

// fit adapts what is wanted to what a link can do, and returns besides what it can not.
func (w Want) fit(h *Host, own *Owned) (fits Want, lacks []string) {
	if h.Open {
		return Want{}, nil
	}
	if w.MAC == (MAC{}) {
		w.MAC = own.First
	}
	main := w.MAC
	if main == (MAC{}) {
		main = h.MAC
	}
	w.Unicast = with(slices.Clone(w.Unicast), main, false)
	if w.Promisc && !h.Takes.Promisc {
		lacks = append(lacks, fmt.Sprintf("a %s in mode %s receives no packets to all addresses", h.Kind, h.Mode))
	}
	if len(w.Unicast) > 0 && !h.Takes.Unicast {
		lacks = append(lacks, fmt.Sprintf("a %s in mode %s has one address, not %d more", h.Kind, h.Mode, len(w.Unicast)))
		w.Unicast = nil
	}
	// A filter of VLANs lets everything through while its device is promiscuous, which a port
	// that is shared can have it be.
	switch {
	case !w.Tagged || !h.Filters:
	case h.Takes.Promisc:
		lacks = append(lacks, fmt.Sprintf("the device below drops packets with tags of VLANs, and a %s in mode %s can not tell it", h.Kind, h.Mode))
	default:
		w.Promisc = true
	}
	return w, lacks
}

// Diff lists what has to be done for a link to let through what is wanted, of which own was
// done before. It also says what the link can not do.
func Diff(w Want, h *Host, own *Owned) (ops []Op, lacks []string) {
	w, lacks = w.fit(h, own)
	do := func(v Verb, m MAC) { ops = append(ops, Op{v, m}) }
	if w.MAC != (MAC{}) && w.MAC != h.MAC {
		do(SetMAC, w.MAC)
	}
	if w.Promisc && !h.Promisc {
		do(PromiscOn, MAC{})
	}
	if w.AllMulti && !h.AllMulti {
		do(AllMultiOn, MAC{})
	}
	missing(w.Unicast, h.Unicast, func(m MAC) { do(AddUnicast, m) })
	missing(w.Multicast, h.Multicast, func(m MAC) { do(AddMulticast, m) })
	missing(own.Multicast, w.Multicast, func(m MAC) { do(DelMulticast, m) })
	missing(own.Unicast, w.Unicast, func(m MAC) { do(DelUnicast, m) })
	if own.AllMulti && !w.AllMulti {
		do(AllMultiOff, MAC{})
	}
	if own.Promisc && !w.Promisc {
		do(PromiscOff, MAC{})
	}
	return ops, lacks
}

// missing calls do for the addresses of one list that another does not have.
func missing(list, from []MAC, do func(MAC)) {
	for _, m := range list {
		if !has(from, m) {
			do(m)
		}
	}
}

// done notes an operation that succeeded: what the link has now, and what of that is ours.
func (o Op) done(h *Host, own *Owned) {
	switch o.Verb {
	case SetMAC:
		if own.First == (MAC{}) {
			own.First = h.MAC
		}
		h.MAC, own.MAC = o.MAC, o.MAC
		if own.First == own.MAC {
			own.First, own.MAC = MAC{}, MAC{}
		}
	case PromiscOn, PromiscOff:
		h.Promisc, own.Promisc = o.Verb == PromiscOn, o.Verb == PromiscOn
	case AllMultiOn, AllMultiOff:
		h.AllMulti, own.AllMulti = o.Verb == AllMultiOn, o.Verb == AllMultiOn
	case AddUnicast, DelUnicast:
		h.Unicast = with(h.Unicast, o.MAC, o.Verb == AddUnicast)
		own.Unicast = with(own.Unicast, o.MAC, o.Verb == AddUnicast)
	case AddMulticast, DelMulticast:
		h.Multicast = with(h.Multicast, o.MAC, o.Verb == AddMulticast)
		own.Multicast = with(own.Multicast, o.MAC, o.Verb == AddMulticast)
	}
}

// found notes that a link has an address that somebody else added.
func (o Op) found(h *Host) {
	if o.Verb == AddUnicast {
		h.Unicast = with(h.Unicast, o.MAC, true)
	}
}

// keep forgets what of ours is gone from a link.
func (own *Owned) keep(h *Host) {
	own.Promisc = own.Promisc && h.Promisc
	own.AllMulti = own.AllMulti && h.AllMulti
	own.Unicast = sorted(own.Unicast, func(m MAC) bool { return has(h.Unicast, m) })
	own.Multicast = sorted(own.Multicast, func(m MAC) bool { return has(h.Multicast, m) })
}
