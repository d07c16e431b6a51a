package boot

import (
	"bytes"
	"strings"
	"testing"
)

func bzLoad(t *testing.T, data []byte, p Params) (Entry, error) {
	t.Helper()
	img, err := OpenBytes("k", data)
	if err != nil {
		t.Fatal(err)
	}
	return img.Load(p)
}

func TestBzImageLoad(t *testing.T) {
	body, initrd := payload(100_001), payload(5000)
	m, b := ram(t, 64*mib)
	e820 := BuildE820(m.Regions(), E820Entry{Base: 60 * mib, Size: 4 * mib, Type: ACPI})
	e, err := bzLoad(t, synthBzImage(body), Params{
		Memory: m, LowTop: 60 * mib, Initrd: bytes.NewReader(initrd), InitrdSize: int64(len(initrd)),
		Cmdline: "console=ttyS0", RSDP: 0xf0000, E820: e820,
	})
	if err != nil {
		t.Fatal(err)
	}
	want := Entry{Mode: Long64, RIP: 16*mib + 0x200, RSP: stackTop, RSI: zeroPageAddr, CR3: pageTableAddr, GDTBase: gdtAddr, GDTLimit: 31}
	if e != want {
		t.Errorf("entry %+v, not %+v", e, want)
	}
	if !bytes.Equal(b[16*mib:16*mib+len(body)], body) || b[16*mib+len(body)] != 0xa5 {
		t.Error("kernel is not where it prefers to be, or more was read")
	}
	const at = 60*mib - 2*pageSize
	if !bytes.Equal(b[at:at+len(initrd)], initrd) {
		t.Error("initrd is not under the top of low RAM")
	}
	if !strings.HasPrefix(string(b[cmdlineAddr:]), "console=ttyS0\x00") {
		t.Error("command line is not in place")
	}
	checkZeroPage(t, b[zeroPageAddr:zeroPageAddr+pageSize], at, len(initrd), e820)
	checkPageTables(t, b)
}

func checkZeroPage(t *testing.T, z []byte, initrd, size int, e820 []E820Entry) {
	t.Helper()
	for _, c := range []struct {
		name      string
		got, want uint64
	}{
		{"boot_flag", uint64(le.Uint16(z[offBootFlag:])), bootFlag},
		{"version", uint64(le.Uint16(z[offVersion:])), 0x20f},
		{"type_of_loader", uint64(z[offTypeOfLoader]), 0xff},
		{"cmd_line_ptr", uint64(le.Uint32(z[offCmdLinePtr:])), cmdlineAddr},
		{"code32_start", uint64(le.Uint32(z[offCode32Start:])), 16 * mib},
		{"ramdisk_image", uint64(le.Uint32(z[offRamdiskImage:])), uint64(initrd)},
		{"ramdisk_size", uint64(le.Uint32(z[offRamdiskSize:])), uint64(size)},
		{"ext_ramdisk_image", uint64(le.Uint32(z[offExtRamdiskImage:])), 0},
		{"ext_cmd_line_ptr", uint64(le.Uint32(z[offExtCmdLinePtr:])), 0},
		{"acpi_rsdp_addr", le.Uint64(z[offACPIRSDP:]), 0xf0000},
		{"e820_entries", uint64(z[offE820Entries]), uint64(len(e820))},
		{"screen_info", le.Uint64(z), 0},
	} {
		if c.got != c.want {
			t.Errorf("%s is %#x, not %#x", c.name, c.got, c.want)
		}
	}
	for i, e := range e820 {
		p := z[offE820Table+20*i:]
		if got := (E820Entry{le.Uint64(p), le.Uint64(p[8:]), E820Type(le.Uint32(p[16:]))}); got != e {
			t.Errorf("e820 entry %d is %+v, not %+v", i, got, e)
		}
	}
}

