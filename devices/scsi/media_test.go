package scsi_test

import (
	"testing"

	"hv/devices/scsi"
	"hv/devices/scsi/scsitest"
)

// senseOf tries whether a unit is ready.
func (h *host) ready(u *scsi.Unit) scsi.Sense { return h.at(u, "000000000000", nil, 0).Sense }

// media returns the event and the state that a drive tells of.
func (h *host) media(u *scsi.Unit) [2]byte {
	b := data(h.at(u, "4a010000100000000800", nil, 8))
	return [2]byte{b[4], b[5]}
}

var (
	noMedium   = scsi.Sense{Key: 2, ASC: 0x3a}
	mediumGone = scsi.Sense{Key: 6, ASC: 0x3a}
	newMedium  = scsi.Sense{Key: 6, ASC: 0x28}
	none       = scsi.Sense{}
)

// TestChangeMedium exchanges the medium as somebody at the drive does.
func TestChangeMedium(t *testing.T) {
	h := newHost(t)
	old, fresh := scsitest.New(64<<10), scsitest.New(128<<10)
	old.Data[0], fresh.Data[0] = 1, 2
	u := h.cd(old, scsi.Hooks{})
	first := func() byte { return data(h.at(u, "28000000000000000100", nil, 2048))[0] }
	if first() != 1 || h.media(u) != [2]byte{0, 2} {
		t.Error("the old medium is not there")
	}
	u.SetTray(true)
	if s := u.Tray(); !s.Open || s.Empty || s.Locked {
		t.Errorf("open: %+v", s)
	}
	if s := h.ready(u); s != mediumGone {
		t.Errorf("open, first: %+v", s)
	}
	if s := h.ready(u); s != noMedium {
		t.Errorf("open: %+v", s)
	}
	if h.media(u) != [2]byte{0, 1} {
		t.Error("the event says that the tray is closed")
	}
	if err := u.SetMedium(nil); err != nil || !u.Tray().Empty {
		t.Errorf("empty: %v, %+v", err, u.Tray())
	}
	if err := u.SetMedium(fresh); err != nil {
		t.Error(err)
	}
	u.SetTray(false)
	for i, want := range []scsi.Sense{mediumGone, newMedium, none} {
		if s := h.ready(u); s != want {
			t.Errorf("closed, %d: %+v", i, s)
		}
	}
	if h.media(u) != [2]byte{2, 2} || h.media(u) != [2]byte{0, 2} {
		t.Error("no event of the new medium, or two")
	}
	if first() != 2 {
		t.Error("it is the old medium")
	}
	if got := data(h.at(u, "25000000000000000000", nil, 8)); be.Uint32(got) != 63 || be.Uint32(got[4:]) != 2048 {
		t.Errorf("capacity: %x", got)
	}
	h.bus.Pause()
	if err := u.SetMedium(old); err != nil {
		t.Error(err)
	}
	h.bus.Resume()
	if first() != 1 {
		t.Error("a medium that came while the machine stood still is not there")
	}
	if old.Lifts == 0 || old.Lifts != old.Drops || fresh.Lifts == 0 || fresh.Lifts != fresh.Drops {
		t.Errorf("limits lifted %d and %d times, %d and %d of them taken back", old.Lifts, fresh.Lifts, old.Drops, fresh.Drops)
	}
}

