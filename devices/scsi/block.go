package scsi

import (
	"encoding/binary"
)

// blockCommands are those of direct access devices (SBC-3).
var blockCommands = []command{
	{"\x08\x1f\xff\xff\xff\x07", blocks, 0, (*Unit).read},
	{"\x28\x18\xff\xff\xff\xff\x00\xff\xff\x07", blocks, 0, (*Unit).read},
	{"\xa8\x18\xff\xff\xff\xff\xff\xff\xff\xff\x00\x07", blocks, 0, (*Unit).read},
	{"\x88\x18\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x00\x07", blocks, 0, (*Unit).read},
	{"\x0a\x1f\xff\xff\xff\x07", blocks, sends, (*Unit).write},
	{"\x2a\x18\xff\xff\xff\xff\x00\xff\xff\x07", blocks, sends, (*Unit).write},
	{"\xaa\x18\xff\xff\xff\xff\xff\xff\xff\xff\x00\x07", blocks, sends, (*Unit).write},
	{"\x8a\x18\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x00\x07", blocks, sends, (*Unit).write},
	// WRITE AND VERIFY
	{"\x2e\x10\xff\xff\xff\xff\x00\xff\xff\x07", blocks, sends, (*Unit).write},
	{"\xae\x10\xff\xff\xff\xff\xff\xff\xff\xff\x00\x07", blocks, sends, (*Unit).write},
	{"\x8e\x10\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x00\x07", blocks, sends, (*Unit).write},
	// VERIFY
	{"\x2f\x16\xff\xff\xff\xff\x00\xff\xff\x07", noData, 0, (*Unit).verify},
	{"\xaf\x16\xff\xff\xff\xff\xff\xff\xff\xff\x00\x07", noData, 0, (*Unit).verify},
	{"\x8f\x16\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x00\x07", noData, 0, (*Unit).verify},
	// SEEK
	{"\x2b\x00\xff\xff\xff\xff\x00\x00\x00\x07", noData, 0, (*Unit).seek},
	// SYNCHRONIZE CACHE
	{"\x35\x02\xff\xff\xff\xff\x00\xff\xff\x07", noData, 0, (*Unit).synchronize},
	{"\x91\x02\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x00\x07", noData, 0, (*Unit).synchronize},
	{"\x42\x01\x00\x00\x00\x00\x00\xff\xff\x07", allocation, sends | diskOnly, (*Unit).unmap},
	// WRITE SAME
	{"\x41\x1a\xff\xff\xff\xff\x00\xff\xff\x07", oneBlock, sends | diskOnly, (*Unit).writeSame},
	{"\x93\x1b\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x00\x07", oneBlock, sends | diskOnly, (*Unit).writeSame},
	// READ CAPACITY
	{"\x25\x00\xff\xff\xff\xff\x00\x00\x01\x07", capacity8, 0, (*Unit).readCapacity10},
	{"\x9e\x10\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\x07", allocation, 0, (*Unit).readCapacity16},
}

// Bits of the second byte of CDBs.
const (
	protect   = 0xe0 // RDPROTECT and the like
	fua       = 0x08
	unmapBit  = 0x08 // of WRITE SAME
	anchorBit = 0x10
	noDataOut = 0x01
)

// place reads from the CDB where the task goes and checks that it lies on the medium.
func (d *Unit) place(t *Task) bool {
	cdb := t.cdb()
	if cdb[0]>>5 != 0 && cdb[1]&protect != 0 {
		d.fail(t, senseBadField)
		return false
	}
	lba, n := lbaOf(cdb), blocksOf(cdb)
	if !d.on(lba, n) {
		d.fail(t, senseBadLBA)
		return false
	}
	t.off, t.n = int64(lba*d.block), int64(n*d.block)
	return true
}

// on reports whether n blocks from lba on are on the medium.
func (d *Unit) on(lba, n uint64) bool {
	all := d.blocks()
	return lba <= all && n <= all-lba
}

