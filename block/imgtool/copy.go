package imgtool

import (
	"bytes"
	"errors"
	"fmt"

	"hv/block/graph"
)

// chunk is how much is read or written at once.
const chunk = 2 << 20

// Run is a run of bytes that lie in one place.
type Run struct {
	Start, Length int64
	Depth         int  // of the layer that has it, 0 for the top
	Present       bool // some layer has it
	Zero, Data    bool
	Compressed    bool
	Offset        int64 // in File, -1 if it is nowhere as it is
	File          string
}

// status returns what is read from off on, n bytes at most, in the layers from c on.
func status(c *graph.Child, off, n int64) (Run, error) {
	r := Run{Start: off, Offset: -1}
	for ; ; r.Depth++ {
		if off >= c.Size() { // a layer that ends earlier has zeroes there
			r.Length, r.Zero = n, true
			r.Depth = max(r.Depth-1, 0) // and it is the one above that has no more
			return r, nil
		}
		e, err := c.BlockStatus(off, min(n, c.Size()-off))
		if err != nil {
			return r, err
		}
		n = e.N
		below := child(c.Node(), "backing")
		if e.Status&graph.Allocated != 0 || below == nil {
			r.Length, r.Present = n, e.Status&graph.Allocated != 0
			r.Zero, r.Data = e.Status&graph.Zero != 0, e.Status&graph.Data != 0
			r.Compressed = e.Status&graph.CompressedData != 0
			if e.Status&graph.Allocated == 0 {
				r.Zero, r.Data = true, false
			}
			if e.Status&graph.OffsetValid != 0 && !r.Compressed {
				r.Offset, r.File = place(c, e)
			}
			return r, nil
		}
		c = below
	}
}

// place returns where an extent lies on the host, and the file's name.
func place(c *graph.Child, e graph.Extent) (int64, string) {
	name := c.Node().Filename()
	if e.Child != nil {
		name = e.Child.Node().Filename()
	}
	return e.Offset, name
}

// same tells whether a run goes on in another one.
func (r *Run) same(next *Run) bool {
	return r.Depth == next.Depth && r.Present == next.Present && r.Zero == next.Zero && r.Data == next.Data &&
		r.Compressed == next.Compressed && r.File == next.File &&
		(r.Offset < 0 && next.Offset < 0 || r.Offset >= 0 && r.Offset+r.Length == next.Offset)
}

// Map calls each with the runs of an image from start on, size bytes of it; runs that go on in
// the next are one.
func (im *Image) Map(start, size int64, each func(Run) error) error {
	var run Run
	end := min(im.Size(), start+size)
	for off := start; off < end; {
		next, err := status(im.Child, off, end-off)
		if err != nil {
			return err
		}
		off += next.Length
		switch {
		case run.Length > 0 && run.same(&next):
			run.Length += next.Length
			continue
		case run.Length > 0:
			if err := each(run); err != nil {
				return err
			}
		}
		run = next
	}
	if run.Length > 0 {
		return each(run)
	}
	return nil
}

// Copying is how data is copied.
type Copying struct {
	Compress bool
	// Sparse is how many bytes of zeroes at least are not written as such; 0 writes all.
	Sparse int64
	// Blank says that the target reads as zeroes.
	Blank bool
	// Based leaves out what the source's backing file has: so has the target's.
	Based bool
	// Cluster is the size of the target's clusters, or 0.
	Cluster int64
	// Progress hears how many of how many bytes are done.
	Progress func(done, total int64)
}

// Copy copies sources, one after the other, to an image.
func (to *Image) Copy(sources []*Image, c Copying) error {
	var at, total int64
	for _, from := range sources {
		total += from.Size()
	}
	buf := make([]byte, max(chunk, c.Cluster))
	for _, from := range sources {
		for off := int64(0); off < from.Size(); {
			n, err := c.step(to, from, at, off, buf)
			if err != nil {
				return err
			}
			off, at = off+n, at+n
			if c.Progress != nil {
				c.Progress(at, total)
			}
		}
	}
	return to.Flush()
}

