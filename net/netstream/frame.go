package netstream

import (
	"encoding/binary"
	"errors"
	"io"

	"hv/net/relay"
)

// prefix is the length of a frame, big-endian, in front of it on the wire.
const prefix = 4

// errOversized is the end of a connection, whose next frame is anybody's guess.
var errOversized = errors.New("oversized packet received")

// frames finds the frames in a stream of bytes.
type frames struct {
	r   io.Reader
	buf []byte
	// What was read and not used is buf[from:to]. There is always room for a header in
	// front of the next frame.
	from, to int
}

// first is where what is read begins, so that a header fits over the first length.
const first = relay.Header - prefix

// readAhead is how much is read at once, besides the longest frame.
const readAhead = 64 << 10

func newFrames() *frames {
	return &frames{buf: make([]byte, first+prefix+relay.MaxFrame+readAhead)}
}

// begin starts on a stream.
func (f *frames) begin(r io.Reader) { f.r, f.from, f.to = r, first, first }

// next returns the next frame, behind room for its header. It is good until the next
// call.
func (f *frames) next() ([]byte, error) {
	for {
		if err := f.need(prefix); err != nil {
			return nil, err
		}
		n := binary.BigEndian.Uint32(f.buf[f.from:])
		if n > relay.MaxFrame {
			return nil, errOversized
		}
		if err := f.need(prefix + int(n)); err != nil {
			return nil, err
		}
		start := f.from + prefix
		f.from = start + int(n)
		if n > 0 {
			return f.buf[start-relay.Header : f.from], nil
		}
	}
}

// need reads until there are n bytes.
func (f *frames) need(n int) error {
	for f.to-f.from < n {
		if f.from+n > len(f.buf) || f.from == f.to {
			copy(f.buf[first:], f.buf[f.from:f.to])
			f.from, f.to = first, first+f.to-f.from
		}
		got, err := f.r.Read(f.buf[f.to:])
		f.to += got
		if err != nil && f.to-f.from < n {
			if errors.Is(err, io.EOF) && f.to > f.from {
				return io.ErrUnexpectedEOF
			}
			return err
		}
	}
	return nil
}

// seal puts the length in front of a frame that lies in buf behind a header's room, and
// returns what goes onto the wire.
func seal(buf, frame []byte) []byte {
	const at = relay.Header - prefix
	binary.BigEndian.PutUint32(buf[at:], uint32(len(frame)))
	return buf[at : relay.Header+len(frame)]
}
