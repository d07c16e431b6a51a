package virtionet

import (
	"sync/atomic"

	"hv/devices/virtio"
)

// Reason is why a packet was not passed on.
type Reason int

// Reasons to drop a packet.
const (
	DropFiltered  Reason = iota // the guest does not want it
	DropLinkDown                // the cable is out, or there is no link
	DropTooLong                 // it does not fit the buffers that the guest gives
	DropMalformed               // it has no payload, or too many pieces
	DropRefused                 // the link does not take it
	DropQueueFull               // the queue that it was steered to has too many waiting
	reasons
)

func (r Reason) String() string {
	return [...]string{"filtered", "link-down", "too-long", "malformed", "refused", "queue-full"}[r]
}

// QueueCounters is what happened on a queue since the device was made.
type QueueCounters struct {
	Packets, Bytes    uint64 // passed on, without the virtio-net header
	Drops             [reasons]uint64
	Kicks, Interrupts uint64
}

// Counters are those of all queues. Those of pair i are Rx[i] and Tx[i]; packets of the
// control queue are commands.
type Counters struct {
	Rx, Tx  []QueueCounters
	Control QueueCounters
}

// tally counts for one queue. Its worker alone counts; anybody reads.
type tally struct {
	packets, bytes    count
	drops             [reasons]count
	kicks, interrupts count
}

// count is a number that one goroutine changes.
type count struct{ n atomic.Uint64 }

func (c *count) add(n uint64) { c.n.Store(c.n.Load() + n) }

// count notes a packet that was passed on.
func (t *tally) count(bytes uint32) {
	t.packets.add(1)
	t.bytes.add(uint64(bytes))
}

func (t *tally) drop(why Reason) { t.drops[why].add(1) }

func (t *tally) read() QueueCounters {
	c := QueueCounters{Packets: t.packets.n.Load(), Bytes: t.bytes.n.Load(), Kicks: t.kicks.n.Load(), Interrupts: t.interrupts.n.Load()}
	for i := range t.drops {
		c.Drops[i] = t.drops[i].n.Load()
	}
	return c
}

// Counters returns what happened on the queues.
func (d *Device) Counters() Counters {
	var c Counters
	for i := range d.pairs {
		c.Rx = append(c.Rx, d.tallies[2*i].read())
		c.Tx = append(c.Tx, d.tallies[2*i+1].read())
	}
	c.Control = d.tallies[2*d.pairs].read()
	return c
}

// show shows the driver what was pushed.
func (t *tally) show(q *virtio.Queue) {
	if q.Publish() {
		t.interrupts.add(1)
		q.Interrupt()
	}
}
