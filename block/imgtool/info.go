package imgtool

import (
	"errors"
	"math"
	"os"
	"time"

	"hv/block/qcow2"
)

// Info describes an image, without those below it.
type Info struct {
	Filename, Format string
	Size, Allocated  int64
	// The rest is that of qcow2 images, whose header this is.
	Header      *qcow2.Header
	FullBacking string
	Snapshots   []qcow2.Snapshot
	Bitmaps     []qcow2.Bitmap
}

// Describe looks at an image.
func Describe(s Source, share bool) (*Info, error) {
	a := Access{Share: share, Alone: true}
	l, err := OpenLayer(s, a, false)
	if err == nil {
		defer l.Close()
		h := l.Header()
		i := &Info{Filename: l.Filename(), Format: "qcow2", Size: l.Size(), Allocated: l.Allocated(), Header: &h, Snapshots: l.Snapshots()}
		if h.BackingFile != "" {
			i.FullBacking = l.FullBacking()
		}
		if l.HasBitmaps() {
			if i.Bitmaps, err = l.LoadBitmaps(); err != nil {
				return nil, err
			}
		}
		return i, nil
	}
	if !errors.Is(err, errNoLayer) {
		return nil, err
	}
	im, err := Open(s, a)
	if err != nil {
		return nil, err
	}
	defer im.Close()
	i := &Info{Filename: im.Node().Filename(), Format: im.Format(), Size: (im.Size() + 511) &^ 511}
	i.Allocated, _ = im.Node().Allocated()
	return i, nil
}

// Chain describes an image and all below it.
func Chain(s Source, share bool) ([]*Info, error) {
	var all []*Info
	for seen := map[string]bool{}; ; {
		i, err := Describe(s, share)
		if err != nil {
			return all, err
		}
		all = append(all, i)
		if i.FullBacking == "" {
			return all, nil
		}
		if seen[i.FullBacking] {
			return all, errors.New("Backing file '" + i.FullBacking + "' creates an infinite loop.")
		}
		seen[i.FullBacking] = true
		s = Source{Name: i.FullBacking, Format: i.Header.BackingFormat}
	}
}

func bit(field, mask uint64) bool { return field&mask != 0 }

// JSON returns the description as qemu-img's JSON has it.
func (i *Info) JSON() map[string]any {
	o := map[string]any{"filename": i.Filename, "format": i.Format, "virtual-size": i.Size, "actual-size": i.Allocated, "dirty-flag": false}
	h := i.Header
	if h == nil {
		return o
	}
	o["cluster-size"], o["dirty-flag"] = int64(1)<<h.ClusterBits, bit(h.Incompatible, qcow2.IncompatDirty)
	if h.BackingFile != "" {
		o["backing-filename"], o["full-backing-filename"] = h.BackingFile, i.FullBacking
		if h.BackingFormat != "" {
			o["backing-filename-format"] = h.BackingFormat
		}
	}
	var snapshots []any
	for _, s := range i.Snapshots {
		x := map[string]any{"id": s.ID, "name": s.Name, "vm-state-size": s.VMStateSize, "date-sec": s.Date.Unix(), "date-nsec": int64(s.Date.Nanosecond()),
			"vm-clock-sec": int64(s.VMClock / time.Second), "vm-clock-nsec": int64(s.VMClock % time.Second)}
		if s.ICount != math.MaxUint64 {
			x["icount"] = int64(s.ICount)
		}
		snapshots = append(snapshots, x)
	}
	if len(snapshots) > 0 {
		o["snapshots"] = snapshots
	}
	o["format-specific"] = map[string]any{"type": "qcow2", "data": i.specific()}
	return o
}

func (i *Info) specific() map[string]any {
	h := i.Header
	d := map[string]any{"compat": "0.10", "compression-type": h.Compression.String(), "refcount-bits": int64(1) << h.RefcountOrder}
	if h.Version < 3 {
		return d
	}
	d["compat"], d["lazy-refcounts"] = "1.1", bit(h.Compatible, qcow2.CompatLazyRefcounts)
	d["corrupt"], d["extended-l2"] = bit(h.Incompatible, qcow2.IncompatCorrupt), bit(h.Incompatible, qcow2.IncompatExtendedL2)
	if h.DataFile != "" {
		d["data-file"] = h.DataFile
	}
	if bit(h.Incompatible, qcow2.IncompatDataFile) {
		d["data-file-raw"] = bit(h.Autoclear, qcow2.AutoclearRawData)
	}
	var bitmaps []any
	for _, b := range i.Bitmaps {
		flags := []any{}
		if b.Inconsistent {
			flags = append(flags, "in-use")
		}
		if b.Enabled {
			flags = append(flags, "auto")
		}
		bitmaps = append(bitmaps, map[string]any{"name": b.Name, "granularity": b.Granularity, "flags": flags})
	}
	if len(bitmaps) > 0 {
		d["bitmaps"] = bitmaps
	}
	return d
}

// Check looks for damage and repairs what fix says.
func Check(s Source, fix qcow2.Fix, share bool) (qcow2.Result, error) {
	l, err := OpenLayer(s, Access{Write: fix != 0, Share: share}, true)
	if errors.Is(err, errNoLayer) {
		return qcow2.Result{}, ErrNoCheck
	}
	if err != nil {
		return qcow2.Result{}, err
	}
	r, err := l.Check(fix)
	return r, errors.Join(err, l.Close())
}

// ErrNoCheck is an image of a format in which nothing can be wrong.
var ErrNoCheck = errors.New("This image format does not support checks")

// Measure computes how large an image of a format becomes, which holds what from has, or nothing if
// that is nil.
func Measure(c Creation, from *Image) (qcow2.Measured, error) {
	if err := c.Check(); err != nil {
		return qcow2.Measured{}, err
	}
	data := int64(0)
	opt, err := c.qcow2()
	if err != nil {
		return qcow2.Measured{}, err
	}
	cluster := max(opt.ClusterSize, 65536)
	if opt.ClusterSize != 0 {
		cluster = opt.ClusterSize
	}
	if from != nil {
		end := int64(-1) // of the clusters counted
		err := from.Map(0, from.Size(), func(r Run) error {
			if r.Zero || !r.Data && !r.Compressed {
				return nil
			}
			first, last := max(r.Start/cluster, end), (r.Start+r.Length+cluster-1)/cluster
			data, end = data+max(last-first, 0)*cluster, last
			return nil
		})
		if err != nil {
			return qcow2.Measured{}, err
		}
	}
	if c.Format == "raw" {
		n := (c.Size + 511) &^ 511
		return qcow2.Measured{Required: n, FullyAllocated: n}, nil
	}
	return qcow2.Measure(opt, data)
}

// SameFile tells whether two names are one file's.
func SameFile(a, b string) bool {
	x, xerr := os.Stat(a)
	y, yerr := os.Stat(b)
	return xerr == nil && yerr == nil && os.SameFile(x, y)
}
