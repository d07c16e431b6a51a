package vublk

import (
	"errors"

	"golang.org/x/sys/unix"

	"hv/block/graph"
	"hv/devices/virtio/queue"
)

// Requests and their outcomes (virtio 1.2 §5.2.6).
const (
	typeIn          = 0
	typeOut         = 1
	typeFlush       = 4
	typeGetID       = 8
	typeDiscard     = 11
	typeWriteZeroes = 13

	statusOK     = 0
	statusIOErr  = 1
	statusUnsupp = 2

	requestHead = 16
	rangeSize   = 16
	serialSize  = 20
	unmapFlag   = 1
	sectorSize  = 512
	// maxSectors is how much one discard, or writing of zeroes, is about at most.
	maxSectors = 1 << 21
)

// serial is what the disk calls itself.
const serial = "vhost_user_blk"

var (
	errUnsupp = errors.New("unknown request")
	errRange  = errors.New("request outside of the disk or of bad size")
)

// request is one of the driver's, with memory that is used again.
type request struct {
	chain  queue.Chain
	data   [][]byte
	status []byte
	moved  uint32 // bytes that were written for the driver
}

// suits reports whether a chain has room for a head and a status.
func (r *request) suits() bool {
	return r.chain.OutLen() >= requestHead && r.chain.InLen() >= 1
}

// run carries a request out. It looks at no memory of the driver's twice.
func (r *request) run(d *Device) {
	var h [requestHead]byte
	r.chain.CopyOut(h[:], 0)
	in := r.chain.In
	last := in[len(in)-1]
	r.status, r.moved = last[len(last)-1:], 1
	err := r.do(d, le.Uint32(h[:]), le.Uint64(h[8:]))
	switch {
	case err == nil:
		r.status[0] = statusOK
	case errors.Is(err, errUnsupp):
		r.status[0], r.moved = statusUnsupp, 1
	default:
		r.status[0], r.moved = statusIOErr, 1
	}
	clear(r.data)
}

func (r *request) do(d *Device, typ uint32, sector uint64) error {
	switch typ {
	case typeIn:
		n := int64(r.chain.InLen()) - 1
		off, err := d.place(sector, n)
		if err != nil {
			return err
		}
		r.moved = r.chain.InLen()
		return d.cfg.Root.Readv(off, r.reading())
	case typeOut:
		n := int64(r.chain.OutLen()) - requestHead
		off, err := d.place(sector, n)
		if err != nil {
			return err
		}
		return d.write(func(f graph.Flags) error { return d.cfg.Root.Writev(off, r.writing(), f) })
	case typeFlush:
		return d.cfg.Root.Flush()
	case typeGetID:
		var id [serialSize]byte
		copy(id[:], serial)
		if r.chain.InLen() < serialSize+1 {
			return errUnsupp
		}
		r.moved = serialSize + 1
		r.chain.CopyIn(id[:], 0)
		return nil
	case typeDiscard, typeWriteZeroes:
		return r.ranges(d, typ)
	}
	return errUnsupp
}

// reading returns the buffers that a read fills: all but the status.
func (r *request) reading() [][]byte {
	r.data = append(r.data[:0], r.chain.In...)
	k := len(r.data) - 1
	if last := r.data[k]; len(last) == 1 {
		r.data = r.data[:k]
	} else {
		r.data[k] = last[:len(last)-1]
	}
	return r.data
}

// writing returns the buffers of a write: all but the head.
func (r *request) writing() [][]byte {
	r.data = r.data[:0]
	skip := requestHead
	for _, b := range r.chain.Out {
		if skip >= len(b) {
			skip -= len(b)
			continue
		}
		r.data = append(r.data, b[skip:])
		skip = 0
	}
	return r.data
}

// ranges carries out a discard or a writing of zeroes, of one segment.
func (r *request) ranges(d *Device, typ uint32) error {
	var s [rangeSize]byte
	if r.chain.OutLen() != requestHead+rangeSize {
		return errUnsupp
	}
	r.chain.CopyOut(s[:], requestHead)
	sectors, flags := le.Uint32(s[8:]), le.Uint32(s[12:])
	if flags&^unmapFlag != 0 || typ == typeDiscard && flags != 0 {
		return errUnsupp
	}
	n := int64(sectors) * sectorSize
	if sectors > maxSectors {
		return errRange
	}
	off, err := d.place(le.Uint64(s[:]), n)
	if err != nil {
		return err
	}
	if !d.cfg.Writable {
		return unix.EPERM
	}
	if typ == typeDiscard {
		return d.cfg.Root.Discard(off, n)
	}
	f := graph.Flags(0)
	if flags&unmapFlag != 0 {
		f = graph.MayUnmap
	}
	return d.write(func(g graph.Flags) error { return d.cfg.Root.WriteZeroes(off, n, f|g) })
}

// write carries out a write, if that may be.
func (d *Device) write(f func(graph.Flags) error) error {
	if !d.cfg.Writable {
		return unix.EPERM
	}
	if d.cfg.WriteThrough || d.writeThrough.Load() {
		return f(graph.FUA)
	}
	return f(0)
}

// place returns where a request lies, if it lies on the disk in whole blocks.
func (d *Device) place(sector uint64, n int64) (int64, error) {
	size := uint64(d.cfg.Root.Size())
	block := uint64(d.cfg.BlockSize)
	if n <= 0 || uint64(n)%block != 0 || sector > size/sectorSize || sector*sectorSize%block != 0 || uint64(n) > size-sector*sectorSize {
		return 0, errRange
	}
	return int64(sector * sectorSize), nil
}
