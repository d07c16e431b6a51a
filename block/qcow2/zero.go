package qcow2

import "fmt"

// zeroChunk is how many zeroes are written as data at once.
const zeroChunk = 1 << 20

// WriteZeroes has n bytes at off read as zeroes.
func (im *Image) WriteZeroes(off, n int64, f Flags) error {
	if err := im.inside(off, n); err != nil {
		return err
	}
	l, err := im.beginWrite()
	if err != nil {
		return err
	}
	return im.endWrite(l, f, im.zeroRange(off, n, f))
}

// zeroRange splits a range into its whole subclusters and what is around them.
func (im *Image) zeroRange(off, n int64, f Flags) error {
	unit := im.geo.subSize
	if im.hdr.Version < 3 {
		unit = im.geo.clusterSize
	}
	end := off + n
	lo, hi := (off+unit-1)&^(unit-1), end&^(unit-1)
	if end == im.Size() {
		hi = (end + unit - 1) &^ (unit - 1)
	}
	if lo >= hi {
		return im.zeroParts(off, n, unit, f)
	}
	if err := im.zeroParts(off, lo-off, unit, f); err != nil {
		return err
	}
	if err := im.zeroWhole(lo, hi, min(hi, end), f); err != nil {
		return err
	}
	return im.zeroParts(hi, max(end-hi, 0), unit, f)
}

// zeroParts makes parts of clusters or subclusters zeroes: by making all of them zeroes, if
// the rest reads so, too.
func (im *Image) zeroParts(off, n, unit int64, f Flags) error {
	for n > 0 {
		lo := off &^ (unit - 1)
		m := min(lo+unit-off, n)
		done, err := false, error(nil)
		if im.hdr.Version >= 3 && im.restZero(lo, lo+unit, off, off+m) {
			done, err = im.zeroBare(lo, lo+unit, f)
		}
		if !done && err == nil {
			err = im.zeroData(off, m, f)
		}
		if err != nil {
			return err
		}
		off, n = off+m, n-m
	}
	return nil
}

// restZero tells whether the backing image is known to read as zeroes in [lo, hi) but for
// [a, b).
func (im *Image) restZero(lo, hi, a, b int64) bool {
	im.mu.Lock()
	below := im.backing
	im.mu.Unlock()
	if below == nil {
		return true
	}
	t, ok := below.(ZeroTeller)
	zero := func(lo, hi int64) bool {
		hi = min(hi, below.Size())
		return lo >= hi || ok && t.ReadsZero(lo, hi-lo)
	}
	return zero(lo, a) && zero(b, hi)
}

// zeroBare makes a cluster or subcluster zeroes if nothing has been written to it.
func (im *Image) zeroBare(lo, hi int64, f Flags) (done bool, err error) {
	g := &im.geo
	err = im.eachCluster(lo, hi, func(s *slice, at int64) {
		a, b := max(lo-at, 0)/g.subSize, min(hi-at, g.clusterSize)/g.subSize
		switch k := g.kind(s.get(s.i), int(a)); {
		case k.zero(), k == unallocated, k == unallocHosted:
			im.zeroEntry(s, int(a), int(b), f&MayUnmap != 0)
			done = true
		}
	}, func(int64, int64) error { return nil })
	if err == nil && done && g.external && im.hdr.Autoclear&AutoclearRawData != 0 {
		err = im.data.WriteZeroes(lo, min(hi, im.Size())-lo, f&MayUnmap != 0)
	}
	return done, err
}

// zeroData writes zeroes where something else is read now.
func (im *Image) zeroData(off, n int64, f Flags) error {
	r := im.getReq()
	defer im.putReq(r)
	for n > 0 {
		m, zero, err := im.readsZero(off, n)
		if err != nil {
			return err
		}
		if !zero {
			if f&NoFallback != 0 {
				return fmt.Errorf("%w: zeroes without writing data", ErrNotSupported)
			}
			m = min(m, zeroChunk)
			if err := im.write(r, off, m, [][]byte{make([]byte, m)}); err != nil {
				return err
			}
		}
		off, n = off+m, n-m
	}
	return nil
}

// readsZero tells whether a run at off reads as zeroes for sure.
func (im *Image) readsZero(off, n int64) (m int64, zero bool, err error) {
	im.mu.Lock()
	defer im.mu.Unlock()
	r, err := im.lookup(off, n)
	if err != nil {
		return 0, false, err
	}
	bare := r.kind == unallocated || r.kind == unallocHosted
	return r.n, r.kind.zero() || bare && im.backing == nil, nil
}

// zeroWhole makes [lo, hi), which is whole subclusters, zeroes; end is where the disk does.
func (im *Image) zeroWhole(lo, hi, end int64, f Flags) error {
	g := &im.geo
	if im.hdr.Version < 3 {
		// There are no zero clusters, but what is not there reads as zeroes.
		if im.backing != nil {
			return im.zeroData(lo, end-lo, f)
		}
		f |= MayUnmap
	}
	if g.external && im.hdr.Autoclear&AutoclearRawData != 0 {
		if err := im.data.WriteZeroes(lo, end-lo, f&MayUnmap != 0); err != nil {
			return err
		}
	}
	return im.eachCluster(lo, hi, func(s *slice, at int64) {
		a, b := max(lo-at, 0)/g.subSize, min(hi-at, g.clusterSize)/g.subSize
		im.zeroEntry(s, int(a), int(b), f&MayUnmap != 0)
	}, func(at, hi int64) error { return im.zeroPart(at, hi, f) })
}

