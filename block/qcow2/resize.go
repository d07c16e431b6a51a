package qcow2

import (
	"errors"
	"fmt"
	"slices"
)

// Truncate changes the size of the disk. What is added reads as zeroes and is allocated as
// prealloc says.
func (im *Image) Truncate(size int64, prealloc string) error {
	if prealloc == "" {
		prealloc = PreallocOff
	}
	switch {
	case !validPrealloc(prealloc):
		return fmt.Errorf("qcow2: unknown preallocation mode %q", prealloc)
	case size < 0:
		return errors.New("qcow2: negative size")
	}
	err := im.whole(func() error {
		old := im.Size()
		switch {
		case im.hdr.Version < 3 && len(im.snaps) > 0:
			return errors.New("can't resize a version 2 image which has snapshots")
		case size < old && prealloc != PreallocOff:
			return errors.New("preallocation can't be used for shrinking an image")
		}
		if err := im.bitmapsInUse(); err != nil && size != old {
			return err
		}
		if size < old {
			return im.shrink(size)
		}
		err := im.grow(old, size, prealloc)
		if err != nil {
			im.size.Store(im.hdr.Size)
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("qcow2: resize: %w", err)
	}
	return nil
}

// bitmapsInUse returns an error unless all stored bitmaps are in use: what is stored of those
// has no meaning any more, and so may have another length than the disk.
func (im *Image) bitmapsInUse() error {
	dir, err := im.readBitmapDir()
	if slices.ContainsFunc(dir, func(d bitmapEntry) bool { return d.flags&bitmapInUse == 0 }) {
		err = errors.New("can't resize an image with stored bitmaps; load them first")
	}
	return err
}

func (im *Image) grow(old, size int64, prealloc string) error {
	if need := im.geo.l1Entries(size); need > int64(len(im.l1)) {
		if err := im.growL1(need); err != nil {
			return fmt.Errorf("grow L1 table: %w", err)
		}
	}
	if im.geo.external && size > im.data.Size() {
		if err := im.data.Truncate(size); err != nil {
			return err
		}
	}
	im.size.Store(size)
	if err := im.clearGrown(old, size); err != nil {
		return err
	}
	if prealloc != PreallocOff {
		if err := im.preallocate(old, size, prealloc); err != nil {
			return fmt.Errorf("preallocate: %w", err)
		}
	}
	return im.setSize(size)
}

// setSize has the header say the new size, once everything else is written.
func (im *Image) setSize(size int64) error {
	if err := im.settle(); err != nil {
		return err
	}
	if err := im.changeFields(24, 32, func(h *Header) { h.Size = size }); err != nil {
		return err
	}
	im.setSizes(size)
	return nil
}

func (im *Image) setSizes(size int64) {
	im.size.Store(size)
	im.hdr.Size = size
	if l2, _, err := im.cacheSizes(); err == nil {
		im.l2.max = max(im.l2.max, int(l2/im.l2.size))
	}
}

// clearGrown hides what lies behind the old end: the rest of its cluster, and the backing
// image if that is longer.
func (im *Image) clearGrown(old, size int64) error {
	end := min(size, im.geo.up(old))
	backed := im.backing != nil && im.backing.Size() > old
	if backed {
		end = min(size, max(end, im.backing.Size()))
	}
	if end <= old {
		return nil
	}
	im.mu.Unlock()
	defer im.mu.Lock()
	cluster := min(end, im.geo.up(old))
	if err := im.clearRest(old, cluster-old); err != nil || end == cluster {
		return err
	}
	return im.zeroRange(cluster, end-cluster, 0)
}

// clearRest writes zeroes where something else is read now.
func (im *Image) clearRest(off, n int64) error {
	for n > 0 {
		im.mu.Lock()
		r, err := im.lookup(off, n)
		im.mu.Unlock()
		if err == nil && !r.kind.zero() && !(r.kind.bare() && im.backing == nil) {
			err = im.zeroData(off, r.n)
		}
		if err != nil {
			return err
		}
		off, n = off+r.n, n-r.n
	}
	return nil
}

// growL1 moves the L1 table to where it can have n entries.
func (im *Image) growL1(n int64) error {
	if n*8 > maxL1Bytes {
		return errors.New("image is too large")
	}
	l1 := make([]uint64, n)
	copy(l1, im.l1)
	return im.moveL1(l1, im.hdr.Size)
}

// moveL1 writes another L1 table and has the header refer to it and say the size. The old
// one is freed.
func (im *Image) moveL1(l1 []uint64, size int64) error {
	g, h := &im.geo, &im.hdr
	im.event(EventL1GrowAllocTable)
	off, _, err := im.alloc(max(g.clusters(int64(len(l1))*8), 1), true)
	if err != nil {
		return err
	}
	if err := im.settle(); err != nil {
		return err
	}
	im.event(EventL1GrowWriteTable)
	if err := im.writeMeta(off, encodeTable(l1), 0); err != nil {
		return err
	}
	if err := im.barrier(); err != nil {
		return err
	}
	old, n := h.L1Offset, g.clusters(int64(h.L1Size)*8)
	im.event(EventL1GrowActivateTable)
	set := func(h *Header) { h.L1Offset, h.L1Size, h.Size = off, uint32(len(l1)), size }
	if err := im.changeFields(24, 48, set); err != nil {
		return err
	}
	im.own(off, g.clusters(int64(len(l1))*8), OverlapActiveL1)
	im.l1, im.l1Dirty = l1, l1Dirty{}
	if n > 0 && old != 0 {
		im.disown(old, n, OverlapActiveL1)
		im.free(old, n)
	}
	return nil
}

// preallocate gives host clusters to what has none in [from, size).
func (im *Image) preallocate(from, size int64, mode string) error {
	g := &im.geo
	end := int64(0)
	for at := g.up(from); at < size; {
		s, err := im.sliceToWrite(at)
		if err != nil {
			return err
		}
		if s.get(s.i) != (entry{}) {
			at += g.clusterSize
			continue
		}
		n := im.newRun(&s, at, size)
		host := at
		if !g.external {
			if host, n, err = im.alloc(n, false); err != nil {
				return err
			}
		}
		if err := im.fill(host, n*g.clusterSize, mode); err != nil {
			return err
		}
		if err := im.linkEmpty(at, host, n); err != nil {
			return err
		}
		end = max(end, host+n*g.clusterSize)
		at += n * g.clusterSize
	}
	if !g.external && end > im.file.Size() {
		return im.file.Truncate(end)
	}
	return nil
}

// linkEmpty has n clusters from at on refer to host, where nothing has been written.
func (im *Image) linkEmpty(at, host, n int64) error {
	g := &im.geo
	im.unflushed = true
	for k := range n {
		s, err := im.sliceToWrite(at + k<<g.clusterBits)
		if err != nil {
			return err
		}
		im.setEntry(&s, s.i, entry{desc: uint64(host+k<<g.clusterBits) | flagCopied})
	}
	return nil
}

// fill prepares preallocated storage.
func (im *Image) fill(off, n int64, mode string) error {
	switch {
	case mode == PreallocFull:
		zeroes := make([]byte, min(n, zeroChunk))
		for end := off + n; off < end; off += int64(len(zeroes)) {
			if err := im.data.Writev(off, [][]byte{zeroes[:min(end-off, int64(len(zeroes)))]}); err != nil {
				return err
			}
		}
		return nil
	case mode == PreallocFalloc:
		return im.data.WriteZeroes(off, n, false)
	case off < im.data.Size() && !im.geo.external:
		return im.data.WriteZeroes(off, n, true)
	}
	return nil
}

func (im *Image) shrink(size int64) error {
	g := &im.geo
	span := g.tableSpan()
	for at := g.up(size); at < im.Size(); at += g.clusterSize {
		i := at / span
		if l2, err := im.l2Offset(i); err != nil {
			return err
		} else if l2 == 0 {
			at = (i+1)*span - g.clusterSize
			continue
		}
		if err := im.dropCluster(at); err != nil {
			return err
		}
	}
	im.event(EventL1ShrinkWriteTable)
	for i := g.l1Entries(size); i < int64(len(im.l1)); i++ {
		if l2 := int64(im.l1[i] & offsetMask); l2 != 0 {
			im.l1[i] = 0
			im.l1Dirty.mark(int(i))
			im.dropL2(l2)
			im.free(l2, 1)
		}
	}
	if err := im.setSize(size); err != nil {
		return err
	}
	if g.external {
		return im.data.Truncate(size)
	}
	return im.trim()
}

// trim cuts off the end of the file that no cluster uses.
func (im *Image) trim() error {
	for i := im.tail() - 1; i >= 0; i-- {
		for c := (i+1)*im.geo.refBlock - 1; c >= i*im.geo.refBlock; c-- {
			n, err := im.refcount(c)
			if err != nil {
				return err
			}
			if n == 0 {
				continue
			}
			if end := (c + 1) << im.geo.clusterBits; end < im.file.Size() {
				return im.file.Truncate(end)
			}
			return nil
		}
	}
	return nil
}
