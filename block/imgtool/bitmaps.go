package imgtool

import (
	"errors"
	"fmt"
	"slices"

	"hv/block/bitmap"
	"hv/block/qcow2"
)

// Bitmaps changes the bitmaps that an image keeps.
type Bitmaps struct {
	layer *Layer
	size  int64
	list  []qcow2.Bitmap
}

// OpenBitmaps reads the bitmaps of an image.
func OpenBitmaps(s Source, a Access) (*Bitmaps, error) {
	l, err := OpenLayer(s, a, false)
	if err != nil {
		return nil, err
	}
	b := &Bitmaps{layer: l, size: l.Size()}
	if l.HasBitmaps() {
		if b.list, err = l.LoadBitmaps(); err != nil {
			l.Close()
			return nil, err
		}
	}
	return b, nil
}

// Close gives the image up. What has not been stored is lost.
func (b *Bitmaps) Close() error { return b.layer.Close() }

// Store writes the bitmaps back.
func (b *Bitmaps) Store() error { return b.layer.StoreBitmaps(b.list) }

// find returns a bitmap that knows something.
func (b *Bitmaps) find(name string) (*qcow2.Bitmap, error) {
	i := slices.IndexFunc(b.list, func(x qcow2.Bitmap) bool { return x.Name == name })
	switch {
	case i < 0:
		return nil, fmt.Errorf("Dirty bitmap '%s' not found", name)
	case b.list[i].Inconsistent:
		return nil, fmt.Errorf("Bitmap '%s' is inconsistent and cannot be used", name)
	}
	return &b.list[i], nil
}

// bytes is how many bytes of bits there are at a granularity.
func (b *Bitmaps) bytes(granularity int64) int64 {
	return ((b.size+granularity-1)/granularity + 7) / 8
}

// resize changes the size of the disk and, with it, the bitmaps.
func (b *Bitmaps) resize(size int64, mode string) error {
	if len(b.list) == 0 {
		return b.layer.Truncate(size, mode)
	}
	if slices.ContainsFunc(b.list, func(x qcow2.Bitmap) bool { return x.Inconsistent }) {
		return errors.Join(errors.New("Cannot resize an image with inconsistent bitmaps"), b.Store())
	}
	err := b.layer.Truncate(size, mode)
	now := b.layer.Size()
	for i := range b.list {
		x := &b.list[i]
		y, failed := bitmap.Load(&bitmap.Stored{Name: x.Name, Granularity: x.Granularity, Bits: x.Bits}, b.size)
		if failed == nil {
			failed = y.Resize(now)
		}
		if failed != nil {
			return errors.Join(err, failed)
		}
		x.Bits = y.Store().Bits
	}
	b.size = now
	return errors.Join(err, b.Store())
}

// Add makes a bitmap. A granularity of 0 is that of the image's clusters, within bounds.
func (b *Bitmaps) Add(name string, granularity int64) error {
	if granularity == 0 {
		granularity = min(max(int64(1)<<b.layer.Header().ClusterBits, 4096), 65536)
	}
	if err := bitmap.CheckGranularity(granularity); err != nil {
		return err
	}
	if len(name) > bitmap.MaxName {
		return fmt.Errorf("Bitmap name too long")
	}
	if slices.ContainsFunc(b.list, func(x qcow2.Bitmap) bool { return x.Name == name }) {
		return fmt.Errorf("Bitmap already exists: %s", name)
	}
	b.list = append(b.list, qcow2.Bitmap{Name: name, Granularity: granularity, Enabled: true, Bits: make([]byte, b.bytes(granularity))})
	return nil
}

// Remove forgets a bitmap, an inconsistent one too.
func (b *Bitmaps) Remove(name string) error {
	n := len(b.list)
	b.list = slices.DeleteFunc(b.list, func(x qcow2.Bitmap) bool { return x.Name == name })
	if len(b.list) == n {
		return fmt.Errorf("Dirty bitmap '%s' not found", name)
	}
	return nil
}

// Clear has nothing be dirty.
func (b *Bitmaps) Clear(name string) error {
	x, err := b.find(name)
	if err == nil {
		clear(x.Bits)
	}
	return err
}

// Enable has a bitmap follow writes, or not.
func (b *Bitmaps) Enable(name string, on bool) error {
	x, err := b.find(name)
	if err == nil {
		x.Enabled = on
	}
	return err
}

// Merge adds what is dirty in a bitmap of another image, or this one, to a bitmap.
func (b *Bitmaps) Merge(name string, other *Bitmaps, source string) error {
	to, err := b.find(name)
	if err != nil {
		return err
	}
	from, err := other.find(source)
	if err != nil {
		return err
	}
	if b.size != other.size {
		return fmt.Errorf("Bitmaps are of different sizes (destination size is %d and source size is %d) and can't be merged", b.size, other.size)
	}
	for i, x := range from.Bits {
		for bit := range int64(8) {
			if x>>bit&1 == 0 {
				continue
			}
			start := (int64(i)*8 + bit) * from.Granularity
			last := (min(start+from.Granularity, b.size) - 1) / to.Granularity
			for n := start / to.Granularity; n <= last; n++ {
				to.Bits[n/8] |= 1 << (n % 8)
			}
		}
	}
	return nil
}
