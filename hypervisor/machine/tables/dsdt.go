package tables

import (
	"fmt"

	"hv/devices/acpi"
)

func (d *Desc) dsdt() []byte {
	s5 := acpi.Int(acpi.S5)
	if d.Reduced {
		s5 = acpi.Int(acpi.GEDS5)
	}
	var b []byte
	if !d.Reduced {
		s3 := acpi.Int(acpi.S3)
		b = acpi.Name(`\_S3`, acpi.Package(s3, s3, acpi.Int(0), acpi.Int(0)))
	}
	for _, t := range []acpi.Term{
		acpi.Scope(`\_SB`, d.hostBridge(), d.reserved(), d.processors(), d.ged(), d.generation()),
		acpi.Scope(`\_SB.PCI0`, d.legacy(), d.cpuBlock()),
		d.events(),
		acpi.Name(`\_S5`, acpi.Package(s5, s5, acpi.Int(0), acpi.Int(0))),
	} {
		b = append(b, t...)
	}
	return b
}

// generation is the device of the generation identifier, if there is one.
func (d *Desc) generation() acpi.Term {
	if d.GenID == 0 {
		return nil
	}
	return acpi.GenerationDevice(d.GenID)
}

func join(terms ...acpi.Term) acpi.Term {
	var b acpi.Term
	for _, t := range terms {
		b = append(b, t...)
	}
	return b
}

// hostBridge is the PCI Express root complex.
func (d *Desc) hostBridge() acpi.Term {
	crs := [][]byte{
		acpi.WordBus(0, uint16(d.ECAM.Size>>20-1)),
		acpi.IO(0xcf8, 8),
		acpi.WordIO(0, 0xcf7),
		acpi.WordIO(0xd00, 0xffff),
		acpi.DWordMemory(uint32(d.Window32.Base), uint32(d.Window32.Last())),
	}
	if d.Window64.Size > 0 {
		crs = append(crs, acpi.QWordMemory(d.Window64.Base, d.Window64.Last()))
	}
	return acpi.Device("PCI0",
		acpi.Name("_HID", acpi.EISAID("PNP0A08")),
		acpi.Name("_CID", acpi.EISAID("PNP0A03")),
		acpi.Name("_UID", acpi.Int(0)),
		acpi.Name("_CRS", acpi.Resources(crs...)),
		acpi.Name("_PRT", d.routing()),
		oscMethod(),
	)
}

// routing is the _PRT: for each slot and pin its global system interrupt.
func (d *Desc) routing() acpi.Term {
	var entries []acpi.Term
	for slot := range uint8(32) {
		for pin := range uint8(4) {
			entries = append(entries, acpi.Package(acpi.Int(uint64(slot)<<16|0xffff), acpi.Int(uint64(pin)), acpi.Int(0),
				acpi.Int(uint64(d.PIRQ(slot, pin)))))
		}
	}
	return acpi.Package(entries...)
}

// Native PCI Express features that the operating system may take over (PCI Firmware 3.3
// §4.5.1): hot-plug, power management events, AER, the capability structure, LTR.
const oscGranted = 0x01 | 0x04 | 0x08 | 0x10 | 0x20

// oscMethod grants what is asked for as far as it is there; a UUID that is not
// PCI's is refused.
func oscMethod() acpi.Term {
	return acpi.Method("_OSC", 4,
		acpi.CreateDWordField(acpi.Arg(3), 0, "CDW1"),
		acpi.If(acpi.Equal(acpi.Arg(0), acpi.UUID("33db4d5b-1ff7-401c-9657-7441c03dd766")),
			acpi.CreateDWordField(acpi.Arg(3), 8, "CDW3"),
			acpi.Store(acpi.NameString("CDW3"), acpi.Local(0)),
			acpi.And(acpi.Local(0), acpi.Int(oscGranted), acpi.Local(0)),
			acpi.If(acpi.Not(acpi.Equal(acpi.Arg(1), acpi.Int(1))),
				acpi.Or(acpi.NameString("CDW1"), acpi.Int(8), acpi.NameString("CDW1"))),
			acpi.If(acpi.Not(acpi.Equal(acpi.NameString("CDW3"), acpi.Local(0))),
				acpi.Or(acpi.NameString("CDW1"), acpi.Int(16), acpi.NameString("CDW1"))),
			acpi.Store(acpi.Local(0), acpi.NameString("CDW3")),
		),
		acpi.Else(acpi.Or(acpi.NameString("CDW1"), acpi.Int(4), acpi.NameString("CDW1"))),
		acpi.Return(acpi.Arg(3)),
	)
}

