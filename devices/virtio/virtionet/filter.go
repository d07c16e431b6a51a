package virtionet

import (
	"encoding/binary"
	"slices"
)

// maxTable is how many addresses a filter table holds; a guest that wants more gets
// all of that kind.
const maxTable = 64

// MAC is an Ethernet address.
type MAC [6]byte

// Multicast reports whether the address is a group's.
func (m MAC) Multicast() bool { return m[0]&1 != 0 }

// Filter is what the guest wants to receive. A Filter that was published does not
// change any more.
type Filter struct {
	MAC                                                MAC
	Promisc, AllMulti, AllUni, NoMulti, NoUni, NoBcast bool
	Unicast, Multicast                                 []MAC
	UnicastOverflow, MulticastOverflow                 bool
	VLANs                                              [4096 / 64]uint64
	FilterVLANs                                        bool
}

// newFilter returns the state of a device that was reset: everything is let through.
func newFilter(mac MAC, vlans bool) *Filter {
	f := &Filter{MAC: mac, Promisc: true, FilterVLANs: vlans}
	return f
}

// setVLAN adds or removes a VLAN.
func (f *Filter) setVLAN(id uint16, on bool) {
	if on {
		f.VLANs[id/64] |= 1 << (id % 64)
	} else {
		f.VLANs[id/64] &^= 1 << (id % 64)
	}
}

const (
	etherHeader = 14
	vlanHeader  = 18
	typeVLAN    = 0x8100
)

// Pass reports whether the guest wants a frame, of which p is the beginning. The order of
// the questions is QEMU's.
func (f *Filter) Pass(p []byte) bool {
	if len(p) < etherHeader {
		return false
	}
	if f.Promisc {
		return true
	}
	if f.FilterVLANs && len(p) >= vlanHeader && binary.BigEndian.Uint16(p[12:]) == typeVLAN {
		id := binary.BigEndian.Uint16(p[14:]) & 0xfff
		if f.VLANs[id/64]&(1<<(id%64)) == 0 {
			return false
		}
	}
	dst := MAC(p[:6])
	switch {
	case dst == MAC{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}:
		return !f.NoBcast
	case dst.Multicast():
		return !f.NoMulti && (f.AllMulti || f.MulticastOverflow || slices.Contains(f.Multicast, dst))
	}
	return !f.NoUni && (f.AllUni || f.UnicastOverflow || dst == f.MAC || slices.Contains(f.Unicast, dst))
}
