package wire

import (
	"io"

	"hv/qmp/qapi"
)

// readSize is how much is read at once.
const readSize = 4 << 10

// Reader reads values from a stream.
type Reader struct {
	src  io.Reader
	p    Parser
	buf  []byte
	rest []byte // of buf, not parsed yet
}

// NewReader returns a reader of src.
func NewReader(src io.Reader) *Reader {
	return &Reader{src: src, buf: make([]byte, readSize)}
}

// Next reads the next value into doc. What is wrong in the input is a
// *SyntaxError, after which reading goes on; any other error is the stream's,
// io.EOF if that ended. A value that the stream's end cuts off is dropped.
func (r *Reader) Next(doc *qapi.Document) error {
	for {
		n, done, err := r.p.Feed(r.rest, doc)
		r.rest = r.rest[n:]
		if done || err != nil {
			return err
		}
		if n, err = r.src.Read(r.buf); n == 0 && err != nil {
			return err
		}
		r.rest = r.buf[:n]
	}
}