// reserved keeps configuration space out of what Linux gives to devices.
func (d *Desc) reserved() acpi.Term {
	return acpi.Device("DRAC",
		acpi.Name("_HID", acpi.EISAID("PNP0C02")),
		acpi.Name("_CRS", acpi.Resources(acpi.Memory32Fixed(uint32(d.ECAM.Base), uint32(d.ECAM.Size)))),
	)
}

// ged is the generic event device and the power button that it reports.
func (d *Desc) ged() acpi.Term {
	if !d.Reduced {
		return nil
	}
	return join(
		acpi.Device("PWRB",
			acpi.Name("_HID", acpi.EISAID("PNP0C0C")),
			acpi.Name("_UID", acpi.Int(0)),
		),
		acpi.Device("GED",
			acpi.Name("_HID", acpi.String("ACPI0013")),
			acpi.Name("_UID", acpi.String("GED")),
			acpi.Name("_CRS", acpi.Resources(acpi.Interrupt(d.GEDIRQ, true))),
			acpi.OpRegion("EREG", acpi.SystemMemory, d.GED, 4),
			acpi.Field("EREG", "ESEL"),
			acpi.Method("_EVT", 1,
				acpi.Store(acpi.NameString("ESEL"), acpi.Local(0)),
				acpi.And(acpi.Local(0), acpi.Int(acpi.GEDPowerButton), acpi.Local(1)),
				acpi.If(acpi.Equal(acpi.Local(1), acpi.Int(acpi.GEDPowerButton)), acpi.Notify(`\_SB.PWRB`, 0x80)),
			),
		),
	)
}

var serialPorts = [4]struct {
	port uint16
	irq  int
}{{0x3f8, 4}, {0x2f8, 3}, {0x3e8, 4}, {0x2e8, 3}}

// legacy declares the devices at fixed ports, on q35 below the ISA bridge.
func (d *Desc) legacy() acpi.Term {
	var devices acpi.Term
	add := func(name, id string, uid int, resources ...[]byte) {
		devices = append(devices, acpi.Device(name,
			acpi.Name("_HID", acpi.EISAID(id)),
			acpi.Name("_UID", acpi.Int(uint64(uid))),
			acpi.Name("_CRS", acpi.Resources(resources...)),
		)...)
	}
	for _, i := range d.Serial {
		add(fmt.Sprintf("COM%d", i+1), "PNP0501", i+1, acpi.IO(serialPorts[i].port, 8), acpi.IRQ(serialPorts[i].irq))
	}
	if d.RTC {
		add("RTC", "PNP0B00", 0, acpi.IO(0x70, 8), acpi.IRQ(8))
	}
	if d.I8042 {
		add("KBD", "PNP0303", 0, acpi.IO(0x60, 1), acpi.IO(0x64, 1), acpi.IRQ(1))
		add("MOU", "PNP0F13", 0, acpi.IRQ(12))
	}
	if d.Panic != 0 {
		devices = append(devices, acpi.Device("PEVT",
			acpi.Name("_HID", acpi.String("QEMU0001")),
			acpi.Name("_CRS", acpi.Resources(acpi.IO(d.Panic, 1))),
			acpi.Name("_STA", acpi.Int(0xf)),
		)...)
	}
	if d.Reduced {
		return devices
	}
	return acpi.Device("ISA", acpi.Name("_ADR", acpi.Int(0x1f0000)), devices)
}
