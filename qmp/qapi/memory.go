//qapi:schema

package qapi

// HostMemPolicy says how memory is spread over the host's nodes.
type HostMemPolicy string

// The policies.
const (
	HostMemPolicyDefault    HostMemPolicy = "default"    // as the process has it
	HostMemPolicyPreferred  HostMemPolicy = "preferred"  // from the given nodes if they have some
	HostMemPolicyBind       HostMemPolicy = "bind"       // from the given nodes only
	HostMemPolicyInterleave HostMemPolicy = "interleave" // from the given nodes in turn
)

// NodeList is a list of the host's NUMA nodes.
type NodeList []uint16

// Memdev describes a memory back end.
type Memdev struct {
	Id        *string       `qapi:"id"`
	Size      uint64        `qapi:"size"`
	Merge     bool          `qapi:"merge"` // equal pages may be merged
	Dump      bool          `qapi:"dump"`  // it is part of core dumps
	Prealloc  bool          `qapi:"prealloc"`
	Share     bool          `qapi:"share"`
	Reserve   *bool         `qapi:"reserve"` // swap space is reserved for it
	HostNodes NodeList      `qapi:"host-nodes"`
	Policy    HostMemPolicy `qapi:"policy"`
}

// MemdevList is a list of memory back ends.
type MemdevList []Memdev

// CmdQueryMemdev lists the memory back ends.
var CmdQueryMemdev = Command[Empty, MemdevList]{Name: "query-memdev", Preconfig: true}

// MemoryInfo is what query-memory-size-summary returns.
type MemoryInfo struct {
	BaseMemory    uint64  `qapi:"base-memory"`    // as given with -m, in bytes
	PluggedMemory *uint64 `qapi:"plugged-memory"` // added since, in bytes
}

// CmdQueryMemorySizeSummary tells how much memory the machine has.
var CmdQueryMemorySizeSummary = Command[Empty, MemoryInfo]{Name: "query-memory-size-summary"}

// MemoryDeviceInfoKind is a kind of memory device.
type MemoryDeviceInfoKind string

// The kinds.
const (
	MemoryDeviceInfoKindDimm       MemoryDeviceInfoKind = "dimm"
	MemoryDeviceInfoKindNvdimm     MemoryDeviceInfoKind = "nvdimm"
	MemoryDeviceInfoKindVirtioPmem MemoryDeviceInfoKind = "virtio-pmem"
	MemoryDeviceInfoKindVirtioMem  MemoryDeviceInfoKind = "virtio-mem"
	MemoryDeviceInfoKindSgxEpc     MemoryDeviceInfoKind = "sgx-epc"
)

// PCDIMMDeviceInfo describes a memory module.
type PCDIMMDeviceInfo struct {
	Id           *string `qapi:"id"`
	Addr         int64   `qapi:"addr"`
	Size         int64   `qapi:"size"`
	Slot         int64   `qapi:"slot"`
	Node         int64   `qapi:"node"`
	Memdev       string  `qapi:"memdev"`
	Hotplugged   bool    `qapi:"hotplugged"`
	Hotpluggable bool    `qapi:"hotpluggable"`
}

// VirtioPMEMDeviceInfo describes a virtio-pmem device.
type VirtioPMEMDeviceInfo struct {
	Id      *string `qapi:"id"`
	Memaddr uint64  `qapi:"memaddr"`
	Size    uint64  `qapi:"size"`
	Memdev  string  `qapi:"memdev"`
}

// VirtioMEMDeviceInfo describes a virtio-mem device.
type VirtioMEMDeviceInfo struct {
	Id            *string `qapi:"id"`
	Memaddr       uint64  `qapi:"memaddr"`
	RequestedSize uint64  `qapi:"requested-size"`
	Size          uint64  `qapi:"size"`
	MaxSize       uint64  `qapi:"max-size"`
	BlockSize     uint64  `qapi:"block-size"`
	Node          int64   `qapi:"node"`
	Memdev        string  `qapi:"memdev"`
}

// SgxEPCDeviceInfo describes memory for enclaves.
type SgxEPCDeviceInfo struct {
	Id      *string `qapi:"id"`
	Memaddr uint64  `qapi:"memaddr"`
	Size    uint64  `qapi:"size"`
	Node    int64   `qapi:"node"`
	Memdev  string  `qapi:"memdev"`
}

// PCDIMMDeviceInfoWrapper holds a PCDIMMDeviceInfo.
type PCDIMMDeviceInfoWrapper struct {
	Data PCDIMMDeviceInfo `qapi:"data"`
}

// VirtioPMEMDeviceInfoWrapper holds a VirtioPMEMDeviceInfo.
type VirtioPMEMDeviceInfoWrapper struct {
	Data VirtioPMEMDeviceInfo `qapi:"data"`
}

// VirtioMEMDeviceInfoWrapper holds a VirtioMEMDeviceInfo.
type VirtioMEMDeviceInfoWrapper struct {
	Data VirtioMEMDeviceInfo `qapi:"data"`
}

// SgxEPCDeviceInfoWrapper holds an SgxEPCDeviceInfo.
type SgxEPCDeviceInfoWrapper struct {
	Data SgxEPCDeviceInfo `qapi:"data"`
}

// MemoryDeviceInfo describes a device that is memory.
type MemoryDeviceInfo struct {
	Type       MemoryDeviceInfoKind         `qapi:"type,discriminator"`
	Dimm       *PCDIMMDeviceInfoWrapper     `qapi:",branch=dimm"`
	Nvdimm     *PCDIMMDeviceInfoWrapper     `qapi:",branch=nvdimm"`
	VirtioPmem *VirtioPMEMDeviceInfoWrapper `qapi:",branch=virtio-pmem"`
	VirtioMem  *VirtioMEMDeviceInfoWrapper  `qapi:",branch=virtio-mem"`
	SgxEpc     *SgxEPCDeviceInfoWrapper     `qapi:",branch=sgx-epc"`
}

// MemoryDeviceInfoList is a list of memory devices.
type MemoryDeviceInfoList []MemoryDeviceInfo

// CmdQueryMemoryDevices lists the devices that are memory.
var CmdQueryMemoryDevices = Command[Empty, MemoryDeviceInfoList]{Name: "query-memory-devices"}
