//qapi:schema

package qapi

// PciMemoryRange is a window of a bridge. One that is closed has a base above its limit.
type PciMemoryRange struct {
	Base  int64 `qapi:"base"`
	Limit int64 `qapi:"limit"` // the last address
}

// PciMemoryRegion is what a base address register decodes.
type PciMemoryRegion struct {
	Bar       int64  `qapi:"bar"`
	Type      string `qapi:"type"`    // io or memory
	Address   int64  `qapi:"address"` // -1 while it is not decoded
	Size      int64  `qapi:"size"`
	Prefetch  *bool  `qapi:"prefetch"`    // of memory
	MemType64 *bool  `qapi:"mem_type_64"` // of memory: the address has 64 bits
}

// PciMemoryRegionList is a list of regions.
type PciMemoryRegionList []PciMemoryRegion

// PciBusInfo is a bridge's bus numbers and windows.
type PciBusInfo struct {
	Number            int64          `qapi:"number"`      // of the bus that the bridge is on
	Secondary         int64          `qapi:"secondary"`   // of the bus behind it
	Subordinate       int64          `qapi:"subordinate"` // the highest one behind it
	IoRange           PciMemoryRange `qapi:"io_range"`
	MemoryRange       PciMemoryRange `qapi:"memory_range"`
	PrefetchableRange PciMemoryRange `qapi:"prefetchable_range"`
}

// PciBridgeInfo is what is told of bridges besides.
type PciBridgeInfo struct {
	Bus     PciBusInfo        `qapi:"bus"`
	Devices PciDeviceInfoList `qapi:"devices,optional"` // once the bus has a number
}

// PciDeviceClass is a device's class.
type PciDeviceClass struct {
	Desc  *string `qapi:"desc"`
	Class int64   `qapi:"class"` // base class and subclass
}

// PciDeviceId is a device's identity.
type PciDeviceId struct {
	Device          int64  `qapi:"device"`
	Vendor          int64  `qapi:"vendor"`
	Subsystem       *int64 `qapi:"subsystem"`        // not of bridges
	SubsystemVendor *int64 `qapi:"subsystem-vendor"` // not of bridges
}

// PciDeviceInfo describes a PCI function.
type PciDeviceInfo struct {
	Bus       int64               `qapi:"bus"`
	Slot      int64               `qapi:"slot"`
	Function  int64               `qapi:"function"`
	ClassInfo PciDeviceClass      `qapi:"class_info"`
	Id        PciDeviceId         `qapi:"id"`
	Irq       *int64              `qapi:"irq"`     // of functions with a pin: what firmware wrote there
	IrqPin    int64               `qapi:"irq_pin"` // 1 to 4 for INTA to INTD, 0 for none
	QdevId    string              `qapi:"qdev_id"`
	PciBridge *PciBridgeInfo      `qapi:"pci_bridge"`
	Regions   PciMemoryRegionList `qapi:"regions"`
}

// PciDeviceInfoList is a list of functions.
type PciDeviceInfoList []PciDeviceInfo

// PciInfo is a root bus.
type PciInfo struct {
	Bus     int64             `qapi:"bus"`
	Devices PciDeviceInfoList `qapi:"devices"`
}

// PciInfoList is a list of root buses.
type PciInfoList []PciInfo

// CmdQueryPci describes the PCI functions as the guest sees them.
var CmdQueryPci = Command[Empty, PciInfoList]{Name: "query-pci"}
