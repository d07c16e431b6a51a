package softirq

import (
	"encoding/binary"
	"fmt"
	"slices"
	"testing"

	"hv/devices/bus"
)

// bench is controllers with their registers mapped.
type bench struct {
	*Controller
	ports, mmio bus.Space
	messages    []string
}

func newBench(t *testing.T) *bench {
	t.Helper()
	b := &bench{}
	b.Controller = New(func(addr uint64, data uint32) { b.messages = append(b.messages, fmt.Sprintf("%#x=%#x", addr, data)) })
	if err := b.Map(&b.ports, &b.mmio); err != nil {
		t.Fatal(err)
	}
	return b
}

func (b *bench) in(port uint64) byte {
	var v [1]byte
	b.ports.Read(port, v[:])
	return v[0]
}

func (b *bench) out(port uint64, values ...byte) {
	for _, v := range values {
		b.ports.Write(port, []byte{v})
	}
}

// apic reads a register of the I/O APIC, after writing it if a value is given.
func (b *bench) apic(reg byte, write ...uint32) uint32 {
	b.mmio.Write(ioapicBase, []byte{reg, 0, 0, 0})
	for _, v := range write {
		b.mmio.Write(ioapicBase+offWindow, binary.LittleEndian.AppendUint32(nil, v))
	}
	var v [4]byte
	b.mmio.Read(ioapicBase+offWindow, v[:])
	return binary.LittleEndian.Uint32(v[:])
}

func TestTapSeesChangesOnly(t *testing.T) {
	b := newBench(t)
	var seen []string
	b.Watch(func(gsi int, level bool) { seen = append(seen, fmt.Sprint(gsi, level)) })
	l := b.Line(8)
	for _, level := range []bool{false, true, true, false} {
		l.Set(level)
	}
	b.Line(23).Set(true)
	for _, gsi := range []int{-1, Pins, 1000} {
		b.Line(gsi).Set(true)
	}
	if want := []string{"8 true", "8 false", "23 true"}; !slices.Equal(seen, want) {
		t.Errorf("the tap saw %q, wanted %q", seen, want)
	}
	b.Watch(nil)
	l.Set(true)
	if len(seen) != 3 {
		t.Error("a tap that was taken away is called")
	}
}

func TestVectorsWaitBehindTheirMask(t *testing.T) {
	b := newBench(t)
	v, err := b.NewVector()
	if err != nil {
		t.Fatal(err)
	}
	v.Signal()
	if !v.Pending() || len(b.messages) != 0 || v.FD() != -1 {
		t.Errorf("a masked vector: pending %v, sent %q, descriptor %d", v.Pending(), b.messages, v.FD())
	}
	if err := v.SetMessage(0x1000, 0x55, false); err != nil || v.Pending() {
		t.Errorf("unmasked: %v, pending %v", err, v.Pending())
	}
	v.Signal()
	if err := v.Close(); err != nil {
		t.Error(err)
	}
	v.Signal()
	if want := []string{"0x1000=0x55", "0x1000=0x55"}; !slices.Equal(b.messages, want) {
		t.Errorf("sent %q, wanted %q", b.messages, want)
	}
}

// initialise brings both PICs up as a PC's firmware does.
func (b *bench) initialise() {
	for i, port := range []uint64{picPort, pic2Port} {
		b.out(port, 0x11)
		b.out(port+1, byte(8+0x68*i), 4>>i, 1, 0)
	}
}

func TestPICRegisters(t *testing.T) {
	b := newBench(t)
	b.initialise()
	b.out(picPort+1, 0xa5)
	if got := b.in(picPort + 1); got != 0xa5 {
		t.Errorf("mask reads as %#x", got)
	}
	b.out(picPort+1, 0)
	b.Line(4).Set(true)
	if got := b.in(picPort); got != 0x10 {
		t.Errorf("requests %#x", got)
	}
	b.out(picPort, ocw3|ocw3Poll)
	if got := b.in(picPort); got != polled|4 {
		t.Errorf("poll says %#x", got)
	}
	b.out(picPort, ocw3|ocw3Read|ocw3ISR)
	if got := b.in(picPort); got != 0x10 {
		t.Errorf("in service: %#x", got)
	}
	b.Line(5).Set(true)
	b.out(picPort, ocw3|ocw3Poll)
	if got := b.in(picPort); got != 0 {
		t.Errorf("a lower priority is served in a higher one: %#x", got)
	}
	b.out(picPort, ocw2EOI|ocw2This|4)
	if got := b.in(picPort); got != 0 {
		t.Errorf("in service after its EOI: %#x", got)
	}
	b.out(picPort, 0x11)
	if got := b.in(picPort); got != 0 {
		t.Errorf("an edge survives the initialisation: %#x", got)
	}
}

