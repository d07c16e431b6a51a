package qcow2

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// refcounts are the reference counts of the clusters of the file, by cluster number.
type refcounts struct {
	table []uint64
	dirty l1Dirty // entries of table
	cache cache
	hint  int64 // no cluster below it is free
}

// getRef reads entry i of a refcount block.
func getRef(b []byte, order uint, i int64) uint64 {
	switch order {
	case 0, 1, 2:
		bit := i << order
		return uint64(b[bit>>3]>>(bit&7)) & (1<<(1<<order) - 1)
	case 3:
		return uint64(b[i])
	case 4:
		return uint64(binary.BigEndian.Uint16(b[i*2:]))
	case 5:
		return uint64(binary.BigEndian.Uint32(b[i*4:]))
	}
	return binary.BigEndian.Uint64(b[i*8:])
}

// putRef writes entry i of a refcount block.
func putRef(b []byte, order uint, i int64, v uint64) {
	switch order {
	case 0, 1, 2:
		bit := i << order
		mask := byte(1<<(1<<order)-1) << (bit & 7)
		b[bit>>3] = b[bit>>3]&^mask | byte(v)<<(bit&7)
	case 3:
		b[i] = byte(v)
	case 4:
		binary.BigEndian.PutUint16(b[i*2:], uint16(v))
	case 5:
		binary.BigEndian.PutUint32(b[i*4:], uint32(v))
	default:
		binary.BigEndian.PutUint64(b[i*8:], v)
	}
}

// blockOf returns the cached refcount block of cluster c, nil if there is none.
func (im *Image) blockOf(c int64) (*table, error) {
	i := c / im.geo.refBlock
	if i >= int64(len(im.refs.table)) {
		return nil, nil
	}
	off := int64(im.refs.table[i] & refOffsetMask)
	if off == 0 {
		return nil, nil
	}
	if off&(im.geo.clusterSize-1) != 0 || off < 0 {
		return nil, im.corrupt(-1, 0, true, "Refblock offset %#x unaligned (reftable index: %#x)", off, i)
	}
	t, err := im.refs.cache.get(off)
	if err != nil {
		return nil, fmt.Errorf("refcount block at %#x: %w", off, err)
	}
	return t, nil
}

// refcount returns the references to cluster c.
func (im *Image) refcount(c int64) (uint64, error) {
	t, err := im.blockOf(c)
	if t == nil {
		return 0, err
	}
	return getRef(t.b, im.geo.refOrder, c%im.geo.refBlock), nil
}

func (im *Image) setRefcount(c int64, v uint64) error {
	t, err := im.needBlock(c)
	if err != nil {
		return err
	}
	putRef(t.b, im.geo.refOrder, c%im.geo.refBlock, v)
	im.refs.cache.mark(t)
	return nil
}

// addRef counts cluster c up.
func (im *Image) addRef(c int64) error {
	v, err := im.refcount(c)
	if err != nil {
		return err
	}
	if v >= im.geo.refMax {
		return errors.New("reference count overflow")
	}
	return im.setRefcount(c, v+1)
}

// subRef counts cluster c down and returns what is left.
func (im *Image) subRef(c int64) (uint64, error) {
	v, err := im.refcount(c)
	if err != nil {
		return 0, err
	}
	if v == 0 {
		return 0, im.corrupt(-1, 0, false, "Freeing free cluster %#x", c<<im.geo.clusterBits)
	}
	if v == 1 {
		im.refs.hint = min(im.refs.hint, c)
	}
	return v - 1, im.setRefcount(c, v-1)
}

// needBlock is blockOf, with the block made if it is missing. A new block lies in the first
// cluster that it describes, which is free as no block said otherwise.
func (im *Image) needBlock(c int64) (*table, error) {
	t, err := im.blockOf(c)
	if t != nil || err != nil {
		return t, err
	}
	i := c / im.geo.refBlock
	if i >= int64(len(im.refs.table)) {
		if err := im.growRefTable(i + 1); err != nil {
			return nil, err
		}
		return im.needBlock(c)
	}
	if i == 0 {
		return nil, im.noFirstBlock()
	}
	return im.newBlock(i, i*im.geo.refBlock)
}

// noFirstBlock refuses to write to an image that lost the refcounts of its header. Nothing
// says any more what is free, and as in QEMU the cluster behind the header is not.
func (im *Image) noFirstBlock() error {
	if err := im.checkOverlap(im.geo.clusterSize, im.geo.clusterSize, 0); err != nil {
		return err
	}
	return im.corrupt(-1, 0, true, "Preventing invalid allocation of refcount block at offset 0")
}

// newBlock puts refcount block i into cluster at, which it must describe itself, or whose
// count the caller sets.
func (im *Image) newBlock(i, at int64) (*table, error) {
	off := at << im.geo.clusterBits
	if at<<im.geo.clusterBits>>im.geo.clusterBits != at || off >= maxHostOffset || off <= 0 {
		return nil, errors.New("no room for a refcount block")
	}
	if err := im.checkOverlap(off, im.geo.clusterSize, 0); err != nil {
		return nil, err
	}
	im.event(EventRefblockAlloc)
	t, err := im.refs.cache.fresh(off)
	if err != nil {
		return nil, err
	}
	if at/im.geo.refBlock == i {
		putRef(t.b, im.geo.refOrder, at%im.geo.refBlock, 1)
	}
	im.refs.table[i] = uint64(off)
	im.refs.dirty.mark(int(i))
	im.own(off, 1, OverlapRefBlock)
	return t, nil
}

