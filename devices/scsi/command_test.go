package scsi_test

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"hv/devices/qdev"
	"hv/devices/scsi"
	"hv/devices/scsi/scsitest"
)

// ok fails the test unless a task was carried out.
func ok(t *testing.T, what string, task *scsi.Task) *scsi.Task {
	t.Helper()
	if task.Outcome != scsi.Done || task.Status != scsi.Good {
		t.Fatalf("%s: outcome %d, status %#x, %+v", what, task.Outcome, task.Status, task.Sense)
	}
	return task
}

func TestIdentity(t *testing.T) {
	h := newHost(t)
	u := h.disk(scsitest.New(1<<20), func(c *scsi.DiskConfig) {
		c.Serial, c.WWN, c.PortWWN, c.PortIndex, c.DeviceID, c.Rotation, c.Version = "s-1", 0x5000c50015ea71ac, 0x5000c50015ea71ad, 3, "drive0", 7200, "2.5+"
		c.MinIO, c.OptIO, c.PhysicalBlock = 4096, 65536, 4096
	})
	for cdb, want := range map[string]string{
		"120000002400":      "\x00\x00\x05\x12\x1f\x00\x00\x12QEMU    QEMU HARDDISK   2.5+",
		"120100002400":      "\x00\x00\x00\x06\x00\x80\x83\xb0\xb1\xb2",
		"120180002400":      "\x00\x80\x00\x03s-1",
		"12018300ff00":      "\x00\x83\x00\x2a\x02\x00\x00\x06drive0\x01\x03\x00\x08\x50\x00\xc5\x00\x15\xea\x71\xac\x61\x93\x00\x08\x50\x00\xc5\x00\x15\xea\x71\xad\x61\x94\x00\x04\x00\x00\x00\x03",
		"1201b1000600":      "\x00\xb1\x00\x3c\x1c\x20",
		"1201b200ff00":      "\x00\xb2\x00\x04\x00\xe0\x02\x00",
		"1201b0001000":      "\x00\xb0\x00\x3c\x01\x00\x00\x08\x00\x3f\xff\xff\x00\x00\x00\x80",
		"12000000" + "0500": "\x00\x00\x05\x12\x1f",
	} {
		if got := data(ok(t, cdb, h.at(u, cdb, nil, 255))); string(got) != want {
			t.Errorf("%s: %x, not %x", cdb, got, want)
		}
	}
	for _, cdb := range []string{"1201b3002400", "120001002400"} {
		if got := h.at(u, cdb, nil, 255); got.Sense.ASC != 0x24 {
			t.Errorf("%s: %+v", cdb, got.Sense)
		}
	}
	cd := h.cd(nil, scsi.Hooks{})
	if got := data(h.at(cd, "120000002400", nil, 36)); got[0] != 5 || got[1] != 0x80 || string(got[16:32]) != "QEMU CD-ROM     " {
		t.Errorf("CD drive: %q", got)
	}
	if got := h.at(cd, "1201b0002400", nil, 255); got.Sense.ASC != 0x24 {
		t.Errorf("limits of a CD drive: %+v", got.Sense)
	}
}

