package export

import (
	"golang.org/x/sys/unix"

	"hv/block/graph"
	"hv/block/nbdproto"
)

// extentsAt is how many extents a reply has at most here; a client asks again for the rest.
const extentsAt = 64 << 10

// extents collects runs of one state.
type extents struct {
	list []nbdproto.Extent
	max  int
}

// add appends a run, and reports whether there was room.
func (x *extents) add(n int64, flags uint32) bool {
	if n == 0 {
		return true
	}
	if k := len(x.list); k > 0 && x.list[k-1].Flags == flags && int64(x.list[k-1].Length)+n < 1<<32 {
		x.list[k-1].Length += uint32(n)
		return true
	}
	if len(x.list) == x.max {
		return false
	}
	x.list = append(x.list, nbdproto.Extent{Length: uint32(n), Flags: flags})
	return true
}

// sendStatus answers a request for block status in all contexts that were chosen.
func (c *conn) sendStatus(s *slot) error {
	q := &s.q
	switch {
	case q.Length == 0:
		return c.write(c.answer(s.head[:0], q, nbdproto.EINVAL, "need non-zero length"))
	case len(c.contexts) == 0:
		return c.write(c.answer(s.head[:0], q, nbdproto.EINVAL, "CMD_BLOCK_STATUS not negotiated"))
	}
	s.status = s.status[:0]
	for i, number := range c.contexts {
		x := extents{list: s.extents[:0], max: extentsAt}
		if q.Flags&nbdproto.ReqOne != 0 {
			x.max = 1
		}
		if err := c.exp.collect(&x, number, int64(q.Offset), int64(q.Length)); err != nil {
			return c.write(c.answer(s.status, q, errno(err), "can't get block status"))
		}
		s.extents = x.list
		s.status = nbdproto.AppendExtents(s.status, q.Cookie, uint32(number), x.list, i == len(c.contexts)-1)
	}
	return c.write(s.status)
}

// collect adds the extents of a context.
func (x *nbdExport) collect(to *extents, number int, off, n int64) error {
	ctx := &x.contexts[number]
	if ctx.bitmap != nil {
		dirty(to, ctx.bitmap, off, off+n)
		return nil
	}
	for end := off + n; off < end; {
		e, depth, err := x.root.StatusAbove(off, end-off)
		if err == nil && e.N <= 0 {
			err = unix.EIO
		}
		if err != nil {
			return err
		}
		flags := uint32(depth)
		if !ctx.depth {
			flags = state(e.Status)
		}
		if !to.add(e.N, flags) {
			return nil
		}
		off += e.N
	}
	return nil
}

// state returns a status as base:allocation has it.
func state(s graph.Status) (flags uint32) {
	if s&graph.Data == 0 {
		flags |= nbdproto.StateHole
	}
	if s&graph.Zero != 0 {
		flags |= nbdproto.StateZero
	}
	return flags
}
