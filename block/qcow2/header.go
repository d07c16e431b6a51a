package qcow2

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Feature bits of the header.
const (
	IncompatDirty       = 1 << 0
	IncompatCorrupt     = 1 << 1
	IncompatDataFile    = 1 << 2
	IncompatCompression = 1 << 3
	IncompatExtendedL2  = 1 << 4
	incompatKnown       = 1<<5 - 1

	CompatLazyRefcounts = 1 << 0

	AutoclearBitmaps = 1 << 0
	AutoclearRawData = 1 << 1
	autoclearKnown   = 1<<2 - 1
)

// Compression is how compressed clusters are compressed.
type Compression uint8

// The kinds of compression.
const (
	Zlib Compression = iota
	Zstd
)

func (c Compression) String() string {
	if c == Zstd {
		return "zstd"
	}
	return "zlib"
}

const (
	magic          = 0x514649fb
	headerV2       = 72
	headerV3       = 104
	headerWritten  = 112
	extEnd         = 0
	extBackingFmt  = 0xe2792aca
	extFeatures    = 0x6803f857
	extBitmaps     = 0x23852875
	extCrypto      = 0x0537be77
	extDataFile    = 0x44415441
	maxHeaderBytes = 1 << maxClusterBits
)

// Header is the decoded header of an image.
type Header struct {
	Version          uint32
	ClusterBits      uint32
	Size             int64
	Crypt            uint32
	L1Size           uint32
	L1Offset         int64
	RefTableOffset   int64
	RefTableClusters uint32
	NumSnapshots     uint32
	SnapshotsOffset  int64
	Incompatible     uint64
	Compatible       uint64
	Autoclear        uint64
	RefcountOrder    uint32
	Compression      Compression

	BackingFile   string // as written: a path, or json:
	BackingFormat string
	DataFile      string
	Features      []Feature // the feature name table

	fields  []byte // additional fields that are not known here
	bitmaps bitmapExt
	unknown []extension
}

// Feature names a bit; Type is 0 for incompatible, 1 for compatible, 2 for autoclear ones.
type Feature struct {
	Type, Bit uint8
	Name      string
}

type extension struct {
	kind uint32
	data []byte
}

// bitmapExt is the bitmaps extension; count is 0 if there is none.
type bitmapExt struct {
	count     uint32
	size, off int64
}

var knownFeatures = []Feature{
	{0, 0, "dirty bit"}, {0, 1, "corrupt bit"}, {0, 2, "external data file"}, {0, 3, "compression type"},
	{0, 4, "extended L2 entries"}, {1, 0, "lazy refcounts"}, {2, 0, "bitmaps"}, {2, 1, "raw external data"},
}

func (h *Header) clone() Header {
	c := *h
	c.Features = slices.Clone(h.Features)
	c.unknown = slices.Clone(h.unknown)
	return c
}

// ParseHeader decodes and validates the header at the start of s.
func ParseHeader(s Storage) (Header, error) {
	var h Header
	b := make([]byte, headerWritten)
	if err := s.Readv(0, [][]byte{b}); err != nil {
		return h, fmt.Errorf("Could not read qcow2 header: %w", err)
	}
	if err := h.fixed(b); err != nil {
		return h, err
	}
	b = make([]byte, 1<<h.ClusterBits)
	if err := s.Readv(0, [][]byte{b}); err != nil {
		return h, fmt.Errorf("Could not read qcow2 header: %w", err)
	}
	if err := h.variable(b); err != nil {
		return h, err
	}
	return h, h.validate()
}

func (h *Header) fixed(b []byte) error {
	be := binary.BigEndian
	if be.Uint32(b) != magic {
		return errors.New("Image is not in qcow2 format")
	}
	h.Version = be.Uint32(b[4:])
	if h.Version != 2 && h.Version != 3 {
		return fmt.Errorf("Unsupported qcow2 version %d", h.Version)
	}
	h.ClusterBits = be.Uint32(b[20:])
	if h.ClusterBits < minClusterBits || h.ClusterBits > maxClusterBits {
		return fmt.Errorf("Unsupported cluster size: 2^%d", h.ClusterBits)
	}
	h.Size = int64(be.Uint64(b[24:]))
	h.Crypt = be.Uint32(b[32:])
	h.L1Size = be.Uint32(b[36:])
	h.L1Offset = int64(be.Uint64(b[40:]))
	h.RefTableOffset = int64(be.Uint64(b[48:]))
	h.RefTableClusters = be.Uint32(b[56:])
	h.NumSnapshots = be.Uint32(b[60:])
	h.SnapshotsOffset = int64(be.Uint64(b[64:]))
	h.RefcountOrder = 4
	return nil
}

// variable decodes what only version 3 has, the extensions and the backing file's name.
func (h *Header) variable(b []byte) error {
	be := binary.BigEndian
	length := uint32(headerV2)
	if h.Version >= 3 {
		h.Incompatible, h.Compatible, h.Autoclear = be.Uint64(b[72:]), be.Uint64(b[80:]), be.Uint64(b[88:])
		h.RefcountOrder, length = be.Uint32(b[96:]), be.Uint32(b[100:])
		if length < headerV3 || length > uint32(len(b)) {
			return fmt.Errorf("header length of %d is out of bounds", length)
		}
		if length > headerV3 {
			h.Compression = Compression(b[headerV3])
		}
		if length > headerWritten {
			h.fields = bytes.Clone(b[headerWritten:length])
		}
	}
	back, n := be.Uint64(b[8:]), be.Uint32(b[16:])
	end := uint64(len(b))
	if back != 0 {
		if back > end || n > maxNameLen || back+uint64(n) > end || back < uint64(length) {
			return errors.New("backing file name is too long or outside the first cluster")
		}
		h.BackingFile = string(b[back : back+uint64(n)])
		end = back
	}
	return h.extensions(b[length:end])
}

