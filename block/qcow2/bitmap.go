package qcow2

import (
	"errors"
	"fmt"
	"slices"
)

// Bitmap is a persistent dirty bitmap. Bit i, the least significant first, stands for the
// bytes of the disk from i times Granularity on.
type Bitmap struct {
	Name        string
	Granularity int64
	Enabled     bool // it follows writes from the first one on
	// Inconsistent bitmaps were in use when the image was not closed. They have no Bits, and
	// StoreBitmaps keeps them as they are.
	Inconsistent bool
	Bits         []byte
}

const maxBitmapMemory = 512 << 20

// bitmapBytes is how many bytes of bits the disk has at a granularity.
func (im *Image) bitmapBytes(granBits uint8) int64 {
	n := (im.Size() + 1<<granBits - 1) >> granBits
	return (n + 7) / 8
}

// HasBitmaps tells whether there are stored bitmaps that are consistent with the image.
func (im *Image) HasBitmaps() bool {
	im.mu.Lock()
	defer im.mu.Unlock()
	return im.hdr.bitmaps.count > 0 && im.hdr.Autoclear&AutoclearBitmaps != 0
}

// StoredBitmaps lists the bitmaps that the image keeps, without their bits.
func (im *Image) StoredBitmaps() ([]Bitmap, error) {
	im.mu.Lock()
	defer im.mu.Unlock()
	im.lockAll()
	defer im.unlockAll()
	dir, err := im.readBitmapDir()
	if err != nil {
		return nil, fmt.Errorf("qcow2: list bitmaps: %w", err)
	}
	var l []Bitmap
	for i := range dir {
		d := &dir[i]
		l = append(l, Bitmap{Name: d.name, Granularity: 1 << d.granBits, Enabled: d.flags&bitmapAuto != 0, Inconsistent: d.flags&bitmapInUse != 0})
	}
	return l, nil
}

// LoadBitmaps returns the stored bitmaps. In an image that is written to they are marked as
// in use until StoreBitmaps, and the caller has to follow writes in those that are enabled.
func (im *Image) LoadBitmaps() ([]Bitmap, error) {
	im.mu.Lock()
	defer im.mu.Unlock()
	im.lockAll()
	defer im.unlockAll()
	l, err := im.loadBitmaps()
	if err != nil {
		return nil, fmt.Errorf("qcow2: load bitmaps: %w", err)
	}
	return l, nil
}

func (im *Image) loadBitmaps() ([]Bitmap, error) {
	if im.hdr.Autoclear&AutoclearBitmaps == 0 {
		return nil, nil
	}
	dir, err := im.readBitmapDir()
	if err != nil {
		return nil, err
	}
	left := int64(maxBitmapMemory)
	var l []Bitmap
	for i := range dir {
		d := &dir[i]
		b := Bitmap{Name: d.name, Granularity: 1 << d.granBits, Enabled: d.flags&bitmapAuto != 0, Inconsistent: d.flags&bitmapInUse != 0}
		if !b.Inconsistent {
			if left -= im.bitmapBytes(d.granBits); left < 0 {
				return nil, errors.New("bitmaps are too large")
			}
			if b.Bits, err = im.readBits(d); err != nil {
				return nil, fmt.Errorf("bitmap %q: %w", d.name, err)
			}
		}
		d.flags |= bitmapInUse
		l = append(l, b)
	}
	if im.opt.ReadOnly || len(dir) == 0 {
		return l, nil
	}
	if err := im.writeMeta(im.hdr.bitmaps.off, encodeBitmapDir(dir), OverlapBitmaps); err != nil {
		return nil, err
	}
	return l, im.barrier()
}

// readBits reads the contents of a bitmap.
func (im *Image) readBits(d *bitmapEntry) ([]byte, error) {
	g := &im.geo
	size := im.bitmapBytes(d.granBits)
	if int64(d.tableLen) != g.clusters(size) {
		return nil, errors.New("its table has a wrong length")
	}
	t, err := im.readTable(d.tableOff, int64(d.tableLen))
	if err != nil {
		return nil, err
	}
	bits := make([]byte, size)
	for i, e := range t {
		part := bits[int64(i)*g.clusterSize:]
		part = part[:min(int64(len(part)), g.clusterSize)]
		off := int64(e & offsetMask)
		switch {
		case e&^(offsetMask|1) != 0 || off != 0 && (e&1 != 0 || off&(g.clusterSize-1) != 0):
			return nil, fmt.Errorf("table entry %#x is invalid", e)
		case off != 0:
			if err := im.file.Readv(off, [][]byte{part}); err != nil {
				return nil, err
			}
		case e == 1:
			for k := range part {
				part[k] = 0xff
			}
		}
	}
	return bits, nil
}

// StoreBitmaps replaces the stored bitmaps.
func (im *Image) StoreBitmaps(l []Bitmap) error {
	err := im.whole(func() error {
		if im.hdr.Version < 3 {
			return fmt.Errorf("%w: bitmaps in an image of version 2", ErrNotSupported)
		}
		var old []bitmapEntry
		if im.hdr.Autoclear&AutoclearBitmaps != 0 {
			var err error
			if old, err = im.readBitmapDir(); err != nil {
				return err
			}
		}
		dir, err := im.newBitmapDir(l, old)
		if err != nil {
			return err
		}
		return im.replaceBitmaps(dir, old)
	})
	if err != nil {
		return fmt.Errorf("qcow2: store bitmaps: %w", err)
	}
	return nil
}