// TestGuestEjects opens and closes the tray as the guest does.
func TestGuestEjects(t *testing.T) {
	h := newHost(t)
	var moved []bool
	u := h.cd(scsitest.New(64<<10), scsi.Hooks{Moved: func(open bool) { moved = append(moved, open) }})
	ok(t, "lock", h.at(u, "1e0000000100", nil, 0))
	if !u.Tray().Locked {
		t.Error("it is not locked")
	}
	if got := data(h.at(u, "1a002a001800", nil, 24)); got[4+2+4]&2 == 0 {
		t.Errorf("capabilities: %x", got)
	}
	if got := h.at(u, "1b0000000200", nil, 0); got.Sense != (scsi.Sense{Key: 5, ASC: 0x53, ASCQ: 2}) {
		t.Errorf("eject when locked: %+v", got.Sense)
	}
	u.RequestEject(false)
	if h.media(u) != [2]byte{1, 2} || h.media(u) != [2]byte{0, 2} {
		t.Error("no event of the request, or two")
	}
	ok(t, "unlock", h.at(u, "1e0000000000", nil, 0))
	ok(t, "eject", h.at(u, "1b0000000200", nil, 0))
	ok(t, "eject again", h.at(u, "1b0000000200", nil, 0))
	if !u.Tray().Open || h.ready(u) != noMedium {
		t.Error("it is closed")
	}
	ok(t, "load", h.at(u, "1b0000000300", nil, 0))
	ok(t, "sleep", h.at(u, "1b0000003200", nil, 0))
	if u.Tray().Open || h.ready(u) != none {
		t.Error("it is open")
	}
	if len(moved) != 2 || !moved[0] || moved[1] {
		t.Errorf("the owner was told %v", moved)
	}
	ok(t, "lock", h.at(u, "1e0000000100", nil, 0))
	u.RequestEject(true)
	if u.Tray().Locked {
		t.Error("force did not unlock it")
	}
	ok(t, "lock", h.at(u, "1e0000000100", nil, 0))
	if err := u.SetMedium(nil); err != nil {
		t.Error(err)
	}
	if got := h.at(u, "1b0000000200", nil, 0); got.Sense != (scsi.Sense{Key: 2, ASC: 0x53, ASCQ: 2}) {
		t.Errorf("eject an empty one: %+v", got.Sense)
	}
	h.bus.ResetTarget(u.Address().Target)
	if s := u.Tray(); s.Open || s.Locked {
		t.Errorf("after a reset: %+v", s)
	}
	disk := h.disk(scsitest.New(4096))
	ok(t, "stop a disk", h.at(disk, "1b0000000200", nil, 0))
	if disk.Tray().Open || disk.Removable() {
		t.Error("a disk has a tray")
	}
}

// TestDisc reads what drives know of discs.
func TestDisc(t *testing.T) {
	h := newHost(t)
	cd := h.cd(scsitest.New(64<<10), scsi.Hooks{})
	for cdb, want := range map[string]string{
		"43000000000000032400":          "\x00\x12\x01\x01\x00\x14\x01\x00\x00\x00\x00\x00\x00\x16\xaa\x00\x00\x00\x00\x20",
		"43020000000000032400":          "\x00\x12\x01\x01\x00\x14\x01\x00\x00\x00\x02\x00\x00\x16\xaa\x00\x00\x00\x02\x20",
		"430000000000aa032400":          "\x00\x0a\x01\x01\x00\x16\xaa\x00\x00\x00\x00\x20",
		"43000100000000032400":          "\x00\x0a\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00",
		"51000000000000002200":          "\x00\x20\x0e\x01\x01\x01\x01\x20",
		"bd0000000000000000080000":      "\x00\x00\x00\x00\x00\x01\x00\x00",
		"ad00000000000" + "0ff04000000": "\x00\x12\x00\x00",
		"46000000000000001000":          "\x00\x00\x00\x24\x00\x00\x00\x08\x00\x00\x03\x08\x00\x10\x00\x00",
		"4a010000010000000800":          "\x00\x00\x80\x10",
	} {
		got := data(ok(t, cdb, h.at(cd, cdb, nil, 2048)))
		if len(got) < len(want) || string(got[:len(want)]) != want {
			t.Errorf("%s: %x", cdb, got)
		}
	}
	raw := data(ok(t, "raw TOC", h.at(cd, "43000200000000032400", nil, 2048)))
	if len(raw) != 4+4*11 || int(be.Uint16(raw))+2 != len(raw) {
		t.Errorf("raw TOC: %x", raw)
	}
	for cdb, asc := range map[string]byte{
		"43000000000005032400": 0x24, "43000900000000032400": 0x24, "51010000000000002200": 0x24, "4a000000100000000800": 0x24, "ad0000000000000004000000": 0x30,
		"2a000000000000000000": 0x27, "42000000000000001800": 0x20,
	} {
		if got := h.at(cd, cdb, nil, 2048); got.Sense.ASC != asc {
			t.Errorf("%s: %+v", cdb, got.Sense)
		}
	}
	dvd := h.cd(scsitest.New(800<<20), scsi.Hooks{})
	if got := data(h.at(dvd, "46000000000000000800", nil, 8)); got[7] != 0x10 {
		t.Errorf("profile: %x", got)
	}
	if got := data(ok(t, "structure", h.at(dvd, "ad0000000000000008040000", nil, 2052))); len(got) != 2052 || be.Uint32(got[12:]) != 409599 {
		t.Errorf("structure: %d bytes, %x", len(got), got[:24])
	}
	for _, cdb := range []string{"ad0000000000000308040000", "ad0000000000010008040000", "ad0100000000000008040000", "ad0000000000000908040000"} {
		if got := h.at(dvd, cdb, nil, 2052); got.Sense.ASC != 0x24 {
			t.Errorf("%s: %+v", cdb, got.Sense)
		}
	}
}
