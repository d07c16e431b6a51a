package tables

import (
	"fmt"

	"hv/devices/acpi"
)

// CPUs that can be added and removed are behind a block of registers; see
// devices/acpi.CPUHotplug. The names of methods and fields are QEMU's.
const (
	cpuScope = `\_SB.CPUS`
	cpuRegs  = `\_SB.PCI0.PRES`
	cpuLock  = cpuRegs + ".CPLK"

	// Notifications of a device (ACPI 6.4 §5.6.6).
	notifyCheck = 1
	notifyEject = 3
)

func cpuName(i int) string { return fmt.Sprintf("C%03X", i) }

// cpuBlock declares the registers, in the scope of the PCI bus so that its windows
// leave them out.
func (d *Desc) cpuBlock() acpi.Term {
	if d.CPUBlock == 0 {
		return nil
	}
	return acpi.Device("PRES",
		acpi.Name("_HID", acpi.EISAID("PNP0A06")),
		acpi.Name("_UID", acpi.String("CPU Hotplug resources")),
		acpi.Name("_CRS", acpi.Resources(acpi.IO(d.CPUBlock, acpi.CPUBlockSize))),
		acpi.OpRegion("PRST", acpi.SystemIO, uint64(d.CPUBlock), acpi.CPUBlockSize),
		acpi.BitFields("PRST", acpi.ByteZeros, acpi.Bits{Width: 32}, acpi.Bits{Name: "CPEN", Width: 1}, acpi.Bits{Name: "CINS", Width: 1},
			acpi.Bits{Name: "CRMV", Width: 1}, acpi.Bits{Name: "CEJ0", Width: 1}, acpi.Bits{Width: 4}, acpi.Bits{Name: "CCMD", Width: 8}),
		acpi.BitFields("PRST", acpi.DWord, acpi.Bits{Name: "CSEL", Width: 32}, acpi.Bits{Width: 32}, acpi.Bits{Name: "CDAT", Width: 32}),
		acpi.Mutex("CPLK"),
	)
}

// reg names a field of the registers.
func reg(name string) acpi.Term { return acpi.NameString(cpuRegs + "." + name) }

// locked runs body for one processor at a time, selected by a term if that is not nil.
func locked(selector acpi.Term, body ...acpi.Term) acpi.Term {
	if selector != nil {
		body = append([]acpi.Term{acpi.Store(selector, reg("CSEL"))}, body...)
	}
	return join(acpi.Acquire(cpuLock), join(body...), acpi.Release(cpuLock))
}

// cpuMethods are what the processors' own methods call.
func (d *Desc) cpuMethods() acpi.Term {
	var notify []acpi.Term
	for i := range d.CPUs {
		notify = append(notify, acpi.If(acpi.Equal(acpi.Arg(0), acpi.Int(uint64(i))), acpi.NotifyValue(cpuName(i), acpi.Arg(1))))
	}
	status, again := acpi.Local(0), acpi.Local(0)
	return join(
		acpi.Serialized("CTFY", 2, notify...),
		acpi.Serialized("CSTA", 1,
			acpi.Store(acpi.Int(0), status),
			locked(acpi.Arg(0), acpi.If(acpi.Equal(reg("CPEN"), acpi.Int(1)), acpi.Store(acpi.Int(0xf), status))),
			acpi.Return(status)),
		acpi.Serialized("CEJ0", 1, locked(acpi.Arg(0), acpi.Store(acpi.Int(1), reg("CEJ0")))),
		acpi.Serialized("COST", 3, locked(acpi.Arg(0),
			acpi.Store(acpi.Int(1), reg("CCMD")), acpi.Store(acpi.Arg(1), reg("CDAT")),
			acpi.Store(acpi.Int(2), reg("CCMD")), acpi.Store(acpi.Arg(2), reg("CDAT")))),
		acpi.Serialized("CSCN", 0,
			acpi.Store(acpi.Int(1), again),
			locked(acpi.Int(0), acpi.While(acpi.Equal(again, acpi.Int(1)),
				acpi.Store(acpi.Int(0), again),
				acpi.Store(acpi.Int(0), reg("CCMD")),
				cpuEvent("CINS", notifyCheck, again),
				cpuEvent("CRMV", notifyEject, again),
			))),
	)
}

// cpuEvent passes an event of the selected processor on and clears it.
func cpuEvent(flag string, notification uint64, again acpi.Term) acpi.Term {
	return acpi.If(acpi.Equal(reg(flag), acpi.Int(1)),
		acpi.Call("CTFY", reg("CDAT"), acpi.Int(notification)),
		acpi.Store(acpi.Int(1), reg(flag)),
		acpi.Store(acpi.Int(1), again))
}

// processors declares the CPUs.
func (d *Desc) processors() acpi.Term {
	cpus := []acpi.Term{acpi.Name("_HID", acpi.String("ACPI0010")), acpi.Name("_CID", acpi.EISAID("PNP0A05"))}
	if d.CPUBlock != 0 {
		cpus = append(cpus, d.cpuMethods())
	}
	for i, c := range d.CPUs {
		cpus = append(cpus, d.processor(i, c))
	}
	return acpi.Device("CPUS", cpus...)
}

func (d *Desc) processor(i int, c CPU) acpi.Term {
	index := acpi.Int(uint64(i))
	terms := []acpi.Term{acpi.Name("_HID", acpi.String("ACPI0007")), acpi.Name("_UID", index)}
	if d.CPUBlock == 0 {
		status := uint64(0)
		if c.Present {
			status = 0xf
		}
		return acpi.Device(cpuName(i), append(terms, acpi.Name("_STA", acpi.Int(status)), acpi.Name("_MAT", acpi.Buffer(c.madt(i, 0))))...)
	}
	// Whoever looks at _MAT has seen _STA: the processor is there then.
	there := CPU{APICID: c.APICID, Present: true}
	terms = append(terms,
		acpi.Method("_STA", 0, acpi.Return(acpi.Call("CSTA", index))),
		acpi.Name("_MAT", acpi.Buffer(there.madt(i, 0))),
		acpi.Method("_OST", 3, acpi.Call("COST", index, acpi.Arg(0), acpi.Arg(1))))
	if i > 0 {
		terms = append(terms, acpi.Method("_EJ0", 1, acpi.Call("CEJ0", index)))
	}
	return acpi.Device(cpuName(i), terms...)
}

// events handles the general purpose events.
func (d *Desc) events() acpi.Term {
	if d.CPUBlock == 0 {
		return nil
	}
	return acpi.Scope(`\_GPE`, acpi.Method(fmt.Sprintf("_E%02X", CPUEvent), 0, acpi.Call(cpuScope+".CSCN")))
}

// CPUEvent is the general purpose event of CPUs.
const CPUEvent = 2
