package qcow2

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/klauspost/compress/flate"
	"github.com/klauspost/compress/zstd"
)

// window is how far back compressed data may refer: other readers have no more.
const window = 4096

// codec compresses and expands clusters.
type codec struct {
	kind    Compression
	size    int64
	readers sync.Pool // of *expander
	writers sync.Pool // of *packer
}

type expander struct {
	src   bytes.Reader
	flate io.ReadCloser
	zstd  *zstd.Decoder
	in    []byte
	out   []byte
}

type packer struct {
	out   bytes.Buffer
	flate *flate.Writer
	zstd  *zstd.Encoder
	in    []byte
}

func (c *codec) init(kind Compression, size int64) { c.kind, c.size = kind, size }

func (c *codec) reader() (*expander, error) {
	if x, ok := c.readers.Get().(*expander); ok {
		return x, nil
	}
	x := &expander{out: make([]byte, c.size)}
	if c.kind == Zlib {
		x.flate = flate.NewReader(&x.src)
		return x, nil
	}
	var err error
	x.zstd, err = zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
		zstd.WithDecoderMaxMemory(64<<20))
	return x, err
}

// expand fills out from the compressed data at the front of in.
func (x *expander) expand() error {
	x.src.Reset(x.in)
	var r io.Reader = x.flate
	if x.zstd != nil {
		if err := x.zstd.Reset(&x.src); err != nil {
			return err
		}
		r = x.zstd
	} else if err := x.flate.(flate.Resetter).Reset(&x.src, nil); err != nil {
		return err
	}
	if _, err := io.ReadFull(r, x.out); err != nil {
		return fmt.Errorf("%w: compressed data: %w", ErrCorrupt, err)
	}
	return nil
}

// readCompressed fills v from a compressed cluster.
func (im *Image) readCompressed(e entry, off int64, v [][]byte) error {
	x, err := im.codec.reader()
	if err != nil {
		return err
	}
	defer im.codec.readers.Put(x)
	at, n := im.geo.compressedAt(e)
	if int64(cap(x.in)) < n {
		x.in = make([]byte, n)
	}
	x.in = x.in[:n]
	im.event(EventReadCompressed)
	if err := im.file.Readv(at, [][]byte{x.in}); err != nil {
		return err
	}
	if err := x.expand(); err != nil {
		return err
	}
	scatter(v, x.out[off&(im.geo.clusterSize-1):])
	return nil
}

func (c *codec) writer() (*packer, error) {
	if p, ok := c.writers.Get().(*packer); ok {
		return p, nil
	}
	p := &packer{in: make([]byte, c.size)}
	var err error
	if c.kind == Zlib {
		p.flate, err = flate.NewWriterWindow(&p.out, window)
	} else {
		p.zstd, err = zstd.NewWriter(&p.out, zstd.WithEncoderConcurrency(1), zstd.WithLowerEncoderMem(true))
	}
	return p, err
}

// pack compresses in to out and tells whether that made it smaller.
func (p *packer) pack() (bool, error) {
	p.out.Reset()
	var w io.WriteCloser = p.zstd
	if p.flate != nil {
		p.flate.Reset(&p.out)
		w = p.flate
	} else {
		p.zstd.Reset(&p.out)
	}
	if _, err := w.Write(p.in); err != nil {
		return false, err
	}
	if err := w.Close(); err != nil {
		return false, err
	}
	return p.out.Len() < len(p.in), nil
}

// writeCompressed writes whole clusters, compressed if that makes them smaller.
func (im *Image) writeCompressed(off, n int64, v [][]byte) error {
	g := &im.geo
	if g.external {
		return fmt.Errorf("%w: compressed clusters with an external data file", ErrNotSupported)
	}
	if off&(g.clusterSize-1) != 0 || n&(g.clusterSize-1) != 0 && off+n != im.Size() {
		return errors.New("compressed writes must be of whole clusters")
	}
	p, err := im.codec.writer()
	if err != nil {
		return err
	}
	defer im.codec.writers.Put(p)
	r := im.getReq()
	defer im.putReq(r)
	for rest := (vector{v: v}); n > 0; {
		m := min(n, g.clusterSize)
		clear(p.in[m:])
		part := rest.appendTo(nil, m)
		gather(p.in, part)
		small, err := p.pack()
		switch {
		case err != nil:
			return err
		case small:
			err = im.writePacked(r, off, p.out.Bytes())
		default:
			err = im.write(r, off, m, part)
		}
		if err != nil {
			return err
		}
		off, n = off+m, n-m
	}
	return nil
}

// writePacked writes the compressed cluster of guest offset off.
func (im *Image) writePacked(r *req, off int64, b []byte) error {
	a := &r.alloc
	*a = allocation{lo: off, hi: off + im.geo.clusterSize}
	at, err := im.placePacked(a, int64(len(b)))
	if err != nil {
		return err
	}
	r.one[0] = b
	im.event(EventWriteCompressed)
	err = im.file.Writev(at, r.one[:])
	im.mu.Lock()
	defer im.mu.Unlock()
	defer im.landed(a)
	e := im.geo.compressedEntry(at, int64(len(b)))
	if err != nil {
		im.freeEntry(e, freedOther)
		return err
	}
	im.unflushed = true
	s, err := im.sliceToWrite(off)
	if err != nil {
		return err
	}
	old := s.get(s.i)
	im.setEntry(&s, s.i, e)
	im.freeEntry(old, freedOther)
	return nil
}

// placePacked lists the allocation and finds room for n bytes.
func (im *Image) placePacked(a *allocation, n int64) (int64, error) {
	im.mu.Lock()
	defer im.mu.Unlock()
	for im.await(a.lo, a.hi) {
		if im.broken != nil {
			return 0, im.broken
		}
	}
	if _, err := im.sliceToWrite(a.lo); err != nil {
		return 0, err
	}
	at, err := im.allocBytes(n)
	if err != nil {
		return 0, fmt.Errorf("allocate compressed cluster: %w", err)
	}
	im.flight = append(im.flight, a)
	return at, nil
}

// allocBytes finds room for n bytes, less than a cluster, behind the last compressed data
// where that is possible.
func (im *Image) allocBytes(n int64) (int64, error) {
	im.event(EventClusterAllocBytes)
	g := &im.geo
	if im.bytesOff != 0 {
		c := im.bytesOff >> g.clusterBits
		left := g.up(im.bytesOff+1) - im.bytesOff
		v, err := im.refcount(c)
		if err != nil {
			return 0, err
		}
		if n <= left && v > 0 && v < g.refMax {
			at := im.bytesOff
			im.nextBytes(at + n)
			return at, im.addRef(c)
		}
	}
	at, _, err := im.alloc(1, true)
	if err != nil {
		return 0, err
	}
	if at >= 1<<(62-(g.clusterBits-8)) {
		return 0, errors.New("compressed data would be too far into the file")
	}
	im.nextBytes(at + n)
	return at, nil
}

func (im *Image) nextBytes(off int64) {
	if off&(im.geo.clusterSize-1) == 0 {
		off = 0
	}
	im.bytesOff = off
}
