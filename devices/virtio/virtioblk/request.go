package virtioblk

import (
	"encoding/binary"
	"errors"

	"hv/devices/virtio/queue"
)

// Request types and status (virtio 1.2 §5.2.6).
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

	headerSize = 16
	rangeSize  = 16
	serialSize = 20
	unmapFlag  = 1
)

// Errors of requests. errShape means that the ring itself makes no sense.
var (
	errShape   = errors.New("request without room for its header or status")
	errInvalid = errors.New("request outside of the disk or of bad size")
	errUnsupp  = errors.New("unknown request")
)

// request is one request of the driver's, parsed.
type request struct {
	chain  queue.Chain
	typ    uint32
	off, n int64 // bytes on the disk
	unmap  bool
	data   [][]byte // its buffers, without header and status
	status []byte   // where the status goes
}

// parse takes the chain apart. It looks at no guest memory twice.
func (r *request) parse(d *Device) error {
	var h [headerSize]byte
	in := r.chain.In
	if r.chain.OutLen() < headerSize || r.chain.InLen() < 1 || len(in) == 0 {
		return errShape
	}
	r.chain.CopyOut(h[:], 0)
	r.typ = binary.LittleEndian.Uint32(h[:])
	sector := binary.LittleEndian.Uint64(h[8:])
	last := in[len(in)-1]
	r.status = last[len(last)-1:]
	r.data, r.off, r.n, r.unmap = r.data[:0], 0, 0, false
	switch r.typ {
	case typeIn:
		r.n = int64(r.chain.InLen()) - 1
		r.data = append(r.data, in...)
		r.trimStatus(last)
		return r.place(d, sector)
	case typeOut:
		r.n = int64(r.chain.OutLen()) - headerSize
		r.dataAfterHeader()
		return r.place(d, sector)
	case typeDiscard, typeWriteZeroes:
		return r.parseRange(d)
	case typeFlush, typeGetID:
		return nil
	}
	return errUnsupp
}

// trimStatus takes the status byte off the last data buffer.
func (r *request) trimStatus(last []byte) {
	if len(last) == 1 {
		r.data = r.data[:len(r.data)-1]
	} else {
		r.data[len(r.data)-1] = last[:len(last)-1]
	}
}

// dataAfterHeader takes the header off the buffers.
func (r *request) dataAfterHeader() {
	skip := headerSize
	for _, b := range r.chain.Out {
		if skip >= len(b) {
			skip -= len(b)
			continue
		}
		r.data = append(r.data, b[skip:])
		skip = 0
	}
}

// place checks that the request lies on the disk, in whole blocks.
func (r *request) place(d *Device, sector uint64) error {
	capacity := d.capacity.Load()
	sectors := uint64(r.n) / sectorSize
	block := uint64(d.cfg.LogicalBlock / sectorSize)
	if r.n == 0 || r.n%sectorSize != 0 || sectors%block != 0 || sector%block != 0 || sector > capacity || sectors > capacity-sector {
		return errInvalid
	}
	r.off = int64(sector * sectorSize)
	return nil
}

// parseRange reads the one segment of a discard or a writing of zeroes.
func (r *request) parseRange(d *Device) error {
	var s [rangeSize]byte
	if r.chain.OutLen() != headerSize+rangeSize {
		return errInvalid
	}
	r.chain.CopyOut(s[:], headerSize)
	sectors := binary.LittleEndian.Uint32(s[8:])
	flags := binary.LittleEndian.Uint32(s[12:])
	r.unmap = flags&unmapFlag != 0
	if flags&^unmapFlag != 0 || r.unmap && r.typ == typeDiscard {
		return errUnsupp
	}
	if r.typ == typeDiscard && sectors > d.cfg.MaxDiscard || r.typ == typeWriteZeroes && sectors > d.cfg.MaxZeroes {
		return errInvalid
	}
	r.n = int64(sectors) * sectorSize
	return r.place(d, binary.LittleEndian.Uint64(s[:]))
}
