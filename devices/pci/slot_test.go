package pci

import (
	"slices"
	"strings"
	"testing"
)

// hotplugDriver does what an operating system's driver of hot-plug ports does,
// step by step.
type hotplugDriver struct {
	*rig
	p    *RootPort
	a    Addr
	exp  int
	gone []*Function
}

func newHotplugDriver(t testing.TB, cold ...*Function) *hotplugDriver {
	d := &hotplugDriver{rig: newRig(t)}
	d.p = d.port("rp0", func(fs []*Function) { d.gone = append(d.gone, fs...) })
	d.a = d.attach(d.host.Root(), &Addr{2, 0}, d.p.Function)
	for _, f := range cold {
		d.attach(d.p.Secondary(), nil, f)
	}
	d.host.Reset()
	d.assign()
	d.exp = d.capabilities(0, d.a)[CapPCIe]
	d.ctl(sltEnables, sltEnables)
	d.events()
	return d
}

// useMSIX routes the port's vector.
func (d *hotplugDriver) useMSIX() {
	table := d.p.BARs()[0].Base
	d.store(table, 8, 0xfee00000)
	d.store(table+8, 8, 0x55)
	d.set(0, d.a, d.capabilities(0, d.a)[CapMSIX]+msixControl, msixEnable)
}

// ctl changes slot control and checks that the command completes.
func (d *hotplugDriver) ctl(mask, v uint64) {
	d.t.Helper()
	d.write(0, d.a, d.exp+expSltSta, 2, sltStaCC)
	d.write(0, d.a, d.exp+expSltCtl, 2, d.read(0, d.a, d.exp+expSltCtl, 2)&^mask|v)
	if d.read(0, d.a, d.exp+expSltSta, 2)&sltStaCC == 0 {
		d.t.Error("the command did not complete")
	}
}

// events reads and clears the pending events.
func (d *hotplugDriver) events() uint64 {
	sta := d.read(0, d.a, d.exp+expSltSta, 2)
	d.write(0, d.a, d.exp+expSltSta, 2, sta&sltAllW1C)
	return sta & sltAllW1C &^ sltStaCC
}

func (d *hotplugDriver) present() bool { return d.read(0, d.a, d.exp+expSltSta, 2)&sltStaPDS != 0 }
func (d *hotplugDriver) linkUp() bool  { return d.read(0, d.a, d.exp+expLnkSta, 2)&lnkStaDLLLA != 0 }
func (d *hotplugDriver) visible() bool { return d.read(1, Addr{}, 0, 2) == 0x1af4 }

func (d *hotplugDriver) powerOn() {
	d.ctl(sltCtlPIC, sltCtlPICBlnk)
	d.ctl(sltCtlPCC, 0)
	d.ctl(sltCtlPIC, sltCtlPICOn)
}

func (d *hotplugDriver) powerOff() {
	d.ctl(sltCtlPIC, sltCtlPICBlnk)
	d.ctl(sltCtlPCC, sltCtlPCC)
	d.ctl(sltCtlPIC, sltCtlPICOff)
	d.events()
}

func TestHotPlugAndUnplug(t *testing.T) {
	d := newHotplugDriver(t)
	gsi := Q35PIRQ(2, 0)
	if d.present() || d.linkUp() || d.irq.Level(gsi) {
		t.Fatal("the empty slot is not empty")
	}
	f, _ := d.disk("hot")
	if _, err := d.p.Plug(nil, f, false); err != nil {
		t.Fatal(err)
	}
	if !d.present() || !d.linkUp() || !d.irq.Level(gsi) || d.visible() {
		t.Fatal("no event, or visible without power")
	}
	if got := d.events(); got != sltStaPDC|sltStaABP || d.irq.Level(gsi) {
		t.Fatalf("events %#x, line %v", got, d.irq.Level(gsi))
	}
	d.powerOn()
	if !d.visible() {
		t.Fatal("no device in the powered slot")
	}
	d.events()
	d.must(d.p.RequestUnplug())
	if got := d.events(); got != sltStaABP || len(d.gone) != 0 || !d.visible() {
		t.Fatalf("request: events %#x, gone %v", got, d.gone)
	}
	d.powerOff()
	if !slices.Equal(d.gone, []*Function{f}) || d.present() || d.linkUp() || d.visible() {
		t.Errorf("gone %v, present %v", d.gone, d.present())
	}
	again, _ := d.disk("again")
	if _, err := d.p.Plug(&Addr{}, again, false); err != nil {
		t.Error(err)
	}
}

