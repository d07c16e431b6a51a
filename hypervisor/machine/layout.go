package machine

import "hv/hypervisor/mem"

// HoleBase is where the addresses below 4 GiB begin that are not RAM.
const HoleBase = 0xb000_0000

// Address map of the boards: QEMU's q35.
const (
	gib = 1 << 30

	lowRAMMax   = 0xb000_0000 // RAM ends here if all of it fits
	lowRAMSplit = 0x8000_0000 // and here if some must lie above 4 GiB
	highRAMBase = 4 * gib

	ecamBase     = HoleBase
	ecamSize     = 256 << 20
	window32Base = 0xc000_0000
	window32End  = 0xfec0_0000
	window64Size = 32 * gib

	gedWindow    = 0xfea0_0000 // microvm: its event device, below which its PCI window ends
	pmBase       = 0x600
	sciGSI       = 9
	cpuBlock     = 0xcd8   // q35: the registers by which processors come and go
	biosAreaBase = 0xf0000 // where RSDP and SMBIOS entry point are looked for
)

// Layout says where a guest's RAM and the PCI windows lie.
type Layout struct {
	Low, High uint64 // bytes of RAM below and above 4 GiB
	// Device and DeviceSize are where memory devices go; no bytes if there can be
	// none.
	Device, DeviceSize uint64
	Window64           uint64 // base of the 64-bit PCI window
}

// NewLayout places size bytes of RAM, a multiple of pages, and leaves room for
// it to grow to maxSize (0 for none), with 1 GiB for each slot that its place may
// have to be aligned by, below the 64-bit PCI window.
func NewLayout(size, maxSize uint64, slots int) Layout {
	l := Layout{Low: size}
	if size > lowRAMMax {
		l.Low, l.High = lowRAMSplit, size-lowRAMSplit
	}
	top := uint64(highRAMBase) + l.High
	if maxSize > size {
		l.Device, l.DeviceSize = alignUp(top, gib), maxSize-size+uint64(slots)*gib
		top = l.Device + l.DeviceSize
	}
	l.Window64 = alignUp(top, gib)
	return l
}

func alignUp(v, to uint64) uint64 { return (v + to - 1) &^ (to - 1) }

// Regions divides one mapping of all RAM, in the file fd (-1 for none), into
// its regions.
func (l Layout) Regions(data []byte, fd int) []mem.Region {
	r := []mem.Region{{Base: 0, Data: data[:l.Low:l.Low], FD: fd}}
	if l.High > 0 {
		r = append(r, mem.Region{Base: highRAMBase, Data: data[l.Low:], FD: fd, Offset: int64(l.Low)})
	}
	return r
}
