package boot

import (
	"bytes"
	"strings"
	"testing"
)

func TestPVHLoad(t *testing.T) {
	for _, class := range []byte{elfClass32, elfClass64} {
		img, err := OpenBytes("k", goodELF(class))
		if err != nil {
			t.Fatal(err)
		}
		m, b := ram(t, 16*mib)
		initrd := payload(3000)
		p := Params{
			Memory: m, LowTop: 15 * mib, Initrd: bytes.NewReader(initrd), InitrdSize: 3000, Cmdline: "print=hi", RSDP: 0xe0000,
			E820: BuildE820(m.Regions()),
		}
		e, err := img.Load(p)
		if err != nil {
			t.Fatal(err)
		}
		want := Entry{Mode: Protected32, RIP: 2*mib + 16, RSP: stackTop, RBX: startInfoAddr, GDTBase: gdtAddr, GDTLimit: 31}
		if e != want {
			t.Errorf("entry %+v, not %+v", e, want)
		}
		if !bytes.Equal(b[2*mib:2*mib+pageSize], payload(pageSize)) || !bytes.Equal(b[4*mib:4*mib+100], payload(100)) {
			t.Error("segments are not in place")
		}
		if code := le.Uint64(b[gdtAddr+16:]); code != descCode32 {
			t.Errorf("code segment is %#x", code)
		}
		checkStartInfo(t, b, p)
	}
}

func checkStartInfo(t *testing.T, b []byte, p Params) {
	t.Helper()
	s := b[startInfoAddr:]
	if le.Uint32(s) != startMagic || le.Uint32(s[4:]) != 1 || le.Uint32(s[8:]) != 0 || le.Uint32(s[12:]) != 1 {
		t.Errorf("start info begins with %x", s[:16])
	}
	cmdline, rsdp := le.Uint64(s[24:]), le.Uint64(s[32:])
	if !strings.HasPrefix(string(b[cmdline:]), p.Cmdline+"\x00") || rsdp != p.RSDP {
		t.Errorf("command line at %#x, RSDP at %#x", cmdline, rsdp)
	}
	mod := b[le.Uint64(s[16:]):]
	addr, size := le.Uint64(mod), le.Uint64(mod[8:])
	if addr != 15*mib-pageSize || size != 3000 || !bytes.Equal(b[addr:addr+size], payload(3000)) || le.Uint64(mod[16:]) != 0 {
		t.Errorf("module at %#x of %d bytes", addr, size)
	}
	memmap, n := b[le.Uint64(s[40:]):], int(le.Uint32(s[48:]))
	if n != len(p.E820) || le.Uint32(s[52:]) != 0 {
		t.Fatalf("memory map has %d entries", n)
	}
	for i, e := range p.E820 {
		x := memmap[24*i:]
		if got := (E820Entry{le.Uint64(x), le.Uint64(x[8:]), E820Type(le.Uint64(x[16:]))}); got != e {
			t.Errorf("entry %d is %+v, not %+v", i, got, e)
		}
	}
}

// TestReload is a reset: memory is full of what the guest left.
func TestReload(t *testing.T) {
	img, err := OpenBytes("k", goodELF(elfClass64))
	if err != nil {
		t.Fatal(err)
	}
	m, b := ram(t, 8*mib)
	for range 2 {
		if _, err := img.Load(Params{Memory: m}); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(b[2*mib+pageSize:2*mib+3*pageSize], make([]byte, 2*pageSize)) {
			t.Error("memory after a segment's data is not clear")
		}
		if le.Uint32(b[startInfoAddr+offStartModules:]) != 0 || le.Uint64(b[startInfoAddr+offStartModlist:]) != 0 {
			t.Error("there is a module")
		}
		copy(b, bytes.Repeat([]byte{0x5a}, len(b)))
	}
}

