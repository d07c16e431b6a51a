package disk

import (
	"sync/atomic"
	"time"

	"hv/block/hostfile"
)

// Kind is a kind of requests that are counted together.
type Kind int

// The kinds. Zeroes count as writes.
const (
	Read Kind = iota
	Write
	Flush
	Unmap
	kinds
)

// kindOf returns how an operation counts.
func kindOf(op uint8) Kind {
	switch op {
	case hostfile.OpRead:
		return Read
	case hostfile.OpFlush:
		return Flush
	case hostfile.OpDiscard:
		return Unmap
	}
	return Write
}

// Count is what was counted of a kind.
type Count struct{ Bytes, Operations, Time, Failed atomic.Int64 }

// Counts is what was counted of a disk. One goroutine adds to it, others read.
type Counts struct {
	Kinds [kinds]Count
	last  atomic.Int64 // end of the last request, in time since the disk was opened
}

// done counts a request that has ended.
func (c *Counts) done(k Kind, bytes int64, took, now time.Duration, failed bool) {
	x := &c.Kinds[k]
	c.last.Store(int64(now))
	if failed {
		x.Failed.Add(1)
		return
	}
	x.Bytes.Add(bytes)
	x.Operations.Add(1)
	x.Time.Add(int64(took))
}

func (c *Counts) add(other *Counts) {
	for i := range c.Kinds {
		to, from := &c.Kinds[i], &other.Kinds[i]
		to.Bytes.Add(from.Bytes.Load())
		to.Operations.Add(from.Operations.Load())
		to.Time.Add(from.Time.Load())
		to.Failed.Add(from.Failed.Load())
	}
	c.last.Store(max(c.last.Load(), other.last.Load()))
}

// Counts returns what was counted so far.
func (d *Disk) Counts() *Counts {
	d.mu.Lock()
	defer d.mu.Unlock()
	sum := &Counts{}
	sum.add(&d.past)
	for _, q := range d.queues {
		sum.add(&q.counts)
	}
	return sum
}

// Idle returns how long ago the last request ended; false if there was none.
func (d *Disk) Idle() (time.Duration, bool) {
	last := d.Counts().last.Load()
	return time.Since(d.since) - time.Duration(last), last != 0
}
