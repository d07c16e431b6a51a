package pci

import (
	"encoding/binary"
	"encoding/hex"
	"strings"
	"testing"

	"hv/devices/bus"
	"hv/devices/irq/irqtest"
)

func TestBothMechanismsSeeTheHostBridge(t *testing.T) {
	r := newRig(t)
	a := Addr{}
	for _, size := range []int{1, 2, 4} {
		want := uint64(0x29c08086) & (1<<(8*size) - 1)
		if e, m := r.read(0, a, 0, size), r.mech1Read(0, a, 0, size); e != want || m != want {
			t.Errorf("%d bytes: %#x by ECAM, %#x by ports, want %#x", size, e, m, want)
		}
	}
	if got := r.mech1Read(0, a, regDeviceID, 2); got != 0x29c0 {
		t.Errorf("device id %#x", got)
	}
	if got := r.read(0, a, regPCIEXBAR, 8); got != testECAM|1 {
		t.Errorf("PCIEXBAR %#x", got)
	}
	r.write(0, a, regPCIEXBAR, 8, 0)
	if got := r.read(0, a, regPCIEXBAR, 8); got != testECAM|1 {
		t.Error("PCIEXBAR moved")
	}
}

func TestAbsentFunctionsReadAsOnes(t *testing.T) {
	r := newRig(t)
	for _, got := range []uint64{
		r.read(0, Addr{1, 0}, 0, 4), r.read(1, Addr{}, 0, 4), r.mech1Read(7, Addr{}, 0, 4), r.read(0, Addr{0, 1}, 0, 4),
	} {
		if got != 0xffffffff {
			t.Errorf("read %#x", got)
		}
	}
	r.write(0, Addr{1, 0}, 4, 2, 7)
	f := NewFunction(testID)
	r.attach(r.host.Root(), &Addr{4, 1}, f)
	if got := r.read(0, Addr{4, 1}, 0, 4); got != 0xffffffff {
		t.Errorf("function 1 without function 0: %#x", got)
	}
}

func TestConfigAddressRegister(t *testing.T) {
	r := newRig(t)
	r.select1(0, Addr{}, 0)
	data := make([]byte, 4)
	if r.ports.Read(0xcf8, data); data[3] != 0x80 {
		t.Errorf("CONFIG_ADDRESS %x", data)
	}
	r.ports.Write(0xcf8, []byte{1})
	r.ports.Write(0xcfa, []byte{1, 1})
	if r.ports.Read(0xcf8, data); data[0] != 0 || data[2] != 0 {
		t.Errorf("narrow writes changed CONFIG_ADDRESS: %x", data)
	}
	r.ports.Write(0xcf8, []byte{0, 0, 0, 0})
	if r.ports.Read(0xcfc, data); data[0] != 0xff {
		t.Errorf("data without enable: %x", data)
	}
	r.select1(0, Addr{}, 0)
	r.host.Reset()
	if r.ports.Read(0xcf8, data); data[3] != 0 {
		t.Errorf("CONFIG_ADDRESS %x after reset", data)
	}
}

// TestLowBitsOfConfigAddress count as QEMU's tests want: a byte may be named by them too.
func TestLowBitsOfConfigAddress(t *testing.T) {
	r := newRig(t)
	for _, c := range []struct {
		address uint32
		port    uint64
		want    string
	}{
		{0x8000_0000, 0xcfc, "8680"}, {0x8000_0002, 0xcfc, "c029"}, {0x8000_0000, 0xcfe, "c029"}, {0x8000_0002, 0xcfe, "c029"},
		{0x8000_0003, 0xcfc, "8680"}, // would leave the register
	} {
		r.ports.Write(0xcf8, binary.LittleEndian.AppendUint32(nil, c.address))
		data := make([]byte, 2)
		if r.ports.Read(c.port, data); hex.EncodeToString(data) != c.want {
			t.Errorf("address %#x, port %#x: %x, wanted %s", c.address, c.port, data, c.want)
		}
	}
}

