//qapi:schema

package qapi

// NetClientDriver is a kind of network back end.
type NetClientDriver string

// The kinds.
const (
	NetClientDriverUser      NetClientDriver = "user"       // the host's own network, through the program passt
	NetClientDriverTap       NetClientDriver = "tap"        // a tap or macvtap device of the host
	NetClientDriverSocket    NetClientDriver = "socket"     // a socket, in the manner of old
	NetClientDriverStream    NetClientDriver = "stream"     // a stream socket
	NetClientDriverDgram     NetClientDriver = "dgram"      // a datagram socket
	NetClientDriverVhostUser NetClientDriver = "vhost-user" // another process, by a socket
	NetClientDriverMacvtap   NetClientDriver = "macvtap"    // a macvtap that is made on a device of the host; not in QEMU
)

// Netdev describes a network back end.
type Netdev struct {
	Id        string                  `qapi:"id"`
	Type      NetClientDriver         `qapi:"type,discriminator"`
	User      *NetdevUserOptions      `qapi:",branch=user"`
	Tap       *NetdevTapOptions       `qapi:",branch=tap"`
	Socket    *NetdevSocketOptions    `qapi:",branch=socket"`
	Stream    *NetdevStreamOptions    `qapi:",branch=stream"`
	Dgram     *NetdevDgramOptions     `qapi:",branch=dgram"`
	VhostUser *NetdevVhostUserOptions `qapi:",branch=vhost-user"`
	Macvtap   *NetdevMacvtapOptions   `qapi:",branch=macvtap"`
}

// StringWrapper is a text in a list of them.
type StringWrapper struct {
	Str string `qapi:"str"`
}

// StringWrapperList is a list of texts.
type StringWrapperList []StringWrapper

// NetdevUserOptions are the properties of the host's own network.
type NetdevUserOptions struct {
	Ipv4      *bool             `qapi:"ipv4"`               // whether the guest has IPv4, on by default
	Ipv6      *bool             `qapi:"ipv6"`               // and IPv6
	Net       *string           `qapi:"net"`                // the guest's network and, with that of the host, its address
	Host      *string           `qapi:"host"`               // where the guest finds the host
	Dhcpstart *string           `qapi:"dhcpstart"`          // the guest's address
	Dns       *string           `qapi:"dns"`                // name server that the guest is told of
	Dnssearch StringWrapperList `qapi:"dnssearch,optional"` // domains that it is told to search
	Hostfwd   StringWrapperList `qapi:"hostfwd,optional"`   // ports of the host that are the guest's
}

// NetdevTapOptions are the properties of a tap.
type NetdevTapOptions struct {
	Ifname     *string `qapi:"ifname"`     // name of the host's interface
	Fd         *string `qapi:"fd"`         // an open tap, by number or name
	Fds        *string `qapi:"fds"`        // one for each queue, separated by colons
	Script     *string `qapi:"script"`     // program that sets the interface up, or no
	Downscript *string `qapi:"downscript"` // program that takes it down, or no
	Br         *string `qapi:"br"`         // bridge to which helper connects it, br0 by default
	Helper     *string `qapi:"helper"`     // program that opens the tap
	Sndbuf     *uint64 `qapi:"sndbuf"`     // bytes that may wait to be sent, 0 for no limit
	VnetHdr    *bool   `qapi:"vnet_hdr"`   // packets have a virtio-net header
	Vhost      *bool   `qapi:"vhost"`      // packets are moved by the kernel
	Vhostfd    *string `qapi:"vhostfd"`    // an open vhost-net device
	Vhostfds   *string `qapi:"vhostfds"`   // one for each queue, separated by colons
	Vhostforce *bool   `qapi:"vhostforce"` // there must be a vhost-net device
	Queues     *uint32 `qapi:"queues"`     // queues of a tap that is opened by name
	PollUs     *uint32 `qapi:"poll-us"`    // microseconds that the kernel may look for packets before it waits
}