func TestReadWrite(t *testing.T) {
	h := newHost(t)
	m := scsitest.New(1 << 20)
	u := h.disk(m)
	rng := rand.New(rand.NewPCG(1, 2))
	block := func(n int) []byte {
		b := make([]byte, n*512)
		for i := range b {
			b[i] = byte(rng.Uint32())
		}
		return b
	}
	for i, x := range []struct{ write, read string }{
		{"0a0000100100", "080000100100"}, {"2a000000001000000200", "28000000001000000200"}, {"aa0000000020000000030000", "a80000000020000000030000"},
		{"8a000000000000000030000000040000", "88000000000000000030000000040000"}, {"2e000000004000000100", "28080000004000000100"},
		{"ae0000000040000000010000", "a80800000040000000010000"}, {"8e000000000000000050000000010000", "88080000000000000050000000010000"},
	} {
		n := map[int]int{1: 2, 2: 3, 3: 4}[i]
		want := block(max(n, 1))
		if got := ok(t, x.write, h.at(u, x.write, want, 0)); got.Moved != uint32(len(want)) {
			t.Errorf("%s moved %d", x.write, got.Moved)
		}
		// More room than data.
		if got := data(ok(t, x.read, h.at(u, x.read, nil, len(want)+100))); !bytes.Equal(got, want) {
			t.Errorf("%s reads something else", x.read)
		}
	}
	if m.Ops[scsitest.Flush] != 6 {
		t.Errorf("%d flushes for what is to be durable", m.Ops[scsitest.Flush])
	}
	// Six bytes: no blocks are 256.
	all := block(256)
	ok(t, "WRITE 6", h.at(u, "0a0000000000", all, 0))
	if !bytes.Equal(m.Data[:len(all)], all) {
		t.Error("WRITE 6 of 256 blocks wrote something else")
	}
	ok(t, "nothing", h.at(u, "2a000000080000000000", nil, 0)) // at the end, which is allowed
	for cdb, asc := range map[string]byte{
		"2800000007ff00000200": 0x21, "28000000080100000000": 0x21, "88008000000000000000000000010000": 0x21, "88ffffffffffffffffff000000010000": 0x24,
		"28200000000000000100": 0x24, "2b000000080000000000": 0x21, "2f000000080000000100": 0x21, "2f020000000000000100": 0x24, "d00000000000": 0x20, "00": 0x20,
	} {
		if got := h.at(u, cdb, nil, 4096); got.Sense.ASC != asc {
			t.Errorf("%s: %+v", cdb, got.Sense)
		}
	}
	if got := h.at(u, "28000000000000000200", nil, 512); got.Outcome != scsi.Overrun {
		t.Errorf("without room: %d", got.Outcome)
	}
	if got := h.at(u, "2a000000000000000100", nil, 512); got.Outcome != scsi.Overrun {
		t.Errorf("in the wrong direction: %d", got.Outcome)
	}
	for _, cdb := range []string{"35000000000000000000", "91000000000000000000000000000000", "2f000000000000000100", "2b000000000100000000"} {
		ok(t, cdb, h.at(u, cdb, nil, 0))
	}
}

func TestWriteProtected(t *testing.T) {
	h := newHost(t)
	m := scsitest.New(1 << 20)
	m.Protected = true
	u := h.disk(m)
	for cdb, out := range map[string]int{"2a000000000000000100": 512, "42000000000000001800": 24, "41000000000000000100": 512} {
		b := make([]byte, out)
		b[1], b[3] = 22, 16
		if got := h.at(u, cdb, b, 0); got.Sense.ASC != 0x27 {
			t.Errorf("%s: %+v", cdb, got.Sense)
		}
	}
	if got := data(ok(t, "modes", h.at(u, "1a0008001800", nil, 24))); got[2] != 0x80 {
		t.Errorf("modes: %x", got)
	}
}

