package queue

import "math"

// Chain is a descriptor chain. It is reused: Pop overwrites it and keeps its
// memory.
type Chain struct {
	// ID is the driver's handle of the chain.
	ID uint16
	// Out are the buffers that the device reads, In those that it writes, in
	// guest memory.
	Out, In [][]byte

	outLen, inLen uint32
	count         uint16 // descriptors of the ring, for packed queues
	seen          int    // descriptors in all
}

func (c *Chain) reset() {
	clear(c.Out)
	clear(c.In)
	c.Out, c.In = c.Out[:0], c.In[:0]
	c.outLen, c.inLen, c.count, c.seen = 0, 0, 0, 0
}

// OutLen returns the number of bytes that the device reads.
func (c *Chain) OutLen() uint32 { return c.outLen }

// InLen returns the number of bytes that the device may write.
func (c *Chain) InLen() uint32 { return c.inLen }

// add appends a buffer. Readable ones come first (§2.7.4.2), and the sum of their
// sizes stays within 32 bits.
func (q *Queue) add(c *Chain, addr uint64, size uint32, write bool) error {
	if c.seen++; c.seen > int(q.cfg.Size) {
		return q.fail("chain is longer than the queue")
	}
	if size == 0 {
		return q.fail("buffer of no bytes")
	}
	b, err := q.mem.Slice(addr, uint64(size))
	if err != nil {
		return q.fail("buffer: %v", err)
	}
	total := &c.outLen
	if write {
		total = &c.inLen
	}
	if *total > math.MaxUint32-size {
		return q.fail("chain of 4 GiB or more")
	}
	*total += size
	switch {
	case write:
		c.In = append(c.In, b)
	case len(c.In) > 0:
		return q.fail("readable buffer after a writable one")
	default:
		c.Out = append(c.Out, b)
	}
	return nil
}

// CopyOut copies what the driver sent, from offset off, to dst and returns how
// much there was.
func (c *Chain) CopyOut(dst []byte, off uint32) int {
	n := 0
	for _, b := range c.Out {
		if off >= uint32(len(b)) {
			off -= uint32(len(b))
			continue
		}
		n += copy(dst[n:], b[off:])
		off = 0
		if n == len(dst) {
			break
		}
	}
	return n
}

// CopyIn copies src to the driver's buffers at offset off and returns how much
// found room.
func (c *Chain) CopyIn(src []byte, off uint32) int {
	n := 0
	for _, b := range c.In {
		if off >= uint32(len(b)) {
			off -= uint32(len(b))
			continue
		}
		n += copy(b[off:], src[n:])
		off = 0
		if n == len(src) {
			break
		}
	}
	return n
}