func TestCascade(t *testing.T) {
	b := newBench(t)
	b.initialise()
	b.Line(8).Set(true)
	if first, second := b.in(picPort), b.in(pic2Port); first != 1<<cascade || second != 1 {
		t.Errorf("requests %#x and %#x", first, second)
	}
	b.out(pic2Port, ocw3|ocw3Poll)
	if got := b.in(pic2Port); got != polled {
		t.Errorf("poll of the second says %#x", got)
	}
	if got := b.in(picPort); got != 0 {
		t.Errorf("the first still has requests %#x", got)
	}
	b.out(pic2Port, ocw2EOI)
	b.out(pic2Port+1, 1)
	b.Line(8).Set(false)
	b.Line(8).Set(true)
	if got := b.in(picPort); got != 0 {
		t.Errorf("a masked input of the second arrives at the first: %#x", got)
	}
}

func TestELCR(t *testing.T) {
	b := newBench(t)
	b.initialise()
	b.out(elcrPort, 0xff)
	b.out(elcrPort+1, 0xff)
	if got := [2]byte{b.in(elcrPort), b.in(elcrPort + 1)}; got != [2]byte{0xf8, 0xde} {
		t.Errorf("reads as %#x", got)
	}
	b.Line(10).Set(true)
	b.out(pic2Port, ocw3|ocw3Poll)
	b.in(pic2Port)
	b.out(pic2Port, ocw2EOI)
	if got := b.in(pic2Port); got != 1<<2 {
		t.Errorf("a level that stays does not ask again: %#x", got)
	}
	b.Line(10).Set(false)
	if got := b.in(pic2Port); got != 0 {
		t.Errorf("a level that went still asks: %#x", got)
	}
}

func TestIOAPICRegisters(t *testing.T) {
	b := newBench(t)
	for reg, want := range map[byte]uint32{regVersion: 0x170020, regRedirect: masked, regRedirect + 1: 0, regRedirect + 47: 0, regRedirect + 48: 0, 0x0f: 0} {
		if got := b.apic(reg); got != want {
			t.Errorf("register %#x is %#x, wanted %#x", reg, got, want)
		}
	}
	if got := b.apic(regID, 0xffff_ffff); got != idMask || b.apic(regArbiter) != idMask {
		t.Errorf("the id reads as %#x", got)
	}
	if got := b.apic(regRedirect+4, 0xffff_ffff); got != 0xffff_ffff&^entryRO {
		t.Errorf("an entry reads as %#x", got)
	}
	if got := b.apic(regRedirect+5, 0xff00_0000); got != 0xff00_0000 || b.apic(regRedirect+4) != 0xffff_ffff&^entryRO {
		t.Errorf("an entry's upper half reads as %#x", got)
	}
	if err := b.Reset(); err != nil || b.apic(regRedirect+4) != masked || b.apic(regRedirect+5) != 0 {
		t.Errorf("after a reset: %v, %#x", err, b.apic(regRedirect+4))
	}
}

func TestIOAPICServesLevels(t *testing.T) {
	b := newBench(t)
	const pin, vec = 20, 0x41
	reg := byte(regRedirect + 2*pin)
	b.Line(pin).Set(true)
	if got := b.apic(reg, vec|byLevel); got != vec|byLevel|entryIRR {
		t.Errorf("unmasked with the level on: %#x", got)
	}
	b.mmio.Write(ioapicBase+offEOI, []byte{vec + 1, 0, 0, 0})
	b.Line(pin).Set(false)
	if got := b.apic(reg); got&entryIRR == 0 {
		t.Errorf("the EOI of another vector ended it: %#x", got)
	}
	b.mmio.Write(ioapicBase+offEOI, []byte{vec, 0, 0, 0})
	if got := b.apic(reg); got&entryIRR != 0 {
		t.Errorf("not ended by its EOI: %#x", got)
	}
	b.Line(pin).Set(true)
	b.mmio.Write(ioapicBase+offEOI, []byte{vec, 0, 0, 0})
	if got := b.apic(reg); got&entryIRR == 0 {
		t.Errorf("a level that stays is not served again: %#x", got)
	}
	if got := b.apic(reg, vec); got&entryIRR != 0 {
		t.Errorf("an entry by edge has %#x", got)
	}
}

// TestTimerPin: interrupt 0 arrives at pin 2, and 2 nowhere.
func TestTimerPin(t *testing.T) {
	b := newBench(t)
	b.apic(regRedirect+2*timerPin, 0x30|byLevel)
	b.Line(cascade).Set(true)
	if got := b.apic(regRedirect + 2*timerPin); got&entryIRR != 0 {
		t.Errorf("interrupt 2 arrives: %#x", got)
	}
	b.Line(timerGSI).Set(true)
	if got := b.apic(regRedirect + 2*timerPin); got&entryIRR == 0 {
		t.Errorf("interrupt 0 does not arrive: %#x", got)
	}
}
