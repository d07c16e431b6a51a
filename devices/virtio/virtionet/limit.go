package virtionet

import (
	"sync/atomic"
	"time"
)

// Rate limits one direction of a NIC. What is not used of it is kept for a burst.
type rate struct {
	bits, packets uint64 // a second; 0 is no limit
	burst         time.Duration
}

// bucket is a rate in use, by the workers of all queues. It counts time rather than tokens: each packet
// takes what it would take at the rate, and packets may be ahead of the clock by the burst. So one
// passes whatever its size, and the next ones make up for it.
type bucket struct {
	began              time.Time
	perByte, perPacket float64 // nanoseconds
	burst              int64
	bytes, packets     atomic.Int64 // how far packets have come
}

// newBucket returns a bucket for a rate, nil if that is no limit.
func newBucket(r rate) *bucket {
	if r.bits == 0 && r.packets == 0 {
		return nil
	}
	b := &bucket{began: time.Now(), burst: int64(r.burst)}
	if r.bits > 0 {
		b.perByte = 8e9 / float64(r.bits)
	}
	if r.packets > 0 {
		b.perPacket = 1e9 / float64(r.packets)
	}
	return b
}

// wait returns how long the next packet has to wait, 0 if it need not. A nil bucket is no limit.
func (b *bucket) wait() time.Duration {
	if b == nil {
		return 0
	}
	ahead := max(b.bytes.Load(), b.packets.Load()) - b.now()
	return time.Duration(max(0, ahead-b.burst))
}

// charge takes a packet of some bytes into account.
func (b *bucket) charge(bytes uint32) {
	if b == nil {
		return
	}
	now := b.now()
	advance(&b.bytes, now, int64(float64(bytes)*b.perByte))
	advance(&b.packets, now, int64(b.perPacket))
}

func (b *bucket) now() int64 { return int64(time.Since(b.began)) }

func advance(at *atomic.Int64, now, by int64) {
	for {
		old := at.Load()
		if at.CompareAndSwap(old, max(old, now)+by) {
			return
		}
	}
}

// hold keeps one direction of a queue pair waiting for a time to come. The zero hold waits for nothing.
type hold struct{ until time.Time }

// in starts to wait.
func (h *hold) in(d time.Duration) { h.until = time.Now().Add(d) }

// on reports whether the time is still to come, and ends the wait if it is not.
func (h *hold) on() bool {
	if h.until.IsZero() {
		return false
	}
	if time.Now().Before(h.until) {
		return true
	}
	h.until = time.Time{}
	return false
}
