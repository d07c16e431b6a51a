package scsi

import "encoding/binary"

// Mode pages.
const (
	modeErrorRecovery = 0x01
	modeCaching       = 0x08
	modeAudio         = 0x0e
	modeCapabilities  = 0x2a
	modeAll           = 0x3f
)

var modePages = []byte{modeErrorRecovery, modeCaching, modeAudio, modeCapabilities}

// Page controls (SPC-4 §6.11.1).
const (
	modeCurrent = iota
	modeChangeable
	modeDefault
	modeSaved
)

// writeCacheBit is WCE of the caching page.
const writeCacheBit = 4

// modePage appends a page with its header; false if the unit has none of that number.
func (d *Unit) modePage(b []byte, page byte, control int) ([]byte, bool) {
	cd, at := d.kind == typeCD, len(b)
	length := 0
	switch {
	case page == modeErrorRecovery:
		length = 10
	case page == modeCaching:
		length = 18
	case page == modeAudio && cd:
		length = 14
	case page == modeCapabilities && cd:
		length = 20
	default:
		return b, false
	}
	b = append(b, page, byte(length))
	b = append(b, make([]byte, length)...)
	p := b[at+2:]
	switch page {
	case modeErrorRecovery:
		p[0] = 0x80 // writes are reallocated
		if cd && control != modeChangeable {
			p[1] = 0x20 // retries
		} else if !cd && control == modeChangeable {
			p[0] = 0
		}
	case modeCaching:
		if control != modeCurrent || d.writeCache.Load() {
			p[0] = writeCacheBit
		}
	case modeCapabilities:
		if control != modeChangeable {
			d.capabilities(p)
		}
	}
	return b, true
}

// speed is one of CD drives in kilobytes a second.
const speed = 176

// capabilities fills the page of CD drives (MMC-3 §6.3.11).
func (d *Unit) capabilities(p []byte) {
	copy(p, []byte{0x3b, 0, 0x7f, 0xff, 0x2d}) // reads all kinds of CDs; a tray that can be locked
	if d.Tray().Locked {
		p[4] |= 2
	}
	be := binary.BigEndian
	be.PutUint16(p[6:], 50*speed)
	be.PutUint16(p[8:], 2)     // levels of volume
	be.PutUint16(p[10:], 2048) // buffer, in kilobytes
	for _, at := range []int{12, 16, 18} {
		be.PutUint16(p[at:], 16*speed)
	}
}

// modeSense tells of the pages.
func (d *Unit) modeSense(t *Task) {
	short := t.CDB[0] == 0x1a
	page, control := t.CDB[2]&0x3f, int(t.CDB[2]>>6)
	b := d.room(8)
	if short {
		b = b[:4]
	}
	b = d.blockDescriptor(b, t)
	if control == modeSaved {
		d.fail(t, senseNoSaving)
		return
	}
	ok := page == modeAll
	if ok {
		for _, p := range modePages {
			b, _ = d.modePage(b, p, control)
		}
	} else {
		b, ok = d.modePage(b, page, control)
	}
	if !ok {
		d.fail(t, senseBadField)
		return
	}
	if short {
		b[0] = byte(len(b) - 1)
	} else {
		binary.BigEndian.PutUint16(b, uint16(len(b)-2))
	}
	d.reply(t, b)
}

// blockDescriptor completes the header, and appends a descriptor for disks if it is
// wanted. CDs have none.
func (d *Unit) blockDescriptor(b []byte, t *Task) []byte {
	if d.kind != typeDisk {
		return b
	}
	specific := byte(0)
	if d.dpofua {
		specific |= 0x10
	}
	if d.medium != nil && d.medium.ReadOnly() {
		specific |= 0x80
	}
	short := len(b) == 4
	if short {
		b[2] = specific
	} else {
		b[3] = specific
	}
	n := d.blocks()
	if t.CDB[1]&8 != 0 || n == 0 {
		return b
	}
	b[len(b)-1] = 8
	if n > 0xffffff {
		n = 0
	}
	return binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(b, uint32(n)), uint32(d.block))
}

// maxModes bounds the parameters of MODE SELECT.
const maxModes = 512

// modeSelect changes what can be changed, which is the write cache; all else has to be as
// MODE SENSE says.
func (d *Unit) modeSelect(t *Task) {
	if t.CDB[1]&0x11 != 0x10 {
		d.fail(t, senseBadField)
		return
	}
	var room [maxModes]byte
	if t.xfer > maxModes {
		d.fail(t, senseBadLength)
		return
	}
	p := room[:t.copyOut(room[:t.xfer], 0)]
	if len(p) == 0 {
		d.good(t)
		return
	}
	header, descriptor := 4, 0
	if t.CDB[0] == 0x55 {
		header = 8
	}
	if len(p) < header {
		d.fail(t, senseBadLength)
		return
	}
	if header == 4 {
		descriptor = int(p[3])
	} else {
		descriptor = int(binary.BigEndian.Uint16(p[6:]))
	}
	if len(p) < header+descriptor {
		d.fail(t, senseBadLength)
		return
	}
	if descriptor != 0 && descriptor != 8 {
		d.fail(t, senseBadParameter)
		return
	}
	if descriptor == 8 && !d.sameBlocks(p[header:]) {
		d.fail(t, senseBadParameter)
		return
	}
	cache, s := d.checkModes(p[header+descriptor:])
	if s != senseNone {
		d.fail(t, s)
		return
	}
	d.writeCache.Store(cache)
	t.Moved = uint32(len(p))
	settled(d, t)
}

// sameBlocks reports whether a block descriptor leaves the size of blocks alone.
func (d *Unit) sameBlocks(p []byte) bool {
	n := uint64(binary.BigEndian.Uint32(p[4:]) & 0xffffff)
	return n == 0 || n == d.block
}

// checkModes returns what the pages make of the write cache.
func (d *Unit) checkModes(p []byte) (cache bool, s Sense) {
	cache = d.writeCache.Load()
	for len(p) > 0 {
		header, sub, n := 2, byte(0), 0
		if p[0]&0x40 != 0 {
			header = 4
		}
		if len(p) < header {
			return cache, senseBadLength
		}
		n = int(p[1])
		if header == 4 {
			sub, n = p[1], int(binary.BigEndian.Uint16(p[2:]))
		}
		if sub != 0 {
			return cache, senseBadParameter
		}
		if len(p) < header+n {
			return cache, senseBadLength
		}
		page, body := p[0]&0x3f, p[header:header+n]
		if !d.acceptable(page, body) {
			return cache, senseBadParameter
		}
		if page == modeCaching {
			cache = body[0]&writeCacheBit != 0
		}
		p = p[header+n:]
	}
	return cache, senseNone
}

// acceptable reports whether a page differs from the current one in what may be changed
// only.
func (d *Unit) acceptable(page byte, body []byte) bool {
	var room [2][32]byte
	current, ok := d.modePage(room[0][:0], page, modeCurrent)
	if !ok || len(current) != len(body)+2 {
		return false
	}
	changeable, _ := d.modePage(room[1][:0], page, modeChangeable)
	for i, x := range body {
		if (x^current[i+2])&^changeable[i+2] != 0 {
			return false
		}
	}
	return true
}
