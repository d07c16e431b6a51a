package scsi

import (
	"encoding/binary"
)

// primaryCommands are those that all kinds of units have (SPC-4).
var primaryCommands = []command{
	{"\x00\x00\x00\x00\x00\x07", noData, 0, func(d *Unit, t *Task) { d.good(t) }}, // TEST UNIT READY
	{"\x03\x01\x00\x00\xff\x07", allocation, needsNothing | quiet, (*Unit).requestSense},
	{"\x12\x01\xff\xff\xff\x07", at3, needsNothing | quiet, (*Unit).inquiry},
	{"\x15\x11\x00\x00\xff\x07", allocation, needsNothing | sends, (*Unit).modeSelect},
	{"\x55\x11\x00\x00\x00\x00\x00\xff\xff\x07", allocation, needsNothing | sends, (*Unit).modeSelect},
	{"\x1a\x08\xff\xff\xff\x07", allocation, needsNothing, (*Unit).modeSense},
	{"\x5a\x08\xff\xff\x00\x00\x00\xff\xff\x07", allocation, needsNothing, (*Unit).modeSense},
	{"\x1b\x01\x00\x00\xf3\x07", noData, needsNothing, (*Unit).startStop},
	{"\x1e\x00\x00\x00\x01\x07", noData, needsNothing, (*Unit).preventRemoval},
	{"\xa3\x0c\x87\xff\xff\xff\xff\xff\xff\xff\x00\x07", allocation, needsNothing, (*Unit).reportOpcodes},
}

// Types of units.
const (
	typeDisk = 0x00
	typeCD   = 0x05
)

// inquiry tells what the unit is.
func (d *Unit) inquiry(t *Task) {
	switch {
	case t.CDB[1]&1 != 0:
		d.vitalProductData(t)
	case t.CDB[2] != 0:
		d.fail(t, senseBadField)
	default:
		d.reply(t, d.identity())
	}
}

// identity returns standard INQUIRY data.
func (d *Unit) identity() []byte {
	b := d.room(36)
	b[0] = d.kind
	if d.removable {
		b[1] = 0x80
	}
	b[2] = byte(d.cfg.SCSIVersion)
	b[3] = 0x12 // format 2, hierarchical addresses
	b[4] = byte(len(b) - 5)
	b[7] = 0x12 // synchronous, queues commands
	pad(b[8:16], d.cfg.Vendor)
	pad(b[16:32], d.cfg.Product)
	copy(b[32:36], d.cfg.Version)
	return b
}

// pad fills b with text and spaces.
func pad(b []byte, text string) {
	for i := copy(b, text); i < len(b); i++ {
		b[i] = ' '
	}
}

// Pages of vital product data.
const (
	pageList            = 0x00
	pageSerial          = 0x80
	pageIdentification  = 0x83
	pageLimits          = 0xb0
	pageCharacteristics = 0xb1
	pageProvisioning    = 0xb2
)

func (d *Unit) vitalProductData(t *Task) {
	b := d.room(4)
	b[0], b[1] = d.kind, t.CDB[2]
	disk := d.kind == typeDisk
	switch page := t.CDB[2]; {
	case page == pageList:
		b = append(b, pageList)
		if d.cfg.Serial != "" {
			b = append(b, pageSerial)
		}
		b = append(b, pageIdentification)
		if disk {
			b = append(b, pageLimits, pageCharacteristics, pageProvisioning)
		}
	case page == pageSerial && d.cfg.Serial != "":
		b = append(b, d.cfg.Serial...)
	case page == pageIdentification:
		b = d.designators(b)
	case page == pageLimits && disk:
		b = d.limits(b)
	case page == pageCharacteristics && disk:
		b = append(b, make([]byte, 60)...)
		binary.BigEndian.PutUint16(b[4:], d.rotation)
	case page == pageProvisioning && disk:
		mode := byte(1) // fully provisioned
		if d.cfg.DiscardGranularity != 0 {
			mode = 2 // thin
		}
		b = append(b, 0, 0xe0, mode, 0) // UNMAP and both of WRITE SAME
	default:
		d.fail(t, senseBadField)
		return
	}
	binary.BigEndian.PutUint16(b[2:], uint16(len(b)-4))
	d.reply(t, b)
}

