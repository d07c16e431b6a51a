package quorumdrv

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"sync"

	"golang.org/x/sys/unix"

	"hv/block/graph"
	"hv/qmp/qapi"
)

// most is how many bytes are read from all children at once.
const most = 16 << 20

// kind is what a request does.
type kind uint8

const (
	read kind = iota
	write
	zero
	flush
	rewrite
)

// request is one under way, whose parts are those of the children.
type request struct {
	d     *Driver
	kind  kind
	off   int64
	n     int64
	flags graph.Flags
	data  []byte // of a write
	parts []part
}

// part is what a request does with one child.
type part struct {
	buf []byte // what was read
	vec [1][]byte
	err error
	bad bool // it was voted down
}

// requests keeps those that have ended for later ones.
type requests struct{ pool sync.Pool }

func (d *Driver) request(k kind, off, n int64, f graph.Flags) *request {
	r, _ := d.requests.pool.Get().(*request)
	if r == nil {
		r = &request{d: d}
	}
	for len(r.parts) < len(d.children) {
		r.parts = append(r.parts, part{})
	}
	r.parts = r.parts[:len(d.children)]
	r.kind, r.off, r.n, r.flags = k, off, n, f
	return r
}

// grow returns a buffer of n bytes, which is b if that is large enough.
func grow(b []byte, n int64) []byte {
	if int64(cap(b)) < n {
		return make([]byte, n)
	}
	return b[:n]
}

// Part implements fanout.Parts.
func (r *request) Part(i int) {
	p, c := &r.parts[i], r.d.children[i]
	switch r.kind {
	case read:
		p.buf = grow(p.buf, r.n)
		p.vec[0], p.bad = p.buf, false
		p.err = c.Readv(r.off, p.vec[:])
	case write:
		p.vec[0] = r.data
		p.err = c.Writev(r.off, p.vec[:], r.flags)
	case zero:
		p.err = c.WriteZeroes(r.off, r.n, r.flags)
	case flush:
		p.err = c.Flush()
	case rewrite:
		if p.bad {
			p.vec[0] = r.data
			_ = c.Writev(r.off, p.vec[:], 0) // if that fails, the vote goes on as before
		}
	}
}

var ops = [...]qapi.QuorumOpType{read: qapi.QuorumOpTypeRead, write: qapi.QuorumOpTypeWrite, zero: qapi.QuorumOpTypeWrite, flush: qapi.QuorumOpTypeFlush}

// run has all children do their part, and reports those that failed. It returns an error
// if they are too many: the one that most of them had.
func (r *request) run() error {
	d := r.d
	d.pool.Do(r, len(r.parts))
	good := int64(0)
	for i := range r.parts {
		if err := r.parts[i].err; err != nil {
			d.bad(ops[r.kind], r.off, r.n, d.children[i], err)
		} else {
			good++
		}
	}
	if good >= d.cfg.Threshold {
		return nil
	}
	if r.kind != flush {
		d.failed(r.off, r.n)
	}
	return r.worst()
}

// worst returns the error that most children had; of several the one that came last.
func (r *request) worst() error {
	var winner error
	most := 0
	for i := len(r.parts) - 1; i >= 0; i-- {
		err, same := r.parts[i].err, 0
		if err == nil {
			continue
		}
		for _, p := range r.parts {
			if p.err != nil && graph.Errno(p.err) == graph.Errno(err) {
				same++
			}
		}
		if same > most {
			winner, most = err, same
		}
	}
	return winner
}

// Flush flushes all children, which vote on the result.
func (d *Driver) Flush() error {
	r := d.request(flush, 0, 0, 0)
	defer d.requests.pool.Put(r)
	return r.run()
}

// WriteZeroes makes zeroes in all children.
func (d *Driver) WriteZeroes(off, n int64, f graph.Flags) error {
	r := d.request(zero, off, n, f)
	defer d.requests.pool.Put(r)
	return r.run()
}

// Writev writes the same to all children: a copy, as a guest may change its memory
// meanwhile.
func (d *Driver) Writev(off int64, v [][]byte, f graph.Flags) error {
	n := length(v)
	r := d.request(write, off, n, f)
	defer d.requests.pool.Put(r)
	r.data = grow(r.data, n)
	at := 0
	for _, b := range v {
		at += copy(r.data[at:], b)
	}
	return r.run()
}

