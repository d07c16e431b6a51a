//qapi:schema

package qapi

// StrList is a list of strings.
type StrList []string

// VirtioInfo names a virtio device.
type VirtioInfo struct {
	Path string `qapi:"path"` // in the QOM tree
	Name string `qapi:"name"` // of its kind
}

// VirtioInfoList is a list of virtio devices.
type VirtioInfoList []VirtioInfo

// CmdXQueryVirtio lists the virtio devices.
//
//qapi:features unstable
var CmdXQueryVirtio = Command[Empty, VirtioInfoList]{Name: "x-query-virtio"}

// VhostStatus is the state of the host's side of a device that the host's kernel serves.
type VhostStatus struct {
	NMemSections     int64                `qapi:"n-mem-sections"`
	NTmpSections     int64                `qapi:"n-tmp-sections"`
	Nvqs             uint32               `qapi:"nvqs"`     // queues that it serves
	VqIndex          int64                `qapi:"vq-index"` // the first of them
	Features         VirtioDeviceFeatures `qapi:"features"`
	AckedFeatures    VirtioDeviceFeatures `qapi:"acked-features"`
	BackendFeatures  VirtioDeviceFeatures `qapi:"backend-features"`
	ProtocolFeatures VhostDeviceProtocols `qapi:"protocol-features"`
	MaxQueues        uint64               `qapi:"max-queues"`
	BackendCap       uint64               `qapi:"backend-cap"`
	LogEnabled       bool                 `qapi:"log-enabled"`
	LogSize          uint64               `qapi:"log-size"`
}

// VirtioStatus is the state of a virtio device.
type VirtioStatus struct {
	Name                 string               `qapi:"name"`
	DeviceId             uint16               `qapi:"device-id"`
	VhostStarted         bool                 `qapi:"vhost-started"`
	DeviceEndian         string               `qapi:"device-endian"`
	GuestFeatures        VirtioDeviceFeatures `qapi:"guest-features"`   // accepted by the driver
	HostFeatures         VirtioDeviceFeatures `qapi:"host-features"`    // offered
	BackendFeatures      VirtioDeviceFeatures `qapi:"backend-features"` // of the back end
	NumVqs               int64                `qapi:"num-vqs"`
	Status               VirtioDeviceStatus   `qapi:"status"`
	Isr                  uint8                `qapi:"isr"`
	QueueSel             uint16               `qapi:"queue-sel"`
	VmRunning            bool                 `qapi:"vm-running"`
	Broken               bool                 `qapi:"broken"` // by the guest
	Disabled             bool                 `qapi:"disabled"`
	UseStarted           bool                 `qapi:"use-started"`
	Started              bool                 `qapi:"started"`
	StartOnKick          bool                 `qapi:"start-on-kick"`
	DisableLegacyCheck   bool                 `qapi:"disable-legacy-check"`
	BusName              string               `qapi:"bus-name"`
	UseGuestNotifierMask bool                 `qapi:"use-guest-notifier-mask"`
	VhostDev             *VhostStatus         `qapi:"vhost-dev"` // while the kernel serves it
}

// VirtioPathArgs is the arguments of x-query-virtio-status.
type VirtioPathArgs struct {
	Path string `qapi:"path"`
}

// CmdXQueryVirtioStatus returns the state of a virtio device.
//
//qapi:features unstable
var CmdXQueryVirtioStatus = Command[VirtioPathArgs, VirtioStatus]{Name: "x-query-virtio-status"}

// VirtioDeviceStatus is the bits of a device status.
type VirtioDeviceStatus struct {
	Statuses        StrList `qapi:"statuses"`
	UnknownStatuses *uint8  `qapi:"unknown-statuses"`
}

// VhostDeviceProtocols is the protocol features of a device in another process.
type VhostDeviceProtocols struct {
	Protocols        StrList `qapi:"protocols"`
	UnknownProtocols *uint64 `qapi:"unknown-protocols"`
}

// VirtioDeviceFeatures is feature bits by name.
type VirtioDeviceFeatures struct {
	Transports         StrList `qapi:"transports"`
	DevFeatures        StrList `qapi:"dev-features,optional"`
	UnknownDevFeatures *uint64 `qapi:"unknown-dev-features"` // bits without a name
}