func TestHotPlugEventsByMSIX(t *testing.T) {
	d := newHotplugDriver(t)
	d.useMSIX()
	f, _ := d.disk("hot")
	if _, err := d.p.Plug(nil, f, false); err != nil {
		t.Fatal(err)
	}
	d.irq.WaitDelivered(1)
	if m := d.irq.Delivered()[0]; m.Data != 0x55 || d.irq.Level(Q35PIRQ(2, 0)) {
		t.Errorf("delivered %+v", m)
	}
}

func TestColdPluggedSlot(t *testing.T) {
	f := NewFunction(testID)
	d := newHotplugDriver(t, f)
	if !d.present() || !d.linkUp() || !d.visible() || d.events() != 0 {
		t.Fatal("a device from before the start is not simply there")
	}
	if got := d.read(0, d.a, d.exp+expSltCtl, 2) & (sltCtlPIC | sltCtlPCC); got != sltCtlPICOn {
		t.Errorf("slot control %#x", got)
	}
	d.host.Reset()
	if !d.visible() && d.read(0, d.a, regSecondaryBus, 1) != 0 {
		t.Error("reset takes it away")
	}
	d.must(d.p.Secondary().Detach(f))
	if d.present() || d.linkUp() {
		t.Error("still present after Detach")
	}
}

func TestPowerGatesTheDevice(t *testing.T) {
	d := newHotplugDriver(t)
	hot, _ := d.disk("d2")
	if _, err := d.p.Plug(nil, hot, false); err != nil {
		t.Fatal(err)
	}
	d.powerOn()
	d.write(1, Addr{}, regBAR0+4, 4, 0xd0000000)
	d.write(1, Addr{}, regCommand, 2, cmdMemory)
	if !hot.BARs()[0].Decoded {
		t.Fatal("not decoded")
	}
	d.ctl(sltCtlPCC, sltCtlPCC) // indicator still on: power off, but no unplug
	if hot.BARs()[0].Decoded || d.visible() || len(d.gone) != 0 {
		t.Error("decoded without power, or unplugged too early")
	}
	d.ctl(sltCtlPCC, 0)
	if !hot.BARs()[0].Decoded || !d.visible() {
		t.Error("power did not bring it back")
	}
}

func TestUnplugWithoutTheGuest(t *testing.T) {
	d := newHotplugDriver(t)
	f, _ := d.disk("d")
	if _, err := d.p.Plug(nil, f, false); err != nil {
		t.Fatal(err)
	}
	d.must(d.p.RequestUnplug()) // the slot never got power
	if len(d.gone) != 1 || d.present() || d.events()&sltStaPDC == 0 {
		t.Errorf("gone %v", d.gone)
	}
	half, _ := d.disk("half")
	if a, err := d.p.Plug(&Addr{0, 1}, half, false); err != nil || a.Func != 1 {
		t.Fatal(a, err)
	}
	if d.present() {
		t.Error("function 1 alone is announced")
	}
	d.must(d.p.RequestUnplug())
	if len(d.gone) != 2 {
		t.Error("function 1 stays")
	}
}

func TestMultifunctionHotPlug(t *testing.T) {
	d := newHotplugDriver(t)
	one, _ := d.disk("one")
	zero, _ := d.disk("zero")
	late, _ := d.disk("late")
	if _, err := d.p.Plug(&Addr{0, 1}, one, true); err != nil {
		t.Fatal(err)
	}
	if _, err := d.p.Plug(&Addr{0, 0}, zero, true); err != nil {
		t.Fatal(err)
	}
	d.powerOn()
	if d.read(1, Addr{0, 1}, 0, 2) != 0x1af4 || !d.visible() {
		t.Error("functions missing")
	}
	if _, err := d.p.Plug(&Addr{0, 2}, late, true); err == nil || !strings.Contains(err.Error(), "function 0 already occupied") {
		t.Errorf("function 2 after function 0: %v", err)
	}
	d.powerOff()
	if len(d.gone) != 2 {
		t.Errorf("%d functions gone", len(d.gone))
	}
}

