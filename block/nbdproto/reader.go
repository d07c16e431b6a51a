package nbdproto

import "io"

// readAhead is how much a Reader takes at once.
const readAhead = 64 << 10

// Reader reads messages ahead, so that those that come together cost one system call.
type Reader struct {
	src      io.Reader
	buf      []byte
	from, to int
}

// NewReader returns a Reader of a connection.
func NewReader(src io.Reader) Reader { return Reader{src: src, buf: make([]byte, readAhead)} }

// Has reports whether n bytes are there already.
func (r *Reader) Has(n int) bool { return r.to-r.from >= n }

// Read fills p, or returns an error. What is longer than what is read ahead goes straight
// there.
func (r *Reader) Read(p []byte) error {
	n := copy(p, r.buf[r.from:r.to])
	r.from += n
	for p = p[n:]; len(p) > 0; {
		if len(p) >= len(r.buf) {
			_, err := io.ReadFull(r.src, p)
			return err
		}
		m, err := r.src.Read(r.buf)
		n = copy(p, r.buf[:m])
		p, r.from, r.to = p[n:], n, m
		if err != nil && len(p) > 0 {
			return err
		}
	}
	return nil
}

// Next returns the next n bytes, which are a few, until something else is read.
func (r *Reader) Next(n int) ([]byte, error) {
	if !r.Has(n) {
		r.to = copy(r.buf, r.buf[r.from:r.to])
		r.from = 0
		m, err := io.ReadAtLeast(r.src, r.buf[r.to:], n-r.to)
		r.to += m
		if err != nil {
			return nil, err
		}
	}
	b := r.buf[r.from : r.from+n]
	r.from += n
	return b, nil
}
