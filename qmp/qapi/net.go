//qapi:schema

package qapi

// NetClientDriver is a kind of network back end.
type NetClientDriver string

// The kinds.
const (
	NetClientDriverTap NetClientDriver = "tap" // a tap or macvtap device of the host
)

// Netdev describes a network back end.
type Netdev struct {
	Id   string            `qapi:"id"`
	Type NetClientDriver   `qapi:"type,discriminator"`
	Tap  *NetdevTapOptions `qapi:",branch=tap"`
}

// NetdevTapOptions are the properties of a tap.
type NetdevTapOptions struct {
	Ifname     *string `qapi:"ifname"`     // name of the host's interface
	Fd         *string `qapi:"fd"`         // an open tap, by number or name
	Fds        *string `qapi:"fds"`        // one for each queue, separated by colons
	Script     *string `qapi:"script"`     // program that sets the interface up, or no
	Downscript *string `qapi:"downscript"` // program that takes it down, or no
	Sndbuf     *uint64 `qapi:"sndbuf"`     // bytes that may wait to be sent, 0 for no limit
	VnetHdr    *bool   `qapi:"vnet_hdr"`   // packets have a virtio-net header
	Vhost      *bool   `qapi:"vhost"`      // packets are moved by the kernel
	Queues     *uint32 `qapi:"queues"`     // queues of a tap that is opened by name
}

// CmdNetdevAdd makes a network back end.
var CmdNetdevAdd = Command[Netdev, Empty]{Name: "netdev_add"}

// CmdNetdevDel takes a network back end away. A NIC that has it loses its link.
var CmdNetdevDel = Command[NetdevDelArgs, Empty]{Name: "netdev_del"}

// NetdevDelArgs is the arguments of netdev_del.
type NetdevDelArgs struct {
	Id string `qapi:"id"`
}
