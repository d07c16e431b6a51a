package export

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"hv/block/graph"
	"hv/block/nbdproto"
)

// errnos are the errors that have a number of their own on the wire.
var errnos = map[unix.Errno]nbdproto.Errno{
	unix.EPERM: nbdproto.EPERM, unix.EROFS: nbdproto.EPERM, unix.EACCES: nbdproto.EPERM, unix.EIO: nbdproto.EIO, unix.ENOMEM: nbdproto.ENOMEM,
	unix.ENOSPC: nbdproto.ENOSPC, unix.EDQUOT: nbdproto.ENOSPC, unix.EFBIG: nbdproto.ENOSPC, unix.EOVERFLOW: nbdproto.EOVERFLOW,
	unix.ENOTSUP: nbdproto.ENOTSUP, unix.ESHUTDOWN: nbdproto.ESHUTDOWN, unix.EINVAL: nbdproto.EINVAL,
}

// errno returns an error as the protocol numbers it.
func errno(err error) nbdproto.Errno {
	if err == nil {
		return 0
	}
	return numberOf(err)
}

func numberOf(err error) nbdproto.Errno {
	var e unix.Errno
	switch {
	case errors.Is(err, graph.ErrNotSupported):
		return nbdproto.ENOTSUP
	case errors.As(err, &e):
		if n, ok := errnos[e]; ok {
			return n
		}
	}
	return nbdproto.EIO
}

// check looks at a request before it is carried out.
func (c *conn) check(q *nbdproto.Request) (nbdproto.Errno, string) {
	writes := q.Type == nbdproto.CmdWrite || q.Type == nbdproto.CmdWriteZeroes
	if !c.exp.writable && (writes || q.Type == nbdproto.CmdTrim) {
		return nbdproto.EPERM, "Export is read-only"
	}
	if size := c.exp.Size; q.Offset > size || uint64(q.Length) > size-q.Offset {
		e := nbdproto.EINVAL
		if writes {
			e = nbdproto.ENOSPC
		}
		return e, fmt.Sprintf("operation past EOF; From: %d, Len: %d, Size: %d", q.Offset, q.Length, size)
	}
	valid := uint16(nbdproto.FUA)
	switch {
	case q.Type == nbdproto.CmdRead && c.structured:
		valid |= nbdproto.DF
	case q.Type == nbdproto.CmdWriteZeroes:
		valid |= nbdproto.NoHole | nbdproto.FastZero
	case q.Type == nbdproto.CmdBlockStatus:
		valid |= nbdproto.ReqOne
	}
	if q.Flags&^valid != 0 {
		return nbdproto.EINVAL, fmt.Sprintf("unsupported flags for command %s (got 0x%x)", q.Type, q.Flags)
	}
	return 0, ""
}

// answer appends a reply without data.
func (c *conn) answer(b []byte, q *nbdproto.Request, e nbdproto.Errno, text string) []byte {
	if c.structured && e != 0 {
		return nbdproto.AppendError(b, q.Cookie, e, text)
	}
	return nbdproto.AppendSimple(b, q.Cookie, e)
}

// handle carries out a request that a worker has, and answers it.
func (c *conn) handle(s *slot) error {
	e, text := c.check(&s.q)
	if e == 0 {
		switch s.q.Type {
		case nbdproto.CmdRead:
			return c.sendRead(s)
		case nbdproto.CmdBlockStatus:
			return c.sendStatus(s)
		}
		e, text = c.exp.do(s)
	}
	return c.write(c.answer(s.head[:0], &s.q, e, text))
}

// do carries out what has no data to answer with.
func (x *nbdExport) do(s *slot) (nbdproto.Errno, string) {
	q := &s.q
	off, n := int64(q.Offset), int64(q.Length)
	switch q.Type {
	case nbdproto.CmdWrite:
		return x.write(q, s.data(q.Length), s)
	case nbdproto.CmdFlush:
		return errno(x.root.Flush()), "flush failed"
	case nbdproto.CmdTrim:
		err := x.trim(off, n)
		if err == nil && q.Flags&nbdproto.FUA != 0 {
			err = x.root.Flush()
		}
		return errno(err), "discard failed"
	case nbdproto.CmdCache:
		return errno(x.cache(s, off, n)), "caching data failed"
	case nbdproto.CmdWriteZeroes:
		return errno(x.zero(s, off, n, q.Flags)), "writing to file failed"
	}
	return nbdproto.EINVAL, fmt.Sprintf("invalid request type (%d) received", q.Type)
}

// durable returns the flags of a write.
func (x *nbdExport) durable(flags uint16) graph.Flags {
	if x.writeThrough || flags&nbdproto.FUA != 0 {
		return graph.FUA
	}
	return 0
}

// write carries out a write.
func (x *nbdExport) write(q *nbdproto.Request, data []byte, s *slot) (nbdproto.Errno, string) {
	return errno(x.writeAt(s, int64(q.Offset), data, x.durable(q.Flags))), "writing to file failed"
}