func length(v [][]byte) (n int64) {
	for _, b := range v {
		n += int64(len(b))
	}
	return n
}

// Readv reads what enough children agree on.
func (d *Driver) Readv(off int64, v [][]byte) error {
	n := length(v)
	if d.cfg.FIFO {
		return d.readFIFO(off, n, v)
	}
	if n <= most {
		return d.readAll(off, n, v)
	}
	for _, b := range v {
		for len(b) > 0 {
			m := min(len(b), most)
			if err := d.readAll(off, int64(m), [][]byte{b[:m]}); err != nil {
				return err
			}
			b, off = b[m:], off+int64(m)
		}
	}
	return nil
}

// readFIFO reads from the first child that can be read.
func (d *Driver) readFIFO(off, n int64, v [][]byte) (err error) {
	for _, c := range d.children {
		if err = c.Readv(off, v); err == nil {
			return nil
		}
		d.bad(qapi.QuorumOpTypeRead, off, n, c, err)
	}
	return err
}

// readAll reads from all children and has them vote.
func (d *Driver) readAll(off, n int64, v [][]byte) error {
	r := d.request(read, off, n, 0)
	defer d.requests.pool.Put(r)
	if err := r.run(); err != nil {
		return err
	}
	winner := r.first()
	if !r.agree(winner) {
		if d.cfg.Verify {
			return r.mismatch()
		}
		if winner = r.vote(); winner < 0 {
			d.failed(off, n)
			return unix.EIO
		}
		r.correct(winner)
	}
	at := 0
	for _, b := range v {
		at += copy(b, r.parts[winner].buf[at:])
	}
	return nil
}

// first returns the first child that could be read.
func (r *request) first() int {
	for i := range r.parts {
		if r.parts[i].err == nil {
			return i
		}
	}
	return -1
}

// agree reports whether all that could be read have what one of them has.
func (r *request) agree(with int) bool {
	for i := range r.parts {
		if p := &r.parts[i]; p.err == nil && !bytes.Equal(p.buf, r.parts[with].buf) {
			return false
		}
	}
	return true
}

// vote returns the first child that has what most have, -1 if those are too few. Of
// versions that as many have the one counts that was seen last.
func (r *request) vote() int {
	type version struct {
		sum         [sha256.Size]byte
		first, size int
	}
	var all []version
	of := make([]int, len(r.parts))
	for i := range r.parts {
		if r.parts[i].err != nil {
			continue
		}
		v := version{sum: sha256.Sum256(r.parts[i].buf), first: i}
		of[i] = len(all)
		for j := range all {
			if all[j].sum == v.sum {
				of[i] = j
			}
		}
		if of[i] == len(all) {
			all = append(all, v)
		}
		all[of[i]].size++
	}
	winner := len(all) - 1
	for j := winner; j >= 0; j-- {
		if all[j].size > all[winner].size {
			winner = j
		}
	}
	if int64(all[winner].size) < r.d.cfg.Threshold {
		return -1
	}
	for i := range r.parts {
		r.parts[i].bad = r.parts[i].err == nil && of[i] != winner
	}
	return all[winner].first
}

// correct reports who was voted down, and puts them right if that is wanted.
func (r *request) correct(winner int) {
	for i := range r.parts {
		if r.parts[i].bad {
			r.d.bad(qapi.QuorumOpTypeRead, r.off, r.n, r.d.children[i], nil)
		}
	}
	if r.d.cfg.Rewrite {
		saved := r.data
		r.kind, r.data = rewrite, r.parts[winner].buf
		r.d.pool.Do(r, len(r.parts))
		r.data = saved
	}
}

// mismatch tells where two children differ.
func (r *request) mismatch() error {
	a, b := r.parts[0].buf, r.parts[1].buf
	at := 0
	for a[at] == b[at] {
		at++
	}
	r.d.cfg.Reports.Mismatch(fmt.Sprintf("quorum: offset=%d bytes=%d contents mismatch at offset %d", r.off, r.n, r.off+int64(at)))
	return unix.EIO
}
