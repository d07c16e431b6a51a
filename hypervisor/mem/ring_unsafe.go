package mem

import (
	"sync/atomic"
	"unsafe"
)

// Ring is a view of memory shared with a running guest, read and written in
// the sizes that virtqueues are made of. Loads acquire and stores release, as
// virtio 1.2 §2.7.13 and §2.8.21 need; Fence is the full barrier between
// publishing an index and reading the other side's suppression field. Offsets
// must be aligned to the access and inside the view: they are computed from
// checked queue sizes, and one that is not panics like any slice index.
type Ring struct{ b []byte }

// NewRing returns a ring over b, which must be aligned to 16 bytes in guest
// memory (and so here, where regions are mapped at page boundaries) or to the
// ring part's own alignment.
func NewRing(b []byte) Ring { return Ring{b} }

// Len returns the size of the view in bytes.
func (r Ring) Len() int { return len(r.b) }

// Bytes returns the view itself.
func (r Ring) Bytes() []byte { return r.b }

// at returns the address of the n bytes at off, which are in the view. It does
// not touch them: the race detector would take a checked index for a read.
func (r Ring) at(off, n int) unsafe.Pointer {
	return unsafe.Pointer(unsafe.SliceData(r.b[off : off+n : len(r.b)]))
}

// Load16 reads the little-endian 16-bit value at off with acquire ordering.
// x86 loads are not reordered with later loads and stores; the atomic 32-bit
// load that holds the value keeps the compiler from doing so.
func (r Ring) Load16(off int) uint16 {
	p := r.at(off, 2)
	odd := int(uintptr(p) & 2)
	return uint16(atomic.LoadUint32((*uint32)(unsafe.Add(p, -odd))) >> (odd * 8))
}

// Store16 writes the little-endian 16-bit value at off with release ordering:
// earlier stores are seen first.
func (r Ring) Store16(off int, v uint16) {
	store16((*uint16)(r.at(off, 2)), v)
}

//go:noinline
func store16(p *uint16, v uint16) { *p = v }

// Load32 reads the little-endian 32-bit value at off with acquire ordering.
func (r Ring) Load32(off int) uint32 {
	return atomic.LoadUint32((*uint32)(r.at(off, 4)))
}

// Store32 writes the little-endian 32-bit value at off with release ordering.
func (r Ring) Store32(off int, v uint32) {
	atomic.StoreUint32((*uint32)(r.at(off, 4)), v)
}

// Load64 reads the little-endian 64-bit value at off with acquire ordering.
func (r Ring) Load64(off int) uint64 {
	return atomic.LoadUint64((*uint64)(r.at(off, 8)))
}

// Store64 writes the little-endian 64-bit value at off with release ordering.
func (r Ring) Store64(off int, v uint64) {
	atomic.StoreUint64((*uint64)(r.at(off, 8)), v)
}

// Fence is a full memory barrier: a locked instruction on a private word.
func Fence() {
	var own uint32
	atomic.AddUint32(&own, 1)
}
