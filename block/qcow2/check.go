package qcow2

import (
	"encoding/binary"
	"fmt"
)

// Fix says what Check repairs.
type Fix uint8

// The repairs.
const (
	FixLeaks Fix = 1 << iota
	FixErrors
	FixAll = FixLeaks | FixErrors
)

// Result is what Check found, in the terms of qemu-img check.
type Result struct {
	Errors                        int64 // of the check itself
	Corruptions, CorruptionsFixed int64
	Leaks, LeaksFixed             int64
	TotalClusters                 int64 // of the virtual disk
	Allocated                     int64
	Fragmented                    int64
	CompressedClusters            int64
	ImageEnd                      int64
	Messages                      []string // the first of them
}

const maxMessages = 64

func (r *Result) say(format string, args ...any) {
	if len(r.Messages) < maxMessages {
		r.Messages = append(r.Messages, fmt.Sprintf(format, args...))
	}
}

func (r *Result) wrong(n int64, format string, args ...any) {
	r.Corruptions += n
	r.say(format, args...)
}

// Check compares the refcounts with the references there are, and repairs what fix says.
func (im *Image) Check(fix Fix) (Result, error) {
	im.mu.Lock()
	defer im.mu.Unlock()
	im.lockAll()
	defer im.unlockAll()
	if im.opt.ReadOnly && fix != 0 {
		return Result{}, fmt.Errorf("qcow2: check: %w", ErrReadOnly)
	}
	if im.broken != nil {
		return Result{}, fmt.Errorf("qcow2: check: %w", im.broken)
	}
	if !im.opt.ReadOnly {
		if err := im.settle(); err != nil {
			return Result{}, fmt.Errorf("qcow2: check: %w", err)
		}
	}
	res, err := im.check(fix)
	if err != nil {
		return res, fmt.Errorf("qcow2: check: %w", err)
	}
	if fix&FixErrors != 0 && res.Errors == 0 && res.Corruptions == 0 {
		err = im.absolve()
	}
	return res, err
}

// absolve takes the marks off an image that was found, or made, good.
func (im *Image) absolve() error {
	if im.hdr.Incompatible&(IncompatDirty|IncompatCorrupt) == 0 {
		return nil
	}
	im.hdr.Incompatible &^= IncompatDirty | IncompatCorrupt
	if err := im.writeFeatures(); err != nil {
		return err
	}
	return im.file.Flush()
}

// counts are references by cluster, in pages so that no file is too long.
type counts struct {
	pages map[int64]*[countPage]uint64
	max   uint64 // the most that can be stored
	end   int64  // clusters in the file
}

const countPage = 4096

func (c *counts) get(i int64) uint64 {
	if p := c.pages[i/countPage]; p != nil {
		return p[i%countPage]
	}
	return 0
}

// add counts cluster i up n times and returns by how many that was too much.
func (c *counts) add(i int64, n uint64) (over uint64) {
	p := c.pages[i/countPage]
	if p == nil {
		p = new([countPage]uint64)
		c.pages[i/countPage] = p
	}
	room := c.max - p[i%countPage]
	p[i%countPage] += min(n, room)
	return n - min(n, room)
}

// checker is one run of Check.
type checker struct {
	im     *Image
	fix    Fix
	res    Result
	refs   counts
	l2     map[int64]*l2use
	length int64 // of the file
	broken bool  // the refcount structures can't be repaired in place
	blocks []int64
	order  []int64 // keys of l2 as they were found
}

// l2use is how often tables refer to an L2 table.
type l2use struct{ active, all uint64 }

// check does the work of Check. Nothing is cached that storage has not seen.
func (im *Image) check(fix Fix) (Result, error) {
	c := &checker{im: im, fix: fix, length: im.file.Size()}
	c.res.TotalClusters = im.geo.clusters(im.Size())
	if err := c.count(); err != nil {
		return c.res, err
	}
	if err := c.compare(); err != nil {
		return c.res, err
	}
	if c.broken && fix&FixErrors != 0 {
		if err := c.rebuild(); err != nil {
			return c.res, fmt.Errorf("rebuild refcounts: %w", err)
		}
	}
	return c.res, c.copied()
}

// count finds all references.
func (c *checker) count() error {
	im := c.im
	h, g := &im.hdr, &im.geo
	c.refs = counts{pages: map[int64]*[countPage]uint64{}, max: g.refMax, end: g.clusters(c.length)}
	c.l2 = map[int64]*l2use{}
	c.add(0, g.clusterSize, 1)
	if err := c.l1(h.L1Offset, int64(h.L1Size), 1, true); err != nil {
		return err
	}
	if err := c.snapshots(); err != nil {
		return err
	}
	for _, off := range c.order {
		if err := c.table(off, c.l2[off]); err != nil {
			return err
		}
	}
	c.add(h.RefTableOffset, int64(h.RefTableClusters)<<g.clusterBits, 1)
	if err := c.bitmaps(); err != nil {
		return err
	}
	c.refBlocks()
	return nil
}