func TestHotPlugRefusals(t *testing.T) {
	d := newHotplugDriver(t)
	f, _ := d.disk("d")
	if _, err := d.p.Plug(&Addr{1, 0}, f, false); err == nil || !strings.Contains(err.Error(), "slot 0") {
		t.Errorf("slot 1 of a port: %v", err)
	}
	d.ctl(0, sltCtlEIC)
	if d.read(0, d.a, d.exp+expSltCtl, 2)&sltCtlEIC != 0 {
		t.Error("the interlock bit reads back")
	}
	if _, err := d.p.Plug(nil, f, false); err == nil || d.p.RequestUnplug() == nil {
		t.Errorf("a locked slot: %v", err)
	}
	d.ctl(0, sltCtlEIC)
	d.ctl(sltCtlPIC, sltCtlPICBlnk)
	if err := d.p.RequestUnplug(); err == nil || !strings.Contains(err.Error(), "busy") {
		t.Errorf("blinking: %v", err)
	}
	fixed, err := NewRootPort(RootPortConfig{ID: "fixed"})
	d.must(err)
	if _, err := fixed.Plug(nil, f, false); err == nil || fixed.RequestUnplug() == nil {
		t.Error("hot-plug on a port without it")
	}
	loose := d.port("loose", nil)
	if _, err := loose.Plug(nil, f, false); err == nil {
		t.Error("hot-plug on a port that is attached nowhere")
	}
}

func TestClearingUnseenEventsKeepsThem(t *testing.T) {
	d := newHotplugDriver(t)
	f, _ := d.disk("d")
	if _, err := d.p.Plug(nil, f, false); err != nil {
		t.Fatal(err)
	}
	d.write(0, d.a, d.exp+expSltSta, 2, sltAllW1C) // as guests do at start
	if got := d.events(); got&(sltStaPDC|sltStaABP) != sltStaPDC|sltStaABP {
		t.Errorf("events %#x", got)
	}
}

func TestRootPortLooksLikeQEMUs(t *testing.T) {
	d := newHotplugDriver(t)
	if got := d.read(0, d.a, 0, 4); got != 0x000c1b36 {
		t.Errorf("identity %#x", got)
	}
	for reg, want := range map[int]uint64{
		expFlags:  2 | 4<<4 | expFlagsSlot,
		expSltCap: 3<<19 | 0x2007b,
		expLnkCap: 1<<21 | 1<<20 | 1<<10 | 32<<4 | 4,
	} {
		size := 4
		if reg == expFlags {
			size = 2
		}
		if got := d.read(0, d.a, d.exp+reg, size); got != want {
			t.Errorf("register %#x of the capability is %#x, want %#x", reg, got, want)
		}
	}
	if got := d.read(0, d.a, d.capabilities(0, d.a)[CapSSVID]+4, 4); got != vendorRedHat {
		t.Errorf("subsystem %#x", got)
	}
	ext := d.extCapabilities(0, d.a)
	if ext[ExtCapAER] != 0x100 || ext[ExtCapACS] != 0x148 {
		t.Errorf("extended capabilities %v", ext)
	}
	aer := ext[ExtCapAER]
	d.write(0, d.a, aer+aerUncorMask, 4, 0xffffffff)
	d.write(0, d.a, aer+aerUncorStatus, 4, 0xffffffff)
	if got := d.read(0, d.a, aer+aerUncorMask, 4); got != aerUncorErrors || d.read(0, d.a, aer+aerUncorStatus, 4) != 0 {
		t.Errorf("AER mask %#x", got)
	}
}

func TestReservations(t *testing.T) {
	none, bus32 := uint64(0), uint32(4)
	p, err := NewRootPort(RootPortConfig{ID: "p", Reserve: Reserve{IO: &none, Bus: &bus32}})
	if err != nil {
		t.Fatal(err)
	}
	r := newRig(t)
	a := r.attach(r.host.Root(), nil, p.Function)
	off := r.capabilities(0, a)[CapVendor]
	if got := r.read(0, a, off+2, 2); got != 1<<8|32 {
		t.Errorf("reserve capability %#x", got)
	}
	if b, io := r.read(0, a, off+4, 4), r.read(0, a, off+8, 8); b != 4 || io != 0 {
		t.Errorf("reserves %d buses and %#x ports", b, io)
	}
	if mem := r.read(0, a, off+16, 4); mem != 0xffffffff {
		t.Errorf("reserves %#x of memory", mem)
	}
	r.write(0, a, regCommand, 2, 7)
	r.write(0, a, regIOBase, 2, 0x2010)
	if r.read(0, a, regCommand, 2) != 6 || r.read(0, a, regIOBase, 2) != 0xf0 {
		t.Error("io-reserve=0 leaves an I/O window")
	}
	q, err := NewRootPort(RootPortConfig{ID: "q"})
	r.must(err)
	r.attach(r.host.Root(), nil, q.Function)
	r.assign()
	if lo, hi := p.busRange(); lo != 1 || hi != 5 {
		t.Errorf("buses %d to %d", lo, hi)
	}
	if lo, _ := q.busRange(); lo != 6 {
		t.Errorf("the next bridge starts at bus %d", lo)
	}
}
