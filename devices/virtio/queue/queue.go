// Package queue implements virtqueues from the device's side, split and packed.
//
// A Queue is used by one goroutine at a time; the guest changes its memory
// concurrently, so everything is read from the rings once, checked, and used from
// the copy. Mistakes of the guest are returned as *Error and leave the queue broken:
// what it says next is not looked at any more.
//
// Implements virtio 1.2 §2.7 (split), §2.8 (packed), §2.7.7 and §2.8.10 (notification
// suppression), §2.7.5.3 and §2.8.7 (indirect descriptors). It depends on hypervisor/mem.
package queue

import (
	"fmt"

	"hv/hypervisor/mem"
)

// MaxSize is the largest number of descriptors in a queue.
const MaxSize = 32768

// Config is how a driver set a queue up. Addresses are guest-physical.
type Config struct {
	Index                int
	Size                 uint16
	Desc, Driver, Device uint64
	Packed, EventIdx     bool
	Indirect, InOrder    bool
}

// Error is a mistake of the guest's in a ring.
type Error struct {
	Queue int
	What  string
}

func (e *Error) Error() string { return fmt.Sprintf("virtqueue %d: %s", e.Queue, e.What) }

// ring is the part of a queue that differs between split and packed.
type ring interface {
	pop(q *Queue, c *Chain) (bool, error)
	unpop(c *Chain)
	push(c *Chain, written uint32)
	publish() bool
	kicks(on bool) bool
	pending() bool
	positions() Positions
}

// Queue is one virtqueue.
type Queue struct {
	cfg    Config
	mem    *mem.Memory
	ring   ring
	broken error
}

// New returns the queue that the driver set up, after checking that its parts are
// aligned and in RAM.
func New(m *mem.Memory, c Config) (*Queue, error) {
	q := &Queue{cfg: c, mem: m}
	if c.Size == 0 || c.Size > MaxSize || !c.Packed && c.Size&(c.Size-1) != 0 {
		return nil, &Error{c.Index, fmt.Sprintf("bad size %d", c.Size)}
	}
	var err error
	if c.Packed {
		q.ring, err = newPacked(q)
	} else {
		q.ring, err = newSplit(q)
	}
	if err != nil {
		return nil, err
	}
	return q, nil
}

// Config returns what the queue was made from.
func (q *Queue) Config() Config { return q.cfg }

// view returns the n bytes of ring memory at addr, which must be aligned.
func (q *Queue) view(what string, addr, n, align uint64) (mem.Ring, error) {
	if addr%align != 0 {
		return mem.Ring{}, &Error{q.cfg.Index, fmt.Sprintf("%s area at %#x is not aligned to %d", what, addr, align)}
	}
	b, err := q.mem.Slice(addr, n)
	if err != nil {
		return mem.Ring{}, &Error{q.cfg.Index, fmt.Sprintf("%s area: %v", what, err)}
	}
	return mem.NewRing(b), nil
}

// fail breaks the queue.
func (q *Queue) fail(format string, args ...any) error {
	q.broken = &Error{q.cfg.Index, fmt.Sprintf(format, args...)}
	return q.broken
}

// Pop takes the next chain that the driver made available. An error means that
// the ring is broken and is returned ever after.
func (q *Queue) Pop(c *Chain) (bool, error) {
	if q.broken != nil {
		return false, q.broken
	}
	c.reset()
	return q.ring.pop(q, c)
}

// Unpop gives back the chain that was popped last, before any Push.
func (q *Queue) Unpop(c *Chain) { q.ring.unpop(c) }

// Push completes a chain of which written bytes were written. The driver sees it
// after Publish.
func (q *Queue) Push(c *Chain, written uint32) { q.ring.push(c, written) }

// Publish shows the driver what was pushed and reports whether it wants an
// interrupt for that.
func (q *Queue) Publish() (interrupt bool) { return q.ring.publish() }

// Pending reports whether there is a chain to pop. It is cheap.
func (q *Queue) Pending() bool { return q.broken == nil && q.ring.pending() }

// DisableKicks asks the driver not to notify. It is advice.
func (q *Queue) DisableKicks() { q.ring.kicks(false) }

// EnableKicks asks for notification of the next chain, and reports whether there
// is one already, which then comes without.
func (q *Queue) EnableKicks() (more bool) { return q.ring.kicks(true) }

// wants implements the event index rule: whether an index between old and now,
// not counting old, passed the one that the other side named (§2.7.10).
func wants(event, now, old uint16) bool { return now-event-1 < now-old }