func (h *Header) extensions(b []byte) error {
	for len(b) >= 8 {
		kind, n := binary.BigEndian.Uint32(b), uint64(binary.BigEndian.Uint32(b[4:]))
		if kind == extEnd {
			return nil
		}
		if n > uint64(len(b)-8) {
			return fmt.Errorf("header extension %#x is too large", kind)
		}
		if err := h.extension(kind, b[8:8+n]); err != nil {
			return err
		}
		b = b[min(8+(n+7)&^7, uint64(len(b))):]
	}
	return nil
}

func (h *Header) extension(kind uint32, b []byte) error {
	be := binary.BigEndian
	switch kind {
	case extBackingFmt:
		h.BackingFormat = string(b)
	case extDataFile:
		h.DataFile = string(b)
	case extFeatures:
		h.Features = nil
		for ; len(b) >= 48; b = b[48:] {
			h.Features = append(h.Features, Feature{b[0], b[1], strings.TrimRight(string(b[2:48]), "\x00")})
		}
	case extBitmaps:
		if len(b) != 24 {
			return errors.New("bitmaps extension has a wrong length")
		}
		h.bitmaps = bitmapExt{be.Uint32(b), int64(be.Uint64(b[8:])), int64(be.Uint64(b[16:]))}
	default:
		h.unknown = append(h.unknown, extension{kind, bytes.Clone(b)})
	}
	return nil
}

func (h *Header) validate() error {
	if bad := h.Incompatible &^ incompatKnown; bad != 0 {
		return fmt.Errorf("Unsupported qcow2 feature(s): %s", strings.Join(h.featureNames(bad), ", "))
	}
	if h.Crypt != 0 {
		return fmt.Errorf("encrypted images are not supported (method %d)", h.Crypt)
	}
	if h.RefcountOrder > 6 {
		return errors.New("Reference count entry width too large; may not exceed 64 bits")
	}
	if h.Incompatible&IncompatCompression != 0 && h.Compression == Zlib || h.Incompatible&IncompatCompression == 0 && h.Compression != Zlib {
		return errors.New("compression type and its feature bit do not match")
	}
	if h.Compression > Zstd {
		return fmt.Errorf("unknown compression type %d", h.Compression)
	}
	if h.Incompatible&IncompatExtendedL2 != 0 && h.ClusterBits < 14 {
		return errors.New("extended L2 entries need clusters of at least 16 KiB")
	}
	if h.Autoclear&AutoclearRawData != 0 && h.Incompatible&IncompatDataFile == 0 {
		h.Autoclear &^= AutoclearRawData
	}
	if err := h.validateBitmaps(); err != nil {
		return err
	}
	return h.validateTables()
}

// validateBitmaps forgets an extension that is out of date.
func (h *Header) validateBitmaps() error {
	if h.Autoclear&AutoclearBitmaps == 0 {
		h.bitmaps = bitmapExt{}
		return nil
	}
	x := &h.bitmaps
	switch {
	case x.count == 0 || x.count > maxBitmaps:
		return errors.New("bitmaps extension: bad number of bitmaps")
	case x.size < int64(x.count)*bitmapFixed || x.size > maxBitmapDir:
		return errors.New("bitmaps extension: bad size of the directory")
	case x.off <= 0 || x.off&(1<<h.ClusterBits-1) != 0 || x.off > maxHostOffset:
		return errors.New("bitmaps extension: bad offset of the directory")
	}
	return nil
}

func (h *Header) validateTables() error {
	g := makeGeometry(h)
	if h.Size < 0 {
		return errors.New("Image is too big")
	}
	for _, t := range []struct {
		name         string
		off, n, unit int64
		max          int64
	}{
		{"Reference count table", h.RefTableOffset, int64(h.RefTableClusters), g.clusterSize, maxRefTableBytes},
		{"Snapshot table", h.SnapshotsOffset, int64(h.NumSnapshots), 40, maxSnapshots * 40},
		{"Active L1 table", h.L1Offset, int64(h.L1Size), 8, maxL1Bytes},
	} {
		switch {
		case t.n*t.unit > t.max:
			return fmt.Errorf("%s too large", t.name)
		case t.n > 0 && (t.off < 0 || t.off&(g.clusterSize-1) != 0 || t.off > maxHostOffset):
			return fmt.Errorf("%s offset invalid", t.name)
		}
	}
	if h.RefTableClusters == 0 {
		return errors.New("Image does not contain a reference count table")
	}
	if g.l1Entries(h.Size) > int64(h.L1Size) {
		return errors.New("L1 table is too small")
	}
	return nil
}

// featureNames names incompatible bits, by the image's own table if it has them.
func (h *Header) featureNames(bits uint64) []string {
	var names []string
	for b := range uint8(64) {
		if bits>>b&1 == 0 {
			continue
		}
		name := fmt.Sprintf("unknown incompatible feature %d", b)
		for _, f := range h.Features {
			if f.Type == 0 && f.Bit == b {
				name = f.Name
			}
		}
		names = append(names, name)
	}
	return names
}
