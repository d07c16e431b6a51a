package qcow2

import (
	"encoding/binary"
	"errors"
	"slices"
)

// compare sets the refcounts against the references, and puts right what it may.
func (c *checker) compare() error {
	g := &c.im.geo
	highest := int64(0)
	done := map[int64]bool{}
	for i, off := range c.blocks {
		if off == 0 {
			continue
		}
		b := make([]byte, g.clusterSize)
		if err := c.im.file.Readv(off, [][]byte{b}); err != nil {
			c.res.Errors++
			return err
		}
		done[int64(i)] = true
		dirty := false
		first := int64(i) * g.refBlock
		for k := range min(g.refBlock, max(c.refs.end-first, 0)) {
			have, want := getRef(b, g.refOrder, k), c.refs.get(first+k)
			if have > 0 || want > 0 {
				highest = max(highest, first+k)
			}
			if have != want && c.mismatch(first+k, have, want) {
				putRef(b, g.refOrder, k, want)
				dirty = true
			}
		}
		if !dirty {
			continue
		}
		if err := c.im.writeMeta(off, b, OverlapRefBlock); err != nil {
			return err
		}
	}
	for i, e := range c.im.refs.table {
		if first := int64(i) * g.refBlock; int64(e)&(g.clusterSize-1) != 0 && first < c.refs.end {
			done[int64(i)] = true
			c.res.Errors += min(g.refBlock, c.refs.end-first)
			c.res.say("can't get refcounts from cluster %d on", first)
		}
	}
	c.undescribed(done, &highest)
	c.im.refs.cache.reset()
	c.im.refs.hint = 0
	c.res.ImageEnd = (highest + 1) << g.clusterBits
	return nil
}

// undescribed is for references to clusters that have no refcount block.
func (c *checker) undescribed(done map[int64]bool, highest *int64) {
	for p, page := range c.refs.pages {
		for k, n := range page {
			i := p*countPage + int64(k)
			if n == 0 || done[i/c.im.geo.refBlock] {
				continue
			}
			*highest = max(*highest, i)
			c.res.wrong(1, "cluster %d refcount=0 reference=%d", i, n)
			c.broken = true
		}
	}
}

// mismatch reports a wrong refcount and tells whether it is to be put right.
func (c *checker) mismatch(cluster int64, have, want uint64) bool {
	c.res.say("cluster %d refcount=%d reference=%d", cluster, have, want)
	switch {
	case have > want && c.fix&FixLeaks != 0:
		c.res.LeaksFixed++
	case have > want:
		c.res.Leaks++
		return false
	case c.fix&FixErrors != 0:
		c.res.CorruptionsFixed++
	default:
		c.res.Corruptions++
		return false
	}
	return true
}

// rebuild writes refcount blocks and a refcount table behind everything else.
func (c *checker) rebuild() error {
	im := c.im
	g := &im.geo
	for _, off := range c.blocks {
		if off != 0 {
			c.drop(off, g.clusterSize)
		}
	}
	c.drop(im.hdr.RefTableOffset, int64(im.hdr.RefTableClusters)<<g.clusterBits)
	wrong := c.res.Corruptions
	start, blocks, table, err := c.layout()
	if err != nil {
		return err
	}
	n := int64(len(blocks))
	for i := range n + table {
		c.refs.add(start+i, 1)
	}
	im.owned, im.refs.table = nil, make([]uint64, table<<g.clusterBits/8)
	for k, i := range blocks {
		at := (start + int64(k)) << g.clusterBits
		b := make([]byte, g.clusterSize)
		for e := range g.refBlock {
			putRef(b, g.refOrder, e, c.refs.get(i*g.refBlock+e))
		}
		if err := im.writeMeta(at, b, 0); err != nil {
			return err
		}
		im.refs.table[i] = uint64(at)
	}
	im.refs.cache.reset()
	if err := im.moveRefTable((start+n)<<g.clusterBits, table); err != nil {
		return err
	}
	c.res.CorruptionsFixed += wrong
	c.res.Corruptions, c.res.Leaks = 0, 0
	c.res.ImageEnd = (start + n + table) << g.clusterBits
	return c.recount()
}