// step copies some bytes from off, to at.
func (c *Copying) step(to, from *Image, at, off int64, buf []byte) (int64, error) {
	most := int64(len(buf))
	if c.Compress {
		most = c.Cluster // which are written whole
	}
	n := min(from.Size()-off, most)
	r, err := status(from.Child, off, from.Size()-off)
	if err != nil {
		return 0, fmt.Errorf("error while reading block status at offset %d: %w", off, err)
	}
	if c.Compress && r.Length < n {
		r = Run{Length: n, Data: true, Present: true} // a cluster of several kinds
	}
	if c.Compress && r.Length > n {
		r.Length -= r.Length % c.Cluster
	}
	switch {
	case c.Based && r.Depth > 0:
		return r.Length, nil
	case r.Zero && c.Sparse > 0:
		if c.Blank && !c.Based {
			return r.Length, nil
		}
		return r.Length, to.WriteZeroes(at, r.Length, graph.MayUnmap)
	}
	n = min(r.Length, most)
	b := buf[:n]
	if err := from.Readv(off, [][]byte{b}); err != nil {
		return 0, fmt.Errorf("error while reading at byte %d: %w", off, err)
	}
	if err := c.write(to, at, b); err != nil {
		return 0, fmt.Errorf("error while writing at byte %d: %w", at, err)
	}
	return n, nil
}

// write writes data, but for zeroes that may be left out.
func (c *Copying) write(to *Image, at int64, b []byte) error {
	if c.Compress {
		if c.Blank && !c.Based && isZero(b) {
			return nil
		}
		return to.Writev(at, [][]byte{b}, graph.Compressed)
	}
	if c.Sparse == 0 {
		return to.Writev(at, [][]byte{b}, 0)
	}
	for len(b) > 0 {
		n, zero := c.stretch(b)
		var err error
		switch {
		case !zero:
			err = to.Writev(at, [][]byte{b[:n]}, 0)
		case !c.Blank || c.Based:
			err = to.WriteZeroes(at, n, graph.MayUnmap)
		}
		if err != nil {
			return err
		}
		b, at = b[n:], at+n
	}
	return nil
}

// stretch returns how far the bytes at the beginning are all zeroes, or are not, by whole units.
func (c *Copying) stretch(b []byte) (n int64, zero bool) {
	unit := c.Sparse
	for size := int64(len(b)); n < size; {
		z := isZero(b[n:min(n+unit, size)])
		if n == 0 {
			zero = z
		}
		if z != zero {
			return n, zero
		}
		n = min(n+unit, size)
	}
	return n, zero
}

var zeroes [4096]byte

func isZero(b []byte) bool {
	for len(b) > len(zeroes) {
		if !bytes.Equal(b[:len(zeroes)], zeroes[:]) {
			return false
		}
		b = b[len(zeroes):]
	}
	return bytes.Equal(b, zeroes[:len(b)])
}

// Compare looks for the first byte in which two images differ, which is -1 if they do not. Strict
// has what is allocated be the same, too. What the longer one has more must be zeroes.
func Compare(a, b *Image, strict bool, progress func(done, total int64)) (at int64, what string, err error) {
	bufs := [2][]byte{make([]byte, chunk), make([]byte, chunk)}
	total := max(a.Size(), b.Size())
	if strict && a.Size() != b.Size() {
		return 0, "Image size mismatch!", nil
	}
	for off := int64(0); off < total; {
		n := min(total-off, chunk)
		var runs [2]Run
		for i, im := range []*Image{a, b} {
			if runs[i], err = status(im.Child, off, n); err != nil {
				return 0, "", err
			}
			n = min(n, runs[i].Length)
		}
		if strict && runs[0].Present != runs[1].Present {
			return off, "Strict mode: Offset %d block status mismatch!", nil
		}
		if !runs[0].Zero || !runs[1].Zero {
			for i, im := range []*Image{a, b} {
				clear(bufs[i][:n])
				if runs[i].Zero {
					continue
				}
				if err := im.Readv(off, [][]byte{bufs[i][:n]}); err != nil {
					return 0, "", err
				}
			}
			if x, y := bufs[0][:n], bufs[1][:n]; !bytes.Equal(x, y) {
				for i := range x {
					if x[i] != y[i] {
						return (off + int64(i)) &^ 511, "Content mismatch at offset %d!", nil
					}
				}
			}
		}
		off += n
		if progress != nil {
			progress(off, total)
		}
	}
	return -1, "", nil
}

