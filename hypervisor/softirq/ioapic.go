package softirq

import "encoding/binary"

// Registers of the I/O APIC.
const (
	offSelect = 0x00
	offWindow = 0x10
	offEOI    = 0x40

	regID       = 0
	regVersion  = 1
	regArbiter  = 2
	regRedirect = 0x10

	version  = 0x20 // with an EOI register
	idMask   = 0x0f00_0000
	entryRO  = 1<<12 | entryIRR
	entryIRR = 1 << 14 // an interrupt by level is being served
	byLevel  = 1 << 15
	masked   = 1 << 16
)

// ioapic is an 82093AA with the EOI register of later ones.
type ioapic struct {
	sel     byte
	id      uint32
	levels  uint32
	entries [Pins]uint64
}

func (a *ioapic) reset() {
	a.sel, a.id = 0, 0
	for i := range a.entries {
		a.entries[i] = masked
	}
}

// set drives a pin.
func (a *ioapic) set(pin int, level bool) {
	a.levels &^= 1 << pin
	if level {
		a.levels |= 1 << pin
	}
	a.serve(pin)
}

// serve sends the interrupt of a level-triggered pin, once until its EOI. One of an edge
// leaves no trace.
func (a *ioapic) serve(pin int) {
	if a.levels>>pin&1 != 0 && a.entries[pin]&(byLevel|masked) == byLevel {
		a.entries[pin] |= entryIRR
	}
}

func (a *ioapic) read() uint32 {
	switch n := int(a.sel) - regRedirect; {
	case a.sel == regID || a.sel == regArbiter:
		return a.id
	case a.sel == regVersion:
		return version | (Pins-1)<<16
	case n >= 0 && n < 2*Pins:
		return uint32(a.entries[n/2] >> (32 * (n % 2)))
	}
	return 0
}

func (a *ioapic) write(v uint32) {
	n := int(a.sel) - regRedirect
	switch {
	case a.sel == regID:
		a.id = v & idMask
	case n < 0 || n >= 2*Pins:
	case n%2 == 1:
		a.entries[n/2] = a.entries[n/2]&0xffff_ffff | uint64(v)<<32
	default:
		e := &a.entries[n/2]
		*e = *e&(0xffff_ffff<<32|entryRO) | uint64(v)&^entryRO
		if *e&byLevel == 0 {
			*e &^= entryIRR
		}
		a.serve(n / 2)
	}
}

// eoi ends the interrupts with a vector.
func (a *ioapic) eoi(vector byte) {
	for pin := range a.entries {
		if e := &a.entries[pin]; byte(*e) == vector {
			*e &^= entryIRR
			a.serve(pin)
		}
	}
}

// ioapicWindow is the I/O APIC's registers in memory.
type ioapicWindow struct{ c *Controller }

// Read reads the selection or what is selected.
func (w ioapicWindow) Read(off uint64, data []byte) {
	w.c.mu.Lock()
	defer w.c.mu.Unlock()
	var b [8]byte
	switch off {
	case offSelect:
		b[0] = w.c.ioapic.sel
	case offWindow:
		binary.LittleEndian.PutUint32(b[:], w.c.ioapic.read())
	}
	copy(data, b[:])
}

// Write writes it.
func (w ioapicWindow) Write(off uint64, data []byte) {
	w.c.mu.Lock()
	defer w.c.mu.Unlock()
	switch {
	case off == offSelect:
		w.c.ioapic.sel = data[0]
	case off == offWindow && len(data) >= 4:
		w.c.ioapic.write(binary.LittleEndian.Uint32(data))
	case off == offEOI:
		w.c.ioapic.eoi(data[0])
	}
}
