package devqmp

import (
	"hv/devices/virtio"
	"hv/qmp/qapi"
)

// bit is a bit with the specification's name for it and what that means.
type bit struct {
	n    uint
	name string
}

// ringBits are the feature bits of rings and transports (virtio 1.2 §6).
var ringBits = []bit{
	{24, "VIRTIO_F_NOTIFY_ON_EMPTY: the device notifies when a queue has run empty"},
	{27, "VIRTIO_F_ANY_LAYOUT: buffers may be cut up in any way"},
	{28, "VIRTIO_RING_F_INDIRECT_DESC: chains may be in tables of their own"},
	{29, "VIRTIO_RING_F_EVENT_IDX: both sides say at which index to notify them"},
	{32, "VIRTIO_F_VERSION_1: virtio 1 and later"},
	{33, "VIRTIO_F_IOMMU_PLATFORM: addresses are translated as the platform does"},
	{34, "VIRTIO_F_RING_PACKED: packed virtqueues"},
	{35, "VIRTIO_F_IN_ORDER: buffers come back in the order in which they went"},
	{36, "VIRTIO_F_ORDER_PLATFORM: memory accesses are ordered as the platform does"},
	{37, "VIRTIO_F_SR_IOV: single root I/O virtualization"},
	{38, "VIRTIO_F_NOTIFICATION_DATA: notifications carry data"},
	{40, "VIRTIO_F_RING_RESET: single queues can be reset"},
}

// deviceBits are the feature bits of kinds of device (virtio 1.2 §5).
var deviceBits = map[virtio.DeviceID][]bit{
	virtio.IDNet: {
		{0, "VIRTIO_NET_F_CSUM: the device completes checksums"},
		{1, "VIRTIO_NET_F_GUEST_CSUM: the driver takes packets with partial checksums"},
		{2, "VIRTIO_NET_F_CTRL_GUEST_OFFLOADS: the driver can change its offloads"},
		{3, "VIRTIO_NET_F_MTU: the device tells the largest packet"},
		{5, "VIRTIO_NET_F_MAC: the device has an address"},
		{7, "VIRTIO_NET_F_GUEST_TSO4: the driver takes large TCP packets over IPv4"},
		{8, "VIRTIO_NET_F_GUEST_TSO6: the driver takes large TCP packets over IPv6"},
		{9, "VIRTIO_NET_F_GUEST_ECN: the driver takes large TCP packets with ECN"},
		{10, "VIRTIO_NET_F_GUEST_UFO: the driver takes large UDP packets"},
		{11, "VIRTIO_NET_F_HOST_TSO4: the device takes large TCP packets over IPv4"},
		{12, "VIRTIO_NET_F_HOST_TSO6: the device takes large TCP packets over IPv6"},
		{13, "VIRTIO_NET_F_HOST_ECN: the device takes large TCP packets with ECN"},
		{14, "VIRTIO_NET_F_HOST_UFO: the device takes large UDP packets"},
		{15, "VIRTIO_NET_F_MRG_RXBUF: the driver takes packets in several buffers"},
		{16, "VIRTIO_NET_F_STATUS: the device tells whether its link is up"},
		{17, "VIRTIO_NET_F_CTRL_VQ: there is a control queue"},
		{18, "VIRTIO_NET_F_CTRL_RX: the driver chooses what it receives"},
		{19, "VIRTIO_NET_F_CTRL_VLAN: the driver filters by VLAN"},
		{20, "VIRTIO_NET_F_CTRL_RX_EXTRA: more choices of what it receives"},
		{21, "VIRTIO_NET_F_GUEST_ANNOUNCE: the driver announces itself when asked"},
		{22, "VIRTIO_NET_F_MQ: several pairs of queues"},
		{23, "VIRTIO_NET_F_CTRL_MAC_ADDR: the driver can set the address"},
		{57, "VIRTIO_NET_F_HASH_REPORT: the device tells packets' hashes"},
		{60, "VIRTIO_NET_F_RSS: receive side scaling"},
		{61, "VIRTIO_NET_F_RSC_EXT: the device tells of segments that it joined"},
		{62, "VIRTIO_NET_F_STANDBY: the device stands in for another with its address"},
		{63, "VIRTIO_NET_F_SPEED_DUPLEX: the device tells its speed"},
	},
	virtio.IDBlock: {
		{0, "VIRTIO_BLK_F_BARRIER: requests can be barriers"},
		{1, "VIRTIO_BLK_F_SIZE_MAX: the device limits segments' sizes"},
		{2, "VIRTIO_BLK_F_SEG_MAX: the device limits the number of segments"},
		{4, "VIRTIO_BLK_F_GEOMETRY: the device tells a geometry"},
		{5, "VIRTIO_BLK_F_RO: the disk is read-only"},
		{6, "VIRTIO_BLK_F_BLK_SIZE: the device tells its block size"},
		{7, "VIRTIO_BLK_F_SCSI: SCSI commands"},
		{9, "VIRTIO_BLK_F_FLUSH: flush requests"},
		{10, "VIRTIO_BLK_F_TOPOLOGY: the device tells its alignment"},
		{11, "VIRTIO_BLK_F_CONFIG_WCE: the driver chooses the cache mode"},
		{12, "VIRTIO_BLK_F_MQ: several queues"},
		{13, "VIRTIO_BLK_F_DISCARD: discard requests"},
		{14, "VIRTIO_BLK_F_WRITE_ZEROES: requests that write zeros"},
	},
	virtio.IDConsole: {
		{0, "VIRTIO_CONSOLE_F_SIZE: the device tells its console's size"},
		{1, "VIRTIO_CONSOLE_F_MULTIPORT: several ports"},
		{2, "VIRTIO_CONSOLE_F_EMERG_WRITE: characters can be written without a queue"},
	},
	virtio.IDBalloon: {
		{0, "VIRTIO_BALLOON_F_MUST_TELL_HOST: the driver tells before it uses pages again"},
		{1, "VIRTIO_BALLOON_F_STATS_VQ: the driver tells its statistics"},
		{2, "VIRTIO_BALLOON_F_DEFLATE_ON_OOM: the driver deflates when it is out of memory"},
		{3, "VIRTIO_BALLOON_F_FREE_PAGE_HINT: the driver hints at free pages"},
		{4, "VIRTIO_BALLOON_F_PAGE_POISON: the driver fills free pages"},
		{5, "VIRTIO_BALLOON_F_REPORTING: the driver reports free pages"},
	},
	virtio.IDMem: {
		{0, "VIRTIO_MEM_F_ACPI_PXM: the device tells its proximity domain"},
		{1, "VIRTIO_MEM_F_UNPLUGGED_INACCESSIBLE: the driver does not touch unplugged memory"},
	},
	virtio.IDVsock: {{1, "VIRTIO_VSOCK_F_SEQPACKET: sockets of whole messages"}},
}

