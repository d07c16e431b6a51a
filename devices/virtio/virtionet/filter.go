package virtionet

import (
	"encoding/binary"
	"slices"
)

// maxTable is how many addresses the two filter tables hold together; a guest that wants more gets
// all of that kind.
const maxTable = 64

// MAC is an Ethernet address.
type MAC [6]byte

// Multicast reports whether the address is a group's.
func (m MAC) Multicast() bool { return m[0]&1 != 0 }

var broadcast = MAC{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}

// filter is what the guest wants to receive. One that was published does not
// change any more.
type filter struct {
	mac                                                MAC
	promisc, allMulti, allUni, noMulti, noUni, noBcast bool
	unicast, multicast                                 []MAC
	unicastOver, multicastOver                         bool
	vlans                                              [4096 / 64]uint64
	byVLAN                                             bool // the guest says which VLANs it wants
}

// newFilter returns the state of a device that was reset: everything is let through.
func newFilter(mac MAC) *filter { return filter{mac: mac, promisc: true}.started(false) }

// started returns the state of a device that goes to work. A guest that cannot say which
// VLANs it wants has them all.
func (f filter) started(byVLAN bool) *filter {
	f.byVLAN = byVLAN
	for i := range f.vlans {
		f.vlans[i] = 0
		if !byVLAN {
			f.vlans[i] = ^uint64(0)
		}
	}
	return &f
}

// setVLAN adds or removes a VLAN.
func (f *filter) setVLAN(id uint16, on bool) {
	if on {
		f.vlans[id/64] |= 1 << (id % 64)
	} else {
		f.vlans[id/64] &^= 1 << (id % 64)
	}
}

func (f *filter) hasVLAN(id uint16) bool { return f.vlans[id/64]&(1<<(id%64)) != 0 }

const (
	etherHeader = 14
	vlanHeader  = 18
	typeVLAN    = 0x8100
)

// pass reports whether the guest wants a frame, of which p is the beginning. The order of
// the questions is QEMU's.
func (f *filter) pass(p []byte) bool {
	if len(p) < etherHeader {
		return false
	}
	if f.promisc {
		return true
	}
	if len(p) >= vlanHeader && binary.BigEndian.Uint16(p[12:]) == typeVLAN && !f.hasVLAN(binary.BigEndian.Uint16(p[14:])&0xfff) {
		return false
	}
	dst := MAC(p[:6])
	switch {
	case dst == broadcast:
		return !f.noBcast
	case dst.Multicast():
		return !f.noMulti && (f.allMulti || f.multicastOver || slices.Contains(f.multicast, dst))
	}
	return !f.noUni && (f.allUni || f.unicastOver || dst == f.mac || slices.Contains(f.unicast, dst))
}

// Mode is which packets of a kind the guest receives.
type Mode string

// Modes: none, those in a table, all.
const (
	ModeNone   Mode = "none"
	ModeNormal Mode = "normal"
	ModeAll    Mode = "all"
)

func mode(none, all bool) Mode {
	switch {
	case none:
		return ModeNone
	case all:
		return ModeAll
	}
	return ModeNormal
}

// Filter is a receive filter as a manager sees it. Tables begin with what the guest named
// last. A guest that does not filter VLANs has them all.
type Filter struct {
	MAC         MAC
	Promiscuous bool
	// BroadcastAllowed is true when the guest forbids broadcasts: what QEMU shows, and clients know.
	BroadcastAllowed                   bool
	Unicast, Multicast, VLAN           Mode
	UnicastOverflow, MulticastOverflow bool
	UnicastTable, MulticastTable       []MAC
	VLANTable                          []uint16
}

// Filter returns what the guest wants to receive.
func (d *Device) Filter() Filter {
	f := d.filter.Load()
	s := Filter{
		MAC: f.mac, Promiscuous: f.promisc, BroadcastAllowed: f.noBcast, Unicast: mode(f.noUni, f.allUni), Multicast: mode(f.noMulti, f.allMulti),
		UnicastOverflow: f.unicastOver, MulticastOverflow: f.multicastOver, UnicastTable: slices.Clone(f.unicast), MulticastTable: slices.Clone(f.multicast),
	}
	slices.Reverse(s.UnicastTable)
	slices.Reverse(s.MulticastTable)
	for id := len(f.vlans)*64 - 1; id >= 0; id-- {
		if f.hasVLAN(uint16(id)) {
			s.VLANTable = append(s.VLANTable, uint16(id))
		}
	}
	s.VLAN = mode(f.byVLAN && len(s.VLANTable) == 0, !f.byVLAN)
	return s
}
