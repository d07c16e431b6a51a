package devqmp

import (
	"context"
	"encoding/binary"

	"hv/devices/pci"
	"hv/qmp/dispatch"
	"hv/qmp/qapi"
)

// RegisterPCI adds the commands about PCI. host returns the machine's host bridge once it
// is built, nil if it has none.
func RegisterPCI(t *dispatch.Table, host func() *pci.Host) {
	dispatch.Register(t, qapi.CmdQueryPci, func(context.Context, qapi.Empty) (qapi.PciInfoList, error) {
		h := host()
		if h == nil {
			return nil, nil
		}
		return qapi.PciInfoList{{Devices: pciDevices(h.Root())}}, nil
	})
}

// pciDevices describes the functions on a bus and behind it.
func pciDevices(b *pci.Bus) qapi.PciDeviceInfoList {
	out := qapi.PciDeviceInfoList{}
	for _, s := range b.Functions() {
		out = append(out, pciDevice(b, s))
	}
	return out
}

// Registers of the header (PCI 3.0 §6.1, Bridge 1.2 §3.1) that are shown.
const (
	regVendor    = 0x00
	regDevice    = 0x02
	regSubclass  = 0x0a
	regPrimary   = 0x18
	regSecondary = 0x19
	regSubord    = 0x1a
	regSubVendor = 0x2c
	regSubDevice = 0x2e
	regIRQLine   = 0x3c
	regIRQPin    = 0x3d
)

// config reads configuration space as the guest would.
type config struct{ f *pci.Function }

func (c config) byte(off int) int64 {
	var b [1]byte
	c.f.ReadConfig(off, b[:])
	return int64(b[0])
}

func (c config) word(off int) int64 {
	var b [2]byte
	c.f.ReadConfig(off, b[:])
	return int64(binary.LittleEndian.Uint16(b[:]))
}

func pciDevice(b *pci.Bus, s pci.Slot) qapi.PciDeviceInfo {
	c := config{s.Function}
	info := qapi.PciDeviceInfo{
		Bus: int64(b.Number()), Slot: int64(s.Slot), Function: int64(s.Func), QdevId: s.Function.ID(),
		ClassInfo: qapi.PciDeviceClass{Class: c.word(regSubclass)},
		Id:        qapi.PciDeviceId{Vendor: c.word(regVendor), Device: c.word(regDevice)},
		IrqPin:    c.byte(regIRQPin), Regions: pciRegions(s.Function),
	}
	if desc := classNames[uint16(info.ClassInfo.Class)]; desc != "" {
		info.ClassInfo.Desc = &desc
	}
	if info.IrqPin != 0 {
		line := c.byte(regIRQLine)
		info.Irq = &line
	}
	if behind := s.Function.Behind(); behind != nil {
		info.PciBridge = pciBridge(c, behind)
		return info
	}
	vendor, device := c.word(regSubVendor), c.word(regSubDevice)
	info.Id.SubsystemVendor, info.Id.Subsystem = &vendor, &device
	return info
}

func pciBridge(c config, behind *pci.Bus) *qapi.PciBridgeInfo {
	r := behind.Ranges()
	window := func(w [2]uint64) qapi.PciMemoryRange {
		return qapi.PciMemoryRange{Base: int64(w[0]), Limit: int64(w[1])}
	}
	info := &qapi.PciBridgeInfo{Bus: qapi.PciBusInfo{
		Number: c.byte(regPrimary), Secondary: c.byte(regSecondary), Subordinate: c.byte(regSubord),
		IoRange: window(r.IO), MemoryRange: window(r.Memory), PrefetchableRange: window(r.Prefetch),
	}}
	if info.Bus.Secondary != 0 {
		info.Devices = pciDevices(behind)
	}
	return info
}

// pciRegions describes what the BARs decode.
func pciRegions(f *pci.Function) qapi.PciMemoryRegionList {
	out := qapi.PciMemoryRegionList{}
	for _, b := range f.BARs() {
		r := qapi.PciMemoryRegion{Bar: int64(b.Index), Type: "io", Address: -1, Size: int64(b.Size)}
		if b.Decoded {
			r.Address = int64(b.Base)
		}
		if b.Kind != pci.BARIO {
			wide := b.Kind == pci.BARMem64
			r.Type, r.Prefetch, r.MemType64 = "memory", &b.Prefetch, &wide
		}
		out = append(out, r)
	}
	return out
}

// classNames is what QEMU calls classes of devices (PCI 3.0 appendix D).
var classNames = map[uint16]string{
	0x0001: "VGA controller",
	0x0100: "SCSI controller", 0x0101: "IDE controller", 0x0102: "Floppy controller", 0x0103: "IPI controller", 0x0104: "RAID controller",
	0x0106: "SATA controller", 0x0107: "SAS controller", 0x0180: "Storage controller",
	0x0200: "Ethernet controller", 0x0201: "Token Ring controller", 0x0202: "FDDI controller", 0x0203: "ATM controller", 0x0280: "Network controller",
	0x0300: "VGA controller", 0x0301: "XGA controller", 0x0302: "3D controller", 0x0380: "Display controller",
	0x0400: "Video controller", 0x0401: "Audio controller", 0x0402: "Phone", 0x0403: "Audio controller", 0x0480: "Multimedia controller",
	0x0500: "RAM controller", 0x0501: "Flash controller", 0x0580: "Memory controller",
	0x0600: "Host bridge", 0x0601: "ISA bridge", 0x0602: "EISA bridge", 0x0603: "MC bridge", 0x0604: "PCI bridge", 0x0605: "PCMCIA bridge",
	0x0606: "NUBUS bridge", 0x0607: "CARDBUS bridge", 0x0608: "RACEWAY bridge", 0x0680: "Bridge",
	0x0700: "Serial port", 0x0701: "Parallel port",
	0x0800: "Interrupt controller", 0x0801: "DMA controller", 0x0802: "Timer", 0x0803: "RTC",
	0x0900: "Keyboard", 0x0901: "Pen", 0x0902: "Mouse",
	0x0a00: "Dock station", 0x0b00: "i386 cpu",
	0x0c00: "Firewire controller", 0x0c01: "Access bus controller", 0x0c02: "SSA controller", 0x0c03: "USB controller",
	0x0c04: "Fibre channel controller", 0x0c05: "SMBus",
}