func TestResetControlSharesThePorts(t *testing.T) {
	var ports, mmio bus.Space
	reg := make(ram, 1)
	_, err := NewHost(HostConfig{Ports: &ports, MMIO: &mmio, IRQ: &irqtest.Controller{}, ResetControl: reg})
	if err != nil {
		t.Fatal(err)
	}
	ports.Write(0xcf9, []byte{6})
	data := []byte{0}
	if ports.Read(0xcf9, data); reg[0] != 6 || data[0] != 6 {
		t.Errorf("register %x, read %x", reg, data)
	}
}

func TestNewHostGivesBackItsPorts(t *testing.T) {
	var ports, mmio bus.Space
	if err := mmio.Map(testECAM, 1, "ram", make(ram, 1)); err != nil {
		t.Fatal(err)
	}
	cfg := HostConfig{Ports: &ports, MMIO: &mmio, IRQ: &irqtest.Controller{}, ECAMBase: testECAM, ECAMSize: 64 << 20}
	if _, err := NewHost(cfg); err == nil || len(ports.Mappings()) != 0 {
		t.Errorf("%v, %d mappings left", err, len(ports.Mappings()))
	}
	cfg.ECAMBase = 0xe0000000
	if _, err := NewHost(cfg); err != nil {
		t.Error(err)
	}
	if _, err := NewHost(cfg); err == nil {
		t.Error("two hosts on the same ports")
	}
}

func TestLPC(t *testing.T) {
	r := newRig(t)
	a := r.attach(r.host.Root(), &Addr{31, 0}, NewLPC(0x600))
	if got := r.read(0, a, 0, 4); got != 0x29188086 {
		t.Errorf("identity %#x", got)
	}
	r.write(0, a, regPIRQRoutE, 4, 0x0b0a0b0a)
	if got := r.read(0, a, regPIRQRoutE, 4); got != 0x0b0a0b0a {
		t.Errorf("routing %#x", got)
	}
	r.host.Reset()
	if got := r.read(0, a, regPIRQRoutA, 4); got != 0x80808080 || r.read(0, a, regPMBase, 4) != 0x601 {
		t.Errorf("routing after reset %#x", got)
	}
}

func TestQ35PIRQ(t *testing.T) {
	for _, c := range []struct {
		slot, pin uint8
		want      int
	}{{0, 0, 20}, {1, 0, 21}, {3, 1, 20}, {24, 3, 23}, {25, 0, 16}, {31, 1, 17}, {30, 2, 22}} {
		if got := Q35PIRQ(c.slot, c.pin); got != c.want {
			t.Errorf("slot %d pin %d: %d, want %d", c.slot, c.pin, got, c.want)
		}
	}
}

func TestAttachNamesConflicts(t *testing.T) {
	r := newRig(t)
	root := r.host.Root()
	one, _ := r.disk("one")
	multi, _ := r.disk("multi")
	r.attach(root, &Addr{2, 0}, one)
	if _, err := root.Attach(&Addr{3, 0}, multi, true); err != nil {
		t.Fatal(err)
	}
	second, _ := r.disk("second")
	r.attach(root, &Addr{3, 1}, second)
	lone, _ := r.disk("lone")
	r.attach(root, &Addr{5, 3}, lone)
	f := NewFunction(testID)
	f.SetName("nic", "n0")
	for _, c := range []struct {
		a    Addr
		want string
	}{
		{Addr{2, 0}, "PCI: slot 2 function 0 not available for nic, in use by disk,id=one"},
		{Addr{2, 1}, "PCI: single function device can't be populated in function 2.1"},
		{Addr{5, 0}, "PCI: 5.0 indicates single function, but 5.3 is already populated"},
		{Addr{32, 0}, "does not exist"}, {Addr{1, 8}, "does not exist"},
	} {
		if _, err := root.Attach(&c.a, f, false); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v: %v", c.a, err)
		}
	}
	if _, err := root.Attach(nil, one, false); err == nil || !strings.Contains(err.Error(), "attached already") {
		t.Errorf("attaching twice: %v", err)
	}
	if r.read(0, Addr{3, 0}, regHeaderType, 1) != headerMultifunction {
		t.Error("multifunction bit is not set")
	}
}

