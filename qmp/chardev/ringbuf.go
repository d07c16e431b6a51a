package chardev

import (
	"errors"
	"io"
	"sync"
)

// Ringbuf is a Backend that keeps the last output in memory.
type Ringbuf struct {
	name string
	mu   sync.Mutex
	data []byte
	// in and out count all bytes that were written and taken.
	in, out uint64
	log     io.WriteCloser // or nil
}

// maxRingbuf bounds the memory that a ring buffer takes.
const maxRingbuf = 1 << 30

// newRingbuf returns a buffer of size bytes.
func newRingbuf(name string, size int64) (*Ringbuf, error) {
	if size <= 0 || size&(size-1) != 0 {
		return nil, errors.New("size of ringbuf chardev must be power of two")
	}
	if size > maxRingbuf {
		return nil, errors.New("size of ringbuf chardev must be at most 1 GiB")
	}
	return &Ringbuf{name: name, data: make([]byte, size)}, nil
}

// Write keeps p, and drops what is oldest if there is too much.
func (r *Ringbuf) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.log != nil {
		_, _ = r.log.Write(p)
	}
	size := uint64(len(r.data))
	for rest := p; len(rest) > 0; {
		n := copy(r.data[r.in%size:], rest)
		rest = rest[n:]
		r.in += uint64(n)
	}
	r.out = max(r.out, r.in-min(r.in, size))
	return len(p), nil
}

// Take returns up to n bytes, the oldest ones, and forgets them.
func (r *Ringbuf) Take(n int64) []byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	p := make([]byte, min(uint64(max(n, 0)), r.in-r.out))
	for got := 0; got < len(p); {
		k := copy(p[got:], r.data[r.out%uint64(len(r.data)):])
		got += k
		r.out += uint64(k)
	}
	return p
}

// Attach tells the frontend that the other side is there.
func (r *Ringbuf) Attach(f Frontend) { Null{}.Attach(f) }

// Accept does nothing: there is no input.
func (r *Ringbuf) Accept() {}

// Close closes the log.
func (r *Ringbuf) Close() error {
	if r.log == nil {
		return nil
	}
	return r.log.Close()
}

// Filename returns the kind.
func (r *Ringbuf) Filename() string { return r.name }
