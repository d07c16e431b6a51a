package boot

import (
	"path/filepath"
	"strings"
	"testing"

	"hv/hypervisor/mem"
	"hv/testdata/guest"
)

func TestNoRAMToBoot(t *testing.T) {
	img, err := OpenBytes("k", goodELF(elfClass64))
	if err != nil {
		t.Fatal(err)
	}
	none, err := mem.New()
	if err != nil {
		t.Fatal(err)
	}
	high, err := mem.New(mem.Region{Base: limit32, Data: make([]byte, 8*mib)})
	if err != nil {
		t.Fatal(err)
	}
	little, _ := ram(t, mib)
	for _, m := range []*mem.Memory{none, high, little} {
		if _, err := img.Load(Params{Memory: m}); err == nil || !strings.Contains(err.Error(), "no RAM beyond 1 MiB") {
			t.Errorf("error %v", err)
		}
	}
}

func TestEmbeddedGuest(t *testing.T) {
	img, err := OpenBytes("guest", guest.ELF)
	if err != nil {
		t.Fatal(err)
	}
	if img.Kind() != PVH || img.elf.end > 4*mib || len(img.elf.segments) != 1 {
		t.Errorf("%v up to %#x in %d segments", img.Kind(), img.elf.end, len(img.elf.segments))
	}
	m, _ := ram(t, 8*mib)
	if e, err := img.Load(Params{Memory: m, Cmdline: "halt"}); err != nil || e.RIP < mib || e.RIP >= 4*mib {
		t.Errorf("entry %#x: %v", e.RIP, err)
	}
}

// TestDebianKernels loads what kernels this machine has in /boot.
func TestDebianKernels(t *testing.T) {
	paths, err := filepath.Glob("/boot/vmlinuz-*-amd64")
	if err != nil || len(paths) == 0 {
		t.Fatal("there is no kernel in /boot: run `make deps` to install Debian's")
	}
	data := make([]byte, 256*mib)
	m, err := mem.New(mem.Region{Data: data, FD: -1})
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range paths {
		img, err := Open(path)
		if err != nil {
			t.Fatal(err)
		}
		e, err := img.Load(Params{Memory: m, Cmdline: "console=ttyS0", E820: BuildE820(m.Regions())})
		if err != nil {
			t.Fatal(err)
		}
		h := img.bz
		if e.Mode != Long64 || e.RIP != h.prefAddress+entry64 || h.initSize < h.kernelSize || h.cmdlineSize != 2047 {
			t.Errorf("%s: entry %#x, %+v", path, e.RIP, h)
		}
		// The 64-bit entry of Linux begins with cld; cli.
		if code := data[e.RIP : e.RIP+2]; code[0] != 0xfc || code[1] != 0xfa {
			t.Errorf("%s: % x is at the entry", path, code)
		}
		if err := img.Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestLoadAllocates keeps an image out of private memory.
func TestLoadAllocates(t *testing.T) {
	img, err := OpenBytes("k", synthBzImage(payload(8*mib)))
	if err != nil {
		t.Fatal(err)
	}
	m, _ := ram(t, 32*mib)
	if n := testing.AllocsPerRun(5, func() {
		if _, err := img.Load(Params{Memory: m, Cmdline: "console=ttyS0"}); err != nil {
			t.Error(err)
		}
	}); n > 1 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkLoad(b *testing.B) {
	img, err := OpenBytes("k", synthBzImage(payload(8*mib)))
	if err != nil {
		b.Fatal(err)
	}
	m, _ := ram(b, 32*mib)
	b.SetBytes(8 * mib)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := img.Load(Params{Memory: m}); err != nil {
			b.Fatal(err)
		}
	}
}
