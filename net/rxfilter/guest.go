package rxfilter

import (
	"fmt"

	"hv/qmp/qapi"
)

// maxTable is how long a table of a guest may be; QEMU's have at most 64 addresses.
const maxTable = 4096

// Mode is what a guest takes of packets of a kind.
type Mode uint8

// The modes.
const (
	Listed Mode = iota // those in the table
	None
	All
)

// Guest is what a guest wants a NIC to receive.
type Guest struct {
	Name    string
	MAC     MAC
	Promisc bool
	// What it takes of packets to single addresses, to groups, and with VLAN tags.
	Unicast, Multicast, VLANs Mode
	// More addresses were asked for than the table holds.
	UnicastOverflow, MulticastOverflow bool
	UnicastTable, MulticastTable       []MAC
	VLANTable                          []uint16
}

// FromQMP reads what query-rx-filter returns of a NIC. Only what a server may never say is
// an error: addresses come from the guest, which may say anything.
func FromQMP(i *qapi.RxFilterInfo) (Guest, error) {
	g := Guest{
		Name: i.Name, Promisc: i.Promiscuous,
		Unicast: mode(i.Unicast), Multicast: mode(i.Multicast), VLANs: mode(i.Vlan),
		UnicastOverflow: i.UnicastOverflow, MulticastOverflow: i.MulticastOverflow,
	}
	var err error
	if g.MAC, err = ParseMAC(i.MainMac); err != nil {
		return Guest{}, fmt.Errorf("filter of NIC %s: main-mac: %w", i.Name, err)
	}
	if g.UnicastTable, err = table(i.UnicastTable); err != nil {
		return Guest{}, fmt.Errorf("filter of NIC %s: unicast-table: %w", i.Name, err)
	}
	if g.MulticastTable, err = table(i.MulticastTable); err != nil {
		return Guest{}, fmt.Errorf("filter of NIC %s: multicast-table: %w", i.Name, err)
	}
	if len(i.VlanTable) > maxTable {
		return Guest{}, fmt.Errorf("filter of NIC %s: %d VLANs", i.Name, len(i.VlanTable))
	}
	for _, id := range i.VlanTable {
		if id < 0 || id > maxVLAN {
			return Guest{}, fmt.Errorf("filter of NIC %s: there is no VLAN %d", i.Name, id)
		}
		g.VLANTable = append(g.VLANTable, uint16(id))
	}
	return g, nil
}

// maxVLAN is the largest value of the tag's field (IEEE 802.1Q §9.6).
const maxVLAN = 4095

func mode(s qapi.RxState) Mode {
	switch s {
	case qapi.RxStateAll:
		return All
	case qapi.RxStateNone:
		return None
	}
	return Listed
}

func table(list []string) ([]MAC, error) {
	if len(list) > maxTable {
		return nil, fmt.Errorf("%d addresses", len(list))
	}
	out := make([]MAC, 0, len(list))
	for _, text := range list {
		m, err := ParseMAC(text)
		if err != nil {
			return nil, err
		}
		out = append(out, m)
	}
	return out, nil
}

// tagged says that the guest waits for packets with a VLAN's tag. VLAN 0 is no VLAN: Linux
// lists it whenever it knows VLANs at all.
func (g *Guest) tagged() bool {
	if g.VLANs != Listed {
		return false // a device that never filters was not told of VLANs
	}
	for _, id := range g.VLANTable {
		if id != 0 {
			return true
		}
	}
	return false
}
