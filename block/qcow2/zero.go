package qcow2

import (
	"errors"
	"fmt"
)

const (
	// zeroChunk is how many zeroes are written as data at once.
	zeroChunk = 1 << 20
	// maxZeroData is after how many the rest may be made zeroes again, as in QEMU.
	maxZeroData = 16 << 20
)

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

// zeroRange splits a range into whole subclusters and what is before and after them. What
// cannot be made zeroes is written.
func (im *Image) zeroRange(off, n int64, f Flags) error {
	unit := im.geo.subSize
	if im.hdr.Version < 3 {
		unit = im.geo.clusterSize
	}
	for n > 0 {
		m := n
		if head := off & (unit - 1); head > 0 {
			m = min(m, unit-head)
		} else if m > unit {
			m &^= unit - 1
		}
		err := im.zeroPiece(off, m, unit, f)
		if errors.Is(err, ErrNotSupported) && f&NoFallback == 0 {
			m = min(m, maxZeroData)
			err = im.zeroData(off, m)
		}
		if err != nil {
			return err
		}
		off, n = off+m, n-m
	}
	return nil
}

// zeroPiece makes whole subclusters zeroes, or a part of one if the rest reads so, too.
func (im *Image) zeroPiece(off, n, unit int64, f Flags) error {
	lo, hi, size := off&^(unit-1), (off+n+unit-1)&^(unit-1), im.Size()
	if lo == off && (hi == off+n || size == off+n) {
		return im.zeroize(lo, min(hi, size), f, false)
	}
	if !im.restZero(lo, min(hi, size), off, off+n) {
		return errNotZeroes
	}
	return im.zeroize(lo, min(hi, size), f, true)
}

// errNotZeroes is for what has to be written as data.
var errNotZeroes = fmt.Errorf("%w: zeroes without writing data", ErrNotSupported)

// restZero tells whether a subcluster, [lo, hi), is known to read as zeroes but for [a, b).
func (im *Image) restZero(lo, hi, a, b int64) bool {
	im.mu.Lock()
	r, err := im.lookup(lo, hi-lo)
	below := im.backing
	im.mu.Unlock()
	switch {
	case err != nil || !r.kind.bare():
		return false
	case r.kind.zero() || below == nil:
		return true
	}
	t, ok := below.(ZeroTeller)
	zero := func(lo, hi int64) bool {
		hi = min(hi, below.Size())
		return lo >= hi || ok && t.ReadsZero(lo, hi-lo)
	}
	return zero(lo, a) && (b == im.Size() || zero(b, hi))
}

// zeroData writes zeroes.
func (im *Image) zeroData(off, n int64) error {
	r := im.getReq()
	defer im.putReq(r)
	zeroes := make([]byte, min(n, zeroChunk))
	for n > 0 {
		m := min(n, zeroChunk)
		if err := im.write(r, off, m, [][]byte{zeroes[:m]}); err != nil {
			return err
		}
		off, n = off+m, n-m
	}
	return nil
}

// zeroize makes [lo, hi) zeroes, which is whole subclusters up to the end of the disk; with
// bare only if nothing has been written there.
func (im *Image) zeroize(lo, hi int64, f Flags, bare bool) error {
	g := &im.geo
	if g.external && im.hdr.Autoclear&AutoclearRawData != 0 {
		if err := im.data.WriteZeroes(lo, hi-lo, f&MayUnmap != 0); err != nil {
			return err
		}
	}
	if im.hdr.Version < 3 && im.backing != nil {
		return errNotZeroes
	}
	if hi == im.Size() {
		// There is nothing in the rest of the last cluster, but subclusters that are
		// left over from the one before stay in theirs.
		if hi = g.up(hi); lo&(g.clusterSize-1) != 0 && lo > hi-g.clusterSize {
			hi = im.Size()
		}
	}
	return im.eachCluster(lo, hi, func(s *slice, at int64) error {
		a, b := max(lo-at, 0)/g.subSize, (min(hi-at, g.clusterSize)+g.subSize-1)/g.subSize
		e := s.get(s.i)
		if bare && !g.kind(e, int(a)).bare() || int(b-a) < g.subs && e.desc&flagCompressed != 0 {
			return errNotZeroes
		}
		im.zeroEntry(s, int(a), int(b), f&MayUnmap != 0)
		return nil
	})
}

// eachCluster calls set for the L2 entries of [lo, hi), once nobody has them under way, up to
// the first error. The lock is held during the call.
func (im *Image) eachCluster(lo, hi int64, set func(*slice, int64) error) error {
	g := &im.geo
	for at := g.down(lo); at < hi; at += g.clusterSize {
		im.mu.Lock()
		im.await(at, at+g.clusterSize)
		s, err := im.sliceToWrite(at)
		if err == nil {
			err = im.broken
		}
		if err == nil {
			err = set(&s, at)
		}
		im.mu.Unlock()
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
	case whole && (unmap || old.desc&flagCompressed != 0):
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
			set := func(s *slice, at int64) error { im.discardEntry(s, backed, freedRequest); return nil }
			if err := im.eachCluster(at, end, set); err != nil {
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
	if !backed && !holdsData(g, old) {
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