// moves reports whether a read or write has data; if not, it is over.
func (d *Unit) moves(t *Task) bool {
	switch {
	case t.n == 0:
		d.good(t)
		return false
	case uint64(t.n) > d.maxIO:
		d.fail(t, senseBadField)
		return false
	}
	return true
}

func (d *Unit) read(t *Task) {
	if !d.place(t) || !d.moves(t) {
		return
	}
	t.first(t.In, uint64(t.n))
	if t.forced() {
		d.submit(t, opFlush, t.off, t.n, readAfterFlush)
		return
	}
	d.submit(t, opRead, t.off, t.n, endOfData)
}

func readAfterFlush(d *Unit, t *Task) { d.submit(t, opRead, t.off, t.n, endOfData) }

// endOfData ends a task that has moved all of its data.
func endOfData(d *Unit, t *Task) {
	t.Moved = uint32(t.n)
	d.good(t)
}

// forced reports whether the task goes around the write cache.
func (t *Task) forced() bool {
	switch t.CDB[0] {
	case 0x08, 0x0a:
		return false
	case 0x2e, 0xae, 0x8e: // what is verified is on the medium
		return true
	}
	return t.CDB[1]&fua != 0
}

// writable refuses tasks on what cannot be written to.
func (d *Unit) writable(t *Task) bool {
	if d.kind == typeCD || d.medium.ReadOnly() {
		d.fail(t, senseWriteProtected)
		return false
	}
	return true
}

func (d *Unit) write(t *Task) {
	if !d.writable(t) || !d.place(t) || !d.moves(t) {
		return
	}
	t.first(t.Out, uint64(t.n))
	d.submit(t, opWrite, t.off, t.n, written)
}

// written makes a write durable if it is to be.
func written(d *Unit, t *Task) {
	if t.forced() || !d.writeCache.Load() {
		d.submit(t, opFlush, t.off, t.n, endOfData)
		return
	}
	endOfData(d, t)
}

// settled is the same for what has no data of its own.
func settled(d *Unit, t *Task) {
	if !d.writeCache.Load() {
		d.submit(t, opFlush, 0, 0, (*Unit).good)
		return
	}
	d.good(t)
}

// verify takes the medium's word for it; it compares with nothing.
func (d *Unit) verify(t *Task) {
	if t.CDB[1]&6 != 0 {
		d.fail(t, senseBadField)
		return
	}
	if d.place(t) {
		d.good(t)
	}
}

func (d *Unit) seek(t *Task) {
	if lbaOf(t.cdb()) >= d.blocks() {
		d.fail(t, senseBadLBA)
		return
	}
	d.good(t)
}

func (d *Unit) synchronize(t *Task) { d.submit(t, opFlush, 0, 0, (*Unit).good) }

// Parameters of UNMAP (SBC-3 §5.28): a header and ranges.
const (
	unmapHeader = 8
	unmapRange  = 16
	maxRanges   = 255
)

// unmap lets ranges go, one after the other.
func (d *Unit) unmap(t *Task) {
	var h [unmapHeader]byte
	switch n := t.copyOut(h[:], 0); {
	case t.CDB[1]&1 != 0: // ANCHOR
		d.fail(t, senseBadField)
		return
	case t.xfer == 0:
		d.good(t)
		return
	case t.xfer < unmapHeader || n < len(h):
		d.fail(t, senseBadLength)
		return
	}
	all, ranges := uint64(binary.BigEndian.Uint16(h[:])), uint64(binary.BigEndian.Uint16(h[2:]))
	switch {
	case t.xfer < all+2 || t.xfer < ranges+unmapHeader || ranges%unmapRange != 0 || ranges/unmapRange > maxRanges:
		d.fail(t, senseBadLength)
		return
	case !d.writable(t):
		return
	}
	t.index, t.left = 0, ranges/unmapRange
	unmapNext(d, t)
}