// recount counts what rebuild could not make good.
func (c *checker) recount() error {
	again := &checker{im: c.im, length: c.im.file.Size()}
	if err := again.count(); err != nil {
		return err
	}
	if err := again.compare(); err != nil {
		return err
	}
	c.res.Errors, c.res.Corruptions, c.res.Leaks = again.res.Errors, again.res.Corruptions, again.res.Leaks
	c.res.CorruptionsFixed -= min(c.res.CorruptionsFixed, again.res.Corruptions)
	return c.im.findOwned()
}

// drop takes back references to the old refcount structures.
func (c *checker) drop(off, size int64) {
	for i := off >> c.im.geo.clusterBits; i < (off+size)>>c.im.geo.clusterBits; i++ {
		if p := c.refs.pages[i/countPage]; p != nil && p[i%countPage] > 0 {
			p[i%countPage]--
		}
	}
}

// layout finds where new blocks, which are those of the returned numbers, and behind them a
// table of so many clusters go.
func (c *checker) layout() (start int64, blocks []int64, table int64, err error) {
	g := &c.im.geo
	set := map[int64]bool{}
	start = c.refs.end
	for p, page := range c.refs.pages {
		for k, n := range page {
			if n > 0 {
				i := p*countPage + int64(k)
				set[i/g.refBlock] = true
				start = max(start, i+1)
			}
		}
	}
	for old := int64(-1); old != int64(len(set))+table; {
		old = int64(len(set)) + table
		for i := start; i < start+old; i++ {
			set[i/g.refBlock] = true
		}
		table = g.clusters(((start+old)/g.refBlock + 1) * 8)
	}
	if table<<g.clusterBits > maxRefTableBytes {
		return 0, nil, 0, errors.New("refcount table would be too large")
	}
	for i := range set {
		blocks = append(blocks, i)
	}
	slices.Sort(blocks)
	return start, blocks, table, nil
}

// copied checks, and puts right, the copied flags of the active tables.
func (c *checker) copied() error {
	repair := c.fix&FixErrors != 0 || c.fix&FixLeaks != 0 && c.res.Errors+c.res.Corruptions+c.res.Leaks == 0
	im := c.im
	dirty := false
	for i, e := range im.l1 {
		l2 := int64(e & offsetMask)
		if l2 == 0 {
			continue
		}
		want, ok := c.single(l2)
		if !ok || want == (e&flagCopied != 0) {
			continue
		}
		if c.flag(repair, 1) {
			im.l1[i] ^= flagCopied
			im.l1Dirty.mark(i)
			dirty = true
		}
	}
	if dirty {
		if err := im.storeL1(); err != nil {
			return err
		}
	}
	for off, u := range c.l2 {
		if u.active == 0 || off >= c.length {
			continue
		}
		if err := c.copiedTable(off, int64(u.active), repair); err != nil {
			return err
		}
	}
	if repair {
		im.l2.reset()
		return im.barrier()
	}
	return nil
}

// single tells whether the cluster at off has one reference, if that can be told.
func (c *checker) single(off int64) (one, ok bool) {
	if off>>c.im.geo.clusterBits >= c.refs.end {
		return false, true
	}
	i := (off >> c.im.geo.clusterBits) / c.im.geo.refBlock
	if i < int64(len(c.im.refs.table)) {
		if e := int64(c.im.refs.table[i]); e < 0 || e&(c.im.geo.clusterSize-1) != 0 {
			return false, false
		}
	}
	n, err := c.im.refcount(off >> c.im.geo.clusterBits)
	return n == 1, err == nil
}

// flag reports a wrong copied flag and tells whether to repair it.
func (c *checker) flag(repair bool, n int64) bool {
	if repair {
		c.res.CorruptionsFixed += n
		return true
	}
	c.res.wrong(n, "wrong copied flag")
	return false
}

func (c *checker) copiedTable(off, n int64, repair bool) error {
	s, err := c.readL2(off)
	if err != nil {
		return err
	}
	dirty := false
	for i := range s.n {
		e := s.get(i)
		if !c.im.geo.hosted(e) {
			continue
		}
		want, ok := true, true
		if !c.im.geo.external {
			want, ok = c.single(e.host())
		}
		if ok && want != (e.desc&flagCopied != 0) && c.flag(repair, n) {
			binary.BigEndian.PutUint64(s.t.b[i*s.entry:], e.desc^flagCopied)
			dirty = true
		}
	}
	if !dirty {
		return nil
	}
	return c.im.writeMeta(off, s.t.b, OverlapActiveL2|OverlapInactiveL2)
}