// zeroPart is for parts of compressed clusters, which have no subclusters.
func (im *Image) zeroPart(lo, hi int64, f Flags) error {
	return im.zeroData(lo, min(hi, im.Size())-lo, f)
}

// eachCluster calls set for the L2 entries of [lo, hi), once nobody has them under way. The
// lock is held during the call. Parts of compressed clusters go to part, without the lock.
func (im *Image) eachCluster(lo, hi int64, set func(*slice, int64), part func(lo, hi int64) error) error {
	g := &im.geo
	for at := g.down(lo); at < hi; at += g.clusterSize {
		im.mu.Lock()
		im.await(at, at+g.clusterSize)
		s, err := im.sliceToWrite(at)
		if err == nil {
			err = im.broken
		}
		split := false
		if err == nil {
			split = (at < lo || at+g.clusterSize > hi) && s.get(s.i).desc&flagCompressed != 0
			if !split {
				set(&s, at)
			}
		}
		im.mu.Unlock()
		if split {
			err = part(max(at, lo), min(at+g.clusterSize, hi))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// zeroEntry marks subclusters [a, b) of an entry as zeroes. A whole cluster gives up its host
// cluster if unmap.
func (im *Image) zeroEntry(s *slice, a, b int, unmap bool) {
	g := &im.geo
	old := s.get(s.i)
	e := old
	whole := b-a == g.subs
	switch {
	case im.hdr.Version < 3:
		e = entry{}
	case whole && (unmap && !g.external || old.desc&flagCompressed != 0):
		e = entry{desc: flagZero, subs: subMask(0, 32) << 32}
	case g.ext:
		e.subs = e.subs&^subMask(a, b) | subMask(a, b)<<32
	default:
		e.desc |= flagZero
	}
	if g.ext {
		e.desc &^= flagZero
	} else {
		e.subs = 0
	}
	if e == old {
		return
	}
	im.unflushed = true
	im.setEntry(s, s.i, e)
	if im.kept(e) != im.kept(old) {
		im.freeEntry(old, freedRequest)
	}
}

// kept is what an entry refers to.
func (im *Image) kept(e entry) uint64 {
	if e.desc&flagCompressed != 0 {
		return e.desc
	}
	return e.desc & offsetMask
}

// Discard gives up the clusters that lie in the range as a whole. They read as zeroes then.
func (im *Image) Discard(off, n int64) error {
	if err := im.inside(off, n); err != nil {
		return err
	}
	if im.hdr.Version < 3 && im.hasBacking() {
		return fmt.Errorf("qcow2: %w: discard would expose the backing file", ErrNotSupported)
	}
	l, err := im.beginWrite()
	if err != nil {
		return err
	}
	return im.endWrite(l, 0, im.discard(off, n))
}

func (im *Image) hasBacking() bool {
	im.mu.Lock()
	defer im.mu.Unlock()
	return im.backing != nil || im.hdr.BackingFile != ""
}

func (im *Image) discard(off, n int64) error {
	g := &im.geo
	lo, hi := g.up(off), g.down(off+n)
	if off+n == im.Size() {
		hi = g.up(off + n)
	}
	if lo >= hi {
		return nil
	}
	backed := im.hasBacking()
	for at := lo; at < hi; {
		end := min(hi, (at/g.tableSpan()+1)*g.tableSpan())
		if backed || !im.bare(at) {
			set := func(s *slice, at int64) { im.discardEntry(s, backed, freedRequest) }
			if err := im.eachCluster(at, end, set, nil); err != nil {
				return err
			}
		}
		at = end
	}
	if !g.external {
		return nil
	}
	n = min(hi, im.Size()) - lo
	if im.hdr.Autoclear&AutoclearRawData != 0 {
		return im.data.WriteZeroes(lo, n, true)
	}
	if im.opt.DiscardRequest {
		return im.data.Discard(lo, n)
	}
	return nil
}

// bare tells whether there is no L2 table for guest offset off.
func (im *Image) bare(off int64) bool {
	im.mu.Lock()
	defer im.mu.Unlock()
	im.await(off, off+im.geo.tableSpan())
	l2, err := im.l2Offset(off / im.geo.tableSpan())
	return err == nil && l2 == 0
}

// discardEntry makes a cluster one that has nothing and reads as zeroes.
func (im *Image) discardEntry(s *slice, backed bool, k discardKind) {
	g := &im.geo
	old := s.get(s.i)
	if old == (entry{}) && !backed {
		return
	}
	var e entry
	switch {
	case im.hdr.Version < 3:
	case g.ext:
		e.subs = subMask(0, 32) << 32
	default:
		e.desc = flagZero
	}
	if e == old {
		return
	}
	im.unflushed = true
	im.setEntry(s, s.i, e)
	im.freeEntry(old, k)
}
