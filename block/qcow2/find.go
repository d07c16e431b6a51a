package qcow2

import "fmt"

// Place says where a range lies.
type Place uint8

// The places.
const (
	Elsewhere Place = iota // or not known, or more than one
	InData
	InBacking
	InNothing // it reads as zeroes
	InNew     // in clusters that were allocated for it
)

// Spot is where in the storage for data a range lies. What is there is not given to anything
// else until Left.
type Spot struct {
	Place  Place
	Offset int64
	// Head and Tail are how many zeroes are to be written before and after the data, which
	// begin at Offset. They are for InNew.
	Head, Tail int64

	// Lease and New are for Left.
	Lease uint32
	New   any // the *req with the allocation of InNew
}

// tries is how often somebody looks whether a lock is free.
const tries = 64

// tryLock takes the lock if nobody has it for long.
func (im *Image) tryLock() bool {
	for range tries {
		if im.mu.TryLock() {
			return true
		}
	}
	return false
}

// Find tells where a range lies, as far as the caches say so without waiting. For a write that is
// where it can be written, which may be in new clusters. Who moves data there on its own calls Left
// afterwards.
func (im *Image) Find(isWrite bool, off, n int64) (s Spot) {
	if size := im.Size(); off < 0 || n <= 0 || off > size || n > size-off || isWrite && im.opt.ReadOnly {
		return s
	}
	if !isWrite && im.Beneath(off, n) != nil {
		return Spot{Place: InBacking}
	}
	if !im.tryLock() {
		return s
	}
	defer im.mu.Unlock()
	if im.exclusive.Load() || im.broken != nil {
		return s
	}
	m, ok := im.cached(isWrite, off, n)
	switch {
	case !ok:
	case m.kind == normal && m.n == n:
		s = Spot{Place: InData, Offset: m.host}
	case isWrite:
		s = im.findNew(off, n)
	case m.n != n || m.kind == compressed || m.kind == normal:
	case m.kind.zero() || im.backing == nil:
		return Spot{Place: InNothing}
	default:
		if m.kind == unallocated {
			im.learn(off)
		}
		return Spot{Place: InBacking}
	}
	if s.Place != Elsewhere {
		s.Lease = im.epoch.Load() & 1
		im.inflight[s.Lease].Add(1)
	}
	return s
}

// Left ends what Find began. What was written to new clusters is linked, or given up if it failed.
// Unless it is to wait for what it needs it may have to be called again: it returns false then.
func (im *Image) Left(s Spot, failed, wait bool) (bool, error) {
	r, isNew := s.New.(*req)
	if !isNew {
		im.end(lease(s.Lease))
		return true, nil
	}
	if wait {
		im.mu.Lock()
	} else if !im.tryLock() {
		return false, nil
	}
	a := &r.alloc
	if !wait && !failed && !im.canLink(a) {
		im.mu.Unlock()
		return false, nil
	}
	var err error
	switch {
	case !failed:
		err = im.link(a)
	case a.own > 0:
		im.free(a.host, a.own)
	}
	im.landed(a)
	im.mu.Unlock()
	im.putReq(r)
	im.end(lease(s.Lease))
	if err != nil {
		return true, fmt.Errorf("qcow2: write: %w", err)
	}
	return true, nil
}

// cached returns the run at off, of at most n bytes, if the tables are in memory that say so; for a
// write if it can be overwritten.
func (im *Image) cached(isWrite bool, off, n int64) (mapping, bool) {
	g := &im.geo
	i, in := off/g.tableSpan(), off%g.tableSpan()
	if i >= int64(len(im.l1)) || in+n > g.tableSpan() {
		return mapping{}, false
	}
	l2 := int64(im.l1[i] & offsetMask)
	if l2 == 0 {
		return mapping{n: n}, !isWrite
	}
	s, ok := im.cachedSlice(l2, off)
	if !ok {
		return mapping{}, false
	}
	if isWrite {
		if im.l1[i]&flagCopied == 0 {
			return mapping{}, false
		}
		host, m, err := im.inPlace(&s, off, n)
		return mapping{kind: normal, host: host, n: m}, err == nil
	}
	m, err := im.run(&s, off, n)
	return m, err == nil
}