// designators appends what the unit is known by.
func (d *Unit) designators(b []byte) []byte {
	if id := d.cfg.DeviceID; id != "" {
		b = append(b, 2, 0, 0, byte(len(id))) // ASCII, vendor's
		b = append(b, id...)
	}
	if d.cfg.WWN != 0 {
		b = binary.BigEndian.AppendUint64(append(b, 1, 3, 0, 8), d.cfg.WWN) // binary, NAA
	}
	if d.cfg.PortWWN != 0 {
		b = binary.BigEndian.AppendUint64(append(b, 0x61, 0x93, 0, 8), d.cfg.PortWWN)
	}
	if d.cfg.PortIndex != 0 {
		b = binary.BigEndian.AppendUint32(append(b, 0x61, 0x94, 0, 4), uint32(d.cfg.PortIndex))
	}
	return b
}

// limits appends the block limits page (SBC-3 §6.6.4).
func (d *Unit) limits(b []byte) []byte {
	at := len(b)
	b = append(b, make([]byte, 60)...)
	p, be := b[at:], binary.BigEndian
	most := uint32(min(d.maxIO/d.block, 1<<32-1))
	p[0] = 1 // no WRITE SAME of nothing
	p[1] = 0 // no COMPARE AND WRITE
	be.PutUint16(p[2:], uint16(min(uint64(d.cfg.MinIO)/d.block, uint64(most), 1<<16-1)))
	be.PutUint32(p[4:], most)
	be.PutUint32(p[8:], min(uint32(uint64(d.cfg.OptIO)/d.block), most))
	be.PutUint32(p[16:], uint32(min(d.maxUnmap/d.block, 1<<32-1)))
	be.PutUint32(p[20:], maxRanges)
	be.PutUint32(p[24:], uint32(uint64(d.cfg.DiscardGranularity)/d.block))
	be.PutUint64(p[32:], uint64(most)) // of WRITE SAME
	return b
}

// requestSense tells of a unit attention, which is thereby told, and of nothing else:
// sense data comes with each command.
func (d *Unit) requestSense(t *Task) {
	s := senseNone
	if ua, ok := d.takeAttention(); ok {
		s = ua
	}
	if t.CDB[1]&1 != 0 {
		b := s.descriptor()
		d.reply(t, append(d.room(0), b[:]...))
		return
	}
	b := s.Fixed()
	d.reply(t, append(d.room(0), b[:]...))
}

// Options of REPORT SUPPORTED OPERATION CODES (SPC-4 §6.35.2).
const (
	reportAll = iota
	reportOpcode
	reportAction
	reportEither
)

// reportOpcodes tells which commands there are.
func (d *Unit) reportOpcodes(t *Task) {
	if t.CDB[2]&0x80 != 0 { // times
		d.fail(t, senseBadField)
		return
	}
	if t.CDB[2]&7 == reportAll {
		d.reply(t, d.allOpcodes())
		return
	}
	c, ok := d.asked(t)
	if !ok {
		d.fail(t, senseBadField)
		return
	}
	b := d.room(4)
	b[1] = 1 // not supported
	if c != nil {
		b[1] = 3 // as the standard says
		binary.BigEndian.PutUint16(b[2:], uint16(len(c.usage)))
		b = append(b, c.usage...)
	}
	d.reply(t, b)
}

// asked returns the command that REPORT SUPPORTED OPERATION CODES is about, nil if there
// is none; false if it asks in a wrong way.
func (d *Unit) asked(t *Task) (*command, bool) {
	op, action := t.CDB[3], binary.BigEndian.Uint16(t.CDB[4:])
	for _, c := range byOpcode[op] {
		if !c.on(d.kind) {
			continue
		}
		a, has := c.service()
		switch t.CDB[2] & 7 {
		case reportOpcode:
			return c, !has
		case reportAction:
			if !has {
				return nil, false
			}
		case reportEither:
		default:
			return nil, false
		}
		if !has && action == 0 || has && uint16(a) == action {
			return c, true
		}
	}
	return nil, t.CDB[2]&7 <= reportEither
}

// on reports whether units of a kind have the command.
func (c *command) on(kind byte) bool {
	return !(c.flags&diskOnly != 0 && kind != typeDisk || c.flags&cdOnly != 0 && kind != typeCD)
}

func (d *Unit) allOpcodes() []byte {
	b := d.room(4)
	for op := range byOpcode {
		for _, c := range byOpcode[op] {
			if !c.on(d.kind) {
				continue
			}
			action, has := c.service()
			e := [8]byte{0: byte(op), 3: action, 7: byte(len(c.usage))}
			if has {
				e[5] = 1
			}
			b = append(b, e[:]...)
		}
	}
	binary.BigEndian.PutUint32(b, uint32(len(b)-4))
	return b
}
