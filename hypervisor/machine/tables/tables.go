// Package tables makes the ACPI tables of hv's boards from a description of them.
//
// Build is pure and deterministic: the same description gives the same bytes, so a
// reset restores exactly what the guest saw first. Interrupt routing: pin p of a
// device in slot s of the root bus raises the global system interrupt that Desc.PIRQ
// returns, and _PRT says so.
//
// Implements ACPI 6.4 §5.2 (RSDP, XSDT, FADT, FACS, MADT, SRAT), PCI Firmware 3.3 §4
// (MCFG, _OSC). It depends on devices/acpi.
package tables

import (
	"encoding/binary"
	"fmt"

	"hv/devices/acpi"
)

// Desc describes a board.
type Desc struct {
	Reduced bool // hardware-reduced: no PM block, no legacy devices
	CPUs    []CPU
	// Base is where the tables but the RSDP go, a multiple of 64; they must end
	// below End. RSDPAt is where that goes, below 1 MiB.
	Base, End, RSDPAt uint64

	// RAM is what is installed; Hotplug is where memory devices go, no bytes if there
	// can be none.
	RAM     []Window
	Hotplug Window

	ECAM     Window
	Window32 Window
	Window64 Window
	PIRQ     func(slot, pin uint8) int

	PMBase uint16 // power management block
	SCI    uint32
	GED    uint64 // event device's address, Reduced
	GEDIRQ uint32
	Serial []int // indices of the serial ports there are
	I8042  bool
	RTC    bool
	Panic  uint16 // pvpanic's port, 0 for none
	GenID  uint64 // where the generation identifier is, 0 for none
	// CPUBlock is the port of the registers by which CPUs are added and removed, 0 where
	// they are not.
	CPUBlock uint16
}

// CPU is a processor that is or may be there.
type CPU struct {
	APICID  uint32
	Present bool
}

// Window is a range of addresses.
type Window struct{ Base, Size uint64 }

// Last returns the window's last address.
func (w Window) Last() uint64 { return w.Base + w.Size - 1 }

// Blob is bytes for guest memory.
type Blob struct {
	Addr uint64
	Data []byte
}

var identity = acpi.Identity{OEM: "HV    ", TableID: "HVBOARD ", Creator: "HV  "}

// MaxSize returns how many bytes the tables but the RSDP take at most.
func MaxSize(cpus int) uint64 { return (16<<10 + uint64(cpus)*384 + 0xffff) &^ 0xffff }

// Build returns the tables as they go into guest memory.
func Build(d Desc) ([]Blob, error) {
	next := d.Base
	var blobs []Blob
	place := func(data []byte) uint64 {
		at := next
		blobs = append(blobs, Blob{at, data})
		next = (next + uint64(len(data)) + 63) &^ 63
		return at
	}
	dsdt := place(identity.Table("DSDT", 2, d.dsdt()))
	facs := uint64(0)
	if !d.Reduced {
		facs = place(facsTable())
	}
	fadt := place(identity.Table("FACP", 6, d.fadt(dsdt, facs)))
	madt := place(identity.Table("APIC", 5, d.madt()))
	mcfg := place(identity.Table("MCFG", 1, d.mcfg()))
	tables := []uint64{fadt, madt, mcfg}
	if d.Hotplug.Size > 0 {
		tables = append(tables, place(identity.Table("SRAT", 3, d.srat())))
	}
	var list []byte
	for _, at := range tables {
		list = binary.LittleEndian.AppendUint64(list, at)
	}
	xsdt := place(identity.Table("XSDT", 1, list))
	if next > d.End {
		return nil, fmt.Errorf("ACPI tables for %d CPUs take %d bytes of %d", len(d.CPUs), next-d.Base, d.End-d.Base)
	}
	return append(blobs, Blob{d.RSDPAt, identity.RSDP(xsdt)}), nil
}

// facsTable is the firmware control structure: no header, no checksum.
func facsTable() []byte {
	b := make([]byte, 64)
	copy(b, "FACS")
	binary.LittleEndian.PutUint32(b[4:], 64)
	b[32] = 2
	return b
}

func (d *Desc) mcfg() []byte {
	b := make([]byte, 8)
	b = binary.LittleEndian.AppendUint64(b, d.ECAM.Base)
	return append(b, 0, 0, 0, byte(d.ECAM.Size>>20-1), 0, 0, 0, 0)
}

// Flags of the FADT (§5.2.9).
const (
	fadtWBINVD        = 1 << 0
	fadtC1            = 1 << 2
	fadtSleepButton   = 1 << 5
	fadtFixedRTC      = 1 << 6
	fadtPowerButton   = 1 << 4
	fadtResetReg      = 1 << 10
	fadtPCIExpressWak = 1 << 14
	fadtReduced       = 1 << 20

	bootLegacy = 1 << 0
	boot8042   = 1 << 1
	bootNoVGA  = 1 << 2
	bootNoRTC  = 1 << 5
)

