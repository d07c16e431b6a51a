package qcow2drv

import (
	"errors"
	"slices"

	"hv/block/bitmap"
	"hv/block/qcow2"
)

// What the format can keep of bitmaps.
const (
	minGranularity  = 512
	maxGranularity  = 2 << 30
	maxBitmapName   = 1023
	maxBitmaps      = 65535
	maxBitmapBytes  = 512 << 20
	maxBitmapTable  = 32 << 20 / 8
	maxDirectory    = 64 << 20
	bitmapEntrySize = 24
)

// LoadBitmaps implements graph.BitmapKeeper.
func (d *Driver) LoadBitmaps() ([]bitmap.Stored, error) {
	l, err := d.image.LoadBitmaps()
	if err != nil {
		return nil, wrap(err)
	}
	var out []bitmap.Stored
	for _, b := range l {
		d.lost = d.lost || b.Inconsistent
		out = append(out, bitmap.Stored{Name: b.Name, Granularity: b.Granularity, Enabled: b.Enabled, Inconsistent: b.Inconsistent, Bits: b.Bits})
	}
	return out, nil
}

// StoreBitmaps implements graph.BitmapKeeper.
func (d *Driver) StoreBitmaps(all []bitmap.Stored) error {
	var l []qcow2.Bitmap
	for _, b := range all {
		l = append(l, qcow2.Bitmap{Name: b.Name, Granularity: b.Granularity, Enabled: b.Enabled, Inconsistent: b.Inconsistent, Bits: b.Bits})
	}
	return wrap(d.image.StoreBitmaps(l))
}

// RemoveBitmap implements graph.BitmapKeeper.
func (d *Driver) RemoveBitmap(name string) error {
	stored, err := d.image.StoredBitmaps()
	if err != nil {
		return wrap(err)
	}
	is := func(b qcow2.Bitmap) bool { return b.Name == name }
	if !slices.ContainsFunc(stored, is) {
		return nil
	}
	// The others are in use, and stay as they are.
	return wrap(d.image.StoreBitmaps(slices.DeleteFunc(stored, is)))
}

// KeepsBitmap implements graph.BitmapKeeper.
func (d *Driver) KeepsBitmap(name string, granularity int64, others []*bitmap.Bitmap) error {
	size, cluster := d.Size(), d.ClusterSize()
	h := d.image.Header()
	bytes := (size + granularity*8 - 1) / (granularity * 8)
	kept, directory := 1, entrySize(name)
	for _, b := range others {
		if b.Persistent() {
			kept++
			directory += entrySize(b.Name())
		}
	}
	switch {
	case h.Version < 3:
		return errors.New("Cannot store dirty bitmaps in qcow2 v2 files")
	case granularity > maxGranularity:
		return errors.New("Granularity exceeds maximum (2147483648 bytes)")
	case granularity < minGranularity:
		return errors.New("Granularity is under minimum (512 bytes)")
	case bytes > maxBitmapBytes || bytes > maxBitmapTable*cluster:
		return errors.New("Too much space will be occupied by the bitmap. Use larger granularity")
	case len(name) > maxBitmapName:
		return errors.New("Name length exceeds maximum (1023 characters)")
	case kept > maxBitmaps:
		return errors.New("Maximum number of persistent bitmaps is already reached")
	case directory > maxDirectory:
		return errors.New("Not enough space in the bitmap directory")
	}
	return nil
}

// entrySize is how much room a bitmap takes in the directory.
func entrySize(name string) int { return (bitmapEntrySize + len(name) + 7) &^ 7 }

// ClusterSize implements graph.Clustered.
func (d *Driver) ClusterSize() int64 {
	h := d.image.Header()
	return 1 << h.ClusterBits
}

// resizable returns an error if there are bitmaps that can't follow the disk's size. The
// others are in memory, and are stored when the image is closed.
func (d *Driver) resizable() error {
	if !d.lost {
		return nil
	}
	stored, err := d.image.StoredBitmaps()
	if len(stored) > 0 {
		err = errors.New("Cannot resize an image with inconsistent bitmaps")
	}
	return err
}
