package qcow2

import "fmt"

// Writev writes the buffers at off.
func (im *Image) Writev(off int64, v [][]byte, f Flags) error {
	n := length(v)
	if err := im.inside(off, n); err != nil {
		return err
	}
	l, err := im.beginWrite()
	if err != nil {
		return err
	}
	if f&Compressed != 0 {
		err = im.writeCompressed(off, n, v)
	} else {
		r := im.getReq()
		err = im.write(r, off, n, v)
		im.putReq(r)
	}
	return im.endWrite(l, f, err)
}

func (im *Image) beginWrite() (lease, error) {
	if im.opt.ReadOnly {
		return 0, fmt.Errorf("qcow2: %w", ErrReadOnly)
	}
	im.mu.Lock()
	l, err := im.begin()
	im.mu.Unlock()
	if err != nil {
		return 0, fmt.Errorf("qcow2: %w", err)
	}
	return l, nil
}

// endWrite counts a write out and makes it durable if it was to be.
func (im *Image) endWrite(l lease, f Flags, err error) error {
	im.end(l)
	if err != nil {
		return fmt.Errorf("qcow2: write: %w", err)
	}
	im.mu.Lock()
	many := im.nfreed > maxFreed
	im.mu.Unlock()
	if f&FUA != 0 || many {
		return im.Flush()
	}
	return nil
}

// write writes v, which has n bytes, at off, for a request that has begun.
func (im *Image) write(r *req, off, n int64, v [][]byte) error {
	rest := vector{v: v}
	for n > 0 {
		im.mu.Lock()
		host, m, err := im.mapWrite(r, off, n)
		im.mu.Unlock()
		if err != nil {
			return err
		}
		if host >= 0 {
			im.event(EventWriteAIO)
			err = im.data.Writev(host, rest.take(r, m, n))
		} else {
			err = im.writeNew(r, off, m, &rest)
		}
		if err != nil {
			return err
		}
		off, n = off+m, n-m
	}
	return nil
}

// mapWrite says where up to n bytes at off go: in place at host, or, if that is negative, to
// r.alloc, which is then listed. The lock is held.
func (im *Image) mapWrite(r *req, off, n int64) (host, m int64, err error) {
	for {
		s, err := im.sliceToWrite(off)
		if err != nil {
			return 0, 0, err
		}
		if host, m, err = im.inPlace(&s, off, n); err != nil || m > 0 {
			return host, m, err
		}
		cluster := im.geo.down(off)
		if im.await(cluster, cluster+im.geo.clusterSize) {
			if im.broken != nil {
				return 0, 0, im.broken
			}
			continue
		}
		m, err := im.newAllocation(&s, &r.alloc, off, n)
		return -1, m, err
	}
}

// inPlace returns the run at off that can be overwritten where it is.
func (im *Image) inPlace(s *slice, off, n int64) (host, m int64, err error) {
	if s.get(s.i).desc&flagCopied == 0 {
		return 0, 0, nil
	}
	r, err := im.run(s, off, n)
	if err != nil || r.kind != normal {
		return 0, 0, err
	}
	g := &im.geo
	m = min(r.n, g.clusterSize-off&(g.clusterSize-1))
	for i := s.i + 1; m < r.n && s.get(i).desc&flagCopied != 0; i++ {
		m = min(m+g.clusterSize, r.n)
	}
	if g.external {
		return r.host, m, nil
	}
	return r.host, m, im.checkOverlap(r.host, m, 0)
}

// newAllocation lists an allocation for up to n bytes at off, whose cluster can't be written
// in place. It returns how many bytes it is for.
func (im *Image) newAllocation(s *slice, a *allocation, off, n int64) (int64, error) {
	g := &im.geo
	lo := g.down(off)
	e := s.get(s.i)
	if err := im.checkEntry(e, g.kind(e, int((off-lo)/g.subSize)), lo); err != nil {
		return 0, err
	}
	*a = allocation{lo: lo, from: off}
	if g.hosted(e) && e.desc&flagCopied != 0 {
		a.hi, a.to = lo+g.clusterSize, min(off+n, lo+g.clusterSize)
		a.host, a.reuse = e.host(), true
		im.flight = append(im.flight, a)
		return a.to - off, im.checkData(a)
	}
	return im.allocateData(s, a, off, n)
}

func (im *Image) checkData(a *allocation) error {
	if im.geo.external {
		return nil
	}
	err := im.checkOverlap(a.host, a.hi-a.lo, 0)
	if err != nil {
		im.landed(a)
	}
	return err
}

// allocateData takes new clusters for an allocation.
func (im *Image) allocateData(s *slice, a *allocation, off, n int64) (int64, error) {
	g := &im.geo
	want := im.newRun(s, a.lo, off+n)
	if g.external {
		a.host = a.lo
	} else {
		var err error
		if a.host, want, err = im.alloc(want, false); err != nil {
			return 0, fmt.Errorf("allocate clusters: %w", err)
		}
		a.own = want
	}
	a.hi = a.lo + want*g.clusterSize
	a.to = min(off+n, a.hi)
	im.flight = append(im.flight, a)
	return a.to - off, nil
}

