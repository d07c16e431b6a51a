package acpi

import (
	"bytes"
	"encoding/binary"
	"testing"
	"time"

	"hv/devices/bus"
	"hv/devices/irq/irqtest"
)

func TestNames(t *testing.T) {
	for path, want := range map[string]string{
		`\`: "\\\x00", "PCI0": "PCI0", "_S5": "_S5_", `\_SB.PCI0`: "\\\x2e_SB_PCI0", "A.B.C": "\x2f\x03A___B___C___",
	} {
		if got := NameString(path); string(got) != want {
			t.Errorf("%s: %q, not %q", path, got, want)
		}
	}
}

func TestIntegers(t *testing.T) {
	for v, want := range map[uint64][]byte{
		0: {0}, 1: {1}, 2: {0x0a, 2}, 255: {0x0a, 255}, 256: {0x0b, 0, 1}, 1 << 16: {0x0c, 0, 0, 1, 0}, 1 << 32: {0x0e, 0, 0, 0, 0, 1, 0, 0, 0},
	} {
		if got := Int(v); !bytes.Equal(got, want) {
			t.Errorf("%#x: % x", v, got)
		}
	}
}

// TestPackageLength decodes lengths around each change of their encoding.
func TestPackageLength(t *testing.T) {
	for _, n := range []int{0, 1, 61, 62, 63, 64, 4092, 4093, 4094, 4095, 1 << 16, 1<<20 - 4, 1<<20 - 3, 1 << 20} {
		b := pkgLength(n)
		more := int(b[0] >> 6)
		got := int(b[0] & 0x3f)
		if more > 0 {
			got = int(b[0] & 0xf)
			for i := range more {
				got |= int(b[1+i]) << (4 + 8*i)
			}
		}
		if len(b) != more+1 || got != n+len(b) {
			t.Errorf("%d bytes are encoded as % x: %d", n, b, got)
		}
	}
}

func TestIDs(t *testing.T) {
	if got := EISAID("PNP0A08"); !bytes.Equal(got, []byte{0x0c, 0x41, 0xd0, 0x0a, 0x08}) {
		t.Errorf("PNP0A08: % x", got)
	}
	want := []byte{0x5b, 0x4d, 0xdb, 0x33, 0xf7, 0x1f, 0x1c, 0x40, 0x96, 0x57, 0x74, 0x41, 0xc0, 0x3d, 0xd7, 0x66}
	if got := UUID("33db4d5b-1ff7-401c-9657-7441c03dd766"); !bytes.Equal(got[len(got)-16:], want) {
		t.Errorf("UUID: % x", got)
	}
}

func TestResourceLengths(t *testing.T) {
	for name, d := range map[string][]byte{
		"word": WordIO(0, 0xcf7), "bus": WordBus(0, 255), "dword": DWordMemory(1, 2), "qword": QWordMemory(1, 2),
		"memory": Memory32Fixed(1, 2), "interrupt": Interrupt(9, true),
	} {
		if n := int(binary.LittleEndian.Uint16(d[1:])); n != len(d)-3 {
			t.Errorf("%s says %d bytes and has %d", name, n, len(d)-3)
		}
	}
	for name, d := range map[string][]byte{"io": IO(0x60, 1), "irq": IRQ(8)} {
		if n := int(d[0] & 7); n != len(d)-1 {
			t.Errorf("%s says %d bytes and has %d", name, n, len(d)-1)
		}
	}
}

func TestTableChecksums(t *testing.T) {
	id := Identity{OEM: "OEMOEM", TableID: "TABLETAB", Creator: "CRTR"}
	for _, b := range [][]byte{id.Table("TEST", 1, []byte("body")), id.RSDP(0x1234)} {
		if checksum(b) != 0 {
			t.Errorf("% x", b)
		}
	}
}

// machine is a PM block with a clock and an interrupt that tests can see.
type machine struct {
	pm    *PM
	ports bus.Space
	ctl   irqtest.Controller
	now   time.Duration
	off   int
	naps  int
}

func newMachine(t *testing.T) *machine {
	m := &machine{}
	m.pm = NewPM(PMConfig{SCI: m.ctl.Line(9), PowerOff: func() { m.off++ }, Suspend: func() { m.naps++ }, Now: func() time.Duration { return m.now }})
	if err := m.pm.Map(&m.ports, 0x600); err != nil {
		t.Fatal(err)
	}
	return m
}

func (m *machine) in(off uint64, n int) uint32 {
	var b [4]byte
	m.ports.Read(0x600+off, b[:n])
	return binary.LittleEndian.Uint32(b[:])
}

func (m *machine) out(off uint64, n int, v uint32) {
	var b [4]byte
	binary.LittleEndian.PutUint32(b[:], v)
	m.ports.Write(0x600+off, b[:n])
}

func TestPowerButton(t *testing.T) {
	m := newMachine(t)
	m.pm.PowerButton()
	if m.ctl.Level(9) {
		t.Error("an interrupt that is not enabled")
	}
	m.out(pmEnable, 2, bitPower)
	if !m.ctl.Level(9) || m.in(pmStatus, 2)&bitPower == 0 {
		t.Error("the button is not seen")
	}
	m.out(pmStatus, 2, bitPower)
	if m.ctl.Level(9) || m.in(pmStatus, 2) != 0 {
		t.Error("the button's status did not go")
	}
}

func TestSleep(t *testing.T) {
	m := newMachine(t)
	if m.in(pmControl, 2) != bitSCI {
		t.Errorf("control %#x after a reset", m.in(pmControl, 2))
	}
	m.out(pmControl, 2, 5<<slpTypPos|bitSlpEn)
	if m.off != 0 {
		t.Error("a sleep state that is not there powered off")
	}
	m.out(pmControl, 2, S3<<slpTypPos)
	if m.naps != 0 {
		t.Error("suspended without the bit that does it")
	}
	m.out(pmControl, 2, S3<<slpTypPos|bitSlpEn)
	if m.off != 0 || m.naps != 1 || m.in(pmStatus, 2)&bitWake != 0 {
		t.Errorf("suspended %d times, powered off %d times, status %#x", m.naps, m.off, m.in(pmStatus, 2))
	}
	m.pm.Reset()
	m.pm.Wake()
	if m.in(pmStatus, 2) != bitWake || m.ctl.Level(9) {
		t.Errorf("status %#x after it was woken", m.in(pmStatus, 2))
	}
	m.out(pmControl, 2, S5<<slpTypPos|bitSlpEn)
	if m.off != 1 || m.in(pmControl, 2)&bitSlpEn != 0 || m.in(pmControl, 2)&bitSCI == 0 {
		t.Errorf("powered off %d times, control %#x", m.off, m.in(pmControl, 2))
	}
}

func TestTimer(t *testing.T) {
	m := newMachine(t)
	m.now = time.Second
	if got := m.in(pmTimer, 4); got != TimerHz {
		t.Errorf("%d ticks after a second", got)
	}
	m.now = 10 * time.Second
	if got := m.in(pmTimer, 4); got != (10*TimerHz)&0xffffff {
		t.Errorf("%d ticks after ten seconds", got)
	}
}

func TestGPEAndReset(t *testing.T) {
	m := newMachine(t)
	m.out(gpe0+gpeBytes, 4, 0x04030201)
	if got := m.in(gpe0+gpeBytes, 4); got != 0x04030201 {
		t.Errorf("enable %#x", got)
	}
	m.out(pmEnable, 2, 0x0521)
	m.pm.Reset()
	if m.in(gpe0+gpeBytes, 4) != 0 || m.in(pmEnable, 2) != 0 || m.ctl.Level(9) {
		t.Error("registers survive a reset")
	}
}

func TestGED(t *testing.T) {
	var ctl irqtest.Controller
	var mmio bus.Space
	off, reset := 0, 0
	g := NewGED(GEDConfig{IRQ: ctl.Line(9), PowerOff: func() { off++ }, Reset: func() { reset++ }})
	if err := g.Map(&mmio, 0x1000); err != nil {
		t.Fatal(err)
	}
	g.PowerButton()
	var b [4]byte
	mmio.Read(0x1000, b[:])
	if b[0] != GEDPowerButton || ctl.Level(9) {
		t.Errorf("selector %x", b)
	}
	if mmio.Read(0x1000, b[:]); b[0] != 0 {
		t.Error("an event is reported twice")
	}
	mmio.Write(0x1000+GEDSleep, []byte{GEDS5<<2 | 1<<5})
	mmio.Write(0x1000+GEDReset, []byte{GEDResetValue})
	mmio.Write(0x1000+GEDReset, []byte{1})
	if off != 1 || reset != 1 {
		t.Errorf("powered off %d times, reset %d times", off, reset)
	}
	g.PowerButton()
	g.Reset()
	if ctl.Level(9) {
		t.Error("the interrupt survives a reset")
	}
}

func FuzzPM(f *testing.F) {
	f.Add([]byte{4, 2, 0, 0x20, 8, 4, 1, 2})
	f.Fuzz(func(t *testing.T, ops []byte) {
		m := newMachine(t)
		for len(ops) >= 4 {
			off, n := uint64(ops[0])%pmSize, 1<<(ops[1]%3)
			m.out(off, n, uint32(ops[2])|uint32(ops[3])<<8)
			m.in(off, n)
			ops = ops[4:]
		}
		if m.in(pmControl, 2)&bitSCI == 0 {
			t.Error("SCI_EN went")
		}
	})
}