// VirtQueueStatus is the state of a queue.
type VirtQueueStatus struct {
	Name               string  `qapi:"name"`
	QueueIndex         uint16  `qapi:"queue-index"`
	Inuse              uint32  `qapi:"inuse"` // requests under way
	VringNum           uint32  `qapi:"vring-num"`
	VringNumDefault    uint32  `qapi:"vring-num-default"`
	VringAlign         uint32  `qapi:"vring-align"`
	VringDesc          uint64  `qapi:"vring-desc"`
	VringAvail         uint64  `qapi:"vring-avail"`
	VringUsed          uint64  `qapi:"vring-used"`
	LastAvailIdx       *uint16 `qapi:"last-avail-idx"`
	ShadowAvailIdx     *uint16 `qapi:"shadow-avail-idx"`
	UsedIdx            uint16  `qapi:"used-idx"`
	SignalledUsed      uint16  `qapi:"signalled-used"`
	SignalledUsedValid bool    `qapi:"signalled-used-valid"`
}

// VirtioQueueArgs is the arguments of commands about a queue.
type VirtioQueueArgs struct {
	Path  string `qapi:"path"`
	Queue uint16 `qapi:"queue"`
}

// CmdXQueryVirtioQueueStatus returns the state of a queue.
//
//qapi:features unstable
var CmdXQueryVirtioQueueStatus = Command[VirtioQueueArgs, VirtQueueStatus]{Name: "x-query-virtio-queue-status"}

// VirtVhostQueueStatus is a queue as the host's kernel was given it.
type VirtVhostQueueStatus struct {
	Name      string `qapi:"name"`
	Kick      int64  `qapi:"kick"`
	Call      int64  `qapi:"call"`
	Desc      uint64 `qapi:"desc"` // in the process's address space, as the next two
	Avail     uint64 `qapi:"avail"`
	Used      uint64 `qapi:"used"`
	Num       int64  `qapi:"num"`
	DescPhys  uint64 `qapi:"desc-phys"`
	DescSize  uint32 `qapi:"desc-size"`
	AvailPhys uint64 `qapi:"avail-phys"`
	AvailSize uint32 `qapi:"avail-size"`
	UsedPhys  uint64 `qapi:"used-phys"`
	UsedSize  uint32 `qapi:"used-size"`
}

// CmdXQueryVirtioVhostQueueStatus returns a queue as the host's kernel was given it.
//
//qapi:features unstable
var CmdXQueryVirtioVhostQueueStatus = Command[VirtioQueueArgs, VirtVhostQueueStatus]{Name: "x-query-virtio-vhost-queue-status"}

// VirtioRingDesc is a descriptor.
type VirtioRingDesc struct {
	Addr  uint64  `qapi:"addr"`
	Len   uint32  `qapi:"len"`
	Flags StrList `qapi:"flags"`
}

// VirtioRingDescList is a list of descriptors.
type VirtioRingDescList []VirtioRingDesc

// VirtioRingAvail is the driver's area.
type VirtioRingAvail struct {
	Flags uint16 `qapi:"flags"`
	Idx   uint16 `qapi:"idx"`
	Ring  uint16 `qapi:"ring"` // the entry that was asked for
}

// VirtioRingUsed is the device's area.
type VirtioRingUsed struct {
	Flags uint16 `qapi:"flags"`
	Idx   uint16 `qapi:"idx"`
}

// VirtioQueueElement is a chain of descriptors that the driver made available.
type VirtioQueueElement struct {
	Name  string             `qapi:"name"`
	Index uint32             `qapi:"index"`
	Descs VirtioRingDescList `qapi:"descs"`
	Avail VirtioRingAvail    `qapi:"avail"`
	Used  VirtioRingUsed     `qapi:"used"`
}

// VirtioQueueElementArgs is the arguments of x-query-virtio-queue-element.
type VirtioQueueElementArgs struct {
	Path  string  `qapi:"path"`
	Queue uint16  `qapi:"queue"`
	Index *uint16 `qapi:"index"` // the next one that the device takes if it is absent
}

// CmdXQueryVirtioQueueElement returns a chain of descriptors.
//
//qapi:features unstable
var CmdXQueryVirtioQueueElement = Command[VirtioQueueElementArgs, VirtioQueueElement]{Name: "x-query-virtio-queue-element"}