// fadt returns the FADT's body. Offsets are the specification's, from the table's start.
func (d *Desc) fadt(dsdt, facs uint64) []byte {
	b := make([]byte, 276)
	le := binary.LittleEndian
	gas := func(off int, space, bits, access byte, addr uint64) {
		b[off], b[off+1], b[off+2], b[off+3] = space, bits, 0, access
		le.PutUint64(b[off+4:], addr)
	}
	le.PutUint32(b[40:], uint32(dsdt))
	le.PutUint64(b[140:], dsdt)
	boot, flags := uint16(bootNoVGA), uint32(fadtWBINVD|fadtC1|fadtSleepButton|fadtFixedRTC|fadtResetReg)
	if d.I8042 {
		boot |= boot8042
	}
	if !d.RTC {
		boot |= bootNoRTC
	}
	if d.Reduced {
		flags |= fadtReduced | fadtPowerButton
		gas(116, 0, 8, 1, d.GED+acpi.GEDReset)
		b[128] = acpi.GEDResetValue
		gas(244, 0, 8, 1, d.GED+acpi.GEDSleep)
		gas(256, 0, 8, 1, d.GED+acpi.GEDSleepStatus)
	} else {
		boot |= bootLegacy
		le.PutUint32(b[36:], uint32(facs))
		d.fixedHardware(b, gas)
		gas(116, 1, 8, 1, 0xcf9)
		b[128] = 0x0f
	}
	le.PutUint16(b[109:], boot)
	le.PutUint32(b[112:], flags)
	b[131] = 4 // minor revision
	return b[acpi.HeaderSize:]
}

// fixedHardware fills in the power management block.
func (d *Desc) fixedHardware(b []byte, gas func(off int, space, bits, access byte, addr uint64)) {
	le := binary.LittleEndian
	base := uint32(d.PMBase)
	le.PutUint16(b[46:], uint16(d.SCI))
	le.PutUint32(b[56:], base)      // PM1a_EVT
	le.PutUint32(b[64:], base+4)    // PM1a_CNT
	le.PutUint32(b[76:], base+8)    // PM_TMR
	le.PutUint32(b[80:], base+0x20) // GPE0
	b[88], b[89], b[91], b[92] = 4, 2, 4, 16
	le.PutUint16(b[96:], 0xfff) // no C2
	le.PutUint16(b[98:], 0xfff) // no C3
	b[108] = 0x32               // century in CMOS
	gas(148, 1, 32, 3, uint64(base))
	gas(172, 1, 16, 2, uint64(base)+4)
	gas(208, 1, 32, 3, uint64(base)+8)
	gas(220, 1, 128, 1, uint64(base)+0x20)
}

// madt returns the MADT's body (§5.2.12).
func (d *Desc) madt() []byte {
	le := binary.LittleEndian
	b := le.AppendUint32(nil, 0xfee00000)
	pcat := uint32(1)
	if d.Reduced {
		pcat = 0
	}
	b = le.AppendUint32(b, pcat)
	absent := uint32(0)
	if d.CPUBlock != 0 {
		absent = madtOnlineCapable
	}
	for i, c := range d.CPUs {
		b = append(b, c.madt(i, absent)...)
	}
	b = append(b, 1, 12, 0, 0) // I/O APIC
	b = le.AppendUint32(b, 0xfec00000)
	b = le.AppendUint32(b, 0)
	for _, o := range d.overrides() {
		b = append(b, 2, 10, 0, o.irq)
		b = le.AppendUint32(b, o.gsi)
		b = le.AppendUint16(b, o.flags)
	}
	b = append(b, 4, 6, 0xff, 0, 0, 1) // LINT1 is NMI on all
	return append(b, 10, 12, 0, 0, 0xff, 0xff, 0xff, 0xff, 1, 0, 0, 0)
}

// Flags of a CPU's entry in the MADT.
const (
	madtEnabled       = 1 << 0
	madtOnlineCapable = 1 << 1
)

// madt returns the entry of the CPU with an index: x2APIC where the id needs it. absent are
// the flags of one that is not there.
func (c CPU) madt(index int, absent uint32) []byte {
	le := binary.LittleEndian
	flags := absent
	if c.Present {
		flags = madtEnabled
	}
	if c.APICID < 255 {
		return le.AppendUint32([]byte{0, 8, byte(index), byte(c.APICID)}, flags)
	}
	b := le.AppendUint32([]byte{9, 16, 0, 0}, c.APICID)
	b = le.AppendUint32(b, flags)
	return le.AppendUint32(b, uint32(index))
}

type override struct {
	irq   byte
	gsi   uint32
	flags uint16
}

// overrides says where ISA interrupts differ from edge-triggered and identity mapped.
func (d *Desc) overrides() []override {
	const level = 0xd // active high, level-triggered
	if d.Reduced {
		return []override{{byte(d.GEDIRQ), d.GEDIRQ, level}}
	}
	return []override{{0, 2, 0}, {5, 5, level}, {byte(d.SCI), d.SCI, level}, {10, 10, level}, {11, 11, level}}
}
