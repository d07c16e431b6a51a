package machine

import (
	"fmt"
	"io"

	"hv/devices/pci"
	"hv/hypervisor/boot"
	"hv/hypervisor/machine/tables"
	"hv/hypervisor/smbios"
)

// BootParams is what a kernel is started with.
type BootParams struct {
	Kernel     *boot.Image
	Initrd     io.ReaderAt // nil for none
	InitrdSize int64
	Cmdline    string
	CPUs       []tables.CPU
	SMBIOS     smbios.Config
	// Reserved ranges belong to nobody, such as what KVM needs for itself.
	Reserved []boot.E820Entry
}

// Places of what firmware leaves below 1 MiB and at the top of low RAM.
const (
	rsdpAt    = biosAreaBase
	smbiosAt  = biosAreaBase + 0x40
	smbiosMax = 64 << 10
)

// Boot does what firmware would: it assigns PCI resources, writes ACPI and SMBIOS
// tables and loads the kernel. It follows Reset, while no vCPU runs.
func (b *Board) Boot(p BootParams) (boot.Entry, error) {
	if err := b.PCI.Assign(); err != nil {
		return boot.Entry{}, fmt.Errorf("assign PCI resources: %w", err)
	}
	size := tables.MaxSize(len(p.CPUs)) + smbiosMax
	base := (b.cfg.Layout.Low - size) &^ 0xffff
	if b.cfg.Layout.Low < 4<<20+size {
		return boot.Entry{}, fmt.Errorf("%d KiB of RAM are too few to boot with", b.cfg.Layout.Low>>10)
	}
	if err := b.writeTables(p, base); err != nil {
		return boot.Entry{}, err
	}
	special := append([]boot.E820Entry{
		{Base: base, Size: b.cfg.Layout.Low - base, Type: boot.ACPI},
		{Base: ecamBase, Size: ecamSize, Type: boot.Reserved},
	}, p.Reserved...)
	return p.Kernel.Load(boot.Params{
		Memory: b.cfg.RAM, LowTop: base, Initrd: p.Initrd, InitrdSize: p.InitrdSize, Cmdline: p.Cmdline, RSDP: rsdpAt,
		E820: boot.BuildE820(b.cfg.RAM.Installed(), special...),
	})
}

func (b *Board) writeTables(p BootParams, base uint64) error {
	smbiosBase := b.cfg.Layout.Low - smbiosMax
	blobs, err := tables.Build(b.describe(p.CPUs, base, smbiosBase))
	if err != nil {
		return err
	}
	for _, blob := range blobs {
		if string(blob.Data[:4]) == "FACS" {
			b.facs = blob.Addr
		}
	}
	entry, structures := smbios.Build(p.SMBIOS, smbiosBase)
	if len(structures) > smbiosMax {
		return fmt.Errorf("SMBIOS tables of %d bytes are too large", len(structures))
	}
	blobs = append(blobs, tables.Blob{Addr: smbiosAt, Data: entry}, tables.Blob{Addr: smbiosBase, Data: structures})
	if b.genID != nil {
		blobs = append(blobs, tables.Blob{Addr: genIDAt, Data: b.genID.Bytes()})
	}
	for _, blob := range blobs {
		if err := b.cfg.RAM.WriteAt(blob.Data, blob.Addr); err != nil {
			return fmt.Errorf("write tables: %w", err)
		}
	}
	return nil
}

// minBuses is how many buses a guest is told of at least.
const minBuses = 16

// buses returns how many buses a guest is told of. Linux looks for devices on every
// one, with an exit for each: 256 of them are much of its time to boot.
func (b *Board) buses() uint64 {
	n := uint64(minBuses)
	for n <= uint64(b.PCI.LastBus()) {
		n *= 2
	}
	return n
}

// describe says to the tables what the board is.
func (b *Board) describe(cpus []tables.CPU, base, end uint64) tables.Desc {
	d := tables.Desc{
		Reduced: b.cfg.Type.Kind == MicroVM, CPUs: cpus, Base: base, End: end, RSDPAt: rsdpAt,
		ECAM:     tables.Window{Base: ecamBase, Size: b.buses() << 20},
		Window32: tables.Window{Base: window32Base, Size: b.window32End() - window32Base},
		Window64: tables.Window{Base: b.cfg.Layout.Window64, Size: window64Size},
		PIRQ:     pci.Q35PIRQ, PMBase: pmBase, SCI: sciGSI, GED: gedWindow, GEDIRQ: sciGSI,
		I8042: b.cfg.Type.Kind == Q35, RTC: true, Panic: b.panicPort,
	}
	if b.genID != nil {
		d.GenID = genIDAt
	}
	if b.cpus != nil {
		d.CPUBlock = cpuBlock
	}
	if b.cfg.Type.Kind == Q35 {
		d.Hotplug = tables.Window{Base: b.cfg.Layout.Device, Size: b.cfg.Layout.DeviceSize}
	}
	for _, r := range b.cfg.RAM.Installed() {
		d.RAM = append(d.RAM, tables.Window{Base: r.Base, Size: uint64(len(r.Data))})
	}
	for i, u := range b.serial {
		if u != nil {
			d.Serial = append(d.Serial, i)
		}
	}
	return d
}