// trim passes a discard on, but for parts of blocks.
func (x *nbdExport) trim(off, n int64) error {
	end := (off + n) &^ (x.align - 1)
	off = (off + x.align - 1) &^ (x.align - 1)
	if off >= end {
		return nil
	}
	return x.root.Discard(off, end-off)
}

// cache reads, so that nodes that keep what they read have it.
func (x *nbdExport) cache(s *slot, off, n int64) error {
	for end := off + n; off < end; {
		b := s.data(uint32(min(end-off, 1<<20)))
		if err := x.readAt(s, off, b); err != nil {
			return err
		}
		off += int64(len(b))
	}
	return nil
}

// zero makes a range read as zeroes.
func (x *nbdExport) zero(s *slot, off, n int64, flags uint16) error {
	f := x.durable(flags)
	if flags&nbdproto.NoHole == 0 {
		f |= graph.MayUnmap
	}
	if flags&nbdproto.FastZero != 0 {
		f |= graph.NoFallback
	}
	if (off|n)&(x.align-1) == 0 {
		return x.root.WriteZeroes(off, n, f)
	}
	if flags&nbdproto.FastZero != 0 {
		return graph.ErrNotSupported
	}
	for end := off + n; off < end; {
		b := s.data(uint32(min(end-off, 1<<20)))
		clear(b)
		if err := x.writeAt(s, off, b, f&graph.FUA); err != nil {
			return err
		}
		off += int64(len(b))
	}
	return nil
}

// readInto appends the reply to a read, with its data.
func (c *conn) readInto(b []byte, q *nbdproto.Request, s *slot) []byte {
	from := len(b)
	if err := c.exp.before(q); err != nil {
		return c.answer(b, q, errno(err), "flush failed")
	}
	switch {
	case c.structured && q.Length == 0:
		return nbdproto.AppendDone(b, q.Cookie)
	case c.structured:
		b = nbdproto.AppendData(b, q.Cookie, q.Offset, int(q.Length), true)
	default:
		b = nbdproto.AppendSimple(b, q.Cookie, 0)
	}
	at := len(b)
	b = grow(b, int(q.Length))
	if err := c.exp.readAt(s, int64(q.Offset), b[at:]); err != nil {
		return c.answer(b[:from], q, errno(err), "reading from file failed")
	}
	return b
}

// before flushes if a read asks for that.
func (x *nbdExport) before(q *nbdproto.Request) error {
	if q.Flags&nbdproto.FUA == 0 {
		return nil
	}
	return x.root.Flush()
}

// sendRead answers a read, with holes as such if the client can take them.
func (c *conn) sendRead(s *slot) error {
	q := &s.q
	if err := c.exp.before(q); err != nil {
		return c.write(c.answer(s.head[:0], q, errno(err), "flush failed"))
	}
	if c.structured && q.Flags&nbdproto.DF == 0 && q.Length > 0 {
		return c.sendSparse(s)
	}
	data := s.data(q.Length)
	if err := c.exp.readAt(s, int64(q.Offset), data); err != nil {
		return c.write(c.answer(s.head[:0], q, errno(err), "reading from file failed"))
	}
	switch {
	case !c.structured:
		return c.write(s.headed(nbdproto.AppendSimple(s.head[:0], q.Cookie, 0), 0, len(data)))
	case len(data) == 0:
		return c.write(nbdproto.AppendDone(s.head[:0], q.Cookie))
	}
	return c.write(s.headed(nbdproto.AppendData(s.head[:0], q.Cookie, q.Offset, len(data), true), 0, len(data)))
}

// sendSparse answers a read piece by piece, as data and holes come.
func (c *conn) sendSparse(s *slot) error {
	q := &s.q
	data := s.data(q.Length)
	for at := 0; at < len(data); {
		off, rest := int64(q.Offset)+int64(at), int64(len(data)-at)
		e, _, err := c.exp.root.StatusAbove(off, rest)
		if err == nil && e.N <= 0 {
			err = unix.EIO
		}
		if err != nil {
			return c.write(c.answer(s.head[:0], q, errno(err), "unable to check for holes: "+err.Error()))
		}
		n := int(e.N)
		done := at+n == len(data)
		if e.Status&graph.Zero != 0 {
			err = c.write(nbdproto.AppendHole(s.head[:0], q.Cookie, uint64(off), uint32(n), done))
		} else if err = c.exp.readAt(s, off, data[at:at+n]); err != nil {
			return c.write(c.answer(s.head[:0], q, errno(err), "reading from file failed"))
		} else {
			// What lies before was sent already.
			err = c.write(s.headed(nbdproto.AppendData(s.head[:0], q.Cookie, uint64(off), n, done), at, n))
		}
		if err != nil {
			return err
		}
		at += n
	}
	return nil
}
