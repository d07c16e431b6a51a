package qcow2

import "fmt"

// inside checks a request against the size of the disk.
func (im *Image) inside(off, n int64) error {
	if size := im.Size(); off < 0 || n < 0 || off > size || n > size-off {
		return fmt.Errorf("qcow2: %w: %d bytes at %d", ErrRange, n, off)
	}
	return nil
}

// Readv fills the buffers from off.
func (im *Image) Readv(off int64, v [][]byte) error {
	n := length(v)
	if err := im.inside(off, n); err != nil {
		return err
	}
	im.mu.Lock()
	l, err := im.begin()
	if err != nil {
		im.mu.Unlock()
		return fmt.Errorf("qcow2: %w", err)
	}
	m, err := im.lookup(off, n)
	if err == nil && m.kind == unallocated {
		im.learn(off)
	}
	im.mu.Unlock()
	switch {
	case err != nil:
	case m.n == n:
		err = im.readRun(off, m, v) // as most requests are: of one kind
	default:
		r := im.getReq()
		err = im.read(r, off, n, v)
		im.putReq(r)
	}
	im.end(l)
	if err != nil {
		return fmt.Errorf("qcow2: read at %d: %w", off, err)
	}
	return nil
}

// read fills v, which has n bytes, from off, for a request that has begun.
func (im *Image) read(r *req, off, n int64, v [][]byte) error {
	rest := vector{v: v}
	for n > 0 {
		im.mu.Lock()
		m, err := im.lookup(off, n)
		im.mu.Unlock()
		if err != nil {
			return err
		}
		if err := im.readRun(off, m, rest.take(r, m.n, n)); err != nil {
			return err
		}
		off, n = off+m.n, n-m.n
	}
	return nil
}

// readRun fills v from a run of one kind.
func (im *Image) readRun(off int64, m mapping, v [][]byte) error {
	switch m.kind {
	case zeroPlain, zeroHosted:
		zero(v)
		return nil
	case normal:
		im.event(EventReadAIO)
		return im.data.Readv(m.host, v)
	case compressed:
		return im.readCompressed(m.e, off, v)
	}
	return im.readBacking(off, m.n, v)
}

// readBacking fills v from below the image.
func (im *Image) readBacking(off, n int64, v [][]byte) error {
	if im.backing == nil {
		zero(v)
		return nil
	}
	im.event(EventReadBackingAIO)
	have := min(max(im.backing.Size()-off, 0), n)
	if have == n {
		return im.backing.Readv(off, v)
	}
	rest := vector{v: v}
	if head := rest.appendTo(nil, have); have > 0 {
		if err := im.backing.Readv(off, head); err != nil {
			return err
		}
	}
	zero(rest.appendTo(nil, n-have))
	return nil
}