// add counts n references to a part of the file.
func (c *checker) add(off, size int64, n uint64) {
	if size <= 0 || n == 0 {
		return
	}
	g := &c.im.geo
	if off < 0 || off > maxHostOffset || off+size-c.length >= g.clusterSize {
		c.res.wrong(int64(n), "region exceeds the end of the file: offset %#x size %#x", off, size)
		return
	}
	for i := off >> g.clusterBits; i <= (off+size-1)>>g.clusterBits; i++ {
		if over := c.refs.add(i, n); over > 0 {
			c.res.wrong(int64(over), "reference count overflow of cluster %d", i)
		}
	}
}

// l1 counts what an L1 table refers to, which n say; the L2 tables are left for later.
func (c *checker) l1(off, entries int64, n uint64, active bool) error {
	if entries == 0 {
		return nil
	}
	c.add(off, entries*8, n)
	t, err := c.im.readTable(off, c.inFile(off, entries))
	if err != nil {
		c.res.Errors++
		return err
	}
	for i, e := range t {
		if e == 0 {
			continue
		}
		if e&^(flagCopied|offsetMask) != 0 {
			c.res.wrong(int64(n), "L1 entry %d has reserved bits set: %#x", i, e)
		}
		l2 := int64(e & offsetMask)
		c.add(l2, c.im.geo.clusterSize, n)
		if l2&(c.im.geo.clusterSize-1) != 0 {
			c.res.wrong(int64(n), "L2 table at %#x is not cluster aligned", l2)
		}
		u := c.l2[l2]
		if u == nil {
			u = &l2use{}
			c.l2[l2] = u
			c.order = append(c.order, l2)
		}
		if u.all += n; active {
			u.active += n
		}
	}
	return nil
}

// inFile returns how many of n entries at off are not past the end of the file.
func (c *checker) inFile(off, n int64) int64 {
	return max(min(n, (c.length-off+7)/8), 0)
}

func (c *checker) snapshots() error {
	type place struct{ off, n int64 }
	seen := map[place]uint64{}
	for i, s := range c.im.snaps {
		switch {
		case s.l1Offset&(c.im.geo.clusterSize-1) != 0 || s.l1Offset < 0:
			c.res.wrong(1, "L1 table of snapshot %q is not cluster aligned", s.ID)
		case int64(s.l1Size) > maxL1Bytes/8:
			c.res.wrong(1, "L1 table of snapshot %q is too large", s.ID)
		default:
			seen[place{s.l1Offset, int64(s.l1Size)}]++
		}
		if c.im.hdr.Version >= 3 && len(s.extra) < 16 {
			c.res.wrong(1, "snapshot table entry %d is incomplete", i)
		}
	}
	for p, n := range seen {
		if err := c.l1(p.off, p.n, n, false); err != nil {
			return err
		}
	}
	if len(c.im.snaps) > 0 {
		c.add(c.im.hdr.SnapshotsOffset, c.im.snapBytes(), 1)
	}
	return nil
}

// slices returns an L2 table, which may be past the end of the file.
func (c *checker) readL2(off int64) (slice, error) {
	g := &c.im.geo
	b := make([]byte, g.clusterSize)
	if err := c.im.file.Readv(off, [][]byte{b}); err != nil {
		c.res.Errors++
		return slice{}, err
	}
	return slice{t: &table{b: b}, n: g.clusterSize / g.entrySize, entry: g.entrySize}, nil
}

// table counts what an L2 table refers to.
func (c *checker) table(off int64, u *l2use) error {
	if off >= c.length {
		return nil // it reads as zeroes
	}
	s, err := c.readL2(off)
	if err != nil {
		return err
	}
	next := int64(0)
	for i := range s.n {
		e := s.get(i)
		switch {
		case e.desc&flagCompressed != 0:
			c.compressed(e, u)
		case c.standard(e, u) && e.host()&(c.im.geo.clusterSize-1) != 0:
			c.misaligned(off, i, e, u)
			continue
		}
		if e.desc&flagCompressed == 0 && c.im.geo.hosted(e) {
			if next != 0 && e.host() != next {
				c.res.Fragmented += int64(u.active)
			}
			next = e.host() + c.im.geo.clusterSize
		}
	}
	return nil
}

