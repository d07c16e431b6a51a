// Package blkverifydrv is the driver blkverify: a node on two others that must never differ.
//
// Requests come concurrently, and go to both at the same time. What differs ends everything:
// it is the business of whoever is told. It depends on block/fanout and block/graph.
package blkverifydrv

import (
	"fmt"
	"sync"

	"golang.org/x/sys/unix"

	"hv/block/fanout"
	"hv/block/graph"
)

// Driver is an open node.
type Driver struct {
	test, raw *graph.Child
	mismatch  func(text string)
	pool      fanout.Pool
	requests  sync.Pool
}

// Open makes a driver. mismatch hears what differs, and must not wait for requests.
func Open(test, raw *graph.Child, mismatch func(text string)) *Driver {
	return &Driver{test: test, raw: raw, mismatch: mismatch}
}

// request is one under way; its parts are those of the two nodes.
type request struct {
	d     *Driver
	write bool
	off   int64
	bufs  [2][]byte
	vecs  [2][1][]byte
	errs  [2]error
}

// Part implements fanout.Parts.
func (r *request) Part(i int) {
	c := r.d.test
	if i == 1 {
		c = r.d.raw
	}
	if r.vecs[i][0] = r.bufs[i]; r.write {
		r.vecs[i][0] = r.bufs[0]
		r.errs[i] = c.Writev(r.off, r.vecs[i][:], 0)
	} else {
		r.errs[i] = c.Readv(r.off, r.vecs[i][:])
	}
}

// grow returns a buffer of n bytes, which is b if that is large enough.
func grow(b []byte, n int64) []byte {
	if int64(cap(b)) < n {
		return make([]byte, n)
	}
	return b[:n]
}

func length(v [][]byte) (n int64) {
	for _, b := range v {
		n += int64(len(b))
	}
	return n
}

// request returns one for n bytes.
func (d *Driver) request(write bool, off, n int64) *request {
	r, _ := d.requests.Get().(*request)
	if r == nil {
		r = &request{d: d}
	}
	r.write, r.off = write, off
	for i := range r.bufs {
		r.bufs[i] = grow(r.bufs[i], n)
	}
	return r
}

// run has both do their part, which must have the same result.
func (r *request) run() error {
	r.d.pool.Do(r, 2)
	if a, b := graph.Errno(r.errs[0]), graph.Errno(r.errs[1]); a != b {
		return r.differs("return value mismatch %d != %d", -int(a), -int(b))
	}
	return r.errs[0]
}

func (r *request) differs(format string, a ...any) error {
	kind := "read"
	if r.write {
		kind = "write"
	}
	r.d.mismatch(fmt.Sprintf("blkverify: %s offset=%d bytes=%d ", kind, r.off, len(r.bufs[0])) + fmt.Sprintf(format, a...))
	return unix.EIO
}

// Readv reads from both nodes.
func (d *Driver) Readv(off int64, v [][]byte) error {
	r := d.request(false, off, length(v))
	defer d.requests.Put(r)
	if err := r.run(); err != nil {
		return err
	}
	for i := range r.bufs[0] {
		if r.bufs[0][i] != r.bufs[1][i] {
			return r.differs("contents mismatch at offset %d", off+int64(i))
		}
	}
	at := 0
	for _, b := range v {
		at += copy(b, r.bufs[0][at:])
	}
	return nil
}

// Writev writes the same to both nodes.
func (d *Driver) Writev(off int64, v [][]byte, _ graph.Flags) error {
	r := d.request(true, off, length(v))
	defer d.requests.Put(r)
	at := 0
	for _, b := range v {
		at += copy(r.bufs[0][at:], b)
	}
	return r.run()
}

// Flush flushes what is tested; nobody needs the other.
func (d *Driver) Flush() error { return d.test.Flush() }

// FlushesChildren implements graph.WholeFlusher.
func (d *Driver) FlushesChildren() {}

// Size returns the length in bytes.
func (d *Driver) Size() int64 { return d.test.Size() }

// Close ends the driver's goroutines.
func (d *Driver) Close() error {
	d.pool.Close()
	return nil
}