// checkPageTables walks the tables for addresses of the first 4 GiB.
func checkPageTables(t *testing.T, b []byte) {
	t.Helper()
	for _, addr := range []uint64{0, zeroPageAddr, 16 * mib, 0x7fff_ffff, 0xfee0_0000, limit32 - 1} {
		table := uint64(pageTableAddr)
		for _, shift := range []int{39, 30} {
			entry := le.Uint64(b[table+8*(addr>>shift&511):])
			if entry&pteTable != pteTable {
				t.Fatalf("%#x: no table at bit %d", addr, shift)
			}
			table = entry &^ (pageSize - 1)
		}
		entry := le.Uint64(b[table+8*(addr>>21&511):])
		if got := entry&^(1<<21-1) | addr&(1<<21-1); got != addr || entry&pteLarge != pteLarge {
			t.Errorf("%#x is mapped to %#x by %#x", addr, got, entry)
		}
	}
	if le.Uint64(b[pageTableAddr+8:]) != 0 {
		t.Error("more than the first 512 GiB is mapped")
	}
	if code, data := le.Uint64(b[gdtAddr+16:]), le.Uint64(b[gdtAddr+24:]); code != descCode64 || data != descData {
		t.Errorf("GDT has %#x and %#x", code, data)
	}
}

func TestBzImageWithoutInitrd(t *testing.T) {
	m, b := ram(t, 32*mib)
	if _, err := bzLoad(t, synthBzImage(payload(4096)), Params{Memory: m}); err != nil {
		t.Fatal(err)
	}
	z := b[zeroPageAddr:]
	if le.Uint32(z[offRamdiskImage:]) != 0 || le.Uint32(z[offRamdiskSize:]) != 0 {
		t.Error("there is a ramdisk")
	}
}

func TestBzImageInLittleRAM(t *testing.T) {
	data := synthBzImage(payload(4096))
	m, b := ram(t, 12*mib) // not up to pref_address
	e, err := bzLoad(t, data, Params{Memory: m})
	if err != nil {
		t.Fatal(err)
	}
	if e.RIP != 2*mib+0x200 || b[2*mib+1] != 7 || le.Uint32(b[zeroPageAddr+offCode32Start:]) != 2*mib {
		t.Errorf("entry is %#x", e.RIP)
	}
	m, _ = ram(t, 5*mib)
	if _, err := bzLoad(t, data, Params{Memory: m}); err == nil || !strings.Contains(err.Error(), "more memory") {
		t.Errorf("5 MiB: %v", err)
	}
	data[offRelocatable] = 0
	m, _ = ram(t, 12*mib)
	if _, err := bzLoad(t, data, Params{Memory: m}); err == nil {
		t.Error("a kernel that cannot move was moved")
	}
}

func TestInitrdPlacement(t *testing.T) {
	for _, c := range []struct {
		name      string
		max       uint32
		size      int
		lowTop    uint64
		want      uint32
		wantError string
	}{
		{"at the top", 0x7fff_ffff, pageSize, 0, 32*mib - pageSize, ""},
		{"under the tables", 0x7fff_ffff, 1, 31 * mib, 31*mib - pageSize, ""},
		{"under initrd_addr_max", 24*mib - 1, pageSize + 1, 0, 24*mib - 2*pageSize, ""},
		{"fills what is left", 0x7fff_ffff, 12 * mib, 0, 20 * mib, ""},
		{"too big", 0x7fff_ffff, 12*mib + 1, 0, 0, "more memory"},
		{"bigger than RAM", 0x7fff_ffff, 40 * mib, 0, 0, "more memory"},
		{"limit under the kernel", 8 * mib, 4096, 0, 0, "does not fit"},
	} {
		data := synthBzImage(payload(4096))
		le.PutUint32(data[offInitrdAddrMax:], c.max)
		m, b := ram(t, 32*mib)
		_, err := bzLoad(t, data, Params{
			Memory: m, LowTop: c.lowTop, Initrd: bytes.NewReader(make([]byte, c.size)), InitrdSize: int64(c.size),
		})
		switch {
		case c.wantError != "":
			if err == nil || !strings.Contains(err.Error(), c.wantError) {
				t.Errorf("%s: error %v", c.name, err)
			}
		case err != nil:
			t.Errorf("%s: %v", c.name, err)
		default:
			if got := le.Uint32(b[zeroPageAddr+offRamdiskImage:]); got != c.want {
				t.Errorf("%s: initrd at %#x, not %#x", c.name, got, c.want)
			}
		}
	}
}

