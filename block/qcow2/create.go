package qcow2

import (
	"errors"
	"fmt"
	"math/bits"
)

// Preallocation modes.
const (
	PreallocOff      = "off"
	PreallocMetadata = "metadata"
	PreallocFalloc   = "falloc"
	PreallocFull     = "full"
)

// CreateOptions are those of qemu-img create. Zero values are the defaults.
type CreateOptions struct {
	Size          int64
	Compat        string // "0.10" or "1.1"
	ClusterSize   int64
	RefcountBits  int
	Preallocation string
	LazyRefcounts bool
	ExtendedL2    bool
	Compression   Compression
	DataFile      string // name of the external data file
	DataFileRaw   bool
	BackingFile   string
	BackingFormat string
}

func (o *CreateOptions) defaults() {
	if o.Compat == "" {
		o.Compat = "1.1"
	}
	if o.ClusterSize == 0 {
		o.ClusterSize = 65536
	}
	if o.RefcountBits == 0 {
		o.RefcountBits = 16
	}
	if o.Preallocation == "" {
		o.Preallocation = PreallocOff
	}
}

func powerOfTwo(n int64) bool { return n > 0 && n&(n-1) == 0 }

// Validate says what is wrong with the options.
func (o CreateOptions) Validate() error {
	o.defaults()
	v2 := o.Compat == "0.10"
	for _, c := range []struct {
		bad  bool
		text string
	}{
		{o.Size < 0, "image size must not be negative"},
		{!v2 && o.Compat != "1.1", "invalid compat level"},
		{!powerOfTwo(o.ClusterSize) || o.ClusterSize < 512 || o.ClusterSize > 2<<20, "cluster size must be a power of two between 512 and 2048k"},
		{o.ExtendedL2 && o.ClusterSize < 16384, "extended L2 entries are only supported with cluster sizes of at least 16384 bytes"},
		{!powerOfTwo(int64(o.RefcountBits)) || o.RefcountBits > 64, "refcount width must be a power of two and may not exceed 64 bits"},
		{v2 && o.RefcountBits != 16, "different refcount widths than 16 bits require compatibility level 1.1 or above"},
		{v2 && o.LazyRefcounts, "lazy refcounts are only supported with compatibility level 1.1 and above"},
		{v2 && o.ExtendedL2, "extended L2 entries are only supported with compatibility level 1.1 and above"},
		{v2 && o.Compression != Zlib, "non-zlib compression is only supported with compatibility level 1.1 and above"},
		{v2 && o.DataFile != "", "external data files are only supported with compatibility level 1.1 and above"},
		{o.Compression > Zstd, "unknown compression type"},
		{o.DataFileRaw && o.DataFile == "", "data-file-raw requires data-file"},
		{o.DataFileRaw && o.BackingFile != "", "backing file and data-file-raw cannot be used at the same time"},
		{o.BackingFile == "" && o.BackingFormat != "", "backing format cannot be used without backing file"},
		{len(o.BackingFile) > maxNameLen, "backing file name is too long"},
		{o.Preallocation != PreallocOff && o.BackingFile != "" && !o.ExtendedL2,
			"backing file and preallocation can only be used at the same time if extended_l2 is enabled"},
		{!validPrealloc(o.Preallocation), "unknown preallocation mode"},
	} {
		if c.bad {
			return errors.New("qcow2: " + c.text)
		}
	}
	return nil
}

func validPrealloc(m string) bool {
	return m == PreallocOff || m == PreallocMetadata || m == PreallocFalloc || m == PreallocFull
}

