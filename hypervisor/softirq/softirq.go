// Package softirq is the interrupt controllers of a machine that has no processors and
// no KVM, as qtest drives it: an I/O APIC, two 8259A and the target of message-signalled
// interrupts. Nobody acknowledges what they raise; their registers and a tap on the
// I/O APIC's inputs show it.
//
// All may be used from any goroutine. One lock guards the lines and registers; the tap
// is called under it, so that it sees changes in their order. A vector has a lock of its
// own, under which its message is written.
//
// Implements hv/devices/irq; Intel's 82093AA (I/O APIC) and 8259A (PIC), and PCI 3.0
// §6.8 (messages and their masks). It depends on devices/bus and devices/irq.
package softirq

import (
	"fmt"
	"sync"

	"hv/devices/bus"
	"hv/devices/irq"
)

// Pins is how many inputs the I/O APIC has. They have the numbers of ISA interrupts and
// beyond; number 0, the timer's, arrives at pin 2.
const Pins = 24

const (
	timerGSI   = 0
	timerPin   = 2
	cascade    = 2 // input of the first PIC that the second one has
	picInputs  = 8
	picPort    = 0x20
	pic2Port   = 0xa0
	elcrPort   = 0x4d0
	ioapicBase = 0xfec0_0000
	ioapicSize = 0x1000
)

// Controller is the interrupt controllers.
type Controller struct {
	write func(addr uint64, data uint32)

	mu     sync.Mutex
	lines  [Pins]line
	tap    func(gsi int, level bool)
	pics   [2]pic
	ioapic ioapic
}

var _ irq.Controller = (*Controller)(nil)

// New returns controllers in their state after RESET#. write is called for each message
// that a device sends; it must not block.
func New(write func(addr uint64, data uint32)) *Controller {
	c := &Controller{write: write}
	for gsi := range c.lines {
		c.lines[gsi] = line{c: c, gsi: gsi}
	}
	c.reset()
	return c
}

// Map maps the controllers' registers.
func (c *Controller) Map(ports, mmio *bus.Space) error {
	for i, base := range []uint64{picPort, pic2Port} {
		if err := ports.Map(base, 2, "pic", picPorts{c, i}); err != nil {
			return fmt.Errorf("interrupt controllers: %w", err)
		}
	}
	if err := ports.Map(elcrPort, 2, "elcr", elcrPorts{c}); err != nil {
		return fmt.Errorf("interrupt controllers: %w", err)
	}
	return mmio.Map(ioapicBase, ioapicSize, "ioapic", ioapicWindow{c})
}

// Reset puts the registers into their state after RESET#. Lines stay as they are.
func (c *Controller) Reset() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.reset()
	return nil
}

func (c *Controller) reset() {
	for i := range c.pics {
		c.pics[i] = pic{elcr: c.pics[i].elcr, levels: c.pics[i].levels}
	}
	c.ioapic.reset()
}

// Watch has tap called for every change of an input of the I/O APIC from now on, in
// place of the tap before. It must not block nor call back; nil is none.
func (c *Controller) Watch(tap func(gsi int, level bool)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.tap = tap
}

// Line returns the input with a number below Pins; any other leads nowhere.
func (c *Controller) Line(gsi int) irq.Line {
	if gsi < 0 || gsi >= Pins {
		return unconnected{}
	}
	return &c.lines[gsi]
}

type unconnected struct{}

func (unconnected) Set(bool) {}

// line is guarded by its controller's mu.
type line struct {
	c     *Controller
	gsi   int
	level bool
}

// Set drives the line.
func (l *line) Set(level bool) {
	c := l.c
	c.mu.Lock()
	defer c.mu.Unlock()
	if l.level == level {
		return
	}
	l.level = level
	c.drive(l.gsi, level)
	if c.tap != nil {
		c.tap(l.gsi, level)
	}
}

// drive passes a line's level to the controllers that it leads to.
func (c *Controller) drive(gsi int, level bool) {
	if gsi < 2*picInputs && gsi != cascade {
		c.pics[gsi/picInputs].set(gsi%picInputs, level)
		c.updateCascade()
	}
	switch gsi {
	case timerGSI:
		c.ioapic.set(timerPin, level)
	case cascade:
	default:
		c.ioapic.set(gsi, level)
	}
}

// updateCascade passes the second PIC's output to the first.
func (c *Controller) updateCascade() {
	_, raised := c.pics[1].highest()
	c.pics[0].set(cascade, raised)
}

// NewVector returns a vector, masked and without a message.
func (c *Controller) NewVector() (irq.Vector, error) {
	return &vector{write: c.write, masked: true}, nil
}

// vector is a message-signalled interrupt.
type vector struct {
	write func(addr uint64, data uint32)

	mu      sync.Mutex
	addr    uint64
	data    uint32
	masked  bool
	pending bool
	closed  bool
}

// SetMessage routes the vector, and delivers what waited behind the mask.
func (v *vector) SetMessage(addr uint64, data uint32, masked bool) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.addr, v.data, v.masked = addr, data, masked
	if v.pending && !masked {
		v.pending = false
		v.write(addr, data)
	}
	return nil
}

// Signal sends the message, or remembers that it is due.
func (v *vector) Signal() {
	v.mu.Lock()
	defer v.mu.Unlock()
	switch {
	case v.closed:
	case v.masked:
		v.pending = true
	default:
		v.write(v.addr, v.data)
	}
}

// Pending reports whether an interrupt waits behind the mask.
func (v *vector) Pending() bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.pending
}

// FD returns -1: nobody but Signal can raise the interrupt.
func (v *vector) FD() int { return -1 }

// Close makes Signal do nothing.
func (v *vector) Close() error {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.closed = true
	return nil
}
