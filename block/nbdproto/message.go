package nbdproto

import (
	"encoding/binary"
	"fmt"
)

var be = binary.BigEndian

// Sizes of the messages of the transmission phase.
const (
	RequestSize = 28
	SimpleSize  = 16
	ChunkSize   = 20
	extentSize  = 8
	holeSize    = 12
)

// Request is one of a client's requests.
type Request struct {
	Flags  uint16
	Type   Command
	Cookie uint64
	Offset uint64
	Length uint32
}

// ParseRequest reads a request.
func ParseRequest(b *[RequestSize]byte) (Request, error) {
	if m := be.Uint32(b[:]); m != magicRequest {
		return Request{}, fmt.Errorf("invalid magic (got 0x%x)", m)
	}
	return Request{be.Uint16(b[4:]), Command(be.Uint16(b[6:])), be.Uint64(b[8:]), be.Uint64(b[16:]), be.Uint32(b[24:])}, nil
}

// Put writes the request.
func (r *Request) Put(b *[RequestSize]byte) {
	be.PutUint32(b[:], magicRequest)
	be.PutUint16(b[4:], r.Flags)
	be.PutUint16(b[6:], uint16(r.Type))
	be.PutUint64(b[8:], r.Cookie)
	be.PutUint64(b[16:], r.Offset)
	be.PutUint32(b[24:], r.Length)
}

// AppendSimple appends a simple reply, after which a read's data comes.
func AppendSimple(b []byte, cookie uint64, e Errno) []byte {
	b = be.AppendUint32(b, magicSimple)
	b = be.AppendUint32(b, uint32(e))
	return be.AppendUint64(b, cookie)
}

// ChunkType is what a chunk of a structured reply has.
type ChunkType uint16

// The types of chunks.
const (
	ChunkNone        ChunkType = 0
	ChunkData        ChunkType = 1
	ChunkHole        ChunkType = 2
	ChunkBlockStatus ChunkType = 5
	ChunkError       ChunkType = 1<<15 | 1
	ChunkErrorOffset ChunkType = 1<<15 | 2
)

// IsError reports whether a chunk tells of an error.
func (t ChunkType) IsError() bool { return t&(1<<15) != 0 }

const flagDone = 1 << 0

// appendChunk appends the head of a chunk with n bytes to come.
func appendChunk(b []byte, cookie uint64, t ChunkType, done bool, n int) []byte {
	flags := uint16(0)
	if done {
		flags = flagDone
	}
	b = be.AppendUint32(b, magicStructured)
	b = be.AppendUint16(b, flags)
	b = be.AppendUint16(b, uint16(t))
	b = be.AppendUint64(b, cookie)
	return be.AppendUint32(b, uint32(n))
}

// AppendDone appends a chunk that ends a reply.
func AppendDone(b []byte, cookie uint64) []byte { return appendChunk(b, cookie, ChunkNone, true, 0) }

// DataSize is how much comes before the data of a data chunk.
const DataSize = ChunkSize + 8

// AppendData appends what comes before n bytes of data from an offset.
func AppendData(b []byte, cookie, off uint64, n int, done bool) []byte {
	return be.AppendUint64(appendChunk(b, cookie, ChunkData, done, n+8), off)
}

// AppendHole appends a chunk for n zeroes at an offset.
func AppendHole(b []byte, cookie, off uint64, n uint32, done bool) []byte {
	b = be.AppendUint64(appendChunk(b, cookie, ChunkHole, done, holeSize), off)
	return be.AppendUint32(b, n)
}

// AppendError appends a chunk that ends a reply with an error.
func AppendError(b []byte, cookie uint64, e Errno, text string) []byte {
	text = text[:min(len(text), MaxString)]
	b = be.AppendUint32(appendChunk(b, cookie, ChunkError, true, 6+len(text)), uint32(e))
	return append(be.AppendUint16(b, uint16(len(text))), text...)
}

// Extent is a run of bytes of one state.
type Extent struct{ Length, Flags uint32 }

// AppendExtents appends a block status chunk of a context.
func AppendExtents(b []byte, cookie uint64, context uint32, extents []Extent, done bool) []byte {
	b = be.AppendUint32(appendChunk(b, cookie, ChunkBlockStatus, done, 4+len(extents)*extentSize), context)
	for _, e := range extents {
		b = be.AppendUint32(be.AppendUint32(b, e.Length), e.Flags)
	}
	return b
}

// Reply is the head of a reply, of either form. The first SimpleSize bytes tell which.
type Reply struct {
	Structured bool
	Cookie     uint64
	Errno      Errno     // of a simple reply
	Type       ChunkType // of a chunk
	Done       bool      // no more chunks follow
	Length     uint32    // of a chunk's payload
}

