package qcow2

// maxAround is how many zeroes are written around data at most by who writes it on its own.
const maxAround = 1 << 20

// findNew allocates clusters for a range of which none is there, if that takes no more than what is
// cached. The lock is held.
func (im *Image) findNew(off, n int64) Spot {
	g := &im.geo
	lo, hi := g.down(off), g.up(off+n)
	l2, err := im.l2Offset(off / g.tableSpan())
	if err != nil || im.lazy || im.conflict(lo, hi) != nil {
		return Spot{}
	}
	s, ok := im.cachedSlice(l2, off)
	from, to := off&^(g.subSize-1), (off+n+g.subSize-1)&^(g.subSize-1)
	around := from < off || to > off+n
	if !ok || to-from-n > maxAround || !im.allBare(&s, (hi-lo)>>g.clusterBits, around) {
		return Spot{}
	}
	if !g.external && !im.hintFree((hi-lo)>>g.clusterBits) {
		return Spot{}
	}
	r := im.getReq()
	r.alloc = allocation{lo: lo}
	if m, err := im.allocateData(&s, &r.alloc, off, n); err != nil || m != n {
		im.giveBack(r, err)
		return Spot{}
	}
	r.alloc.from, r.alloc.to = from, to
	return Spot{Place: InNew, Offset: r.alloc.host + from - lo, Head: off - from, Tail: to - off - n, New: r}
}

// giveBack undoes an allocation that is of no use.
func (im *Image) giveBack(r *req, err error) {
	if a := &r.alloc; err == nil {
		if a.own > 0 {
			im.free(a.host, a.own)
		}
		im.landed(a)
	}
	im.putReq(r)
}

// allBare tells whether n entries of a slice, from the one on that was asked for, have neither
// cluster nor, if what lies around a range matters, anything below that is read there.
func (im *Image) allBare(s *slice, n int64, around bool) bool {
	if s.i+n > s.n {
		return false
	}
	for i := s.i; i < s.i+n; i++ {
		switch e := s.get(i); {
		case e == (entry{}) && (!around || im.backing == nil):
		case e == (entry{desc: flagZero}) && !im.geo.ext:
		default:
			return false
		}
	}
	return true
}

// hintFree tells whether n clusters are free where free ones are looked for first, and whether the
// cache says so.
func (im *Image) hintFree(n int64) bool {
	g := &im.geo
	c := im.refs.hint
	i := c / g.refBlock
	if i >= int64(len(im.refs.table)) || (c+n-1)/g.refBlock != i {
		return false
	}
	off := int64(im.refs.table[i] & refOffsetMask)
	if off == 0 {
		return false
	}
	t := im.refs.cache.have(off)
	if t == nil {
		return false
	}
	for k := range n {
		if getRef(t.b, g.refOrder, c%g.refBlock+k) != 0 {
			return false
		}
	}
	return true
}

// canLink tells whether the entries of an allocation are cached.
func (im *Image) canLink(a *allocation) bool {
	l2, err := im.l2Offset(a.lo / im.geo.tableSpan())
	if err != nil || l2 == 0 {
		return false
	}
	_, ok := im.cachedSlice(l2, a.lo)
	return ok
}