// newRun returns how many clusters from lo on, up to end, need a new host cluster and are
// free of others' allocations.
func (im *Image) newRun(s *slice, lo, end int64) int64 {
	g := &im.geo
	k := int64(1)
	for i := s.i + 1; i < s.n; i++ {
		at := lo + k*g.clusterSize
		e := s.get(i)
		if at >= end || g.hosted(e) && e.desc&flagCopied != 0 || im.conflict(at, at+g.clusterSize) != nil {
			break
		}
		k++
	}
	return k
}

// writeNew writes the next m bytes of data to r.alloc, with what is to be around them, and
// links it.
func (im *Image) writeNew(r *req, off, m int64, rest *vector) error {
	a := &r.alloc
	err := im.copyAround(r, a, off, m, rest)
	im.mu.Lock()
	defer im.mu.Unlock()
	if err == nil {
		err = im.link(a)
	} else if a.own > 0 {
		im.free(a.host, a.own)
	}
	im.landed(a)
	return err
}

// copyAround writes data to an allocation, and to the rest of its subclusters, or clusters,
// what is read there now.
func (im *Image) copyAround(r *req, a *allocation, off, m int64, rest *vector) error {
	lo, hi, err := im.bounds(a, off, off+m)
	if err != nil {
		return err
	}
	head, tail := off-lo, hi-off-m
	if need := head + tail; int64(len(r.buf)) < need {
		r.buf = make([]byte, max(need, im.geo.clusterSize))
	}
	clear(r.iov)
	r.iov = r.iov[:0]
	if head > 0 {
		r.iov = append(r.iov, r.buf[:head])
	}
	r.iov = rest.appendTo(r.iov, m)
	if tail > 0 {
		r.iov = append(r.iov, r.buf[head:head+tail])
	}
	if err := im.readAround(r.buf[:head], lo); err != nil {
		return err
	}
	if err := im.readAround(r.buf[head:head+tail], off+m); err != nil {
		return err
	}
	im.event(EventWriteAIO)
	return im.data.Writev(a.host+lo-a.lo, r.iov)
}

// readAround reads what the disk has at off, which may be past its end.
func (im *Image) readAround(b []byte, off int64) error {
	if len(b) == 0 {
		return nil
	}
	im.event(EventCOWRead)
	r := im.getReq()
	defer im.putReq(r)
	r.one[0] = b
	return im.read(r, off, int64(len(b)), r.one[:])
}

// bounds returns what must be written of an allocation so that [from, to) can be.
func (im *Image) bounds(a *allocation, from, to int64) (lo, hi int64, err error) {
	g := &im.geo
	im.mu.Lock()
	defer im.mu.Unlock()
	first, err := im.entryAt(from)
	if err != nil {
		return 0, 0, err
	}
	last, err := im.entryAt(to - 1)
	if err != nil {
		return 0, 0, err
	}
	lo, hi = from, to
	if k := g.kind(first, g.sub(from)); !a.reuse || k != normal {
		lo = from &^ (g.subSize - 1)
	}
	if k := g.kind(last, g.sub(to-1)); !a.reuse || k != normal {
		hi = (to + g.subSize - 1) &^ (g.subSize - 1)
	}
	if !a.reuse {
		data, _ := g.dataIn(first)
		lo = min(lo, g.down(from)+data)
		_, data = g.dataIn(last)
		hi = max(hi, g.down(to-1)+data)
	}
	a.from, a.to = lo, hi
	return lo, hi, nil
}

// holdsData tells whether a cluster has data, or room for it, in this image.
func holdsData(g *geometry, e entry) bool {
	return e.desc&flagCompressed != 0 || g.hosted(e)
}

// entryAt returns the L2 entry of guest offset off.
func (im *Image) entryAt(off int64) (entry, error) {
	s, err := im.sliceToWrite(off)
	if err != nil {
		return entry{}, err
	}
	return s.get(s.i), nil
}

// link has the L2 entries refer to an allocation whose data is written. The lock is held.
func (im *Image) link(a *allocation) error {
	g := &im.geo
	im.unflushed = true
	for at := a.lo; at < a.hi; at += g.clusterSize {
		s, err := im.sliceToWrite(at)
		if err != nil {
			return err
		}
		old := s.get(s.i)
		e := entry{desc: uint64(a.host+at-a.lo) | flagCopied}
		if g.ext {
			e.subs = linkedSubs(g, a, old, at)
		}
		im.setEntry(&s, s.i, e)
		if !a.reuse {
			im.freeEntry(old, freedOther)
		}
	}
	return nil
}

// linkedSubs returns the bitmap of the cluster at guest offset at after it was written.
func linkedSubs(g *geometry, a *allocation, old entry, at int64) uint64 {
	lo, hi := max(a.from-at, 0), min(a.to-at, g.clusterSize)
	mask := subMask(int(lo/g.subSize), int((hi+g.subSize-1)/g.subSize))
	return old.subs&^(mask<<32) | mask
}
