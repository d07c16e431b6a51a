package rxfilter

import (
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// vlanFilter is the feature of devices that drop packets of VLANs they were not told of.
const vlanFilter = "rx-vlan-filter"

// filtersVLANs says that a device drops packets of VLANs that it was not told of. One that
// does not tell is taken for one that does not.
func (l *Link) filtersVLANs(index int) bool {
	family, err := l.route.GenlFamilyGet(unix.ETHTOOL_GENL_NAME)
	if err != nil {
		return false
	}
	req := nl.NewNetlinkRequest(int(family.ID), 0)
	req.AddData(&nl.Genlmsg{Command: unix.ETHTOOL_MSG_FEATURES_GET, Version: unix.ETHTOOL_GENL_VERSION})
	header := nl.NewRtAttr(unix.ETHTOOL_A_FEATURES_HEADER|unix.NLA_F_NESTED, nil)
	header.AddRtAttr(unix.ETHTOOL_A_HEADER_DEV_INDEX, nl.Uint32Attr(uint32(index)))
	req.AddData(header)
	req.Sockets = l.raw
	msgs, err := req.Execute(unix.NETLINK_GENERIC, 0)
	return err == nil && len(msgs) > 0 && hasFeature(msgs[0], vlanFilter)
}

// hasFeature looks a feature up among those that are on: the answer to
// ETHTOOL_MSG_FEATURES_GET, with names (Documentation/networking/ethtool-netlink.rst).
func hasFeature(msg []byte, name string) bool {
	if len(msg) < nl.SizeofGenlmsg {
		return false
	}
	found := false
	attributes(msg[nl.SizeofGenlmsg:], unix.ETHTOOL_A_FEATURES_ACTIVE, func(set []byte) {
		attributes(set, unix.ETHTOOL_A_BITSET_BITS, func(bits []byte) {
			attributes(bits, unix.ETHTOOL_A_BITSET_BITS_BIT, func(bit []byte) {
				attributes(bit, unix.ETHTOOL_A_BITSET_BIT_NAME, func(text []byte) {
					found = found || unix.ByteSliceToString(text) == name
				})
			})
		})
	})
	return found
}

// attributes calls a function for the attributes of a kind. It reports whether all of b is
// attributes.
func attributes(b []byte, kind uint16, each func([]byte)) bool {
	for len(b) >= unix.SizeofRtAttr {
		n := int(nl.NativeEndian().Uint16(b))
		if n < unix.SizeofRtAttr || n > len(b) {
			return false
		}
		if nl.NativeEndian().Uint16(b[2:])&^(unix.NLA_F_NESTED|unix.NLA_F_NET_BYTEORDER) == kind {
			each(b[unix.SizeofRtAttr:n])
		}
		b = b[min((n+3)&^3, len(b)):] // the last one may end before its padding
	}
	return true
}