func TestUnmap(t *testing.T) {
	h := newHost(t)
	m := scsitest.New(1 << 20)
	for i := range m.Data {
		m.Data[i] = 0xaa
	}
	u := h.disk(m)
	p := make([]byte, 8+48)
	be.PutUint16(p, 54)
	be.PutUint16(p[2:], 48)
	put := func(i int, lba uint64, n uint32) {
		be.PutUint64(p[8+16*i:], lba)
		be.PutUint32(p[16+16*i:], n)
	}
	put(0, 8, 8)
	put(1, 100, 0)
	put(2, 32, 16)
	ok(t, "UNMAP", h.at(u, "42000000000000003800", p, 0))
	for lba, want := range map[int]byte{7: 0xaa, 8: 0, 15: 0, 16: 0xaa, 32: 0, 47: 0, 48: 0xaa, 100: 0xaa} {
		if m.Data[lba*512] != want {
			t.Errorf("block %d has %#x", lba, m.Data[lba*512])
		}
	}
	if m.Ops[scsitest.Discard] != 2 {
		t.Errorf("%d discards", m.Ops[scsitest.Discard])
	}
	put(2, 2047, 2)
	if got := h.at(u, "42000000000000003800", p, 0); got.Sense.ASC != 0x21 {
		t.Errorf("beyond the end: %+v", got.Sense)
	}
	if got := h.at(u, "42010000000000003800", p, 0); got.Sense.ASC != 0x24 {
		t.Errorf("ANCHOR: %+v", got.Sense)
	}
	be.PutUint16(p[2:], 49)
	if got := h.at(u, "42000000000000003800", p, 0); got.Sense.ASC != 0x1a {
		t.Errorf("half a range: %+v", got.Sense)
	}
	if got := h.at(u, "42000000000000000400", p[:4], 0); got.Sense.ASC != 0x1a {
		t.Errorf("half a header: %+v", got.Sense)
	}
	ok(t, "nothing", h.at(u, "42000000000000000000", nil, 0))
}

func TestWriteSame(t *testing.T) {
	h := newHost(t)
	m := scsitest.New(1 << 20)
	u := h.disk(m)
	pattern := bytes.Repeat([]byte{1, 2, 3, 4}, 128)
	ok(t, "WRITE SAME", h.at(u, "41000000000400030000", pattern, 0)) // 768 blocks, three requests
	if want := bytes.Repeat(pattern, 768); !bytes.Equal(m.Data[4*512:772*512], want) || m.Data[3*512+511] != 0 || m.Data[772*512] != 0 {
		t.Error("WRITE SAME wrote something else")
	}
	if m.Ops[scsitest.Write] != 3 {
		t.Errorf("%d writes", m.Ops[scsitest.Write])
	}
	ok(t, "of zeroes", h.at(u, "93000000000000000005000000010000", make([]byte, 512), 0))
	ok(t, "without data", h.at(u, "93090000000000000006000000020000", nil, 0))
	if m.Ops[scsitest.WriteZeroes] != 1 || m.Ops[scsitest.WriteZeroesUnmap] != 1 || m.Data[5*512] != 0 || m.Data[7*512] != 0 || m.Data[8*512] != 1 {
		t.Errorf("zeroes: %v", m.Ops)
	}
	for cdb, asc := range map[string]byte{
		"41000000000000000000": 0x24, "41100000000000000100": 0x24, "41010000000000000100": 0x24, "41040000000000000100": 0x24, "4100000007ff00000200": 0x21,
	} {
		if got := h.at(u, cdb, pattern, 0); got.Sense.ASC != asc {
			t.Errorf("%s: %+v", cdb, got.Sense)
		}
	}
}

func TestCapacity(t *testing.T) {
	h := newHost(t)
	m := scsitest.New(1 << 20)
	u := h.disk(m, func(c *scsi.DiskConfig) { c.LogicalBlock, c.PhysicalBlock = 512, 4096 })
	if got := data(ok(t, "10", h.at(u, "25000000000000000000", nil, 8))); be.Uint32(got) != 2047 || be.Uint32(got[4:]) != 512 {
		t.Errorf("READ CAPACITY 10: %x", got)
	}
	got := data(ok(t, "16", h.at(u, "9e100000000000000000000000200000", nil, 32)))
	if be.Uint64(got) != 2047 || be.Uint32(got[8:]) != 512 || got[13] != 3 || got[14] != 0x80 || len(got) != 32 {
		t.Errorf("READ CAPACITY 16: %x", got)
	}
	if got := h.at(u, "9e1f0000000000000000000000200000", nil, 32); got.Sense.ASC != 0x20 {
		t.Errorf("another action: %+v", got.Sense)
	}
	if got := h.at(u, "25000000000100000000", nil, 8); got.Sense.ASC != 0x24 {
		t.Errorf("of a block: %+v", got.Sense)
	}
	m.Lock()
	m.Data = make([]byte, 2<<20)
	m.Unlock()
	u.Resized()
	if s := <-h.changes; s.ASC != 0x2a || s.ASCQ != 9 {
		t.Errorf("the adapter hears %+v", s)
	}
	if s := h.at(u, "28000000080000000100", nil, 512).Sense; s != (scsi.Sense{Key: 6, ASC: 0x2a, ASCQ: 9}) {
		t.Errorf("the driver hears %+v", s)
	}
	ok(t, "beyond the old end", h.at(u, "28000000080000000100", nil, 512))
	empty := h.disk(scsitest.New(0))
	if got := h.at(empty, "25000000000000000000", nil, 8); got.Sense.Key != 2 {
		t.Errorf("nothing: %+v", got.Sense)
	}
}