// tail returns the first refcount block index behind all blocks.
func (im *Image) tail() int64 {
	for i := len(im.refs.table); i > 0; i-- {
		if im.refs.table[i-1] != 0 {
			return int64(i)
		}
	}
	return 0
}

// bulkLayout says how many blocks describe n clusters and themselves.
func (im *Image) bulkLayout(n int64) (blocks int64) {
	for e := im.geo.refBlock; blocks*e < blocks+n; {
		blocks = (blocks + n + e - 1) / e
	}
	return blocks
}

// bulk takes n clusters behind all others, with new blocks in front of them. It returns the
// first.
func (im *Image) bulk(n int64) (int64, error) {
	first, m := im.tail(), im.bulkLayout(n)
	if need := first + m; need > int64(len(im.refs.table)) {
		if err := im.growRefTable(need); err != nil {
			return 0, err
		}
		first = im.tail()
	}
	return im.bulkAt(first, m, n)
}

func (im *Image) bulkAt(first, m, n int64) (int64, error) {
	start := first * im.geo.refBlock
	for i := range m {
		if _, err := im.newBlock(first+i, start+i); err != nil {
			return 0, err
		}
	}
	for c := start; c < start+m+n; c++ {
		if err := im.setRefcount(c, 1); err != nil {
			return 0, err
		}
	}
	return start + m, nil
}

// growRefTable moves the refcount table to where it can have need entries and more.
func (im *Image) growRefTable(need int64) error {
	im.event(EventReftableGrow)
	g := &im.geo
	first := im.tail()
	need = max(need, first+1)
	k := g.clusters((need + need/2) * 8)
	m := im.bulkLayout(k)
	k = max(k, g.clusters((first+m+1)*8))
	m = im.bulkLayout(k)
	if k<<g.clusterBits > maxRefTableBytes {
		return errors.New("refcount table would be too large")
	}
	old, oldLen := im.hdr.RefTableOffset, int64(im.hdr.RefTableClusters)
	saved, dirty := im.refs.table, im.refs.dirty
	im.refs.table = make([]uint64, k<<g.clusterBits/8)
	copy(im.refs.table, saved)
	at, err := im.bulkAt(first, m, k)
	if err == nil {
		err = im.moveRefTable(at<<g.clusterBits, k)
	}
	if err != nil {
		im.dropBlocks(first)
		im.refs.table, im.refs.dirty = saved, dirty
		return fmt.Errorf("move refcount table: %w", err)
	}
	im.disown(old, oldLen, OverlapRefTable)
	im.free(old, oldLen)
	return nil
}

// moveRefTable writes the table as it is to off and has the header refer to it.
func (im *Image) moveRefTable(off, clusters int64) error {
	if err := im.refs.cache.flush(); err != nil {
		return err
	}
	im.event(EventRefblockAllocWriteTable)
	if err := im.writeMeta(off, encodeTable(im.refs.table), 0); err != nil {
		return err
	}
	if err := im.barrier(); err != nil {
		return err
	}
	im.event(EventRefblockAllocSwitchTable)
	if err := im.changeFields(48, 60, func(h *Header) { h.RefTableOffset, h.RefTableClusters = off, uint32(clusters) }); err != nil {
		return err
	}
	im.own(off, clusters, OverlapRefTable)
	im.refs.dirty = l1Dirty{}
	return nil
}

// dropBlocks forgets the refcount blocks from index first on.
func (im *Image) dropBlocks(first int64) {
	for _, e := range im.refs.table[first:] {
		if off := int64(e & refOffsetMask); off != 0 {
			im.refs.cache.drop(off)
			im.disown(off, 1, OverlapRefBlock)
		}
	}
}

// storeBlock writes a refcount block back.
func (im *Image) storeBlock(t *table) error {
	im.event(EventRefblockUpdatePart)
	return im.writeMeta(t.off, t.b, OverlapRefBlock)
}

// storeRefs writes refcounts back: blocks first, then the entries of the table that refer
// to new ones. With lazy refcounts it does nothing, as the image is marked dirty.
func (im *Image) storeRefs() error {
	if im.lazy && im.hdr.Incompatible&IncompatDirty != 0 {
		return nil
	}
	return im.storeRefsNow()
}

func (im *Image) storeRefsNow() error {
	if err := im.refs.cache.flush(); err != nil {
		return err
	}
	d := im.refs.dirty
	if d.lo == d.hi {
		return nil
	}
	if err := im.barrier(); err != nil {
		return err
	}
	lo, hi := d.lo&^63, min((d.hi+63)&^63, len(im.refs.table))
	im.event(EventRefblockAllocHookup)
	if err := im.writeMeta(im.hdr.RefTableOffset+int64(lo)*8, encodeTable(im.refs.table[lo:hi]), OverlapRefTable); err != nil {
		return err
	}
	im.refs.dirty = l1Dirty{}
	return nil
}