func TestNotes(t *testing.T) {
	entry := le.AppendUint32(nil, 2*mib)
	wide := le.AppendUint64(nil, 2*mib)
	other := note("GNU\x00", 3, []byte("build-id"), 4)
	for _, c := range []struct {
		name  string
		notes []byte
		good  bool
	}{
		{"alone", pvhNote(2 * mib), true},
		{"after others", append(append(other, note("Xen\x00", 6, []byte("linux\x00"), 4)...), pvhNote(2*mib)...), true},
		{"of 8 bytes", note(xenNoteName, xenPhys32Entry, wide, 4), true},
		{"of no bytes", note(xenNoteName, xenPhys32Entry, nil, 4), false},
		{"of another name", note("Yen\x00", xenPhys32Entry, entry, 4), false},
		{"of another type", note(xenNoteName, 17, entry, 4), false},
		{"cut short", pvhNote(2 * mib)[:18], false},
		{"empty", []byte{}, false},
		{"of huge lengths", []byte("\xff\xff\xff\xff\xff\xff\xff\xff\x12\x00\x00\x00Xen\x00"), false},
	} {
		_, err := OpenBytes("k", synthELF(elfClass64, c.notes, program{2 * mib, pageSize, payload(100)}))
		if (err == nil) != c.good || err != nil && !strings.Contains(err.Error(), "PVH") {
			t.Errorf("note %s: %v", c.name, err)
		}
	}
}

func TestNotesAlignedTo8(t *testing.T) {
	notes := append(note("GNU\x00", 5, make([]byte, 12), 8), note(xenNoteName, xenPhys32Entry, le.AppendUint32(nil, 7), 8)...)
	if entry, ok := pvhEntry(notes, 8); !ok || entry != 7 {
		t.Errorf("entry %#x, %v", entry, ok)
	}
}

func TestELFErrors(t *testing.T) {
	one := program{2 * mib, pageSize, payload(100)}
	for _, c := range []struct {
		name string
		data []byte
		want string
	}{
		{"header cut short", goodELF(elfClass64)[:40], "cut short"},
		{"table cut short", goodELF(elfClass64)[:80], "outside"},
		{"segment cut short", synthELF(elfClass64, nil, one)[:150], "not in the file"},
		{"no note", synthELF(elfClass64, nil, one), "CONFIG_PVH"},
		{"no segments", synthELF(elfClass64, pvhNote(2*mib)), "no segment"},
		{"low segment", synthELF(elfClass64, pvhNote(mib/2), program{mib / 2, pageSize, nil}), "1 MiB"},
		{"high segment", synthELF(elfClass64, pvhNote(2*mib), program{limit32, pageSize, nil}), "4 GiB"},
		{"wrapping segment", synthELF(elfClass64, pvhNote(2*mib), program{2 * mib, ^uint64(0), nil}), "4 GiB"},
		{"more data than memory", synthELF(elfClass64, pvhNote(2*mib), program{2 * mib, 10, payload(11)}), "not in the file"},
		{"entry elsewhere", synthELF(elfClass64, pvhNote(3*mib), one), "no segment"},
		{"wrong machine", spoil(18, 40), "machine 40"},
		{"big endian", spoil(5, 2), "machine"},
		{"class", spoil(4, 3), "class 3"},
		{"header size", spoil(54, 32), "program headers"},
		{"no headers", spoil(56, 0), "program headers"},
		{"many headers", spoil(56, phdrMax+1), "program headers"},
	} {
		_, err := OpenBytes("k", c.data)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

// spoil returns a good ELF file with one byte changed.
func spoil(off int, v byte) []byte {
	b := goodELF(elfClass64)
	b[off] = v
	return b
}

func TestPVHDoesNotFit(t *testing.T) {
	img, err := OpenBytes("k", goodELF(elfClass64))
	if err != nil {
		t.Fatal(err)
	}
	m, _ := ram(t, 8*mib)
	for _, p := range []Params{
		{Memory: m, LowTop: 3 * mib},
		{Memory: m, LowTop: mib},
		{Memory: m, Initrd: strings.NewReader(""), InitrdSize: 8 * mib},
		{Memory: m, Cmdline: strings.Repeat("x", cmdlineMax+1)},
	} {
		if _, err := img.Load(p); err == nil || !strings.Contains(err.Error(), "load kernel k") {
			t.Errorf("%+v: %v", p, err)
		}
	}
}
