package qcow2

// Place says where a range lies.
type Place uint8

// The places.
const (
	Elsewhere Place = iota // or not known, or more than one
	InData
	InBacking
	InNothing // it reads as zeroes
)

// Spot is where in the storage for data a range lies. What is there is not given to anything
// else until Left.
type Spot struct {
	Place  Place
	Offset int64
	Lease  uint32 // for Left
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
// where it can be overwritten. Who moves data there on its own calls Left afterwards, if it is
// InData.
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
	case !ok || m.n != n:
		return s
	case m.kind == normal:
		s = Spot{InData, m.host, uint32(im.epoch.Load() & 1)}
		im.inflight[s.Lease].Add(1)
		return s
	case isWrite || m.kind == compressed:
		return s
	case m.kind.zero() || im.backing == nil:
		return Spot{Place: InNothing}
	case m.kind == unallocated:
		im.learn(off)
	}
	return Spot{Place: InBacking}
}

// Left ends what Find began and gave a lease for.
func (im *Image) Left(l uint32) { im.end(lease(l)) }

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
		return mapping{n: n}, true
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
		return mapping{kind: normal, host: host, n: m}, err == nil && m > 0
	}
	m, err := im.run(&s, off, n)
	return m, err == nil
}
