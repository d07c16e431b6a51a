package platform

import (
	"bytes"
	"testing"

	"hv/devices/bus"
	"hv/devices/irq/irqtest"
)

const uartIRQ = 4

// uartRig is a UART, what it printed, and its driver.
type uartRig struct {
	*UART
	irq   irqtest.Controller
	out   bytes.Buffer
	space int
}

func newUARTRig() *uartRig {
	r := &uartRig{}
	r.UART = NewUART(UARTConfig{IRQ: r.irq.Line(uartIRQ), Output: &r.out, Space: func() { r.space++ }})
	return r
}

func (r *uartRig) in(reg uint64) byte {
	data := []byte{0}
	r.Read(reg, data)
	return data[0]
}

func (r *uartRig) outb(reg uint64, v byte) { r.Write(reg, []byte{v}) }
func (r *uartRig) raised() bool            { return r.irq.Level(uartIRQ) }

func TestUARTPrints(t *testing.T) {
	r := newUARTRig()
	for _, c := range []byte("hello\n") {
		if r.in(uartLSR)&lsrTXEmpty != lsrTXEmpty {
			t.Fatal("the transmitter is busy")
		}
		r.outb(uartData, c)
	}
	if r.out.String() != "hello\n" || r.raised() {
		t.Errorf("printed %q", r.out.String())
	}
	NewUART(UARTConfig{IRQ: r.irq.Line(3)}).Write(uartData, []byte{1})
}

func TestUARTDivisorAndRegisters(t *testing.T) {
	r := newUARTRig()
	r.outb(uartLCR, 0x83)
	r.Write(uartData, []byte{0x34, 0x12})
	if lo, hi := r.in(uartData), r.in(uartIER); lo != 0x34 || hi != 0x12 || r.out.Len() != 0 {
		t.Errorf("divisor %x%x, printed %q", hi, lo, r.out.String())
	}
	r.outb(uartLCR, 0x03)
	for reg, want := range map[uint64]byte{uartIER: 0x0f, uartLCR: 0xff, uartMCR: 0x1f, uartScratch: 0xff} {
		r.outb(uartLCR, 0x03)
		r.outb(reg, 0xff)
		if got := r.in(reg); got != want {
			t.Errorf("register %d reads %#x, want %#x", reg, got, want)
		}
	}
	r.Reset()
	if r.in(uartIER) != 0 || r.in(uartMCR) != 8 || r.in(uartMSR) != msrAlways || r.in(uartIIR) != iirNone {
		t.Error("reset state")
	}
}

// TestUARTIsFoundAs16550A does what Linux's 8250 driver does to tell types
// apart.
func TestUARTIsFoundAs16550A(t *testing.T) {
	r := newUARTRig()
	r.outb(uartMCR, mcrLoop|0x0a)
	if got := r.in(uartMSR) & 0xf0; got != 0x90 {
		t.Errorf("loopback modem status %#x", got)
	}
	r.outb(uartMCR, 0)
	r.outb(uartIIR, fcrEnable)
	if got := r.in(uartIIR) >> 6; got != 3 {
		t.Errorf("FIFO bits %d", got)
	}
	r.outb(uartIIR, 0)
	if got := r.in(uartIIR); got != iirNone {
		t.Errorf("FIFO off, IIR %#x", got)
	}
}

func TestUARTTransmitterInterrupt(t *testing.T) {
	r := newUARTRig()
	r.outb(uartIER, ierTHRI)
	if !r.raised() || r.in(uartIIR) != iirTHRI {
		t.Fatal("enabling the interrupt does not raise it")
	}
	if r.raised() || r.in(uartIIR) != iirNone {
		t.Fatal("reading IIR does not clear it")
	}
	before := r.irq.Rises(uartIRQ)
	r.outb(uartData, 'x')
	if !r.raised() || r.irq.Rises(uartIRQ) != before+1 {
		t.Error("no interrupt after a character")
	}
	r.outb(uartIER, 0)
	if r.raised() {
		t.Error("disabled but raised")
	}
}

func TestUARTReceives(t *testing.T) {
	r := newUARTRig()
	r.outb(uartIIR, fcrEnable|0x40) // trigger at 4
	r.outb(uartIER, ierRDI)
	if r.CanReceive() != 16 {
		t.Fatalf("room for %d", r.CanReceive())
	}
	r.Receive([]byte("abc"))
	if got := r.in(uartIIR); got != iirFIFO|iirCTI || !r.raised() {
		t.Errorf("below the trigger: IIR %#x", got)
	}
	r.Receive([]byte("d"))
	if got := r.in(uartIIR); got != iirFIFO|iirRDI {
		t.Errorf("at the trigger: IIR %#x", got)
	}
	var got []byte
	for r.in(uartLSR)&lsrDR != 0 {
		got = append(got, r.in(uartData))
	}
	if string(got) != "abcd" || r.raised() {
		t.Errorf("received %q", got)
	}
}