func unmapNext(d *Unit, t *Task) {
	for t.left > 0 {
		var r [unmapRange]byte
		t.copyOut(r[:], unmapHeader+t.index*unmapRange)
		lba, n := binary.BigEndian.Uint64(r[:]), uint64(binary.BigEndian.Uint32(r[8:]))
		if !d.on(lba, n) {
			d.fail(t, senseBadLBA)
			return
		}
		t.index++
		t.left--
		if n > 0 {
			d.submit(t, opDiscard, int64(lba*d.block), int64(n*d.block), unmapNext)
			return
		}
	}
	t.Moved = uint32(t.xfer)
	settled(d, t)
}

// sameAtOnce is how many blocks of a WRITE SAME one request has.
const sameAtOnce = 256

// writeSame writes one block to many places; one of zeroes without data.
func (d *Unit) writeSame(t *Task) {
	cdb := t.cdb()
	n := lengthOf(cdb)
	without := cdb[0] == 0x93 && cdb[1]&noDataOut != 0
	switch {
	case n == 0 || cdb[1]&(protect|anchorBit|6) != 0 || cdb[0] == 0x41 && cdb[1]&noDataOut != 0:
		d.fail(t, senseBadField)
		return
	case !d.writable(t) || !d.place(t):
		return
	}
	if cap(t.pattern) < int(d.block) {
		t.pattern = make([]byte, d.block)
	}
	t.pattern = t.pattern[:d.block]
	clear(t.pattern)
	if !without {
		t.copyOut(t.pattern, 0)
		t.Moved = uint32(d.block)
	}
	if isZero(t.pattern) {
		op := opWriteZeroes
		if cdb[1]&unmapBit != 0 {
			op = opWriteZeroesUnmap
		}
		d.submit(t, op, t.off, t.n, settled)
		return
	}
	t.lba, t.left = lbaOf(cdb), n
	writeSameNext(d, t)
}

func isZero(b []byte) bool {
	for _, x := range b {
		if x != 0 {
			return false
		}
	}
	return true
}

func writeSameNext(d *Unit, t *Task) {
	if t.left == 0 {
		settled(d, t)
		return
	}
	n, at := min(t.left, sameAtOnce), t.lba
	t.bufs = t.bufs[:0]
	for range n {
		t.bufs = append(t.bufs, t.pattern)
	}
	t.lba, t.left = t.lba+n, t.left-n
	d.submit(t, opWrite, int64(at*d.block), int64(n*d.block), writeSameNext)
}

// sized refuses tasks on a medium of no size, or that ask for another place than the end.
func (d *Unit) sized(t *Task, partial bool) bool {
	switch {
	case d.blocks() == 0:
		d.fail(t, senseNotReady)
	case !partial && lbaOf(t.cdb()) != 0:
		d.fail(t, senseBadField)
	default:
		return true
	}
	return false
}

func (d *Unit) readCapacity10(t *Task) {
	if !d.sized(t, t.CDB[8]&1 != 0) {
		return
	}
	b := d.room(8)
	binary.BigEndian.PutUint32(b, uint32(min(d.blocks()-1, 1<<32-1)))
	binary.BigEndian.PutUint32(b[4:], uint32(d.block))
	d.reply(t, b)
}

func (d *Unit) readCapacity16(t *Task) {
	if !d.sized(t, t.CDB[14]&1 != 0) {
		return
	}
	b := d.room(32)
	binary.BigEndian.PutUint64(b, d.blocks()-1)
	binary.BigEndian.PutUint32(b[8:], uint32(d.block))
	for n := d.block; n < uint64(d.cfg.PhysicalBlock); n *= 2 {
		b[13]++
	}
	if d.kind == typeDisk && d.cfg.DiscardGranularity != 0 {
		b[14] = 0x80 // thin
	}
	d.reply(t, b)
}