func TestAttachFillsSlots(t *testing.T) {
	r := newRig(t)
	for want := 1; want < 32; want++ {
		if a := r.attach(r.host.Root(), nil, NewFunction(testID)); int(a.Slot) != want || a.Func != 0 {
			t.Fatalf("got %v, want slot %d", a, want)
		}
	}
	if _, err := r.host.Root().Attach(nil, NewFunction(testID), false); err == nil || !strings.Contains(err.Error(), "no slot") {
		t.Errorf("33rd: %v", err)
	}
	if n := len(r.host.Root().Functions()); n != 32 {
		t.Errorf("%d functions", n)
	}
}

func TestDetach(t *testing.T) {
	r := newRig(t)
	p := r.port("rp0", nil)
	root := r.host.Root()
	f, _ := r.disk("d")
	if _, err := p.Secondary().Attach(nil, f, false); err == nil {
		t.Error("attached to a bus that is not connected")
	}
	if p.Secondary().Functions() != nil || p.Secondary().Detach(f) == nil {
		t.Error("a bus that is not connected has functions")
	}
	r.attach(root, nil, p.Function)
	r.attach(p.Secondary(), nil, f)
	if b, _ := f.Addr(); b != p.Secondary() || r.host.Bus("rp0") != b || r.host.Bus("nope") != nil {
		t.Error("bus by id")
	}
	if root.Detach(f) == nil || root.Detach(p.Function) == nil {
		t.Error("detached from the wrong bus, or a bridge that is in use")
	}
	r.must(p.Secondary().Detach(f))
	r.must(root.Detach(p.Function))
	if b, _ := f.Addr(); b != nil || r.host.Bus("rp0") != nil {
		t.Error("still there")
	}
}

func TestINTxIsShared(t *testing.T) {
	r := newRig(t)
	one, _ := r.disk("one")
	two, _ := r.disk("two")
	a := r.attach(r.host.Root(), &Addr{2, 0}, one)
	r.attach(r.host.Root(), &Addr{6, 0}, two)
	const gsi = 22
	one.SetINTx(true)
	two.SetINTx(true)
	one.SetINTx(false)
	if !r.irq.Level(gsi) {
		t.Error("the line fell while one function holds it")
	}
	one.SetINTx(true)
	two.SetINTx(false)
	if r.read(0, a, regStatus, 2)&statusINTx == 0 || !r.irq.Level(gsi) {
		t.Error("no status bit or no level")
	}
	r.write(0, a, regCommand, 2, cmdINTxDisable)
	if r.irq.Level(gsi) || r.read(0, a, regStatus, 2)&statusINTx == 0 {
		t.Error("INTx disable does not work")
	}
	r.write(0, a, regCommand, 2, 0)
	if !r.irq.Level(gsi) {
		t.Error("the level did not come back")
	}
	r.must(r.host.Root().Detach(one))
	if r.irq.Level(gsi) {
		t.Error("a detached function holds the line")
	}
}

func TestINTxThroughBridges(t *testing.T) {
	r := newRig(t)
	outer, err := NewPCIBridge("outer", 1, Reserve{})
	r.must(err)
	inner, err := NewPCIBridge("inner", 2, Reserve{})
	r.must(err)
	r.attach(r.host.Root(), &Addr{3, 0}, outer.Function)
	r.attach(outer.Secondary(), &Addr{2, 0}, inner.Function)
	f := NewFunction(testID)
	r.must(f.SetInterruptPin(2))
	r.attach(inner.Secondary(), &Addr{1, 0}, f)
	f.SetINTx(true) // INTB of slot 1 is INTC of slot 2 is INTA of slot 3
	if !r.irq.Level(Q35PIRQ(3, 0)) {
		t.Error("the pin is wired elsewhere")
	}
}
