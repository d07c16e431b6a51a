package scsi

import "encoding/binary"

// multimediaCommands are those of CD drives (MMC-5).
var multimediaCommands = []command{
	{"\x43\x02\x0f\x00\x00\x00\xff\xff\xff\x07", allocation, cdOnly, (*Unit).readTOC},
	{"\x46\x03\xff\xff\x00\x00\x00\xff\xff\x07", allocation, needsNothing | quiet | cdOnly, (*Unit).getConfiguration},
	{"\x4a\x01\x00\x00\xff\x00\x00\xff\xff\x07", allocation, needsNothing | quiet | cdOnly, (*Unit).eventStatus},
	{"\x51\x07\x00\x00\x00\x00\x00\xff\xff\x07", allocation, cdOnly, (*Unit).readDiscInformation},
	{"\xad\x0f\xff\xff\xff\xff\xff\xff\xff\xff\xc0\x07", at8, cdOnly, (*Unit).readDVDStructure},
	{"\xbd\x00\x00\x00\x00\x00\x00\x00\xff\xff\x00\x07", at8, needsNothing | cdOnly, (*Unit).mechanismStatus},
}

// leadOut is the number of the track behind the last one.
const leadOut = 0xaa

// address appends where a block is: its number, or minute, second and frame.
func address(b []byte, lba uint32, msf bool) []byte {
	if !msf {
		return binary.BigEndian.AppendUint32(b, lba)
	}
	lba += 150 // two seconds before the first block
	return append(b, 0, byte(lba/75/60), byte(lba/75%60), byte(lba%75))
}

// readTOC tells of the only track.
func (d *Unit) readTOC(t *Task) {
	msf, first := t.CDB[1]&2 != 0, t.CDB[6]
	end := uint32(min(d.blocks(), 1<<32-1))
	b := d.room(4)
	b[2], b[3] = 1, 1 // first and last track or session
	switch t.CDB[2] & 0xf {
	case 0:
		if first > 1 && first != leadOut {
			d.fail(t, senseBadField)
			return
		}
		if first <= 1 {
			b = address(append(b, 0, 0x14, 1, 0), 0, msf)
		}
		b = address(append(b, 0, 0x16, leadOut, 0), end, msf)
	case 1: // one session
		b = append(b, make([]byte, 8)...)
	case 2:
		b = append(b, 1, 0x14, 0, 0xa0, 0, 0, 0, 0, 1, 0, 0)
		b = append(b, 1, 0x14, 0, 0xa1, 0, 0, 0, 0, 1, 0, 0)
		b = address(append(b, 1, 0x14, 0, 0xa2, 0, 0, 0), end, msf)
		b = address(append(b, 1, 0x14, 0, 1, 0, 0, 0), 0, msf)
	default:
		d.fail(t, senseBadField)
		return
	}
	binary.BigEndian.PutUint16(b, uint16(len(b)-2))
	d.reply(t, b)
}

// Profiles, which say what kind of disc there is.
const (
	profileNone = 0
	profileCD   = 0x08
	profileDVD  = 0x10
)

// cdBytes is how much a CD holds: 80 minutes.
const cdBytes = 80 * 60 * 75 * 2048

func (d *Unit) profile() uint16 {
	switch {
	case !d.available():
		return profileNone
	case d.size.Load() > cdBytes:
		return profileDVD
	}
	return profileCD
}

// getConfiguration tells of the drive's features.
func (d *Unit) getConfiguration(t *Task) {
	current, be := d.profile(), binary.BigEndian
	is := func(p uint16) byte {
		if p == current {
			return 1
		}
		return 0
	}
	b := d.room(8)
	be.PutUint16(b[6:], current)
	b = append(b, 0, 0, 3, 8, 0, profileDVD, is(profileDVD), 0, 0, profileCD, is(profileCD), 0) // profile list
	b = append(b, 0, 1, 0x0b, 8, 0, 0, 0, 1, 1, 0, 0, 0)                                        // core: SCSI
	b = append(b, 0, 3, 0x0b, 4, 0x39, 0, 0, 0)                                                 // a tray that can be locked
	be.PutUint32(b, uint32(len(b)-4))
	d.reply(t, b)
}

// Events of the class that is about media (MMC-5 §6.7.2).
const (
	classMedia = 4

	eventNone    = 0
	eventEject   = 1
	eventArrival = 2

	mediaOpen    = 1
	mediaPresent = 2
)

// eventStatus tells what happened to the tray.
func (d *Unit) eventStatus(t *Task) {
	if t.CDB[1]&1 == 0 {
		d.fail(t, senseBadField)
		return
	}
	b := d.room(4)
	b[2], b[3] = 0x80, 1<<classMedia
	if t.CDB[4]&(1<<classMedia) != 0 {
		b[2] = classMedia
		event, state := d.mediaEvent()
		b = append(b, event, state, 0, 0)
	}
	binary.BigEndian.PutUint16(b, uint16(len(b)-4))
	d.reply(t, b)
}

func (d *Unit) readDiscInformation(t *Task) {
	if t.CDB[1]&7 != 0 {
		d.fail(t, senseBadField)
		return
	}
	b := d.room(34)
	copy(b, []byte{0, 32, 0x0e, 1, 1, 1, 1, 0x20}) // complete; one session with one track
	d.reply(t, b)
}

// Formats of READ DVD STRUCTURE and the room that they take.
var dvdFormats = map[byte]uint16{0: 2052, 1: 8, 3: 192, 4: 2052}

const dvdCapabilities = 0xff

func (d *Unit) readDVDStructure(t *Task) {
	format := t.CDB[7]
	n, known := dvdFormats[format]
	switch {
	case t.CDB[1]&0xf != 0:
		d.fail(t, senseBadField)
		return
	case format == dvdCapabilities:
		b := d.room(4)
		for _, f := range []byte{0, 1, 3, 4} {
			b = binary.BigEndian.AppendUint16(append(b, f, 0x40), dvdFormats[f])
		}
		binary.BigEndian.PutUint16(b, uint16(len(b)-2))
		d.reply(t, b)
		return
	case d.profile() != profileDVD:
		d.fail(t, senseBadFormat)
		return
	case !known || format == 3 || format == 0 && t.CDB[6] != 0:
		d.fail(t, senseBadField)
		return
	}
	b := d.room(int(n))
	binary.BigEndian.PutUint16(b, n-2)
	if format == 0 {
		copy(b[4:], []byte{1, 0x0f, 1, 0}) // DVD-ROM of 120 mm with one layer
		end := uint32(d.blocks() - 1)
		binary.BigEndian.PutUint32(b[12:], end)
		binary.BigEndian.PutUint32(b[16:], end)
	}
	d.reply(t, b)
}

func (d *Unit) mechanismStatus(t *Task) {
	b := d.room(8)
	b[5] = 1
	d.reply(t, b)
}