// ParseSimple reads the first SimpleSize bytes of a reply. Of a structured one the length
// follows, for ParseLength.
func ParseSimple(b *[SimpleSize]byte) (Reply, error) {
	switch m := be.Uint32(b[:]); m {
	case magicSimple:
		return Reply{Errno: Errno(be.Uint32(b[4:])), Cookie: be.Uint64(b[8:]), Done: true}, nil
	case magicStructured:
		return Reply{Structured: true, Done: be.Uint16(b[4:])&flagDone != 0, Type: ChunkType(be.Uint16(b[6:])), Cookie: be.Uint64(b[8:])}, nil
	default:
		return Reply{}, fmt.Errorf("invalid magic (got 0x%x)", m)
	}
}

// ParseLength reads the rest of a chunk's head, and checks that the payload can be that
// of its type.
func (r *Reply) ParseLength(b *[ChunkSize - SimpleSize]byte) error {
	n := be.Uint32(b[:])
	r.Length = n
	switch {
	case n > MaxPayload+8:
		return fmt.Errorf("payload of %d bytes is too large", n)
	case r.Type == ChunkNone && !r.Done:
		return fmt.Errorf("Protocol error: NBD_REPLY_TYPE_NONE chunk without NBD_REPLY_FLAG_DONE flag set")
	case r.Type == ChunkNone && n != 0:
		return fmt.Errorf("Protocol error: NBD_REPLY_TYPE_NONE chunk with nonzero length")
	case r.Type == ChunkData && n <= 8:
		return fmt.Errorf("Protocol error: invalid payload for NBD_REPLY_TYPE_OFFSET_DATA")
	case r.Type == ChunkHole && n != holeSize:
		return fmt.Errorf("Protocol error: invalid payload for NBD_REPLY_TYPE_OFFSET_HOLE")
	case r.Type == ChunkBlockStatus && (n < 4+extentSize || n > 4+MaxExtents*extentSize || n%extentSize != 4):
		return fmt.Errorf("Protocol error: invalid payload for NBD_REPLY_TYPE_BLOCK_STATUS")
	case r.Type.IsError() && (n < 6 || n > 6+MaxString+8):
		return fmt.Errorf("Protocol error: invalid payload for error chunk of type %d", r.Type)
	}
	return nil
}

// Place is where data or a hole of a read belongs, of the range that was asked for.
func place(off, n, from uint64, length uint32) (int, error) {
	if off < from || n > uint64(length) || off-from > uint64(length)-n {
		return 0, fmt.Errorf("Protocol error: server sent chunk exceeding requested region")
	}
	return int(off - from), nil
}

// DataPlace returns where in a read of length bytes at from the n bytes of data belong that follow
// the 8 bytes of their offset.
func DataPlace(b *[8]byte, n, from uint64, length uint32) (int, error) {
	return place(be.Uint64(b[:]), n, from, length)
}

// ParseHole returns where in a read of length bytes at from there are zeroes.
func ParseHole(b *[holeSize]byte, from uint64, length uint32) (at int, n uint32, err error) {
	n = be.Uint32(b[8:])
	if n == 0 {
		return 0, 0, fmt.Errorf("Protocol error: invalid payload for NBD_REPLY_TYPE_OFFSET_HOLE")
	}
	at, err = place(be.Uint64(b[:]), uint64(n), from, length)
	return at, n, err
}

// ParseExtents reads the payload of a block status chunk: the context's number, and its
// first extent, which is cut to what was asked for.
func ParseExtents(b []byte, length uint32) (context uint32, first Extent, err error) {
	if len(b) < 4+extentSize || len(b)%extentSize != 4 {
		return 0, first, fmt.Errorf("Protocol error: invalid payload for NBD_REPLY_TYPE_BLOCK_STATUS")
	}
	first = Extent{min(be.Uint32(b[4:]), length), be.Uint32(b[8:])}
	if first.Length == 0 {
		err = fmt.Errorf("Protocol error: server sent status chunk with zero length")
	}
	return be.Uint32(b), first, err
}

// ParseError reads the payload of an error chunk.
func ParseError(b []byte) (e Errno, text string, err error) {
	if len(b) < 6 || int(be.Uint16(b[4:])) > len(b)-6 {
		return 0, "", fmt.Errorf("Protocol error: server sent structured error chunk with incorrect message length")
	}
	if e = Errno(be.Uint32(b)); e == 0 {
		return 0, "", fmt.Errorf("Protocol error: server sent structured error chunk with error = 0")
	}
	return e, string(b[6 : 6+be.Uint16(b[4:])]), nil
}