// NetdevSocketOptions are the properties of a socket, one of the first five.
type NetdevSocketOptions struct {
	Fd        *string `qapi:"fd"`        // an open one
	Listen    *string `qapi:"listen"`    // host and port at which to be connected
	Connect   *string `qapi:"connect"`   // host and port to connect to
	Mcast     *string `qapi:"mcast"`     // multicast group and port
	Localaddr *string `qapi:"localaddr"` // where datagrams are sent from: an address with mcast, and a port too with udp
	Udp       *string `qapi:"udp"`       // host and port to which datagrams go
}

// NetdevStreamOptions are the properties of a stream socket.
type NetdevStreamOptions struct {
	Addr      SocketAddress `qapi:"addr"`
	Server    *bool         `qapi:"server"`    // listen there, rather than connect
	Reconnect *uint32       `qapi:"reconnect"` // seconds after which a lost connection is tried again, 0 for never; not in QEMU 7.2
}

// NetdevDgramOptions are the properties of a datagram socket.
type NetdevDgramOptions struct {
	Local  *SocketAddress `qapi:"local"`
	Remote *SocketAddress `qapi:"remote"`
}

// NetdevVhostUserOptions are the properties of a process that moves packets.
type NetdevVhostUserOptions struct {
	Chardev    string `qapi:"chardev"`    // a UNIX socket, by which the process is reached
	Vhostforce *bool  `qapi:"vhostforce"` // accepted; it makes no difference
	Queues     *int64 `qapi:"queues"`     // queue pairs, 1 by default
}

// MacvtapMode is how the macvtaps of one parent see each other.
type MacvtapMode string

// The modes.
const (
	MacvtapModeBridge   MacvtapMode = "bridge"   // directly
	MacvtapModeVepa     MacvtapMode = "vepa"     // by way of a switch that sends packets back
	MacvtapModePrivate  MacvtapMode = "private"  // not at all
	MacvtapModePassthru MacvtapMode = "passthru" // there is only one, which has the parent to itself
	MacvtapModeSource   MacvtapMode = "source"   // packets of listed sources only
)

// NetdevMacvtapOptions are the properties of a macvtap that is made for the VM and
// removed after it.
type NetdevMacvtapOptions struct {
	Parent string       `qapi:"parent"` // the host's interface below it
	Mode   *MacvtapMode `qapi:"mode"`   // bridge by default
	Mac    *string      `qapi:"mac"`    // its address; the NIC's by default
	Queues *uint32      `qapi:"queues"`
	Ifname *string      `qapi:"ifname"` // its name; the kernel's choice by default
	Sndbuf *uint64      `qapi:"sndbuf"` // bytes that may wait to be sent, 0 for no limit
}

// CmdNetdevAdd makes a network back end.
var CmdNetdevAdd = Command[Netdev, Empty]{Name: "netdev_add"}

// CmdNetdevDel takes a network back end away. A NIC that has it loses its link, until one of
// the same id is made. If there is no such back end the error is of class DeviceNotFound.
var CmdNetdevDel = Command[NetdevDelArgs, Empty]{Name: "netdev_del"}

// NetdevDelArgs is the arguments of netdev_del.
type NetdevDelArgs struct {
	Id string `qapi:"id"`
}

// NetdevStreamConnectedEvent is the data of NETDEV_STREAM_CONNECTED.
type NetdevStreamConnectedEvent struct {
	NetdevId string        `qapi:"netdev-id"`
	Addr     SocketAddress `qapi:"addr"` // the far end's; the own one of a server on a UNIX socket
}

// EventNetdevStreamConnected says that a stream back end has a connection.
var EventNetdevStreamConnected = Event[NetdevStreamConnectedEvent]{Name: "NETDEV_STREAM_CONNECTED"}