func TestModes(t *testing.T) {
	h := newHost(t)
	m := scsitest.New(1 << 20)
	u := h.disk(m, func(c *scsi.DiskConfig) { c.DPOFUA = true })
	got := data(ok(t, "all", h.at(u, "1a003f00ff00", nil, 255)))
	want := "\x2b\x00\x10\x08\x00\x00\x08\x00\x00\x00\x02\x00\x01\x0a\x80"
	if string(got[:15]) != want || int(got[0])+1 != len(got) || got[24] != 8 || got[26] != 4 {
		t.Errorf("all pages: %x", got)
	}
	got = data(ok(t, "10", h.at(u, "5a080800000000001000", nil, 16)))
	if len(got) != 16 || be.Uint16(got) != 26 || got[8] != 8 || got[10] != 4 {
		t.Errorf("the caching page: %x", got)
	}
	for cdb, asc := range map[string]byte{"1a00c800ff00": 0x39, "1a001c00ff00": 0x24, "1a002a00ff00": 0x24} {
		if got := h.at(u, cdb, nil, 255); got.Sense.ASC != asc {
			t.Errorf("%s: %+v", cdb, got.Sense)
		}
	}
	off := append([]byte{0, 0, 0, 0, 8, 18}, make([]byte, 18)...)
	ok(t, "MODE SELECT", h.at(u, "151000001800", off, 0))
	before := m.Ops[scsitest.Flush]
	ok(t, "a write", h.at(u, "2a000000000000000100", make([]byte, 512), 0))
	if m.Ops[scsitest.Flush] != before+1 {
		t.Error("a write without a cache is not durable")
	}
	if got := data(h.at(u, "1a0808001800", nil, 24)); got[6] != 0 {
		t.Errorf("the cache is still there: %x", got)
	}
	on10 := append([]byte{7: 8, 15: 0, 14: 2, 16: 8, 17: 18, 18: 4}, make([]byte, 17)...)
	ok(t, "MODE SELECT 10", h.at(u, "55100000000000002400", on10, 0))
	if got := data(h.at(u, "1a0808001800", nil, 24)); got[6] != 4 {
		t.Errorf("the cache is not there again: %x", got)
	}
	for name, x := range map[string]struct {
		cdb string
		p   []byte
		asc byte
	}{
		"saved":           {"151100001800", off, 0x24},
		"an old format":   {"150000001800", off, 0x24},
		"a short header":  {"151000000300", off[:3], 0x1a},
		"a short page":    {"151000001600", off[:22], 0x1a},
		"another page":    {"151000000800", []byte{0, 0, 0, 0, 0x1c, 2, 0, 0}, 0x26},
		"a fixed bit":     {"151000001800", append(bytes.Clone(off[:7]), bytes.Repeat([]byte{1}, 17)...), 0x26},
		"other blocks":    {"151000000c00", []byte{3: 8, 10: 16, 11: 0}, 0x26},
		"a bad subpage":   {"151000000800", []byte{0, 0, 0, 0, 0x48, 1, 0, 0}, 0x26},
		"long descriptor": {"151000000c00", []byte{3: 7, 11: 0}, 0x26},
	} {
		if got := h.at(u, x.cdb, x.p, 0); got.Sense.ASC != x.asc {
			t.Errorf("%s: %+v", name, got.Sense)
		}
	}
	through := h.disk(scsitest.New(1<<20), func(c *scsi.DiskConfig) { c.WriteCache = qdev.OnOffAuto("off") })
	if got := data(h.at(through, "1a0808001800", nil, 24)); got[6] != 0 {
		t.Errorf("write-cache=off: %x", got)
	}
}

