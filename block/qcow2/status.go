package qcow2

import "fmt"

// Status says what lies at a place.
type Status uint32

// The bits of Status.
const (
	Data           Status = 1 << iota // there is data
	Zero                              // it reads as zeroes
	Allocated                         // the image decides what is read, not its backing image
	OffsetValid                       // the data lies at Extent.Offset, as it is
	Recurse                           // the storage knows more
	CompressedData                    // the data is compressed
)

// Extent is a run of bytes of one Status.
type Extent struct {
	N      int64
	Status Status
	Offset int64 // in the storage of the data
}

// BlockStatus returns the run at off, of n bytes at most and one at least.
func (im *Image) BlockStatus(off, n int64) (Extent, error) {
	if err := im.inside(off, n); err != nil {
		return Extent{}, err
	}
	im.mu.Lock()
	defer im.mu.Unlock()
	if im.broken != nil {
		return Extent{}, fmt.Errorf("qcow2: %w", im.broken)
	}
	m, err := im.lookup(off, n)
	if err != nil {
		return Extent{}, fmt.Errorf("qcow2: status at %d: %w", off, err)
	}
	x := Extent{N: m.n}
	switch m.kind {
	case unallocated, unallocHosted:
		if im.backing == nil {
			x.Status = Zero
		}
		if m.kind == unallocHosted { // there is room for it
			x.Status, x.Offset = x.Status|OffsetValid, m.host
		}
	case zeroPlain:
		x.Status = Zero | Allocated
	case zeroHosted:
		x.Status, x.Offset = Zero|Allocated|OffsetValid, m.host
	case normal:
		x.Status, x.Offset = Data|Allocated|OffsetValid, m.host
		if im.preallocated() {
			x.Status |= Recurse
		}
	case compressed:
		x.Status = Data | Allocated | CompressedData
	}
	return x, nil
}

// preallocated tells whether clusters are in use that take no room on the host, as after
// metadata was preallocated: the storage knows then what of them is zero. It is found out
// once, as in QEMU. The lock is held.
func (im *Image) preallocated() bool {
	if im.sparse == nil {
		v := im.isSparse()
		im.sparse = &v
	}
	return *im.sparse
}

func (im *Image) isSparse() bool {
	a, ok := im.file.(Allocater)
	if !ok {
		return false
	}
	bytes, ok := a.Allocated()
	if !ok {
		return false
	}
	g := &im.geo
	taken, used := bytes>>g.clusterBits, int64(0)
	most := max(taken*10/9, taken+2)
	for c, end := int64(0), g.clusters(im.file.Size()); c < end && used < most; c++ {
		v, err := im.refcount(c)
		if err != nil {
			return false
		}
		if v > 0 {
			used++
		}
	}
	return used >= most
}
