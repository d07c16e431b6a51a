package qcow2

import (
	"encoding/binary"
	"errors"
)

// encode returns the bytes of the header, its extensions and the backing file's name.
func (h *Header) encode() ([]byte, error) {
	size := 1 << h.ClusterBits
	for _, features := range []bool{h.Version >= 3, false} {
		b := h.encodeWith(features)
		if len(b) <= size {
			return b, nil
		}
	}
	return nil, errors.New("header does not fit into a cluster")
}

func (h *Header) encodeWith(features bool) []byte {
	b := h.encodeFixed()
	if h.BackingFormat != "" {
		b = appendExt(b, extBackingFmt, []byte(h.BackingFormat))
	}
	if h.Incompatible&IncompatDataFile != 0 && h.DataFile != "" {
		b = appendExt(b, extDataFile, []byte(h.DataFile))
	}
	if features {
		b = appendExt(b, extFeatures, featureTable())
	}
	if h.bitmaps.count > 0 {
		var e [24]byte
		binary.BigEndian.PutUint32(e[:], h.bitmaps.count)
		binary.BigEndian.PutUint64(e[8:], uint64(h.bitmaps.size))
		binary.BigEndian.PutUint64(e[16:], uint64(h.bitmaps.off))
		b = appendExt(b, extBitmaps, e[:])
	}
	for _, u := range h.unknown {
		b = appendExt(b, u.kind, u.data)
	}
	b = appendExt(b, extEnd, nil)
	if h.BackingFile != "" {
		binary.BigEndian.PutUint64(b[8:], uint64(len(b)))
		binary.BigEndian.PutUint32(b[16:], uint32(len(h.BackingFile)))
		b = append(b, h.BackingFile...)
	}
	return b
}

func (h *Header) encodeFixed() []byte {
	be := binary.BigEndian
	b := make([]byte, headerV2)
	be.PutUint32(b, magic)
	be.PutUint32(b[4:], h.Version)
	be.PutUint32(b[20:], h.ClusterBits)
	be.PutUint64(b[24:], uint64(h.Size))
	be.PutUint32(b[32:], h.Crypt)
	be.PutUint32(b[36:], h.L1Size)
	be.PutUint64(b[40:], uint64(h.L1Offset))
	be.PutUint64(b[48:], uint64(h.RefTableOffset))
	be.PutUint32(b[56:], h.RefTableClusters)
	be.PutUint32(b[60:], h.NumSnapshots)
	be.PutUint64(b[64:], uint64(h.SnapshotsOffset))
	if h.Version < 3 {
		return b
	}
	b = be.AppendUint64(b, h.Incompatible)
	b = be.AppendUint64(b, h.Compatible)
	b = be.AppendUint64(b, h.Autoclear)
	b = be.AppendUint32(b, h.RefcountOrder)
	b = be.AppendUint32(b, headerWritten+uint32(len(h.fields)))
	b = append(b, byte(h.Compression), 0, 0, 0, 0, 0, 0, 0)
	return append(b, h.fields...)
}

func appendExt(b []byte, kind uint32, data []byte) []byte {
	b = binary.BigEndian.AppendUint32(b, kind)
	b = binary.BigEndian.AppendUint32(b, uint32(len(data)))
	b = append(b, data...)
	return append(b, make([]byte, -len(data)&7)...)
}

func featureTable() []byte {
	var b []byte
	for _, f := range knownFeatures {
		e := make([]byte, 48)
		e[0], e[1] = f.Type, f.Bit
		copy(e[2:], f.Name)
		b = append(b, e...)
	}
	return b
}

// writeHeader writes all of the header and the rest of its cluster. The lock is held.
func (im *Image) writeHeader() error {
	b, err := im.hdr.encode()
	if err != nil {
		return err
	}
	full := make([]byte, im.geo.clusterSize)
	copy(full, b)
	return im.writeMeta(0, full, OverlapHeader)
}

// writeField writes bytes [lo, hi) of the header.
func (im *Image) writeField(lo, hi int) error {
	return im.writeMeta(int64(lo), im.hdr.encodeFixed()[lo:hi], OverlapHeader)
}

func (im *Image) writeFeatures() error { return im.writeField(72, 96) }

// setDirty says on storage that refcounts are not to be trusted.
func (im *Image) setDirty() error {
	if im.hdr.Incompatible&IncompatDirty != 0 || im.hdr.Version < 3 {
		return nil
	}
	im.hdr.Incompatible |= IncompatDirty
	if err := im.writeFeatures(); err != nil {
		return err
	}
	return im.file.Flush()
}

// setClean takes that back. Everything else is on storage.
func (im *Image) setClean() error {
	if im.hdr.Incompatible&IncompatDirty == 0 {
		return nil
	}
	im.hdr.Incompatible &^= IncompatDirty
	if err := im.writeFeatures(); err != nil {
		return err
	}
	return im.file.Flush()
}
