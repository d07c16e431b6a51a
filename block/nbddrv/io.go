package nbddrv

import (
	"errors"

	"golang.org/x/sys/unix"

	"hv/block/graph"
	"hv/block/nbdproto"
)

// maxRange is how much one request without data is about at most.
const maxRange = 1 << 30

// Size returns the length in bytes.
func (d *Driver) Size() int64 { return int64(d.offer.Size) }

// Readv fills the buffers from off.
func (d *Driver) Readv(off int64, v [][]byte) error { return d.move(nbdproto.CmdRead, off, v) }

// Writev writes the buffers at off.
func (d *Driver) Writev(off int64, v [][]byte, _ graph.Flags) error {
	return d.move(nbdproto.CmdWrite, off, v)
}

func length(v [][]byte) (n int64) {
	for _, b := range v {
		n += int64(len(b))
	}
	return n
}

// move reads or writes, in as many requests as it takes.
func (d *Driver) move(t nbdproto.Command, off int64, v [][]byte) error {
	n := length(v)
	switch {
	case n == 0:
		return nil
	case (off|n)&(d.align-1) != 0:
		return d.moveParts(t, off, n, v)
	case n <= int64(d.offer.MaxBlock):
		_, err := d.do(nbdproto.Request{Type: t, Offset: uint64(off), Length: uint32(n)}, v)
		return err
	}
	for n > 0 {
		m := min(n, int64(d.offer.MaxBlock))
		if _, err := d.do(nbdproto.Request{Type: t, Offset: uint64(off), Length: uint32(m)}, cut(v, int(m))); err != nil {
			return err
		}
		v = skip(v, int(m))
		off, n = off+m, n-m
	}
	return nil
}

// cut returns the first n bytes of buffers.
func cut(v [][]byte, n int) (out [][]byte) {
	for _, b := range v {
		if n <= len(b) {
			return append(out, b[:n])
		}
		out = append(out, b)
		n -= len(b)
	}
	return out
}

// skip returns what comes after the first n bytes of buffers.
func skip(v [][]byte, n int) [][]byte {
	for i, b := range v {
		if n < len(b) {
			return append([][]byte{b[n:]}, v[i+1:]...)
		}
		n -= len(b)
	}
	return nil
}

// moveParts is for what is not made of whole blocks of the server's.
func (d *Driver) moveParts(t nbdproto.Command, off, n int64, v [][]byte) error {
	from, to := off&^(d.align-1), (off+n+d.align-1)&^(d.align-1)
	if to > d.Size() {
		return unix.EIO
	}
	all := make([]byte, to-from)
	if t == nbdproto.CmdRead {
		err := d.move(t, from, [][]byte{all})
		rest := all[off-from:]
		for _, b := range v {
			rest = rest[copy(b, rest):]
		}
		return err
	}
	d.partial.Lock()
	defer d.partial.Unlock()
	if err := d.move(nbdproto.CmdRead, from, [][]byte{all}); err != nil {
		return err
	}
	rest := all[off-from:]
	for _, b := range v {
		rest = rest[copy(rest, b):]
	}
	return d.move(t, from, [][]byte{all})
}

// ranges makes requests about a range that have no data.
func (d *Driver) ranges(q nbdproto.Request, off, n, most int64) error {
	for n > 0 {
		m := min(n, most)
		q.Offset, q.Length = uint64(off), uint32(m)
		if _, err := d.do(q, nil); err != nil {
			return err
		}
		off, n = off+m, n-m
	}
	return nil
}

// WriteZeroes has the server make zeroes.
func (d *Driver) WriteZeroes(off, n int64, f graph.Flags) error {
	q := nbdproto.Request{Type: nbdproto.CmdWriteZeroes}
	fast := f&graph.NoFallback != 0
	if !d.has(nbdproto.SendWriteZeroes) || (off|n)&(d.align-1) != 0 || fast && !d.has(nbdproto.SendFastZero) {
		return graph.ErrNotSupported
	}
	if f&graph.MayUnmap == 0 {
		q.Flags |= nbdproto.NoHole
	}
	if fast {
		q.Flags |= nbdproto.FastZero
	}
	err := d.ranges(q, off, n, int64(d.offer.MaxBlock))
	if fast && errors.Is(err, unix.ENOTSUP) {
		return graph.ErrNotSupported
	}
	return err
}

// Discard has the server let whole blocks go.
func (d *Driver) Discard(off, n int64) error {
	if !d.has(nbdproto.SendTrim) {
		return graph.ErrNotSupported
	}
	end := (off + n) &^ (d.align - 1)
	off = (off + d.align - 1) &^ (d.align - 1)
	return d.ranges(nbdproto.Request{Type: nbdproto.CmdTrim}, off, end-off, maxRange)
}

// Flush has the server make durable what it answered.
func (d *Driver) Flush() error {
	if !d.has(nbdproto.SendFlush) {
		return nil
	}
	_, err := d.do(nbdproto.Request{Type: nbdproto.CmdFlush}, nil)
	return err
}

// BlockStatus asks the server what lies at a place. In other contexts than base:allocation
// the two lowest bits mean what they do there.
func (d *Driver) BlockStatus(off, n int64) (graph.Extent, error) {
	e := graph.Extent{N: n, Status: graph.Data | graph.Allocated | graph.OffsetValid, Offset: off}
	if !d.offer.Context {
		return e, nil
	}
	from, to := off&^(d.align-1), min((off+n+d.align-1)&^(d.align-1), d.Size())
	q := nbdproto.Request{Type: nbdproto.CmdBlockStatus, Flags: nbdproto.ReqOne, Offset: uint64(from), Length: uint32(min(to-from, maxRange))}
	x, err := d.do(q, nil)
	if err != nil {
		return e, err
	}
	end := from + max(int64(x.Length)&^(d.align-1), d.align)
	flags := x.Flags
	if d.cfg.Context == "qemu:allocation-depth" {
		flags = min(flags, 2)
	}
	e.N = min(n, end-off)
	if flags&nbdproto.StateHole != 0 {
		e.Status &^= graph.Data
	}
	if flags&nbdproto.StateZero != 0 {
		e.Status |= graph.Zero
	}
	return e, nil
}
