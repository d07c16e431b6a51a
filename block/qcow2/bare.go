package qcow2

import "sync/atomic"

// grains is how many grains an image has at most.
const grains = 1 << 20

// bareMap is what is known of where an image has no clusters. Bits are changed with the
// image's lock held, and read without it.
type bareMap struct {
	shift uint // log2 of a grain
	size  int64
	below Backing
	bare  []atomic.Uint64 // grains without any cluster
	other []atomic.Uint64 // grains with some
}

// newBare returns an empty map, nil if it would be too large. The lock is held.
func (im *Image) newBare() *bareMap {
	g := &im.geo
	slice := g.clusterSize * (g.sliceBytes / g.entrySize)
	b := &bareMap{size: im.Size(), below: im.backing, shift: g.clusterBits}
	for b.size>>b.shift >= grains {
		if b.shift++; 1<<b.shift > slice {
			return nil
		}
	}
	words := b.size>>b.shift/64 + 1
	b.bare, b.other = make([]atomic.Uint64, words), make([]atomic.Uint64, words)
	return b
}

// has tells whether a range is known to have no cluster.
func (b *bareMap) has(off, n int64) bool {
	if n <= 0 || off < 0 || n > b.size || off > b.size-n {
		return false
	}
	for i, last := off>>b.shift, (off+n-1)>>b.shift; i <= last; i++ {
		if b.bare[i/64].Load()&(1<<(i%64)) == 0 {
			return false
		}
	}
	return true
}

// learn finds out about the grain of a cluster that is not there, and about those beside it of
// which the same slice tells. The lock is held.
func (im *Image) learn(off int64) {
	if im.backing == nil || im.broken != nil {
		return
	}
	b := im.none.Load()
	if b == nil {
		if b = im.newBare(); b == nil {
			return
		}
		im.none.Store(b)
	}
	i := off >> b.shift
	if (b.bare[i/64].Load()|b.other[i/64].Load())&(1<<(i%64)) != 0 {
		return
	}
	g := &im.geo
	span := g.clusterSize * (g.sliceBytes / g.entrySize)
	for k := i &^ 63; k < i|63+1 && k<<b.shift < b.size; k++ {
		if at := k << b.shift; at/span == off/span {
			b.note(k, im.hasNone(at, 1<<b.shift))
		}
	}
}

// note notes whether a grain has no cluster.
func (b *bareMap) note(i int64, bare bool) {
	set := b.other
	if bare {
		set = b.bare
	}
	set[i/64].Or(1 << (i % 64))
}

// hasNone tells whether L2 entries, of one slice, are all empty.
func (im *Image) hasNone(off, n int64) bool {
	l2, err := im.l2Offset(off / im.geo.tableSpan())
	if err != nil || l2 == 0 {
		return err == nil
	}
	s, err := im.sliceOf(l2, off)
	if err != nil {
		return false
	}
	for i := s.i; i < s.i+n>>im.geo.clusterBits; i++ {
		if s.get(i) != (entry{}) {
			return false
		}
	}
	return true
}

// filled notes that the cluster at guest offset off has an entry. The lock is held.
func (im *Image) filled(off int64) {
	if b := im.none.Load(); b != nil && off < b.size {
		i := off >> b.shift
		bit := uint64(1) << (i % 64)
		b.other[i/64].Or(bit)
		b.bare[i/64].And(^bit)
	}
}

// Beneath returns the backing image if a range is known to be read there, and nil otherwise.
// It takes no lock; no operation on the image as a whole may be under way.
func (im *Image) Beneath(off, n int64) Backing {
	if b := im.none.Load(); b != nil && b.has(off, n) {
		return b.below
	}
	return nil
}
