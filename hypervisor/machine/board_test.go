package machine

import (
	"bytes"
	"encoding/binary"
	"os"
	"strings"
	"testing"
	"time"

	"hv/devices/acpi"
	"hv/devices/irq/irqtest"
	"hv/devices/pci"
	"hv/devices/platform"
	"hv/hypervisor/boot"
	"hv/hypervisor/machine/tables"
	"hv/hypervisor/mem"
	"hv/hypervisor/smbios"
)

// rig is a board without KVM, and what it asked of the machine.
type rig struct {
	*Board
	irq               irqtest.Controller
	ram               []byte
	resets, powerOffs int
	suspensions       int
	panics            []platform.PanicEvent
	clock             []int64
}

const mib = 1 << 20

func newRig(t *testing.T, machine string) *rig {
	t.Helper()
	typ, err := Lookup(machine)
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{ram: make([]byte, 64*mib)}
	ram, err := mem.New(mem.Region{Data: r.ram})
	if err != nil {
		t.Fatal(err)
	}
	r.Board, err = New(Config{
		Type: typ, Layout: NewLayout(uint64(len(r.ram)), 0, 0), RAM: ram, IRQ: &r.irq,
		Hooks: Hooks{
			Reset: func() { r.resets++ }, PowerOff: func() { r.powerOffs++ }, Suspend: func() { r.suspensions++ },
			Panic: func(e platform.PanicEvent) { r.panics = append(r.panics, e) }, ClockSet: func(s int64) { r.clock = append(r.clock, s) },
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	return r
}

func (r *rig) out(port uint64, data ...byte) { r.Ports.Write(port, data) }

func (r *rig) in(port uint64, n int) []byte {
	b := bytes.Repeat([]byte{0xee}, n)
	r.Ports.Read(port, b)
	return b
}

// guest returns the embedded guest program.
func guest(t *testing.T) *boot.Image {
	t.Helper()
	data, err := os.ReadFile("../../testdata/guest/guest.elf")
	if err != nil {
		t.Fatal(err)
	}
	img, err := boot.OpenBytes("guest", data)
	if err != nil {
		t.Fatal(err)
	}
	return img
}

func (r *rig) boot(t *testing.T) boot.Entry {
	t.Helper()
	r.Board.Reset()
	e, err := r.Boot(BootParams{
		Kernel: guest(t), Initrd: strings.NewReader("initrd"), InitrdSize: 6, Cmdline: "print=x",
		CPUs:   []tables.CPU{{APICID: 0, Present: true}, {APICID: 1}},
		SMBIOS: smbios.Config{Memory: 64 * mib, Sockets: 1, Cores: 2, Threads: 1},
	})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// sum is that of a table, 0 if it is right.
func sum(b []byte) (s byte) {
	for _, v := range b {
		s += v
	}
	return s
}

// TestBoot finds what firmware leaves behind: tables that check out, and a kernel.
func TestBoot(t *testing.T) {
	for _, name := range []string{"q35", "microvm"} {
		r := newRig(t, name)
		if _, err := r.AddSerial(0, nil, nil); err != nil {
			t.Fatal(err)
		}
		if err := r.AddPVPanic(0x505, 3); err != nil {
			t.Fatal(err)
		}
		e := r.boot(t)
		if e.Mode != boot.Protected32 {
			t.Errorf("%s: mode %v", name, e.Mode)
		}
		rsdp := r.ram[rsdpAt:]
		if string(rsdp[:8]) != "RSD PTR " || sum(rsdp[:20]) != 0 || sum(rsdp[:36]) != 0 {
			t.Errorf("%s: no RSDP at %#x", name, rsdpAt)
		}
		xsdt := r.ram[binary.LittleEndian.Uint64(rsdp[24:]):]
		n := binary.LittleEndian.Uint32(xsdt[4:])
		if string(xsdt[:4]) != "XSDT" || sum(xsdt[:n]) != 0 {
			t.Errorf("%s: no XSDT", name)
		}
		var found []string
		for off := uint32(36); off < n; off += 8 {
			table := r.ram[binary.LittleEndian.Uint64(xsdt[off:]):]
			if sum(table[:binary.LittleEndian.Uint32(table[4:])]) != 0 {
				t.Errorf("%s: bad sum of %s", name, table[:4])
			}
			found = append(found, string(table[:4]))
		}
		for _, want := range []string{"FACP", "APIC", "MCFG"} {
			if !strings.Contains(strings.Join(found, " "), want) {
				t.Errorf("%s: no %s among %v", name, want, found)
			}
		}
		if smb := r.ram[smbiosAt:]; string(smb[:5]) != "_SM3_" || sum(smb[:smb[6]]) != 0 {
			t.Errorf("%s: no SMBIOS", name)
		}
		before := bytes.Clone(r.ram)
		clear(r.ram)
		if r.boot(t) != e || !bytes.Equal(r.ram, before) {
			t.Errorf("%s: a second boot differs from the first", name)
		}
	}
}

// TestWake suspends a guest that left a waking vector in its FACS.
func TestWake(t *testing.T) {
	r := newRig(t, "q35")
	r.boot(t)
	if !r.CanSuspend() || newRig(t, "microvm").CanSuspend() || newRig(t, "none").CanSuspend() {
		t.Error("suspension is q35's")
	}
	fadt := r.ram[bytes.LastIndex(r.ram, []byte("FACP")):]
	facs := uint64(binary.LittleEndian.Uint32(fadt[36:]))
	if string(r.ram[facs:facs+4]) != "FACS" {
		t.Fatalf("no FACS at %#x", facs)
	}
	binary.LittleEndian.PutUint32(r.ram[facs+12:], 0x9a123)
	before := bytes.Clone(r.ram)
	r.out(0x604, 0, 0x24)
	if r.suspensions != 1 || r.powerOffs != 0 {
		t.Fatalf("suspended %d times, powered off %d times", r.suspensions, r.powerOffs)
	}
	r.Reset()
	vector, err := r.Wake()
	if err != nil || vector != 0x9a123 || !bytes.Equal(r.ram, before) {
		t.Errorf("vector %#x, %v; RAM kept: %v", vector, err, bytes.Equal(r.ram, before))
	}
	if status := r.in(0x600, 2); status[1]&0x80 == 0 {
		t.Errorf("PM1 status %x does not say that it was woken", status)
	}
}

// TestGenerationIDs checks that there is one at most, where its device says.
func TestGenerationIDs(t *testing.T) {
	id := acpi.GenerationID{1, 2, 3}
	if err := newRig(t, "none").AddGenerationID(id); err == nil {
		t.Error("an identifier without tables")
	}
	for _, name := range []string{"q35", "microvm"} {
		r := newRig(t, name)
		if r.GenerationID() != nil {
			t.Error("an identifier that nobody gave")
		}
		if err := r.AddGenerationID(id); err != nil {
			t.Fatal(err)
		}
		if err := r.AddGenerationID(id); err == nil || *r.GenerationID() != id {
			t.Errorf("two identifiers: %v", err)
		}
		r.boot(t)
		if !bytes.Equal(r.ram[genIDAt:genIDAt+16], id.Bytes()) || !bytes.Contains(r.ram, []byte("VM_Gen_Counter")) {
			t.Errorf("%s: no identifier", name)
		}
	}
}

func TestTooSmall(t *testing.T) {
	r := newRig(t, "q35")
	r.cfg.Layout = NewLayout(4*mib, 0, 0)
	if _, err := r.Boot(BootParams{Kernel: guest(t)}); err == nil || !strings.Contains(err.Error(), "too few") {
		t.Errorf("4 MiB: %v", err)
	}
}

// TestPower: the button, power-off and every way to reset a PC.
func TestPower(t *testing.T) {
	r := newRig(t, "q35")
	r.boot(t)
	r.out(0xcf9, 2)
	r.out(0xcf9, 6)
	r.out(0x64, 0xfe)
	r.out(0x92, 1)
	if r.resets != 3 {
		t.Errorf("%d resets of 3", r.resets)
	}
	r.PowerButton()
	if status := r.in(pmBase, 2); status[1]&1 == 0 {
		t.Errorf("PM1 status %x after the button", status)
	}
	r.out(pmBase+4, 0, 0x20)
	if r.powerOffs != 1 {
		t.Errorf("%d power-offs", r.powerOffs)
	}
	r.out(0x505, 1)
	if err := r.AddPVPanic(0x505, 3); err != nil {
		t.Fatal(err)
	}
	r.out(0x505, 1)
	if len(r.panics) != 1 {
		t.Errorf("panics %v", r.panics)
	}
}

func TestSerialPorts(t *testing.T) {
	r := newRig(t, "q35")
	var out bytes.Buffer
	for want := range 4 {
		if got := r.FreeSerial(); got != want {
			t.Errorf("port %d is free, not %d", got, want)
		}
		if _, err := r.AddSerial(want, &out, nil); err != nil {
			t.Fatal(err)
		}
		r.out(com[want].port, 'A'+byte(want))
	}
	if out.String() != "ABCD" || r.FreeSerial() != 4 {
		t.Errorf("printed %q", out.String())
	}
	for _, i := range []int{0, 4, -1} {
		if _, err := r.AddSerial(i, nil, nil); err == nil {
			t.Errorf("port %d was added", i)
		}
	}
}

// TestPCI is seen by ports and by ECAM alike.
func TestPCI(t *testing.T) {
	r := newRig(t, "q35")
	if _, err := r.Board.PCI.Root().Attach(nil, pci.NewFunction(pci.Identity{Vendor: 0x1af4, Device: 0x1042}), false); err != nil {
		t.Fatal(err)
	}
	r.boot(t)
	for slot, want := range map[uint64]uint32{0: 0x29c08086, 1: 0x10421af4, 31: 0x29188086, 9: 0xffffffff} {
		r.out(0xcf8, 0, byte(slot<<3), 0, 0x80)
		if got := binary.LittleEndian.Uint32(r.in(0xcfc, 4)); got != want {
			t.Errorf("slot %d by port: %#x, not %#x", slot, got, want)
		}
		var b [4]byte
		r.MMIO.Read(ecamBase+slot<<15, b[:])
		if got := binary.LittleEndian.Uint32(b[:]); got != want {
			t.Errorf("slot %d by ECAM: %#x, not %#x", slot, got, want)
		}
	}
}

// TestClock tells the right time, and of a guest that sets it.
func TestClock(t *testing.T) {
	r := newRig(t, "q35")
	cmos := func(i byte) byte {
		r.out(0x70, i)
		return r.in(0x71, 1)[0]
	}
	now := time.Now().UTC()
	year := int(cmos(9)>>4)*10 + int(cmos(9)&15)
	if year != now.Year()%100 && year != now.Add(-time.Hour).Year()%100 {
		t.Errorf("the clock says year %d", year)
	}
	r.out(0x70, 9)
	r.out(0x71, 0x40)
	if len(r.clock) == 0 {
		t.Error("nobody heard of the new date")
	}
}

// TestNone is a board without anything.
func TestNone(t *testing.T) {
	r := newRig(t, "none")
	if r.Board.PCI != nil || r.in(0x3f8, 1)[0] != 0xff {
		t.Error("something is there")
	}
	r.PowerButton()
	r.Reset()
}