func (c *checker) compressed(e entry, u *l2use) {
	switch {
	case e.desc&flagCopied != 0:
		c.res.wrong(int64(u.all), "compressed cluster has the copied flag: %#x", e.desc)
	case c.im.geo.external:
		c.res.wrong(int64(u.all), "compressed cluster with an external data file: %#x", e.desc)
		return
	case e.subs != 0:
		c.res.wrong(int64(u.all), "compressed cluster with a subcluster bitmap: %#x", e.desc)
		return
	}
	off, n := c.im.geo.compressedAt(e)
	c.add(off, n, u.all)
	c.res.Allocated += int64(u.active)
	c.res.CompressedClusters += int64(u.active)
	c.res.Fragmented += int64(u.active)
}

// standard counts a standard cluster and tells whether it has a host cluster.
func (c *checker) standard(e entry, u *l2use) bool {
	g := &c.im.geo
	reserved := ^(flagCopied | offsetMask | flagZero)
	if g.ext {
		reserved |= flagZero
	}
	if e.desc&reserved != 0 {
		c.res.wrong(int64(u.all), "L2 entry with reserved bits set: %#x", e.desc)
	}
	if !g.hosted(e) {
		if e.subs&subMask(0, 32) != 0 {
			c.res.wrong(int64(u.all), "unallocated cluster with allocated subclusters")
		}
		return false
	}
	if e.subs>>32&e.subs != 0 {
		c.res.wrong(int64(u.all), "corrupt subcluster bitmap of the cluster at %#x", e.host())
	}
	if e.host()&(g.clusterSize-1) != 0 {
		return true
	}
	c.res.Allocated += int64(u.active)
	if !g.external {
		c.add(e.host(), g.clusterSize, u.all)
	}
	return true
}

// misaligned deals with an entry whose host cluster can't be; without data it becomes zeroes.
func (c *checker) misaligned(off, i int64, e entry, u *l2use) {
	g := &c.im.geo
	c.res.wrong(int64(u.all), "cluster at %#x is not properly aligned", e.host())
	data := e.desc&flagZero == 0
	if g.ext {
		data = e.subs&subMask(0, 32) != 0
	}
	if data || c.fix&FixErrors == 0 {
		c.res.Allocated += int64(u.active)
		c.add(e.host(), g.clusterSize, u.all)
		return
	}
	b := make([]byte, g.entrySize)
	if g.ext {
		binary.BigEndian.PutUint64(b[8:], e.subs&^subMask(0, 32))
	} else {
		binary.BigEndian.PutUint64(b, flagZero)
	}
	if err := c.im.writeMeta(off+i*g.entrySize, b, OverlapActiveL2|OverlapInactiveL2); err != nil {
		c.res.Errors++
		return
	}
	c.im.l2.reset()
	c.res.Corruptions -= int64(u.all)
	c.res.CorruptionsFixed += int64(u.all)
}

// bitmaps counts the bitmap directory and what it refers to.
func (c *checker) bitmaps() error {
	im := c.im
	if im.hdr.bitmaps.count == 0 || im.hdr.Autoclear&AutoclearBitmaps == 0 {
		return nil
	}
	c.add(im.hdr.bitmaps.off, im.hdr.bitmaps.size, 1)
	dir, err := im.readBitmapDir()
	if err != nil {
		c.res.wrong(1, "%v", err)
		return nil
	}
	for _, d := range dir {
		c.add(d.tableOff, int64(d.tableLen)*8, 1)
		t, err := im.readTable(d.tableOff, c.inFile(d.tableOff, int64(d.tableLen)))
		if err != nil {
			c.res.Errors++
			return err
		}
		for _, e := range t {
			off := int64(e & offsetMask)
			if e&^(offsetMask|1) != 0 || off != 0 && (e&1 != 0 || off&(im.geo.clusterSize-1) != 0) {
				c.res.wrong(1, "bitmap %q: table entry %#x is invalid", d.name, e)
			} else if off != 0 {
				c.add(off, im.geo.clusterSize, 1)
			}
		}
	}
	return nil
}

// refBlocks counts the refcount blocks and finds those that are good.
func (c *checker) refBlocks() {
	g := &c.im.geo
	c.blocks = make([]int64, len(c.im.refs.table))
	for i, e := range c.im.refs.table {
		off := int64(e & refOffsetMask)
		switch {
		case e == 0:
		case e&^refOffsetMask != 0:
			c.res.wrong(1, "refcount table entry %d has reserved bits set", i)
			c.broken = true
		case off&(g.clusterSize-1) != 0:
			c.res.wrong(1, "refcount block %d is not cluster aligned", i)
			c.broken = true
		case off < 0 || off>>g.clusterBits >= c.refs.end:
			c.res.wrong(1, "refcount block %d is outside the image", i)
			c.broken = true
		default:
			c.add(off, g.clusterSize, 1)
			if n := c.refs.get(off >> g.clusterBits); n != 1 {
				c.res.wrong(1, "refcount block %d has %d references", i, n)
				c.broken = true
				continue
			}
			c.blocks[i] = off
		}
	}
}