// header returns the header of an empty image.
func (o *CreateOptions) header() Header {
	h := Header{Version: 3, ClusterBits: uint32(bits.TrailingZeros64(uint64(o.ClusterSize))),
		RefTableOffset: o.ClusterSize, RefTableClusters: 1,
		RefcountOrder: uint32(bits.TrailingZeros(uint(o.RefcountBits))), Compression: o.Compression,
		BackingFile: o.BackingFile, BackingFormat: o.BackingFormat, DataFile: o.DataFile}
	if o.Compat == "0.10" {
		h.Version = 2
	}
	set := func(on bool, field *uint64, bit uint64) {
		if on {
			*field |= bit
		}
	}
	set(o.LazyRefcounts, &h.Compatible, CompatLazyRefcounts)
	set(o.ExtendedL2, &h.Incompatible, IncompatExtendedL2)
	set(o.Compression != Zlib, &h.Incompatible, IncompatCompression)
	set(o.DataFile != "", &h.Incompatible, IncompatDataFile)
	set(o.DataFileRaw, &h.Autoclear, AutoclearRawData)
	return h
}

// Create makes an image in file, with its data in data if the options say so.
func Create(file, data Storage, o CreateOptions) error {
	if err := o.Validate(); err != nil {
		return err
	}
	o.defaults()
	if (o.DataFile != "") != (data != nil) {
		return errors.New("qcow2: a data file is needed, and only then, when the options name one")
	}
	if o.DataFileRaw && o.Preallocation == PreallocOff {
		o.Preallocation = PreallocMetadata // so that the mapping is there without the metadata
	}
	if err := createEmpty(file, &o); err != nil {
		return fmt.Errorf("qcow2: create: %w", err)
	}
	if data != nil {
		if err := data.Truncate(o.Size); err != nil {
			return fmt.Errorf("qcow2: create data file: %w", err)
		}
	}
	never := false
	im, err := open(file, Options{DataFile: data, LazyRefcounts: &never})
	if err != nil {
		return fmt.Errorf("qcow2: create: %w", err)
	}
	if err := im.Truncate(o.Size, o.Preallocation); err != nil {
		return errors.Join(err, im.Close())
	}
	return im.Close()
}

// createEmpty writes an image of size 0: header, refcount table, refcount block.
func createEmpty(file Storage, o *CreateOptions) error {
	h := o.header()
	g := makeGeometry(&h)
	head, err := h.encode()
	if err != nil {
		return err
	}
	if err := file.Truncate(0); err != nil {
		return err
	}
	b := make([]byte, 3*g.clusterSize)
	copy(b, head)
	copy(b[g.clusterSize:], encodeTable([]uint64{uint64(2 * g.clusterSize)}))
	for c := range int64(3) {
		putRef(b[2*g.clusterSize:], g.refOrder, c, 1)
	}
	if err := file.Writev(0, [][]byte{b}); err != nil {
		return err
	}
	return file.Flush()
}

// Measured is how large the file of an image becomes.
type Measured struct {
	Required       int64 // with the data there is
	FullyAllocated int64
	Bitmaps        int64
}

// Measure computes the size of an image with n bytes of allocated clusters.
func Measure(o CreateOptions, allocated int64) (Measured, error) {
	if err := o.Validate(); err != nil {
		return Measured{}, err
	}
	o.defaults()
	h := o.header()
	g := makeGeometry(&h)
	size := g.up(o.Size)
	full := g.metadataSize(size)
	m := Measured{FullyAllocated: full + size, Required: full + min(g.up(allocated), size)}
	if o.Preallocation == PreallocFalloc || o.Preallocation == PreallocFull {
		m.Required = m.FullyAllocated
	}
	if g.external {
		m = Measured{Required: full, FullyAllocated: full}
	}
	return m, nil
}

// metadataSize is what the tables of a fully allocated image of size bytes take.
func (g *geometry) metadataSize(size int64) int64 {
	l2 := g.clusters((size >> g.clusterBits) * g.entrySize)
	l1 := g.clusters(max(l2, 1) * 8)
	used := 1 + l1 + l2
	if !g.external {
		used += size >> g.clusterBits
	}
	blocks, table := int64(0), int64(0)
	for last := int64(-1); last != blocks+table; {
		last = blocks + table
		blocks = (used + last + g.refBlock - 1) / g.refBlock
		table = g.clusters(blocks * 8)
	}
	return (1 + l1 + l2 + blocks + table) << g.clusterBits
}
