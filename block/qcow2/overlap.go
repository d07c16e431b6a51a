package qcow2

import "strings"

// Overlap is a set of kinds of metadata that writes must not hit.
type Overlap uint16

// The kinds of metadata, and the templates of QEMU's overlap-check option.
const (
	OverlapHeader Overlap = 1 << iota
	OverlapActiveL1
	OverlapActiveL2
	OverlapRefBlock
	OverlapRefTable
	OverlapSnapshots
	OverlapInactiveL1
	OverlapInactiveL2
	OverlapBitmaps
	OverlapNone

	OverlapConstant = OverlapHeader | OverlapActiveL1 | OverlapRefTable | OverlapSnapshots | OverlapBitmaps
	OverlapCached   = OverlapConstant | OverlapActiveL2 | OverlapRefBlock | OverlapInactiveL1
	OverlapAll      = OverlapCached | OverlapInactiveL2
)

var overlapNames = []string{"qcow2_header", "active L1 table", "active L2 table", "refcount block",
	"refcount table", "snapshot table", "inactive L1 table", "inactive L2 table", "bitmap directory"}

// String names what is in the set.
func (o Overlap) String() string {
	var l []string
	for i, n := range overlapNames {
		if o>>i&1 != 0 {
			l = append(l, n)
		}
	}
	return strings.Join(l, ", ")
}

// own notes that n clusters at off hold metadata of a kind.
func (im *Image) own(off, n int64, kind Overlap) {
	if im.owned == nil || im.opt.Overlap&kind == 0 {
		return
	}
	for c := off >> im.geo.clusterBits; n > 0; c, n = c+1, n-1 {
		im.owned[c] |= kind
	}
}

func (im *Image) disown(off, n int64, kind Overlap) {
	if im.owned == nil {
		return
	}
	for c := off >> im.geo.clusterBits; n > 0; c, n = c+1, n-1 {
		if im.owned[c] &^= kind; im.owned[c] == 0 {
			delete(im.owned, c)
		}
	}
}

// checkOverlap refuses a write of n bytes at off that would hit metadata that is not allowed.
func (im *Image) checkOverlap(off, n int64, allowed Overlap) error {
	last := (off + n - 1) >> im.geo.clusterBits
	for c := off >> im.geo.clusterBits; c <= last; c++ {
		if hit := im.owned[c] &^ allowed; hit != 0 {
			return im.corrupt(off, n, true, "Preventing invalid write on metadata (overlaps with %s)", hit&-hit)
		}
	}
	return nil
}

// findOwned fills in the map of metadata.
func (im *Image) findOwned() error {
	im.owned = nil
	if im.opt.Overlap == OverlapNone || im.opt.ReadOnly {
		return nil
	}
	im.owned = map[int64]Overlap{}
	h, g := &im.hdr, &im.geo
	im.own(0, 1, OverlapHeader)
	im.own(h.L1Offset, g.clusters(int64(h.L1Size)*8), OverlapActiveL1)
	im.own(h.RefTableOffset, int64(h.RefTableClusters), OverlapRefTable)
	im.own(h.bitmaps.off, g.clusters(h.bitmaps.size), OverlapBitmaps)
	for _, e := range im.l1 {
		if off := int64(e & offsetMask); off != 0 {
			im.own(off, 1, OverlapActiveL2)
		}
	}
	for _, e := range im.refs.table {
		if off := int64(e & refOffsetMask); off > 0 {
			im.own(off, 1, OverlapRefBlock)
		}
	}
	return im.ownSnapshots()
}

// ownSnapshots adds what the snapshots hold.
func (im *Image) ownSnapshots() error {
	h, g := &im.hdr, &im.geo
	if h.NumSnapshots > 0 {
		im.own(h.SnapshotsOffset, g.clusters(im.snapBytes()), OverlapSnapshots)
	}
	for _, s := range im.snaps {
		im.own(s.l1Offset, g.clusters(int64(s.l1Size)*8), OverlapInactiveL1)
		if im.opt.Overlap&OverlapInactiveL2 == 0 {
			continue
		}
		l1, err := im.readTable(s.l1Offset, int64(s.l1Size))
		if err != nil {
			return err
		}
		for _, e := range l1 {
			if off := int64(e & offsetMask); off != 0 {
				im.own(off, 1, OverlapInactiveL2)
			}
		}
	}
	return nil
}
