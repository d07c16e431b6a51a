package qcow2

import "math/bits"

// Limits of the implementation, those of QEMU.
const (
	minClusterBits   = 9
	maxClusterBits   = 21
	maxL1Bytes       = 32 << 20
	maxRefTableBytes = 8 << 20
	maxSnapshots     = 65536
	maxSnapshotTable = 1 << 30
	maxSnapshotExtra = 1024
	maxNameLen       = 1023
	maxHostOffset    = int64(1) << 56
	offsetMask       = uint64(0x00fffffffffffe00)
	refOffsetMask    = ^uint64(511)
)

// geometry is what follows from cluster size, refcount width and kind of L2 entries.
type geometry struct {
	clusterBits uint
	clusterSize int64
	ext         bool
	entrySize   int64 // of an L2 entry
	l2Bits      uint  // log2 of the entries of an L2 table
	subs        int   // subclusters a cluster
	subSize     int64
	refOrder    uint
	refBlock    int64 // refcounts a block
	refMax      uint64
	sliceBytes  int64 // what the L2 cache reads at once
	external    bool  // data lies in a file of its own
}

func makeGeometry(h *Header) geometry {
	g := geometry{clusterBits: uint(h.ClusterBits), ext: h.Incompatible&IncompatExtendedL2 != 0,
		refOrder: uint(h.RefcountOrder), external: h.Incompatible&IncompatDataFile != 0}
	g.clusterSize = 1 << g.clusterBits
	g.entrySize, g.subs = 8, 1
	if g.ext {
		g.entrySize, g.subs = 16, 32
	}
	g.subSize = g.clusterSize / int64(g.subs)
	g.l2Bits = g.clusterBits - 3
	if g.ext {
		g.l2Bits--
	}
	g.refBlock = g.clusterSize * 8 >> g.refOrder
	g.refMax = ^uint64(0) >> (64 - 1<<g.refOrder)
	g.sliceBytes = min(g.clusterSize, 4096)
	return g
}

// tableSpan is what one L2 table maps.
func (g *geometry) tableSpan() int64 { return g.clusterSize << g.l2Bits }

func (g *geometry) down(off int64) int64 { return off &^ (g.clusterSize - 1) }
func (g *geometry) up(off int64) int64   { return (off + g.clusterSize - 1) &^ (g.clusterSize - 1) }

// clusters returns how many clusters hold n bytes.
func (g *geometry) clusters(n int64) int64 { return g.up(n) >> g.clusterBits }

// l1Entries returns how many L1 entries a disk of n bytes needs.
func (g *geometry) l1Entries(n int64) int64 {
	span := g.tableSpan()
	return n/span + min(n%span, 1)
}

// entry is an L2 entry; subs is the bitmap of an extended one.
type entry struct{ desc, subs uint64 }

// Bits of L1 and L2 entries.
const (
	flagCopied     = uint64(1) << 63
	flagCompressed = uint64(1) << 62
	flagZero       = uint64(1)
)

// kind is what an entry says of a subcluster.
type kind uint8

const (
	unallocated   kind = iota // the backing file has it
	unallocHosted             // as above, but a host cluster is there to be used
	zeroPlain                 // zeroes
	zeroHosted                // zeroes, with a host cluster
	normal
	compressed
	invalid
)

func (k kind) hosted() bool { return k == unallocHosted || k == zeroHosted || k == normal }
func (k kind) zero() bool   { return k == zeroPlain || k == zeroHosted }

// bare tells whether nothing has been written there.
func (k kind) bare() bool { return k.zero() || k == unallocated || k == unallocHosted }

func (e entry) host() int64 { return int64(e.desc & offsetMask) }

// hosted tells whether the entry has a host cluster of its own.
func (g *geometry) hosted(e entry) bool {
	if e.desc&flagCompressed != 0 {
		return false
	}
	return e.host() != 0 || g.external && e.desc&(flagCopied|flagZero) == flagCopied
}

// kind says what subcluster i is.
func (g *geometry) kind(e entry, i int) kind {
	if e.desc&flagCompressed != 0 {
		return compressed
	}
	h := g.hosted(e)
	if !g.ext {
		switch {
		case e.desc&flagZero != 0 && h:
			return zeroHosted
		case e.desc&flagZero != 0:
			return zeroPlain
		case h:
			return normal
		}
		return unallocated
	}
	alloc, zero := e.subs>>i&1 != 0, e.subs>>(32+i)&1 != 0
	switch {
	case alloc && zero, alloc && !h:
		return invalid
	case alloc:
		return normal
	case zero && h:
		return zeroHosted
	case zero:
		return zeroPlain
	case h:
		return unallocHosted
	}
	return unallocated
}

// sub returns which subcluster of its cluster guest offset off is in.
func (g *geometry) sub(off int64) int { return int(off & (g.clusterSize - 1) / g.subSize) }

// dataIn returns what part of a cluster has data in this image: no bytes if lo is the cluster's
// size and hi 0.
func (g *geometry) dataIn(e entry) (lo, hi int64) {
	switch {
	case e.desc&flagCompressed != 0:
		return 0, g.clusterSize
	case !g.hosted(e):
		return g.clusterSize, 0
	case !g.ext:
		return 0, g.clusterSize
	}
	alloc := uint32(e.subs)
	return int64(bits.TrailingZeros32(alloc)) * g.subSize, int64(bits.Len32(alloc)) * g.subSize
}

// compressedAt returns where the data of a compressed cluster lies; n is an upper bound.
func (g *geometry) compressedAt(e entry) (off, n int64) {
	x := 62 - (g.clusterBits - 8)
	off = int64(e.desc & (1<<x - 1) & (1<<56 - 1))
	sectors := int64(e.desc>>x&(1<<(g.clusterBits-8)-1)) + 1
	return off, sectors*512 - off&511
}

// compressedEntry is the entry for n bytes at off.
func (g *geometry) compressedEntry(off, n int64) entry {
	x := 62 - (g.clusterBits - 8)
	sectors := (off+n-1)/512 - off/512
	return entry{desc: flagCompressed | uint64(off) | uint64(sectors)<<x}
}

// subMask has the bits of subclusters [a, b).
func subMask(a, b int) uint64 { return 1<<b - 1<<a }