// statusBits are the bits of a device status (virtio 1.2 §2.1).
var statusBits = []bit{
	{0, "VIRTIO_CONFIG_S_ACKNOWLEDGE: the guest found the device"},
	{1, "VIRTIO_CONFIG_S_DRIVER: the guest has a driver for it"},
	{3, "VIRTIO_CONFIG_S_FEATURES_OK: features are agreed upon"},
	{2, "VIRTIO_CONFIG_S_DRIVER_OK: the driver is ready"},
	{6, "VIRTIO_CONFIG_S_NEEDS_RESET: the device cannot go on without a reset"},
	{7, "VIRTIO_CONFIG_S_FAILED: the driver gave up"},
}

// named returns the names of the bits that are set, and the bits without a name.
func named(v uint64, bits []bit) (qapi.StrList, uint64) {
	out := qapi.StrList{}
	for _, b := range bits {
		if v>>b.n&1 != 0 {
			out = append(out, b.name)
			v &^= 1 << b.n
		}
	}
	return out, v
}

func features(t virtio.DeviceID, v uint64) qapi.VirtioDeviceFeatures {
	var f qapi.VirtioDeviceFeatures
	f.Transports, v = named(v, ringBits)
	f.DevFeatures, v = named(v, deviceBits[t])
	if v != 0 {
		f.UnknownDevFeatures = &v
	}
	return f
}

func deviceStatus(v uint8) qapi.VirtioDeviceStatus {
	names, rest := named(uint64(v), statusBits)
	s := qapi.VirtioDeviceStatus{Statuses: names}
	if rest != 0 {
		unknown := uint8(rest)
		s.UnknownStatuses = &unknown
	}
	return s
}
