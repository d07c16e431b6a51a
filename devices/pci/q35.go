package pci

import "encoding/binary"

const (
	vendorIntel  = 0x8086
	regPCIEXBAR  = 0x60 // MCH §5.1.15
	pciexEnable  = 1
	regPIRQRoutA = 0x60 // ICH9 §13.1.14; E to H at 0x68
	regPIRQRoutE = 0x68
	pirqDisabled = 0x80
	regPMBase    = 0x40 // ICH9 §13.1.7
	regACPICtrl  = 0x44
)

// newHostBridge returns function 00.0 of the root bus: the q35 MCH unless the
// configuration says otherwise.
func newHostBridge(cfg *HostConfig) *Function {
	id := cfg.Identity
	if id == (Identity{}) {
		id = Identity{Vendor: vendorIntel, Device: 0x29c0, Class: 0x060000}
	}
	f := NewFunction(id)
	f.SetName("mch", "")
	if cfg.ECAMSize != 0 {
		// Linux checks its MCFG table against this register. It is read-only:
		// the ECAM stays where the ACPI tables say.
		f.put(regPCIEXBAR, binary.LittleEndian.AppendUint64(nil, cfg.ECAMBase|pciexbarLength(cfg.ECAMSize)|pciexEnable))
	}
	return f
}

// pciexbarLength encodes the number of buses: 256, 128 or 64.
func pciexbarLength(size uint64) uint64 {
	switch {
	case size >= 256<<20:
		return 0
	case size >= 128<<20:
		return 1 << 1
	}
	return 2 << 1
}

// NewLPC returns the ICH9 LPC bridge, for 1f.0 of a q35 board: identity and
// interrupt routing registers as storage. pmBase is the I/O base of the power
// management block, which it reports.
func NewLPC(pmBase uint16) *Function {
	f := NewFunction(Identity{Vendor: vendorIntel, Device: 0x2918, Class: 0x060100, Revision: 2})
	f.SetName("ICH9-LPC", "")
	rout := []byte{pirqDisabled, pirqDisabled, pirqDisabled, pirqDisabled}
	for _, off := range []int{regPIRQRoutA, regPIRQRoutE} {
		f.put(off, rout)
		copy(f.wmask[off:], []byte{0xff, 0xff, 0xff, 0xff})
	}
	const ioSpace, acpiEnable = 1, 0x80
	f.set32(regPMBase, uint32(pmBase)|ioSpace)
	f.set8(regACPICtrl, acpiEnable)
	return f
}

// Q35PIRQ is the interrupt wiring of QEMU's q35 board in APIC mode, pin 0
// being INTA: PIRQ E to H (20-23) by slot and pin, but for the chipset's own
// slots 25 to 29 and 31, whose pins have A to D (16-19).
func Q35PIRQ(slot, pin uint8) int {
	const gsiA, gsiE = 16, 20
	switch {
	case slot == 30:
		return gsiE + int(pin)%4
	case slot >= 25:
		return gsiA + int(pin)%4
	}
	return gsiE + int(slot+pin)%4
}
