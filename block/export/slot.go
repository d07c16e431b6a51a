package export

import (
	"sync"

	"hv/block/graph"
	"hv/block/nbdproto"
)

// Room in a slot's buffer.
const (
	// headRoom comes before the data, for what precedes it on the wire.
	headRoom = 4096
	// keptSize is the largest buffer that is kept.
	keptSize = 2 << 20
)

// slot is a request that somebody carries out, and memory for it that stays.
type slot struct {
	q       nbdproto.Request
	size    int64     // what counts of it against the connection's limit
	buf     []byte    // data at a place that suits direct I/O, after room for a head
	kept    *[]byte   // what buf is a part of, if that comes from the pool
	head    [128]byte // a reply's head
	vec     [1][]byte // data, for the graph
	block   []byte    // of requests that begin or end within a block
	extents []nbdproto.Extent
	status  []byte
}

// large are buffers for large requests, all of one size.
var large = sync.Pool{New: func() any {
	b := make([]byte, headRoom+keptSize+headRoom)
	return &b
}}

// data returns memory for n bytes.
func (s *slot) data(n uint32) []byte {
	if headRoom+int(n) > len(s.buf) {
		s.shrink()
		var b []byte
		switch {
		case n <= inlineSize:
			b = make([]byte, headRoom+inlineSize+headRoom)
		case n <= keptSize:
			s.kept = large.Get().(*[]byte)
			b = *s.kept
		default:
			b = make([]byte, headRoom+int(n)+headRoom)
		}
		s.buf = aligned(b)
	}
	return s.buf[headRoom : headRoom+int(n)]
}

// shrink gives a large buffer back.
func (s *slot) shrink() {
	if s.kept != nil {
		large.Put(s.kept)
		s.kept, s.buf = nil, nil
	}
	if len(s.buf) > 2*headRoom+inlineSize {
		s.buf = nil
	}
	s.vec[0] = nil
}

// headed puts a head before n bytes of the data, from at on, and returns both.
func (s *slot) headed(head []byte, at, n int) []byte {
	from := headRoom + at - len(head)
	copy(s.buf[from:], head)
	return s.buf[from : headRoom+at+n]
}

// grow appends n bytes, whatever they are.
func grow(b []byte, n int) []byte {
	if need := len(b) + n; need > cap(b) {
		b = append(make([]byte, 0, max(need, 2*cap(b), 2*inlineSize)), b...)
	}
	return b[:len(b)+n]
}

// readAt reads, and more than is asked for if the node wants blocks.
func (x *nbdExport) readAt(s *slot, off int64, b []byte) error {
	if (off|int64(len(b)))&(x.align-1) == 0 {
		s.vec[0] = b
		return x.root.Readv(off, s.vec[:])
	}
	for len(b) > 0 {
		block, n := x.within(s, off, len(b))
		if err := x.readBlock(s, off-block); err != nil {
			return err
		}
		copy(b[:n], s.block[block:])
		b, off = b[n:], off+int64(n)
	}
	return nil
}

// within returns where in its block a request begins, and how much of it lies in there.
func (x *nbdExport) within(s *slot, off int64, n int) (begin int64, here int) {
	if s.block == nil {
		s.block = aligned(make([]byte, 2*headRoom))[:x.align]
	}
	begin = off & (x.align - 1)
	return begin, min(n, int(x.align-begin))
}

func (x *nbdExport) readBlock(s *slot, off int64) error {
	s.vec[0] = s.block
	return x.root.Readv(off, s.vec[:])
}

// writeAt writes, and reads parts of blocks first that it does not have.
func (x *nbdExport) writeAt(s *slot, off int64, b []byte, f graph.Flags) error {
	if (off|int64(len(b)))&(x.align-1) == 0 {
		s.vec[0] = b
		return x.root.Writev(off, s.vec[:], f)
	}
	x.partial.Lock()
	defer x.partial.Unlock()
	for len(b) > 0 {
		at, n := x.within(s, off, len(b))
		if err := x.readBlock(s, off-at); err != nil {
			return err
		}
		copy(s.block[at:], b[:n])
		s.vec[0] = s.block
		if err := x.root.Writev(off-at, s.vec[:], f); err != nil {
			return err
		}
		b, off = b[n:], off+int64(n)
	}
	return nil
}
