package pci

import (
	"encoding/binary"
	"testing"

	"hv/devices/bus"
	"hv/devices/irq/irqtest"
)

const testECAM = 0xb0000000

// rig is a host bridge and a guest that pokes it.
type rig struct {
	t           testing.TB
	ports, mmio bus.Space
	irq         irqtest.Controller
	host        *Host
}

func newRig(t testing.TB) *rig {
	t.Helper()
	r := &rig{t: t}
	host, err := NewHost(HostConfig{
		Ports: &r.ports, MMIO: &r.mmio, IRQ: &r.irq,
		ECAMBase: testECAM, ECAMSize: 256 << 20,
		Window32: Window{0xc0000000, 0x3ec00000},
		Window64: Window{0x100000000, 32 << 30},
	})
	if err != nil {
		t.Fatal(err)
	}
	r.host = host
	return r
}

// at returns the ECAM address of a register.
func at(busNum uint8, a Addr, reg int) uint64 {
	return testECAM + uint64(busNum)<<20 + uint64(a.Devfn())<<12 + uint64(reg)
}

func (r *rig) read(busNum uint8, a Addr, reg, size int) uint64 {
	var data [8]byte
	r.mmio.Read(at(busNum, a, reg), data[:size])
	return binary.LittleEndian.Uint64(data[:])
}

func (r *rig) write(busNum uint8, a Addr, reg, size int, v uint64) {
	r.mmio.Write(at(busNum, a, reg), binary.LittleEndian.AppendUint64(nil, v)[:size])
}

// set ors bits into a 16-bit register.
func (r *rig) set(busNum uint8, a Addr, reg int, bits uint64) {
	r.write(busNum, a, reg, 2, r.read(busNum, a, reg, 2)|bits)
}

// load and store access memory.
func (r *rig) load(addr uint64, size int) uint64 {
	var data [8]byte
	r.mmio.Read(addr, data[:size])
	return binary.LittleEndian.Uint64(data[:])
}

func (r *rig) store(addr uint64, size int, v uint64) {
	r.mmio.Write(addr, binary.LittleEndian.AppendUint64(nil, v)[:size])
}

// mech1 makes accesses through ports 0xCF8 and 0xCFC.
func (r *rig) mech1Read(busNum uint8, a Addr, reg, size int) uint64 {
	r.select1(busNum, a, reg)
	var data [8]byte
	r.ports.Read(0xcfc+uint64(reg&3), data[:size])
	return binary.LittleEndian.Uint64(data[:])
}

func (r *rig) mech1Write(busNum uint8, a Addr, reg, size int, v uint64) {
	r.select1(busNum, a, reg)
	r.ports.Write(0xcfc+uint64(reg&3), binary.LittleEndian.AppendUint64(nil, v)[:size])
}

func (r *rig) select1(busNum uint8, a Addr, reg int) {
	v := uint32(1)<<31 | uint32(busNum)<<16 | uint32(a.Devfn())<<8 | uint32(reg&0xfc)
	r.ports.Write(0xcf8, binary.LittleEndian.AppendUint32(nil, v))
}

// attach puts a function on a bus and fails the test if that fails.
func (r *rig) attach(b *Bus, addr *Addr, f *Function) Addr {
	r.t.Helper()
	a, err := b.Attach(addr, f, false)
	if err != nil {
		r.t.Fatal(err)
	}
	return a
}

func (r *rig) assign() {
	r.t.Helper()
	if err := r.host.Assign(); err != nil {
		r.t.Fatal(err)
	}
}

// ram is a handler that stores what is written to it.
type ram []byte

func (m ram) Read(off uint64, data []byte)  { copy(data, m[off:]) }
func (m ram) Write(off uint64, data []byte) { copy(m[off:], data) }

var testID = Identity{Vendor: 0x1af4, Device: 0x1042, Class: 0x018000, Revision: 1}

// disk returns a function like a virtio disk: MSI-X in BAR 1, registers in BAR
// 4, INTA.
func (r *rig) disk(id string) (*Function, *MSIX) {
	r.t.Helper()
	f := NewFunction(testID)
	f.SetName("disk", id)
	if _, err := f.AddPCIeCap(PCIeEndpoint); err != nil {
		r.t.Fatal(err)
	}
	r.must(f.AddBAR(1, BAR{Size: 4096, Name: id + "-msix"}))
	r.must(f.AddBAR(4, BAR{Size: 16384, Kind: BARMem64, Prefetch: true, Name: id, Handler: make(ram, 16384)}))
	r.must(f.SetInterruptPin(1))
	m, err := f.AddMSIX(&r.irq, 3, 1, 0, 2048)
	if err != nil {
		r.t.Fatal(err)
	}
	return f, m
}

func (r *rig) port(id string, unplugged func([]*Function)) *RootPort {
	r.t.Helper()
	p, err := NewRootPort(RootPortConfig{ID: id, Hotplug: true, Slot: 3, IRQ: &r.irq, Unplugged: unplugged})
	if err != nil {
		r.t.Fatal(err)
	}
	return p
}

func (r *rig) must(err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatal(err)
	}
}