// NetdevStreamDisconnectedEvent is the data of NETDEV_STREAM_DISCONNECTED.
type NetdevStreamDisconnectedEvent struct {
	NetdevId string `qapi:"netdev-id"`
}

// EventNetdevStreamDisconnected says that a stream back end has lost its connection.
var EventNetdevStreamDisconnected = Event[NetdevStreamDisconnectedEvent]{Name: "NETDEV_STREAM_DISCONNECTED"}

// CmdSetLink connects or disconnects a network device's cable. If there is no such device
// the error is of class DeviceNotFound.
var CmdSetLink = Command[SetLinkArgs, Empty]{Name: "set_link"}

// SetLinkArgs is the arguments of set_link.
type SetLinkArgs struct {
	Name string `qapi:"name"` // id of a network device or of its netdev
	Up   bool   `qapi:"up"`
}

// RxState is what a NIC takes of packets of one kind.
type RxState string

// The states.
const (
	RxStateNormal RxState = "normal" // those that its table lists
	RxStateNone   RxState = "none"
	RxStateAll    RxState = "all"
)

// VlanTable is a list of VLANs.
type VlanTable []int64

// RxFilterInfo is what a guest has its NIC receive.
type RxFilterInfo struct {
	Name              string     `qapi:"name"`
	Promiscuous       bool       `qapi:"promiscuous"`
	Multicast         RxState    `qapi:"multicast"`
	Unicast           RxState    `qapi:"unicast"`
	Vlan              RxState    `qapi:"vlan"`
	BroadcastAllowed  bool       `qapi:"broadcast-allowed"` // that broadcasts are refused, in spite of its name
	MulticastOverflow bool       `qapi:"multicast-overflow"`
	UnicastOverflow   bool       `qapi:"unicast-overflow"`
	MainMac           string     `qapi:"main-mac"`
	VlanTable         VlanTable  `qapi:"vlan-table"`
	UnicastTable      StringList `qapi:"unicast-table"`
	MulticastTable    StringList `qapi:"multicast-table"`
}

// RxFilterInfoList is a list of NICs' filters.
type RxFilterInfoList []RxFilterInfo

// QueryRxFilterArgs is the arguments of query-rx-filter.
type QueryRxFilterArgs struct {
	Name *string `qapi:"name"` // a NIC; all of them by default
}

// CmdQueryRxFilter tells what guests have their NICs receive. The client hears of the next
// change of those NICs.
var CmdQueryRxFilter = Command[QueryRxFilterArgs, RxFilterInfoList]{Name: "query-rx-filter"}

// NicRxFilterChangedEvent is the data of NIC_RX_FILTER_CHANGED.
type NicRxFilterChangedEvent struct {
	Name *string `qapi:"name"` // the NIC's id, if it has one
	Path string  `qapi:"path"` // the NIC in the tree of objects
}

// EventNicRxFilterChanged says that the guest has changed what a NIC receives. A client
// is told once, and again after it has asked for the filter.
var EventNicRxFilterChanged = Event[NicRxFilterChangedEvent]{
	Name: "NIC_RX_FILTER_CHANGED", OnceKey: func(e NicRxFilterChangedEvent) string { return e.Path },
}

// AnnounceParameters says how often, and where, switches are told of the guest's addresses.
type AnnounceParameters struct {
	Initial    int64      `qapi:"initial"`             // milliseconds between the first two rounds
	Max        int64      `qapi:"max"`                 // milliseconds between two rounds at most
	Rounds     int64      `qapi:"rounds"`              // how often
	Step       int64      `qapi:"step"`                // milliseconds by which each pause is longer than the one before
	Interfaces StringList `qapi:"interfaces,optional"` // NICs; all by default
	Id         *string    `qapi:"id"`                  // a later announcement of this name takes its place
}

// CmdAnnounceSelf has NICs send frames by which switches learn where they are.
var CmdAnnounceSelf = Command[AnnounceParameters, Empty]{Name: "announce-self"}
