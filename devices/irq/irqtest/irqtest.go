// Package irqtest is an interrupt controller in software, for tests of devices.
//
// It implements irq.Controller: lines remember their level and how often they
// rose, vectors deliver messages into a list with the masking and pending
// rules of MSI-X (PCI 3.0 §6.8). All methods may be called concurrently.
//
// It depends on devices/irq.
package irqtest

import (
	"errors"
	"sync"

	"hv/devices/irq"
)

// Message is one message-signalled interrupt that was delivered.
type Message struct {
	Addr uint64
	Data uint32
}

// ErrNoVectors is returned by NewVector once MaxVectors are in use.
var ErrNoVectors = errors.New("no vectors left")

// Controller collects interrupts. Its zero value is ready for use.
type Controller struct {
	// MaxVectors bounds the vectors in use, 0 means no bound. It is set before
	// the first use.
	MaxVectors int
	// FirstFD is what the first vector says that its descriptor is, the next one that and one
	// more; 0 means that there are none. It is set before the first use.
	FirstFD int

	mu        sync.Mutex
	cond      sync.Cond
	lines     map[int]*line
	vectors   int
	delivered []Message
}

type line struct {
	c     *Controller
	level bool
	rises int
}

// at returns a line; mu is held.
func (c *Controller) at(gsi int) *line {
	if c.lines == nil {
		c.lines = make(map[int]*line)
	}
	if c.lines[gsi] == nil {
		c.lines[gsi] = &line{c: c}
	}
	return c.lines[gsi]
}

// Line returns the input gsi.
func (c *Controller) Line(gsi int) irq.Line {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at(gsi)
}

// Set sets the level.
func (l *line) Set(level bool) {
	l.c.mu.Lock()
	defer l.c.mu.Unlock()
	if level && !l.level {
		l.rises++
		l.c.wake()
	}
	l.level = level
}

// Level returns the level of the input gsi.
func (c *Controller) Level(gsi int) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at(gsi).level
}

// Rises returns how often the input gsi went up.
func (c *Controller) Rises(gsi int) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at(gsi).rises
}

// WaitRises returns when the input gsi went up at least n times.
func (c *Controller) WaitRises(gsi, n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.at(gsi).rises < n {
		c.wait()
	}
}

// Delivered returns the messages so far, the oldest first.
func (c *Controller) Delivered() []Message {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]Message(nil), c.delivered...)
}

// WaitDelivered returns when at least n messages were delivered.
func (c *Controller) WaitDelivered(n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(c.delivered) < n {
		c.wait()
	}
}

// Vectors returns the number of vectors in use.
func (c *Controller) Vectors() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.vectors
}

func (c *Controller) wait() {
	c.cond.L = &c.mu
	c.cond.Wait()
}

func (c *Controller) wake() {
	c.cond.L = &c.mu
	c.cond.Broadcast()
}

// NewVector returns a vector, masked and without a message.
func (c *Controller) NewVector() (irq.Vector, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.MaxVectors != 0 && c.vectors >= c.MaxVectors {
		return nil, ErrNoVectors
	}
	v := &vector{c: c, masked: true, fd: -1}
	if c.FirstFD != 0 {
		v.fd = c.FirstFD + c.vectors
	}
	c.vectors++
	return v, nil
}

// vector is guarded by its controller's mu.
type vector struct {
	c       *Controller
	msg     Message
	masked  bool
	pending bool
	closed  bool
	fd      int
}

// SetMessage routes the vector, and delivers what waited behind the mask.
func (v *vector) SetMessage(addr uint64, data uint32, masked bool) error {
	v.c.mu.Lock()
	defer v.c.mu.Unlock()
	v.msg, v.masked = Message{addr, data}, masked
	if v.pending && !masked {
		v.pending = false
		v.deliver()
	}
	return nil
}

// Signal delivers the message or remembers that it is due.
func (v *vector) Signal() {
	v.c.mu.Lock()
	defer v.c.mu.Unlock()
	switch {
	case v.closed:
	case v.masked:
		v.pending = true
	default:
		v.deliver()
	}
}

func (v *vector) deliver() {
	v.c.delivered = append(v.c.delivered, v.msg)
	v.c.wake()
}

// Pending reports whether an interrupt waits behind the mask.
func (v *vector) Pending() bool {
	v.c.mu.Lock()
	defer v.c.mu.Unlock()
	return v.pending
}

// FD returns a number that is no descriptor.
func (v *vector) FD() int { return v.fd }

// Close gives the vector back. Signal does nothing afterwards.
func (v *vector) Close() error {
	v.c.mu.Lock()
	defer v.c.mu.Unlock()
	if !v.closed {
		v.closed = true
		v.c.vectors--
	}
	return nil
}
