package vm

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"hv/hypervisor/kvm"
	"hv/hypervisor/mem"
	"hv/qmp/qapi"
)

func testRAM(t *testing.T) *mem.Memory {
	t.Helper()
	m, err := mem.New(mem.Region{Base: 0x1000, Data: bytes.Repeat([]byte{1}, 0x1000)}, mem.Region{Base: 0x4000, Data: bytes.Repeat([]byte{2}, 0x1000)})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// image is what addresses from 0 on hold.
func image() []byte {
	b := make([]byte, 0x6000)
	for i := range 0x1000 {
		b[0x1000+i], b[0x4000+i] = 1, 2
	}
	return b
}

// TestSaveRAM saves ranges that begin and end in RAM, before and after it.
func TestSaveRAM(t *testing.T) {
	m := testRAM(t)
	for _, c := range []struct{ addr, n uint64 }{
		{0, 0x6000}, {0x1000, 0x1000}, {0x1800, 0x100}, {0x1800, 0x3000}, {0x800, 0x900}, {0x2000, 0x10}, {0x4fff, 2}, {0x5000, 0x1000}, {0, 0},
	} {
		name := filepath.Join(t.TempDir(), "f")
		if err := saveMemory(name, int64(c.n), func(h *holeyFile) error { return h.copyRAM(m, c.addr, c.n) }); err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(name)
		if err != nil || !bytes.Equal(got, image()[c.addr:c.addr+c.n]) {
			t.Errorf("%#x+%#x: %d bytes, %v", c.addr, c.n, len(got), err)
		}
	}
}

// TestSaveToPipe checks that zeros are written where there can be no holes.
func TestSaveToPipe(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	done := make(chan []byte)
	go func() {
		var b bytes.Buffer
		_, _ = b.ReadFrom(r)
		done <- b.Bytes()
	}()
	h := &holeyFile{f: w}
	if err := h.copyRAM(testRAM(t), 0, 0x6000); err != nil {
		t.Fatal(err)
	}
	if err := h.close(); err != nil {
		t.Fatal(err)
	}
	if got := <-done; !bytes.Equal(got, image()) {
		t.Errorf("%d bytes", len(got))
	}
}

func TestCannotSave(t *testing.T) {
	fifo := filepath.Join(t.TempDir(), "fifo")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"/nonexistent/f": "Could not open '/nonexistent/f': no such file or directory", fifo: "Could not open",
	} {
		err := saveMemory(name, 1, func(*holeyFile) error { return nil })
		if err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := saveMemory(filepath.Join(t.TempDir(), "f"), -1, nil); err == nil {
		t.Error("a negative size")
	}
	// Further than a file can be long.
	if err := saveMemory(filepath.Join(t.TempDir(), "f"), 1, func(h *holeyFile) error { h.skip(1 << 63); return nil }); err == nil {
		t.Error("8 EiB were saved")
	}
}

func TestCheckDump(t *testing.T) {
	n := func(v int64) *int64 { return &v }
	zlib := qapi.DumpGuestMemoryFormatKdumpZlib
	for _, c := range []struct {
		args qapi.DumpGuestMemoryArgs
		want string
	}{
		{qapi.DumpGuestMemoryArgs{}, ""},
		{qapi.DumpGuestMemoryArgs{Begin: n(0), Length: n(1)}, ""},
		{qapi.DumpGuestMemoryArgs{Begin: n(0)}, "Parameter 'length' is missing"},
		{qapi.DumpGuestMemoryArgs{Length: n(1)}, "Parameter 'begin' is missing"},
		{qapi.DumpGuestMemoryArgs{Begin: n(0), Length: n(0)}, "Invalid parameter 'length'"},
		{qapi.DumpGuestMemoryArgs{Begin: n(-1), Length: n(1)}, "Invalid parameter 'begin'"},
		{qapi.DumpGuestMemoryArgs{Format: &zlib}, "kdump-zlib is not available now"},
	} {
		text := ""
		if err := checkDump(&c.args); err != nil {
			text = err.Error()
		}
		if text != c.want {
			t.Errorf("%+v: %q, want %q", c.args, text, c.want)
		}
	}
}

func TestTakesNMI(t *testing.T) {
	for lvt, want := range map[uint32]bool{0x10000: true, 0x400: true, 0x10400: false, 0x700: false, 0: false} {
		if takesNMI(lvt) != want {
			t.Errorf("LINT1 %#x", lvt)
		}
	}
}

func TestStatsSchema(t *testing.T) {
	s := statsSchema(qapi.StatsTargetVcpu, &kvm.Stats{All: []kvm.Stat{
		{Name: "a", Unit: kvm.StatSeconds, Base: 10, Exponent: -9, Kind: kvm.StatLog2Histogram},
		{Name: "b", Kind: kvm.StatLinearHistogram, BucketSize: 7, Base: 10},
	}})
	b, a := s.Stats[0], s.Stats[1]
	if a.Name != "a" || *a.Base != 10 || a.Exponent != -9 || *a.Unit != qapi.StatsUnitSeconds || a.Type != qapi.StatsTypeLog2Histogram || a.BucketSize != nil {
		t.Errorf("%+v", a)
	}
	if b.Name != "b" || b.Base != nil || b.Unit != nil || *b.BucketSize != 7 {
		t.Errorf("%+v", b)
	}
	if v := statsValue(&kvm.Stat{Unit: kvm.StatBoolean}, []uint64{1}); !*v.Boolean {
		t.Error("a true boolean is false")
	}
	if v := statsValue(&kvm.Stat{}, []uint64{1, 2}); len(*v.List) != 2 {
		t.Error("a histogram of one bucket")
	}
}

func TestSizeText(t *testing.T) {
	for n, want := range map[uint64]string{4096: "4 KiB", 2 << 20: "2 MiB", 1 << 30: "1 GiB", 512: "512 B"} {
		if got := sizeText(n); got != want {
			t.Errorf("%d is %s", n, got)
		}
	}
}