func TestInitrdIsCutShort(t *testing.T) {
	m, _ := ram(t, 32*mib)
	_, err := bzLoad(t, synthBzImage(payload(4096)), Params{Memory: m, Initrd: strings.NewReader("short"), InitrdSize: 100})
	if err == nil || !strings.Contains(err.Error(), "initrd") {
		t.Errorf("error %v", err)
	}
	if _, err := bzLoad(t, synthBzImage(payload(4096)), Params{Memory: m, InitrdSize: -1}); err == nil {
		t.Error("a negative size is taken")
	}
}

func TestBzImageCmdlineLimit(t *testing.T) {
	data := synthBzImage(payload(4096))
	for n, good := range map[int]bool{0: true, 2047: true, 2048: false} {
		m, b := ram(t, 32*mib)
		_, err := bzLoad(t, data, Params{Memory: m, Cmdline: strings.Repeat("x", n)})
		if (err == nil) != good {
			t.Errorf("%d bytes: %v", n, err)
		}
		if good && b[cmdlineAddr+n] != 0 {
			t.Errorf("%d bytes: no NUL", n)
		}
	}
	le.PutUint32(data[offCmdlineSize:], 0xffff_ffff)
	m, _ := ram(t, 32*mib)
	if _, err := bzLoad(t, data, Params{Memory: m, Cmdline: strings.Repeat("x", cmdlineMax+1)}); err == nil {
		t.Error("a command line beyond its room is taken")
	}
	if _, err := bzLoad(t, data, Params{Memory: m, Cmdline: "a\x00b"}); err == nil {
		t.Error("a NUL is taken")
	}
}

func TestBzImageHeaderErrors(t *testing.T) {
	for _, c := range []struct {
		name  string
		spoil func(b []byte) []byte
		want  string
	}{
		{"old protocol", func(b []byte) []byte { le.PutUint16(b[offVersion:], 0x20b); return b }, "protocol 2.11"},
		{"32-bit kernel", func(b []byte) []byte { b[offXLoadFlags] = 0; return b }, "64-bit"},
		{"zImage", func(b []byte) []byte { b[offLoadFlags] = 0; return b }, "64-bit"},
		{"short header", func(b []byte) []byte { b[offJump+1] = 0x40; return b }, "setup header"},
		{"long header", func(b []byte) []byte { b[offJump+1] = 0xff; return b }, "setup header"},
		{"no kernel", func(b []byte) []byte { le.PutUint32(b[offSysSize:], 0); return b }, "0 bytes"},
		{"cut short", func(b []byte) []byte { return b[:len(b)-32] }, "by its header"},
		{"setup only", func(b []byte) []byte { return b[:headSize] }, "by its header"},
		{"alignment 0", func(b []byte) []byte { le.PutUint32(b[offKernelAlignment:], 0); return b }, "kernel_alignment"},
		{"alignment 3", func(b []byte) []byte { le.PutUint32(b[offKernelAlignment:], 3); return b }, "kernel_alignment"},
	} {
		_, err := OpenBytes("k", c.spoil(synthBzImage(payload(4096))))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

func TestBzImageSizes(t *testing.T) {
	body := payload(4096)
	data := synthBzImage(body)
	data[offSetupHeader] = 0 // means 4
	data = append(data[:3*sector:3*sector], append(make([]byte, 2*sector), body...)...)
	signed := append(data, "a signature that is not the kernel's"...)
	m, b := ram(t, 32*mib)
	if _, err := bzLoad(t, signed, Params{Memory: m}); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(b[16*mib:16*mib+4096], body) || b[16*mib+4096] != 0xa5 {
		t.Error("the kernel is not what lies after four setup sectors")
	}
}

func TestTooManyE820Entries(t *testing.T) {
	m, _ := ram(t, 32*mib)
	if _, err := bzLoad(t, synthBzImage(payload(4096)), Params{Memory: m, E820: make([]E820Entry, 129)}); err == nil {
		t.Error("129 entries are taken")
	}
	if _, err := bzLoad(t, goodELF(elfClass64), Params{Memory: m, E820: make([]E820Entry, memmapMax+1)}); err == nil {
		t.Error("PVH: too many entries are taken")
	}
}