func TestUARTOverrunAndBreak(t *testing.T) {
	r := newUARTRig()
	r.outb(uartIER, ierRLSI)
	r.Receive([]byte("ab")) // no FIFO: room for one
	if got := r.in(uartIIR); got != iirRLSI {
		t.Errorf("IIR %#x", got)
	}
	if got := r.in(uartLSR); got&(lsrOE|lsrDR) != lsrOE|lsrDR || r.raised() || r.in(uartLSR)&lsrOE != 0 {
		t.Errorf("LSR %#x", got)
	}
	if r.in(uartData) != 'a' {
		t.Error("the first character is lost")
	}
	r.Break()
	if got := r.in(uartLSR); got&(lsrBI|lsrDR) != lsrBI|lsrDR || r.in(uartData) != 0 {
		t.Errorf("after a break: LSR %#x", got)
	}
	r.outb(uartIIR, fcrEnable)
	r.Receive(bytes.Repeat([]byte{'x'}, 10))
	r.outb(uartIIR, fcrEnable|fcrClearRX)
	if r.in(uartLSR)&lsrDR != 0 || r.CanReceive() != 16 {
		t.Error("clearing the FIFO")
	}
}

func TestUARTTellsOfRoomOnce(t *testing.T) {
	r := newUARTRig()
	r.Receive([]byte{'a'})
	r.in(uartData)
	if r.space != 0 {
		t.Error("told without waiting")
	}
	r.Receive([]byte{'b'})
	if r.CanReceive() != 0 {
		t.Error("room in a full device")
	}
	r.in(uartLSR)
	if r.space != 0 {
		t.Error("told without room")
	}
	r.in(uartData)
	r.in(uartData)
	if r.space != 1 {
		t.Errorf("told %d times", r.space)
	}
}

func TestUARTLoopback(t *testing.T) {
	r := newUARTRig()
	r.outb(uartMCR, mcrLoop)
	r.outb(uartData, 'z')
	if r.out.Len() != 0 || r.in(uartData) != 'z' {
		t.Error("loopback goes elsewhere")
	}
}

func TestUARTModemStatusInterrupt(t *testing.T) {
	r := newUARTRig()
	r.msr |= 0x01
	r.outb(uartIER, ierMSI)
	if r.in(uartIIR) != iirMSI || !r.raised() {
		t.Fatal("no modem status interrupt")
	}
	if got := r.in(uartMSR); got != msrAlways|1 || r.raised() || r.in(uartMSR) != msrAlways {
		t.Errorf("MSR %#x", got)
	}
}

func TestUARTMapAndAllocations(t *testing.T) {
	var ports bus.Space
	u := NewUART(UARTConfig{IRQ: new(irqtest.Controller).Line(1), Output: discard{}})
	if err := u.Map(&ports, 0x3f8); err != nil {
		t.Fatal(err)
	}
	if u.Map(&ports, 0x3ff) == nil {
		t.Error("mapped over itself")
	}
	data := []byte{'x'}
	if n := testing.AllocsPerRun(100, func() { ports.Write(0x3f8, data); ports.Read(0x3fd, data) }); n != 0 {
		t.Errorf("%v allocations a byte", n)
	}
}

// discard is an Output that takes everything.
type discard struct{}

func (discard) Write(p []byte) (int, error) { return len(p), nil }

func FuzzUART(f *testing.F) {
	f.Add([]byte{1, 15, 2, 1, 0, 'a', 9, 'b', 5, 0, 8, 0})
	f.Add([]byte{3, 0x80, 0, 1, 1, 2, 3, 3, 4, 0x10, 0, 'x', 16, 9})
	f.Fuzz(func(t *testing.T, ops []byte) {
		r := newUARTRig()
		for ; len(ops) >= 2; ops = ops[2:] {
			switch reg := uint64(ops[0] & 7); ops[0] >> 3 & 3 {
			case 0:
				r.outb(reg, ops[1])
			case 1:
				r.in(reg)
			case 2:
				r.Receive(bytes.Repeat([]byte{ops[1]}, int(reg)))
			case 3:
				r.Break()
			}
			if n := r.CanReceive(); n < 0 || n > uartFIFO || r.count > uartFIFO {
				t.Fatalf("room for %d, holds %d", n, r.count)
			}
			if r.raised() != (r.iir&iirID != iirNone) || (r.lsr&lsrDR != 0) != (r.count > 0) {
				t.Fatalf("line %v, IIR %#x, LSR %#x, holds %d", r.raised(), r.iir, r.lsr, r.count)
			}
		}
	})
}

func BenchmarkUARTWrite(b *testing.B) {
	u := NewUART(UARTConfig{IRQ: new(irqtest.Controller).Line(1), Output: discard{}})
	data := []byte{'x'}
	b.ReportAllocs()
	for b.Loop() {
		u.Write(uartData, data)
	}
}
