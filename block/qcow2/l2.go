package qcow2

import (
	"encoding/binary"
	"fmt"
)

// mapping is a run of subclusters of one kind.
type mapping struct {
	kind kind
	host int64 // of the first byte, if kind is hosted
	n    int64
	e    entry // of the first cluster
}

// slice is a part of an L2 table in the cache.
type slice struct {
	t     *table
	i     int64 // entry that was asked for
	n     int64 // entries in the slice
	entry int64 // bytes
	lo    int64 // guest offset of entry 0
}

func (s *slice) get(i int64) entry {
	p := s.t.b[i*s.entry:]
	e := entry{desc: binary.BigEndian.Uint64(p)}
	if s.entry == 16 {
		e.subs = binary.BigEndian.Uint64(p[8:])
	}
	return e
}

func (im *Image) setEntry(s *slice, i int64, e entry) {
	p := s.t.b[i*s.entry:]
	binary.BigEndian.PutUint64(p, e.desc)
	if s.entry == 16 {
		binary.BigEndian.PutUint64(p[8:], e.subs)
	}
	im.l2.mark(s.t)
	if e != (entry{}) {
		im.filled(s.lo + i<<im.geo.clusterBits)
	}
}

// sliceOf returns the slice of the table at l2 that has the entry of guest offset off.
func (im *Image) sliceOf(l2, off int64) (slice, error) {
	at, base := im.inTable(off)
	t, err := im.l2.get(l2 + base)
	if err != nil {
		return slice{}, fmt.Errorf("L2 table at %#x: %w", l2, err)
	}
	return im.sliceIn(t, at-base, off), nil
}

// cachedSlice is sliceOf if the slice is in memory.
func (im *Image) cachedSlice(l2, off int64) (slice, bool) {
	at, base := im.inTable(off)
	t := im.l2.have(l2 + base)
	if t == nil {
		return slice{}, false
	}
	return im.sliceIn(t, at-base, off), true
}

// inTable returns where in its table the entry of guest offset off is, and where its slice begins.
func (im *Image) inTable(off int64) (at, base int64) {
	g := &im.geo
	at = (off >> g.clusterBits & (1<<g.l2Bits - 1)) * g.entrySize
	return at, at &^ (g.sliceBytes - 1)
}

// sliceIn returns a slice of which a table has the bytes; the entry of guest offset off is at at.
func (im *Image) sliceIn(t *table, at, off int64) slice {
	g := &im.geo
	i := at / g.entrySize
	return slice{t, i, g.sliceBytes / g.entrySize, g.entrySize, g.down(off) - i<<g.clusterBits}
}

// l2Offset returns where the L2 table of L1 entry i lies, 0 for none.
func (im *Image) l2Offset(i int64) (int64, error) {
	if i >= int64(len(im.l1)) {
		return 0, nil
	}
	l2 := int64(im.l1[i] & offsetMask)
	if l2&(im.geo.clusterSize-1) != 0 {
		return 0, im.corrupt(-1, 0, true, "L2 table offset %#x unaligned (L1 index: %#x)", l2, i)
	}
	return l2, nil
}

// lookup returns the run at off, of at most n bytes. The lock is held.
func (im *Image) lookup(off, n int64) (mapping, error) {
	g := &im.geo
	span := g.tableSpan()
	n = min(n, span-off&(span-1))
	l2, err := im.l2Offset(off / span)
	if err != nil || l2 == 0 {
		return mapping{n: n}, err
	}
	s, err := im.sliceOf(l2, off)
	if err != nil {
		return mapping{}, err
	}
	return im.run(&s, off, n)
}

// run measures the run at off within a slice.
func (im *Image) run(s *slice, off, n int64) (mapping, error) {
	g := &im.geo
	e, i := s.get(s.i), s.i
	in := off & (g.clusterSize - 1)
	sub := int(in / g.subSize)
	m := mapping{kind: g.kind(e, sub), e: e}
	if err := im.checkEntry(e, m.kind, off-in); err != nil {
		return m, err
	}
	if m.kind == compressed {
		m.n = min(n, g.clusterSize-in)
		return m, nil
	}
	m.host = e.host() + in
	next := e.host() + g.clusterSize
	for m.n = g.subSize - in%g.subSize; m.n < n; m.n += g.subSize {
		if sub++; sub == g.subs {
			sub = 0
			if i++; i == s.n {
				break
			}
			if e = s.get(i); m.kind.hosted() && e.host() != next {
				break
			}
			next += g.clusterSize
		}
		if g.kind(e, sub) != m.kind {
			break
		}
	}
	m.n = min(m.n, n)
	return m, nil
}

