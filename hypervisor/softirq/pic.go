package softirq

import "math/bits"

// Bits of the 8259A's command words.
const (
	icw1        = 0x10
	icw1NeedsW4 = 0x01
	icw1Single  = 0x02
	ocw3        = 0x08
	ocw3Read    = 0x02
	ocw3ISR     = 0x01
	ocw3Poll    = 0x04
	ocw2EOI     = 0x20
	ocw2This    = 0x40
	polled      = 0x80
)

// pic is one 8259A with fixed priorities.
type pic struct {
	levels  byte // of the inputs
	elcr    byte // inputs that are triggered by level
	irr     byte // edges that were seen
	isr     byte
	imr     byte
	expect  int // next word of the initialisation, 0 for none
	needsW4 bool
	single  bool
	readISR bool
	poll    bool
}

// set drives an input.
func (p *pic) set(input int, level bool) {
	bit := byte(1) << input
	rising := level && p.levels&bit == 0
	p.levels &^= bit
	if level {
		p.levels |= bit
	} else {
		p.irr &^= bit
	}
	if rising && p.elcr&bit == 0 {
		p.irr |= bit
	}
}

// requests returns the interrupt request register.
func (p *pic) requests() byte { return p.irr | p.levels&p.elcr }

// highest returns the input that asks for service and may.
func (p *pic) highest() (input int, ok bool) {
	want := p.requests() &^ p.imr
	input = bits.TrailingZeros8(want)
	return input, want != 0 && input < bits.TrailingZeros8(p.isr)
}

// acknowledge is what a processor does, or a poll in its place.
func (p *pic) acknowledge() byte {
	input, ok := p.highest()
	if !ok {
		return 0
	}
	p.irr &^= 1 << input
	p.isr |= 1 << input
	return polled | byte(input)
}

func (p *pic) readByte(off uint64) byte {
	switch {
	case p.poll:
		p.poll = false
		return p.acknowledge()
	case off == 1:
		return p.imr
	case p.readISR:
		return p.isr
	}
	return p.requests()
}

func (p *pic) writeByte(off uint64, v byte) {
	switch {
	case off == 1 && p.expect != 0:
		p.initialise(v)
	case off == 1:
		p.imr = v
	case v&icw1 != 0:
		*p = pic{levels: p.levels, elcr: p.elcr, expect: 2, needsW4: v&icw1NeedsW4 != 0, single: v&icw1Single != 0}
	case v&ocw3 != 0:
		p.poll = v&ocw3Poll != 0
		if v&ocw3Read != 0 {
			p.readISR = v&ocw3ISR != 0
		}
	case v&(ocw2EOI|ocw2This) == ocw2EOI:
		p.isr &= p.isr - 1 // the one of the highest priority
	case v&ocw2EOI != 0:
		p.isr &^= 1 << (v & 7)
	}
}

// initialise takes the words after ICW1.
func (p *pic) initialise(v byte) {
	switch p.expect {
	case 2:
		p.expect = 3
		if !p.single {
			return
		}
	case 4:
		p.expect = 0
		return
	}
	p.expect = 0
	if p.needsW4 {
		p.expect = 4
	}
}

// picPorts is a PIC's ports.
type picPorts struct {
	c *Controller
	i int
}

// Read reads registers.
func (p picPorts) Read(off uint64, data []byte) {
	p.c.mu.Lock()
	defer p.c.mu.Unlock()
	for i := range data {
		data[i] = p.c.pics[p.i].readByte((off + uint64(i)) & 1)
	}
	p.c.updateCascade()
}

// Write writes registers.
func (p picPorts) Write(off uint64, data []byte) {
	p.c.mu.Lock()
	defer p.c.mu.Unlock()
	for i, v := range data {
		p.c.pics[p.i].writeByte((off+uint64(i))&1, v)
	}
	p.c.updateCascade()
}

// elcrPorts is the edge and level control registers of both PICs (ICH9 §13.4.10).
type elcrPorts struct{ c *Controller }

// elcrFixed are the inputs that stay edge-triggered: timer, keyboard, cascade; clock and
// coprocessor.
var elcrFixed = [2]byte{0x07, 0x21}

// Read reads the registers.
func (e elcrPorts) Read(off uint64, data []byte) {
	e.c.mu.Lock()
	defer e.c.mu.Unlock()
	for i := range data {
		data[i] = e.c.pics[(off+uint64(i))&1].elcr
	}
}

// Write writes them.
func (e elcrPorts) Write(off uint64, data []byte) {
	e.c.mu.Lock()
	defer e.c.mu.Unlock()
	for i, v := range data {
		n := (off + uint64(i)) & 1
		e.c.pics[n].elcr = v &^ elcrFixed[n]
	}
	e.c.updateCascade()
}