// TestOpcodes asks for the commands, and for each one whether it is there.
func TestOpcodes(t *testing.T) {
	h := newHost(t)
	for name, u := range map[string]*scsi.Unit{"disk": h.disk(scsitest.New(1 << 20)), "CD": h.cd(nil, scsi.Hooks{})} {
		all := data(ok(t, name, h.at(u, "a30c00000000000020000000", nil, 8192)))
		n := int(be.Uint32(all)) / 8
		if n < 20 || len(all) != 4+8*n {
			t.Fatalf("%s: %d commands, %x", name, n, all)
		}
		for e := all[4:]; len(e) > 0; e = e[8:] {
			cdb := hex(t, "a30c03000000000002000000")
			cdb[3], cdb[5] = e[0], e[3]
			a := u.Address()
			got := data(ok(t, name, h.run(a.Target, a.LUN, cdb, nil, 512)))
			if got[1] != 3 || int(be.Uint16(got[2:])) != int(e[7]) || len(got) != 4+int(e[7]) || got[4] != e[0] {
				t.Errorf("%s: command %#x: %x", name, e[0], got)
			}
		}
	}
	u := h.disk(scsitest.New(1 << 20))
	for cdb, want := range map[string]byte{"a30c01420000000002000000": 3, "a30c01460000000002000000": 1, "a30c029e0010000002000000": 3, "a30c029e0011000002000000": 1} {
		if got := data(ok(t, cdb, h.at(u, cdb, nil, 512))); got[1] != want {
			t.Errorf("%s: %x", cdb, got)
		}
	}
	for _, cdb := range []string{"a30c019e0000000002000000", "a30c02280000000002000000", "a30c04280000000002000000", "a30c80280000000002000000"} {
		if got := h.at(u, cdb, nil, 512); got.Sense.ASC != 0x24 {
			t.Errorf("%s: %+v", cdb, got.Sense)
		}
	}
}

// FuzzTask gives units whatever CDBs and data. What a unit reads or writes beside its
// medium, or with too little data, panics in the medium.
func FuzzTask(f *testing.F) {
	for _, s := range []string{"28000000001000000200", "42000000000000003800", "93090000000000000006000000020000", "151000001800", "a30c00000000000020000000", "12018300ff00", "43020200000000010000", "ad0000000000000000400000"} {
		f.Add([]byte(s), []byte("parameters"), uint16(512), false)
		f.Add(hex(f, s), make([]byte, 64), uint16(4096), true)
	}
	f.Fuzz(func(t *testing.T, cdb, out []byte, in uint16, cd bool) {
		if len(cdb) > 32 {
			return
		}
		h := newHost(t)
		m := scsitest.New(64 << 10)
		u := h.disk(m)
		if cd {
			u = h.cd(m, scsi.Hooks{})
		}
		a := u.Address()
		got := h.run(a.Target, a.LUN, cdb, out, int(in))
		if got.Outcome == scsi.Done && got.Status == scsi.Good && int(got.Moved) > max(len(out), int(in)) {
			t.Errorf("moved %d bytes", got.Moved)
		}
		if s := h.at(u, "000000000000", nil, 0).Sense; s.Key != 0 && s.Key != 2 {
			t.Errorf("afterwards: %+v", s)
		}
	})
}

func BenchmarkRead(b *testing.B) {
	h := newHost(b)
	u := h.disk(scsitest.New(1 << 20))
	task := newTask(u.Address().LUN, hex(b, "28000000001000000800"), nil, 4096)
	b.ReportAllocs()
	for b.Loop() {
		h.submit(0, task)
		<-h.done
	}
}
