package hostfile

import (
	"errors"
	"io"
	"sync"

	"golang.org/x/sys/unix"
)

// largestAlign is the alignment that every file takes.
const largestAlign = 4096

// bounceSize is how much of a request that is not aligned is moved at once.
const bounceSize = 1 << 20

// bounces are aligned buffers.
var bounces = sync.Pool{New: func() any { b := alignedBuffer(bounceSize); return &b }}

// Zeroes are bytes to be written, at a place that suits every file.
var Zeroes = alignedBuffer(64 << 10)

// findAlign returns what offsets and lengths must be multiples of around the page cache, as
// the file system shows by what it takes.
func (f *File) findAlign() int64 {
	if !f.cfg.Direct {
		return 1
	}
	b := bounces.Get().(*[]byte)
	defer bounces.Put(b)
	for a := int64(1); a < largestAlign; a = max(512, 2*a) {
		if _, err := unix.Pread(f.fd, (*b)[:a], 0); err == nil {
			return a
		}
	}
	return largestAlign
}

// aligned tells whether a request can be made as it is.
func (f *File) aligned(r request, iovs []unix.Iovec) bool {
	if f.align == 1 {
		return true
	}
	if (r.off|r.n)&(f.align-1) != 0 {
		return false
	}
	for i := range iovs {
		if !isAligned(&iovs[i], f.align) {
			return false
		}
	}
	return true
}

// bounceRead reads what is not aligned.
func (f *File) bounceRead(r request, v vector) error {
	pooled := bounces.Get().(*[]byte)
	defer bounces.Put(pooled)
	for n := r.n; n > 0; {
		lo := r.off &^ (f.align - 1)
		b := (*pooled)[:min((r.off+n-lo+f.align-1)&^(f.align-1), bounceSize)]
		if err := f.readFull(b, lo); err != nil {
			return err
		}
		k := v.fill(b[r.off-lo : min(r.off+n-lo, bounceSize)])
		r.off, n = r.off+k, n-k
	}
	return nil
}

// readFull reads all of a buffer, with zeroes past the end.
func (f *File) readFull(b []byte, off int64) error {
	for len(b) > 0 {
		n, err := unix.Pread(f.fd, b, off)
		if err != nil {
			return err
		}
		if n == 0 || int64(n)&(f.align-1) != 0 {
			clear(b[n:])
			return nil
		}
		b, off = b[n:], off+int64(n)
	}
	return nil
}

// bounceWrite writes what is not aligned. Nobody else writes meanwhile: what lies around is
// read and written back.
func (f *File) bounceWrite(r request, v vector) error {
	f.around.Lock()
	defer f.around.Unlock()
	pooled := bounces.Get().(*[]byte)
	defer bounces.Put(pooled)
	off := r.off
	for n := r.n; n > 0; {
		lo := off &^ (f.align - 1)
		hi := min((off+n+f.align-1)&^(f.align-1), lo+bounceSize)
		b, end := (*pooled)[:hi-lo], min(off+n, hi)
		if err := f.readEdges(b, lo, off, end); err != nil {
			return err
		}
		v.drain(b[off-lo : end-lo])
		if err := f.writeFull(b, lo); err != nil {
			return err
		}
		off, n = end, n-(end-off)
	}
	return f.cutPadding(r.off + r.n)
}

// readEdges reads the blocks at both ends of b that [off, end) does not cover.
func (f *File) readEdges(b []byte, lo, off, end int64) error {
	hi := lo + int64(len(b))
	if off > lo {
		if err := f.readFull(b[:f.align], lo); err != nil {
			return err
		}
	}
	if end < hi && (off == lo || hi-lo > f.align) {
		return f.readFull(b[int64(len(b))-f.align:], hi-f.align)
	}
	return nil
}

func (f *File) writeFull(b []byte, off int64) error {
	for len(b) > 0 {
		var n int
		var err error
		if f.cfg.WriteThrough {
			n, err = unix.Pwritev2(f.fd, [][]byte{b}, off, unix.RWF_DSYNC)
		} else {
			n, err = unix.Pwrite(f.fd, b, off)
		}
		if err == nil && n == 0 {
			err = io.ErrShortWrite
		}
		if err != nil {
			return err
		}
		b, off = b[n:], off+int64(n)
	}
	return nil
}

// cutPadding takes off the file what was written only to be aligned.
func (f *File) cutPadding(end int64) error {
	end = max(end, int64(f.Size()))
	if f.block || end&(f.align-1) == 0 {
		return nil
	}
	var st unix.Stat_t
	if err := unix.Fstat(f.fd, &st); err != nil || st.Size <= end {
		return errors.Join(err)
	}
	return unix.Ftruncate(f.fd, end)
}

// vector is buffers of which some have been used.
type vector struct {
	bufs [][]byte
	at   int // in the first
}

// fill copies b to the buffers.
func (v *vector) fill(b []byte) int64 {
	return v.move(b, func(mine, b []byte) int { return copy(mine, b) })
}

// drain fills b from the buffers.
func (v *vector) drain(b []byte) { v.move(b, func(mine, b []byte) int { return copy(b, mine) }) }

func (v *vector) move(b []byte, how func(mine, b []byte) int) (n int64) {
	for len(b) > 0 && len(v.bufs) > 0 {
		k := how(v.bufs[0][v.at:], b)
		b, n, v.at = b[k:], n+int64(k), v.at+k
		if v.at == len(v.bufs[0]) {
			v.bufs, v.at = v.bufs[1:], 0
		}
	}
	return n
}
