package qcow2

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// Bits of a bitmap directory entry's flags.
const (
	bitmapInUse      = 1
	bitmapAuto       = 2
	bitmapCompatible = 4

	maxBitmaps     = 65535
	maxBitmapDir   = 64 << 20
	maxBitmapTable = 32 << 20 / 8
	bitmapFixed    = 24
	dirtyTracking  = 1
	minGranularity = 9
	maxGranularity = 31
)

// bitmapEntry is an entry of the bitmap directory.
type bitmapEntry struct {
	tableOff int64
	tableLen uint32
	flags    uint32
	kind     uint8
	granBits uint8
	extra    []byte
	name     string
}

// readBitmapDir decodes the directory.
func (im *Image) readBitmapDir() ([]bitmapEntry, error) {
	x := &im.hdr.bitmaps
	switch {
	case x.count == 0:
		return nil, nil
	case x.off+x.size > im.file.Size()+im.geo.clusterSize:
		return nil, errors.New("bitmap directory is outside the file")
	}
	b := make([]byte, x.size)
	if err := im.file.Readv(x.off, [][]byte{b}); err != nil {
		return nil, err
	}
	var dir []bitmapEntry
	names := map[string]bool{}
	for len(b) > 0 {
		d, n, err := im.bitmapEntry(b)
		if err != nil {
			return nil, fmt.Errorf("bitmap directory entry %d: %w", len(dir), err)
		}
		if names[d.name] {
			return nil, fmt.Errorf("bitmap %q is there twice", d.name)
		}
		names[d.name] = true
		dir, b = append(dir, d), b[n:]
	}
	if len(dir) != int(x.count) {
		return nil, fmt.Errorf("bitmap directory has %d entries instead of %d", len(dir), x.count)
	}
	return dir, nil
}

// bitmapEntry decodes the first entry in b and returns its length.
func (im *Image) bitmapEntry(b []byte) (bitmapEntry, int, error) {
	be := binary.BigEndian
	if len(b) < bitmapFixed {
		return bitmapEntry{}, 0, errors.New("it is cut off")
	}
	d := bitmapEntry{tableOff: int64(be.Uint64(b)), tableLen: be.Uint32(b[8:]), flags: be.Uint32(b[12:]),
		kind: b[16], granBits: b[17]}
	name, extra := int64(be.Uint16(b[18:])), int64(be.Uint32(b[20:]))
	n := (bitmapFixed + name + extra + 7) &^ 7
	if n > int64(len(b)) {
		return d, 0, errors.New("it is cut off")
	}
	d.extra = b[bitmapFixed : bitmapFixed+extra]
	d.name = string(b[bitmapFixed+extra : bitmapFixed+extra+name])
	switch {
	case name == 0 || name > maxNameLen:
		return d, 0, errors.New("bad length of the name")
	case d.flags&^7 != 0 || d.kind != dirtyTracking:
		return d, 0, errors.New("unknown flags or type")
	case d.granBits < minGranularity || d.granBits > maxGranularity:
		return d, 0, fmt.Errorf("granularity of 2^%d", d.granBits)
	case d.tableLen == 0 || d.tableLen > maxBitmapTable || d.tableOff <= 0 || d.tableOff&(im.geo.clusterSize-1) != 0 || d.tableOff > maxHostOffset:
		return d, 0, errors.New("bad place of the bitmap table")
	case len(d.extra) > 0 && d.flags&bitmapCompatible == 0:
		return d, 0, errors.New("incompatible extra data")
	}
	return d, int(n), nil
}

// encodeBitmapDir is the inverse of readBitmapDir.
func encodeBitmapDir(dir []bitmapEntry) []byte {
	be := binary.BigEndian
	var b []byte
	for _, d := range dir {
		b = be.AppendUint64(b, uint64(d.tableOff))
		b = be.AppendUint32(b, d.tableLen)
		b = be.AppendUint32(b, d.flags)
		b = append(b, d.kind, d.granBits)
		b = be.AppendUint16(b, uint16(len(d.name)))
		b = be.AppendUint32(b, uint32(len(d.extra)))
		b = append(b, d.extra...)
		b = append(b, d.name...)
		b = append(b, make([]byte, -len(b)&7)...)
	}
	return b
}