// newBitmapDir writes bitmaps to new clusters and returns their directory.
func (im *Image) newBitmapDir(l []Bitmap, old []bitmapEntry) ([]bitmapEntry, error) {
	if len(l) > maxBitmaps {
		return nil, errors.New("too many bitmaps")
	}
	var dir []bitmapEntry
	for _, b := range l {
		if slices.ContainsFunc(dir, func(d bitmapEntry) bool { return d.name == b.Name }) {
			return nil, fmt.Errorf("bitmap %q is there twice", b.Name)
		}
		d, err := im.storeBitmap(b, old)
		if err != nil {
			return nil, fmt.Errorf("bitmap %q: %w", b.Name, err)
		}
		dir = append(dir, d)
	}
	return dir, nil
}

func (im *Image) storeBitmap(b Bitmap, old []bitmapEntry) (bitmapEntry, error) {
	if b.Inconsistent {
		i := slices.IndexFunc(old, func(d bitmapEntry) bool { return d.name == b.Name && d.flags&bitmapInUse != 0 })
		if i < 0 {
			return bitmapEntry{}, errors.New("it is inconsistent and not stored")
		}
		return old[i], nil
	}
	d := bitmapEntry{kind: dirtyTracking, name: b.Name}
	for d.granBits = minGranularity; d.granBits < maxGranularity && b.Granularity != 1<<d.granBits; {
		d.granBits++
	}
	switch {
	case b.Name == "" || len(b.Name) > maxNameLen:
		return d, errors.New("bad length of the name")
	case b.Granularity != 1<<d.granBits:
		return d, errors.New("granularity can't be stored")
	case int64(len(b.Bits)) != im.bitmapBytes(d.granBits):
		return d, errors.New("its length does not fit the disk's")
	}
	if b.Enabled {
		d.flags |= bitmapAuto
	}
	return d, im.writeBits(&d, b.Bits)
}

// writeBits writes a bitmap and its table; clusters without a set bit take no room.
func (im *Image) writeBits(d *bitmapEntry, bits []byte) error {
	g := &im.geo
	t := make([]uint64, max(g.clusters(int64(len(bits))), 1))
	for i := range t {
		part := bits[min(int64(i)*g.clusterSize, int64(len(bits))):]
		part = part[:min(int64(len(part)), g.clusterSize)]
		if !slices.ContainsFunc(part, func(b byte) bool { return b != 0 }) {
			continue
		}
		off, _, err := im.alloc(1, true)
		if err != nil {
			return err
		}
		full := make([]byte, g.clusterSize)
		copy(full, part)
		if err := im.writeMeta(off, full, 0); err != nil {
			return err
		}
		t[i] = uint64(off)
	}
	off, _, err := im.alloc(g.clusters(int64(len(t))*8), true)
	if err != nil {
		return err
	}
	d.tableOff, d.tableLen = off, uint32(len(t))
	return im.writeMeta(off, encodeTable(t), 0)
}

// replaceBitmaps writes a directory, has the header refer to it, and frees what old
// referred to.
func (im *Image) replaceBitmaps(dir, old []bitmapEntry) error {
	g := &im.geo
	x := bitmapExt{}
	was := im.hdr.bitmaps
	if b := encodeBitmapDir(dir); len(b) > 0 {
		off, _, err := im.alloc(g.clusters(int64(len(b))), true)
		if err != nil {
			return err
		}
		if err := im.writeMeta(off, b, 0); err != nil {
			return err
		}
		x = bitmapExt{uint32(len(dir)), int64(len(b)), off}
	}
	if err := im.settle(); err != nil {
		return err
	}
	err := im.changeWhole(func(h *Header) error {
		h.bitmaps = x
		h.Autoclear &^= AutoclearBitmaps
		if x.count > 0 {
			h.Autoclear |= AutoclearBitmaps
		}
		return nil
	})
	if err != nil {
		return err
	}
	im.own(x.off, g.clusters(x.size), OverlapBitmaps)
	if old != nil {
		im.disown(was.off, g.clusters(was.size), OverlapBitmaps)
		im.free(was.off, g.clusters(was.size))
	}
	if err := im.freeBitmaps(old, dir); err != nil {
		return err
	}
	return im.settle()
}

// freeBitmaps frees what is in old and not in kept.
func (im *Image) freeBitmaps(old, kept []bitmapEntry) error {
	for _, d := range old {
		if slices.ContainsFunc(kept, func(k bitmapEntry) bool { return k.tableOff == d.tableOff }) {
			continue
		}
		t, err := im.readTable(d.tableOff, int64(d.tableLen))
		if err != nil {
			return err
		}
		for _, e := range t {
			if off := int64(e & offsetMask); off != 0 {
				im.free(off, 1)
			}
		}
		im.free(d.tableOff, im.geo.clusters(int64(d.tableLen)*8))
	}
	return nil
}
