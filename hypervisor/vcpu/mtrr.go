package vcpu

import "hv/hypervisor/kvm"

// Memory types, and bits of the MTRRs (Intel SDM volume 3 §12.11).
const (
	typeUncached       = 0
	typeWriteProtected = 5
	typeWriteBack      = 6
	mtrrFixedEnable    = 1 << 10
	mtrrEnable         = 1 << 11
	mtrrMaskValid      = 1 << 11
	everyByte          = 0x0101_0101_0101_0101
	fourGiB            = 1 << 32
)

// mtrrFixed are the fixed-range MTRRs, with a byte for each of 8 pieces, in
// address order, and what firmware makes of them: RAM, the VGA window, ROM.
var mtrrFixed = [...]struct {
	index      uint32
	memoryType uint64
}{
	{msrMTRRFix64K, typeWriteBack}, {msrMTRRFix16K, typeWriteBack}, {msrMTRRFix16K + 1, typeUncached},
	{msrMTRRFix4K, typeWriteProtected}, {msrMTRRFix4K + 1, typeWriteProtected},
	{msrMTRRFix4K + 2, typeWriteProtected}, {msrMTRRFix4K + 3, typeWriteProtected},
	{msrMTRRFix4K + 4, typeWriteProtected}, {msrMTRRFix4K + 5, typeWriteProtected},
	{msrMTRRFix4K + 6, typeWriteProtected}, {msrMTRRFix4K + 7, typeWriteProtected},
}

// clearedMTRRs returns memory type ranges that are switched off, as after RESET#.
func clearedMTRRs() []kvm.MSREntry {
	list := []kvm.MSREntry{{Index: msrMTRRDefType}}
	for _, f := range mtrrFixed {
		list = append(list, kvm.MSREntry{Index: f.index})
	}
	for i := range uint32(mtrrVariableRanges) {
		list = append(list, kvm.MSREntry{Index: msrMTRRPhysBase0 + 2*i}, kvm.MSREntry{Index: msrMTRRPhysBase0 + 2*i + 1})
	}
	return list
}

// FirmwareMTRRs returns the memory types that a PC's firmware leaves to the
// kernel, for Entry.MSRs when there is no firmware: write-back, but uncached
// from hole, a multiple of 16 MiB, to 4 GiB. physBits is the width of a
// physical address.
func FirmwareMTRRs(hole uint64, physBits int) []kvm.MSREntry {
	var list []kvm.MSREntry
	for _, f := range mtrrFixed {
		list = append(list, kvm.MSREntry{Index: f.index, Data: f.memoryType * everyByte})
	}
	mask := uint64(1)<<physBits - 1
	index := uint32(msrMTRRPhysBase0)
	for hole < fourGiB && index < msrMTRRPhysBase0+2*mtrrVariableRanges {
		size := hole & -hole // the largest range that is aligned to its size
		if hole == 0 {
			size = fourGiB
		}
		list = append(list,
			kvm.MSREntry{Index: index, Data: hole | typeUncached},
			kvm.MSREntry{Index: index + 1, Data: -size&mask | mtrrMaskValid})
		hole += size
		index += 2
	}
	return append(list, kvm.MSREntry{Index: msrMTRRDefType, Data: mtrrEnable | mtrrFixedEnable | typeWriteBack})
}