// checkEntry refuses what can't be: cluster is the guest offset of e.
func (im *Image) checkEntry(e entry, k kind, cluster int64) error {
	g := &im.geo
	switch {
	case k == invalid:
		return im.corrupt(-1, 0, true, "Invalid cluster entry found (guest offset: %#x)", cluster)
	case k == compressed && g.external:
		return im.corrupt(-1, 0, true, "Compressed cluster entry found in image with external data file (guest offset: %#x)", cluster)
	case !k.hosted():
		return nil
	case e.host()&(g.clusterSize-1) != 0:
		return im.corrupt(-1, 0, true, "Cluster allocation offset %#x unaligned (guest offset: %#x)", e.host(), cluster)
	case g.external && e.host() != cluster:
		return im.corrupt(-1, 0, true, "External data file host cluster offset %#x does not match guest cluster offset: %#x", e.host(), cluster)
	}
	return nil
}

// sliceToWrite is sliceOf, with an L2 table of the image's own made if there is none.
func (im *Image) sliceToWrite(off int64) (slice, error) {
	i := off / im.geo.tableSpan()
	if i >= int64(len(im.l1)) {
		return slice{}, ErrRange
	}
	l2, err := im.l2Offset(i)
	if err != nil {
		return slice{}, err
	}
	if l2 == 0 || im.l1[i]&flagCopied == 0 {
		if l2, err = im.newL2(i, l2); err != nil {
			return slice{}, fmt.Errorf("allocate L2 table: %w", err)
		}
	}
	return im.sliceOf(l2, off)
}

// newL2 makes an L2 table for L1 entry i, empty or as that at old.
func (im *Image) newL2(i, old int64) (int64, error) {
	g := &im.geo
	l2, _, err := im.alloc(1, true)
	if err != nil {
		return 0, err
	}
	b := make([]byte, g.clusterSize)
	if old != 0 {
		im.event(EventL2AllocCOWRead)
	}
	for at := int64(0); old != 0 && at < g.clusterSize; at += g.sliceBytes {
		t, err := im.l2.get(old + at)
		if err != nil {
			return 0, err
		}
		copy(b[at:], t.b)
	}
	im.event(EventL2AllocWrite)
	if err := im.writeMeta(l2, b, 0); err != nil {
		return 0, err
	}
	im.own(l2, 1, OverlapActiveL2)
	if old != 0 {
		im.dropL2(old)
		im.free(old, 1)
	}
	im.l1[i] = uint64(l2) | flagCopied
	im.l1Dirty.mark(int(i))
	return l2, nil
}

// dropL2 forgets what is cached of a table that the active L1 table no longer has.
func (im *Image) dropL2(l2 int64) {
	for at := int64(0); at < im.geo.clusterSize; at += im.geo.sliceBytes {
		im.l2.drop(l2 + at)
	}
	im.disown(l2, 1, OverlapActiveL2)
}

// storeL2 writes a slice back, once what it refers to is there.
func (im *Image) storeL2(t *table) error {
	if err := im.storeRefs(); err != nil {
		return err
	}
	if err := im.barrier(); err != nil {
		return err
	}
	im.event(EventL2Update)
	return im.writeMeta(t.off, t.b, OverlapActiveL2)
}

// storeL1 writes back the entries that changed; the tables they refer to are durable.
func (im *Image) storeL1() error {
	d := im.l1Dirty
	if d.lo == d.hi {
		return nil
	}
	const perSector = 64
	im.event(EventL1Update)
	lo, hi := d.lo&^(perSector-1), min((d.hi+perSector-1)&^(perSector-1), len(im.l1))
	if err := im.writeMeta(im.hdr.L1Offset+int64(lo)*8, encodeTable(im.l1[lo:hi]), OverlapActiveL1); err != nil {
		return err
	}
	im.l1Dirty = l1Dirty{}
	return nil
}

func encodeTable(t []uint64) []byte {
	b := make([]byte, 0, len(t)*8)
	for _, e := range t {
		b = binary.BigEndian.AppendUint64(b, e)
	}
	return b
}

// readTable reads n entries of 64 bits.
func (im *Image) readTable(off, n int64) ([]uint64, error) {
	b := make([]byte, n*8)
	if err := im.file.Readv(off, [][]byte{b}); err != nil {
		return nil, err
	}
	t := make([]uint64, n)
	for i := range t {
		t[i] = binary.BigEndian.Uint64(b[i*8:])
	}
	return t, nil
}