// ErrNoBacking is an image without a backing file.
var ErrNoBacking = errors.New("Image does not have a backing file")

// Commit writes what the top layer has to the one below, which must be open to be written to.
func (im *Image) Commit(to *Image, progress func(done, total int64)) error {
	size := im.Size()
	if to.Size() < size {
		if err := to.Node().Resize(size); err != nil {
			return err
		}
	}
	buf := make([]byte, chunk)
	for off := int64(0); off < size; {
		e, err := im.BlockStatus(off, size-off)
		if err != nil {
			return err
		}
		n := e.N
		switch {
		case e.Status&graph.Allocated == 0:
		case e.Status&graph.Zero != 0:
			err = to.WriteZeroes(off, n, graph.MayUnmap)
		default:
			n = min(n, chunk)
			if err = im.Readv(off, [][]byte{buf[:n]}); err == nil {
				err = to.Writev(off, [][]byte{buf[:n]}, 0)
			}
		}
		if err != nil {
			return err
		}
		if off += n; progress != nil {
			progress(off, size)
		}
	}
	return to.Flush()
}

// Rebase writes to an image what it reads from its backing file and would not from another one,
// which may be nil for none.
func (im *Image) Rebase(onto *Image, progress func(done, total int64)) error {
	below := child(im.Node(), "backing")
	old, fresh := make([]byte, chunk), make([]byte, chunk)
	for off, size := int64(0), im.Size(); off < size; {
		e, err := im.BlockStatus(off, min(size-off, chunk))
		if err != nil {
			return err
		}
		n := e.N
		if e.Status&graph.Allocated == 0 {
			if err := errors.Join(readPast(below, off, old[:n]), readPast(onto.hold(), off, fresh[:n])); err != nil {
				return err
			}
			if err := im.keep(off, old[:n], fresh[:n]); err != nil {
				return err
			}
		}
		if off += n; progress != nil {
			progress(off, size)
		}
	}
	return im.Flush()
}

// keep writes the parts of old that differ from fresh.
func (im *Image) keep(off int64, old, fresh []byte) error {
	const unit = 4096
	for at := 0; at < len(old); {
		end := min(at+unit, len(old))
		if bytes.Equal(old[at:end], fresh[at:end]) {
			at = end
			continue
		}
		for end < len(old) && !bytes.Equal(old[end:min(end+unit, len(old))], fresh[end:min(end+unit, len(old))]) {
			end = min(end+unit, len(old))
		}
		if err := im.Writev(off+int64(at), [][]byte{old[at:end]}, 0); err != nil {
			return err
		}
		at = end
	}
	return nil
}

// hold returns the image's handle, nil for no image.
func (im *Image) hold() *graph.Child {
	if im == nil {
		return nil
	}
	return im.Child
}

// readPast reads an image in which there are zeroes past its end.
func readPast(c *graph.Child, off int64, b []byte) error {
	n := int64(0)
	if c != nil {
		n = min(max(c.Size()-off, 0), int64(len(b)))
	}
	clear(b[n:])
	if n == 0 {
		return nil
	}
	return c.Readv(off, [][]byte{b[:n]})
}
