package qcow2

import (
	"bytes"
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
	for _, u := range h.unknown {
		b = appendExt(b, u.kind, u.data)
	}
	if h.bitmaps.count > 0 { // last, as it comes and goes
		var e [24]byte
		binary.BigEndian.PutUint32(e[:], h.bitmaps.count)
		binary.BigEndian.PutUint64(e[8:], uint64(h.bitmaps.size))
		binary.BigEndian.PutUint64(e[16:], uint64(h.bitmaps.off))
		b = appendExt(b, extBitmaps, e[:])
	}
	b = appendExt(b, extEnd, nil)
	if h.BackingFile != "" {
		b = h.appendName(b, int64(len(b)))
	}
	return b
}

// appendName puts the backing file's name at an offset behind b.
func (h *Header) appendName(b []byte, off int64) []byte {
	binary.BigEndian.PutUint64(b[8:], uint64(off))
	binary.BigEndian.PutUint32(b[16:], uint32(len(h.BackingFile)))
	b = append(b, make([]byte, off-int64(len(b)))...)
	return append(b, h.BackingFile...)
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

// sector is what storage writes as a whole or not at all.
const sector = 512

// writeHeader writes all of the header and the rest of its cluster. A crash leaves the old
// header or the new one, or the old one without its bitmaps. The lock is held.
func (im *Image) writeHeader() error {
	b, err := im.hdr.encode()
	if err != nil {
		return err
	}
	old := make([]byte, im.geo.clusterSize)
	if err := im.file.Readv(0, [][]byte{old}); err != nil {
		return err
	}
	full := make([]byte, im.geo.clusterSize)
	copy(full, b)
	if at, ok := onlySector(old, full); ok {
		return im.writeMeta(at, full[at:at+sector], OverlapHeader)
	}
	if full, err = im.placeName(old, full); err != nil {
		return err
	}
	if im.hdr.Version >= 3 && old[autoclearLast]&AutoclearBitmaps != 0 {
		// The extension is looked at no more while it changes.
		if err := im.writeStep(autoclearLast, []byte{old[autoclearLast] &^ AutoclearBitmaps}); err != nil {
			return err
		}
	}
	if err := im.writeStep(sector, full[sector:]); err != nil {
		return err
	}
	return im.writeMeta(0, full[:sector], OverlapHeader)
}

// onlySector returns the offset of the only sector that differs, or of the first if none does.
func onlySector(a, b []byte) (off int64, ok bool) {
	n := 0
	for at := 0; at < len(a); at += sector {
		if !bytes.Equal(a[at:at+sector], b[at:at+sector]) {
			off, n = int64(at), n+1
		}
	}
	return off, n <= 1
}

// autoclearLast is the last byte of the header's field of autoclear features.
const autoclearLast = 95

// placeName has the name of the backing file lie where neither the old header nor the new one
// has something else, as far as there is room. It returns the new header.
func (im *Image) placeName(old, full []byte) ([]byte, error) {
	be := binary.BigEndian
	end, was, wasLen := int64(be.Uint64(full[8:])), int64(be.Uint64(old[8:])), int64(be.Uint32(old[16:]))
	n, size := int64(len(im.hdr.BackingFile)), int64(len(full))
	if n == 0 || was == 0 || was+wasLen > size {
		return full, nil
	}
	same := string(old[was:was+wasLen]) == im.hdr.BackingFile
	at := was
	if !same || was < end {
		at = max(end, was+wasLen)
	}
	if at+n > size {
		return full, nil
	}
	full = im.hdr.appendName(full[:end], at)
	full = append(full, make([]byte, size-int64(len(full)))...)
	if !same || at == was {
		return full, nil
	}
	if err := im.writeStep(at, full[at:at+n]); err != nil {
		return nil, err
	}
	return full, im.writeStep(8, full[8:20])
}

// changeFields changes bytes [lo, hi) of the header, and makes them durable. If that fails the
// header is as it was; what storage has is set right before anything else is written back.
func (im *Image) changeFields(lo, hi int, change func(*Header)) error {
	old := im.hdr
	change(&im.hdr)
	err := im.writeField(lo, hi)
	if err == nil {
		err = im.barrier()
	}
	if err != nil {
		im.hdr, im.doubt = old, true
	}
	return err
}

// affirm has storage have the header that there is.
func (im *Image) affirm() error {
	if !im.doubt {
		return nil
	}
	if err := im.writeHeader(); err != nil {
		return err
	}
	if err := im.barrier(); err != nil {
		return err
	}
	im.doubt = false
	return nil
}

// writeStep writes a part of the header, for what is written after it to rely on.
func (im *Image) writeStep(off int64, b []byte) error {
	if err := im.writeMeta(off, b, OverlapHeader); err != nil {
		return err
	}
	return im.barrier()
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
	return im.changeFields(72, 96, func(h *Header) { h.Incompatible |= IncompatDirty })
}

// setClean takes that back. Everything else is on storage.
func (im *Image) setClean() error {
	if im.hdr.Incompatible&IncompatDirty == 0 {
		return nil
	}
	return im.changeFields(72, 96, func(h *Header) { h.Incompatible &^= IncompatDirty })
}
