package qcow2

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"time"
)

// Snapshot is an internal snapshot.
type Snapshot struct {
	ID, Name    string
	Date        time.Time
	VMClock     time.Duration // how long the guest had run
	VMStateSize int64
	DiskSize    int64
	ICount      uint64 // all ones if there is none

	l1Offset int64
	l1Size   uint32
	extra    []byte
}

const (
	snapFixed = 40
	snapExtra = 24
)

// readSnapshot decodes the entry at off, which ends where the returned offset says.
func (im *Image) readSnapshot(off int64) (Snapshot, int64, error) {
	be := binary.BigEndian
	fixed := make([]byte, snapFixed)
	if err := im.file.Readv(off, [][]byte{fixed}); err != nil {
		return Snapshot{}, 0, err
	}
	idLen, nameLen, extraLen := int(be.Uint16(fixed[12:])), int(be.Uint16(fixed[14:])), be.Uint32(fixed[36:])
	if extraLen > maxSnapshotExtra {
		return Snapshot{}, 0, errors.New("too much extra metadata")
	}
	b := make([]byte, int(extraLen)+idLen+nameLen)
	if err := im.file.Readv(off+snapFixed, [][]byte{b}); err != nil {
		return Snapshot{}, 0, err
	}
	s := Snapshot{
		l1Offset: int64(be.Uint64(fixed)), l1Size: be.Uint32(fixed[8:]),
		Date:        time.Unix(int64(be.Uint32(fixed[16:])), int64(be.Uint32(fixed[20:]))),
		VMClock:     time.Duration(be.Uint64(fixed[24:])),
		VMStateSize: int64(be.Uint32(fixed[32:])),
		DiskSize:    im.Size(), ICount: math.MaxUint64,
		extra: b[:extraLen:extraLen],
		ID:    string(b[extraLen : int(extraLen)+idLen]),
		Name:  string(b[int(extraLen)+idLen:]),
	}
	if extraLen >= 8 {
		s.VMStateSize = int64(be.Uint64(b))
	}
	if extraLen >= 16 {
		s.DiskSize = int64(be.Uint64(b[8:]))
	}
	if extraLen >= 24 {
		s.ICount = be.Uint64(b[16:])
	}
	return s, off + snapFixed + int64(len(b)), nil
}

// loadSnapshots reads the snapshot table.
func (im *Image) loadSnapshots() error {
	im.snaps = nil
	off := im.hdr.SnapshotsOffset
	for i := range im.hdr.NumSnapshots {
		off = (off + 7) &^ 7
		if off > im.file.Size() {
			return errors.New("snapshot table is outside the file")
		}
		s, end, err := im.readSnapshot(off)
		if err != nil {
			return fmt.Errorf("snapshot table entry %d: %w", i, err)
		}
		if im.snaps = append(im.snaps, s); end-im.hdr.SnapshotsOffset > maxSnapshotTable {
			return errors.New("snapshot table is too big")
		}
		off = end
		if !im.opt.Check && (int64(s.l1Size) > maxL1Bytes/8 || s.l1Offset < 0 || s.l1Offset&(im.geo.clusterSize-1) != 0) {
			return fmt.Errorf("snapshot table entry %d: L1 table is invalid", i)
		}
	}
	return nil
}

// append encodes a snapshot.
func (s *Snapshot) append(b []byte) []byte {
	be := binary.BigEndian
	b = append(b, make([]byte, -len(b)&7)...)
	extra := bytes.Clone(s.extra)
	if len(extra) < snapExtra {
		extra = make([]byte, snapExtra)
	}
	be.PutUint64(extra, uint64(s.VMStateSize))
	be.PutUint64(extra[8:], uint64(s.DiskSize))
	be.PutUint64(extra[16:], s.ICount)
	b = be.AppendUint64(b, uint64(s.l1Offset))
	b = be.AppendUint32(b, s.l1Size)
	b = be.AppendUint16(b, uint16(len(s.ID)))
	b = be.AppendUint16(b, uint16(len(s.Name)))
	b = be.AppendUint32(b, uint32(s.Date.Unix()))
	b = be.AppendUint32(b, uint32(s.Date.Nanosecond()))
	b = be.AppendUint64(b, uint64(s.VMClock))
	small := uint32(0)
	if s.VMStateSize <= math.MaxUint32 {
		small = uint32(s.VMStateSize)
	}
	b = be.AppendUint32(b, small)
	b = be.AppendUint32(b, uint32(len(extra)))
	b = append(b, extra...)
	b = append(b, s.ID...)
	return append(b, s.Name...)
}

// snapBytes is the length of the snapshot table on storage.
func (im *Image) snapBytes() int64 {
	n := int64(0)
	for _, s := range im.snaps {
		n = (n+7)&^7 + snapFixed + int64(len(s.extra)+len(s.ID)+len(s.Name))
	}
	return n
}

// writeSnapshots writes the table to a new place and has the header refer to it. The image
// is marked dirty, or the caller has written everything that the table refers to.
func (im *Image) writeSnapshots(l []Snapshot) error {
	var b []byte
	for i := range l {
		b = l[i].append(b)
		if n := len(l[i].extra); n < snapExtra {
			l[i].extra = make([]byte, snapExtra)
		}
	}
	if len(b) > maxSnapshotTable || len(l) > maxSnapshots {
		return errors.New("too many snapshots")
	}
	g, h := &im.geo, &im.hdr
	off := int64(0)
	if len(l) > 0 {
		var err error
		if off, _, err = im.alloc(g.clusters(int64(len(b))), true); err != nil {
			return err
		}
		if err := im.writeMeta(off, b, 0); err != nil {
			return err
		}
	}
	if err := im.settle(); err != nil {
		return err
	}
	old, n := h.SnapshotsOffset, g.clusters(im.snapBytes())
	if err := im.changeFields(60, 72, func(h *Header) { h.SnapshotsOffset, h.NumSnapshots = off, uint32(len(l)) }); err != nil {
		return err
	}
	if n > 0 {
		im.disown(old, n, OverlapSnapshots)
		im.free(old, n)
	}
	im.snaps = l
	im.own(off, g.clusters(int64(len(b))), OverlapSnapshots)
	return im.settle()
}
