package qcow2

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"testing"
)

// imageInfo is what qemu-img info says.
type imageInfo struct {
	VirtualSize int64  `json:"virtual-size"`
	ClusterSize int64  `json:"cluster-size"`
	Backing     string `json:"backing-filename"`
	BackingFmt  string `json:"backing-filename-format"`
	Dirty       bool   `json:"dirty-flag"`
	Specific    struct {
		Data struct {
			Compat       string
			Compression  string `json:"compression-type"`
			Lazy         bool   `json:"lazy-refcounts"`
			RefcountBits int    `json:"refcount-bits"`
			Corrupt      bool
			Extended     bool   `json:"extended-l2"`
			DataFile     string `json:"data-file"`
			DataFileRaw  bool   `json:"data-file-raw"`
		}
	} `json:"format-specific"`
	Snapshots []struct {
		ID, Name    string
		VMStateSize int64 `json:"vm-state-size"`
		DateSec     int64 `json:"date-sec"`
		ClockSec    int64 `json:"vm-clock-sec"`
		ICount      int64
	}
}

func qemuInfo(t testing.TB, path string) (i imageInfo) {
	t.Helper()
	if err := json.Unmarshal([]byte(qemuImg(t, "info", "-U", "--output=json", path)), &i); err != nil {
		t.Fatal(err)
	}
	return i
}

// TestCreate has QEMU see the options that an image was made with.
func TestCreate(t *testing.T) {
	for _, v := range variants {
		path, f, _ := v.create(t, 10<<20)
		o := v.o
		o.defaults()
		i := qemuInfo(t, path)
		d := i.Specific.Data
		if i.VirtualSize != 10<<20 || i.ClusterSize != o.ClusterSize || d.Compat != o.Compat || d.Extended != o.ExtendedL2 ||
			d.Lazy != o.LazyRefcounts || d.RefcountBits != o.RefcountBits || d.Compression != o.Compression.String() && o.Compat != "0.10" ||
			(d.DataFile != "") != (o.DataFile != "") || d.DataFileRaw != o.DataFileRaw || i.Dirty || d.Corrupt {
			t.Errorf("%s: %+v", v.name, i)
		}
		if r := qemuCheck(t, path); r.Corruptions+r.Errors+r.Leaks > 0 {
			t.Errorf("%s: %+v", v.name, r)
		}
		h, err := ParseHeader(f)
		if err != nil || o.Compat != "0.10" && len(h.Features) != len(knownFeatures) && o.ClusterSize > 512 {
			t.Errorf("%s: %+v, %v", v.name, h, err)
		}
	}
}

func TestCreateRefuses(t *testing.T) {
	for _, o := range []CreateOptions{
		{Size: -1}, {Compat: "2"}, {ClusterSize: 256}, {ClusterSize: 4 << 20}, {ClusterSize: 3000}, {ClusterSize: 8192, ExtendedL2: true},
		{RefcountBits: 3}, {RefcountBits: 128}, {Compat: "0.10", RefcountBits: 8}, {Compat: "0.10", LazyRefcounts: true},
		{Compat: "0.10", ExtendedL2: true}, {Compat: "0.10", Compression: Zstd}, {Compat: "0.10", DataFile: "x"}, {Compression: 2},
		{DataFileRaw: true}, {DataFile: "x", DataFileRaw: true, BackingFile: "y"}, {BackingFormat: "raw"},
		{BackingFile: strings.Repeat("x", 1024)}, {BackingFile: "x", Preallocation: "full"}, {Preallocation: "some"},
		{DataFile: "x"}, {Size: 1 << 50, ClusterSize: 512},
	} {
		if err := Create(newMem(nil), nil, o); err == nil {
			t.Errorf("%+v was accepted", o)
		}
	}
}

// TestBackingName: names of any kind go through the header, and change with QEMU seeing it.
func TestBackingName(t *testing.T) {
	dir := plainDir(t)
	base := filepath.Join(dir, "base.qcow2")
	qemuImg(t, "create", "-f", "qcow2", base, "1M")
	path := filepath.Join(dir, "a.qcow2")
	f := openFile(t, path)
	if err := Create(f, nil, CreateOptions{Size: 1 << 20, BackingFile: "base.qcow2", BackingFormat: "qcow2", Compat: "0.10"}); err != nil {
		t.Fatal(err)
	}
	if i := qemuInfo(t, path); i.Backing != "base.qcow2" || i.BackingFmt != "qcow2" {
		t.Errorf("%+v", i)
	}
	name := fmt.Sprintf(`json:{"driver":"qcow2","file":{"driver":"file","filename":"%s"}}`, base)
	im := mustOpen(t, f, Options{})
	for _, err := range []error{im.SetBackingFile(name, ""), im.SetLazyRefcounts(true)} {
		if err != nil && !strings.Contains(err.Error(), "lazy") {
			t.Fatal(err)
		}
	}
	if _, err := im.CreateSnapshot(Snapshot{Name: "old"}); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(im.Upgrade(), im.SetLazyRefcounts(true)); err != nil {
		t.Fatal(err)
	}
	if err := im.SetBackingFile(strings.Repeat("x", 2000), ""); err == nil {
		t.Error("a long name was accepted")
	}
	mustClose(t, im)
	if h, err := ParseHeader(f); err != nil || h.BackingFile != name || h.Version != 3 {
		t.Errorf("%+v, %v", h, err)
	}
	if d := qemuInfo(t, path).Specific.Data; d.Compat != "1.1" || !d.Lazy {
		t.Errorf("%+v", d)
	}
	if r := qemuCheck(t, path); r.Corruptions+r.Leaks > 0 {
		t.Errorf("%+v", r)
	}
	im = mustOpen(t, f, Options{})
	if err := im.SetBackingFile("", ""); err != nil {
		t.Fatal(err)
	}
	mustClose(t, im)
	if i := qemuInfo(t, path); i.Backing != "" {
		t.Errorf("%+v", i)
	}
}

// TestHeaderRefused: what can't be opened says why.
func TestHeaderRefused(t *testing.T) {
	for _, c := range []struct {
		off  int64
		v    uint64
		want string
	}{
		{0, 0x1122334400000003, "not in qcow2 format"},
		{0, 0x514649fb00000004, "version 4"},
		{72, 1 << 3, "compression type"},
		{72, 1 << 9, "unknown incompatible feature 9"},
		{72, 1 << 2, "data-file"},
		{72, 1 << 1, "corrupt"},
		{32, 1<<32 | 1, "encrypted"},
		{32, 2<<32 | 1, "encrypted"},
		{32, 0, "L1 table is too small"},
		{32, 1 << 31, "L1 table too large"},
		{40, 513, "L1 table offset"},
		{48, 513, "count table offset"},
		{56, 0, "does not contain a reference count table"},
		{96, 7<<32 | 112, "64 bits"},
		{96, 4<<32 | 96, "header length"},
		{24, 1 << 63, "too big"},
		{8, 1 << 40, "backing file name"},
		{104, 9 << 56, "compression type"},
	} {
		m := newMem(nil)
		if err := Create(m, nil, CreateOptions{Size: 1 << 20}); err != nil {
			t.Fatal(err)
		}
		setWord(t, m, c.off, c.v)
		if _, err := Open(m, Options{}); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%d = %#x: %v, want %q", c.off, c.v, err, c.want)
		}
	}
}

// TestFeatureNamed: the image's own table names what we don't know, and extensions are kept.
func TestFeatureNamed(t *testing.T) {
	m := newMem(nil)
	if err := Create(m, nil, CreateOptions{Size: 1 << 20}); err != nil {
		t.Fatal(err)
	}
	im := mustOpen(t, m, Options{})
	im.hdr.unknown = []extension{{0x12345678, []byte("something else")}}
	im.hdr.fields = []byte{1, 2, 3, 4, 5, 6, 7, 8}
	if err := im.SetBackingFile("x", "raw"); err != nil {
		t.Fatal(err)
	}
	mustClose(t, im)
	setWord(t, m, 88, 1<<40) // an unknown autoclear bit
	im = mustOpen(t, m, Options{})
	if h := im.Header(); h.Autoclear != 0 || len(h.unknown) != 1 || string(h.unknown[0].data) != "something else" || len(h.fields) != 8 {
		t.Errorf("%+v", h)
	}
	mustClose(t, im)
	h := im.Header()
	b := bytes.Replace(mustEncode(t, &h), []byte{0, 4, 'e', 'x', 't', 'e', 'n'}, []byte{0, 50, 'm', 'a', 'g', 'i', 'c'}, 1)
	_ = m.Writev(0, [][]byte{b})
	setWord(t, m, 72, 1<<50)
	if _, err := Open(m, Options{}); err == nil || !strings.Contains(err.Error(), "magicded L2 entries") {
		t.Error(err)
	}
}

func mustEncode(t *testing.T, h *Header) []byte {
	t.Helper()
	b, err := h.encode()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestResize grows and shrinks images of all kinds.
func TestResize(t *testing.T) {
	for _, v := range variants {
		t.Run(v.name, func(t *testing.T) {
			t.Parallel()
			path, f, data := v.create(t, 1<<20)
			d := &disk{im: mustOpen(t, f, Options{DataFile: data}), want: make([]byte, 1<<20), rng: rand.New(rand.NewPCG(5, 5))}
			for i, size := range []int64{3 << 20, 2<<20 + 512, 2<<20 - 1024, 5 << 20, 1 << 16, 20 << 20, 0, 4 << 20} {
				prealloc := ""
				if size > int64(len(d.want)) {
					prealloc = []string{PreallocOff, PreallocMetadata, PreallocFalloc, PreallocFull}[i%4]
				}
				if err := d.im.Truncate(size, prealloc); err != nil {
					t.Fatal(err)
				}
				d.want = append(d.want[:min(size, int64(len(d.want)))], make([]byte, max(size-int64(len(d.want)), 0))...)
				if size == 0 {
					continue
				}
				if err := d.compare(0, size); err != nil {
					t.Fatalf("after resize to %d: %v", size, err)
				}
				for range 20 {
					if err := d.step(); err != nil {
						t.Fatal(err)
					}
				}
			}
			mustClose(t, d.im)
			verify(t, path, mustOpen(t, f, Options{DataFile: data, ReadOnly: true}), d.want)
		})
	}
}

// TestGrowOverBacking: what a longer backing image has does not show up.
func TestGrowOverBacking(t *testing.T) {
	b := rawBacking{bytes.Repeat([]byte{9}, 4<<20)}
	for _, compat := range []string{"0.10", "1.1"} {
		m := newMem(nil)
		if err := Create(m, nil, CreateOptions{Size: 1<<20 + 512, BackingFile: "b", Compat: compat}); err != nil {
			t.Fatal(err)
		}
		im := mustOpen(t, m, Options{Backing: b})
		if err := im.Truncate(3<<20, ""); err != nil {
			t.Fatal(err)
		}
		got := make([]byte, 3<<20)
		if err := im.Readv(0, [][]byte{got}); err != nil {
			t.Fatal(err)
		}
		if want := append(bytes.Repeat([]byte{9}, 1<<20+512), make([]byte, 2<<20-512)...); !bytes.Equal(got, want) {
			t.Errorf("%s: differs at %d", compat, diff(got, want))
		}
		if compat == "0.10" {
			if err := im.Discard(0, 1<<20); !errors.Is(err, ErrNotSupported) {
				t.Error(err)
			}
		}
		mustClose(t, im)
	}
}

// TestMeasure agrees with qemu-img measure.
func TestMeasure(t *testing.T) {
	for _, opt := range []struct {
		o    CreateOptions
		args string
	}{
		{CreateOptions{}, ""}, {CreateOptions{ClusterSize: 512}, "cluster_size=512"}, {CreateOptions{ClusterSize: 2 << 20}, "cluster_size=2M"},
		{CreateOptions{ExtendedL2: true}, "extended_l2=on"}, {CreateOptions{RefcountBits: 64}, "refcount_bits=64"}, {CreateOptions{Preallocation: "full"}, "preallocation=full"},
	} {
		for _, size := range []int64{1 << 20, 1<<30 + 512, 100 << 30} {
			if size>>20 > 1024 && opt.o.ClusterSize == 512 {
				continue
			}
			args := []string{"measure", "--output=json", "-O", "qcow2", "--size", fmt.Sprint(size)}
			if opt.args != "" {
				args = append(args, "-o", opt.args)
			}
			var want struct {
				Required int64
				Full     int64 `json:"fully-allocated"`
			}
			if err := json.Unmarshal([]byte(qemuImg(t, args...)), &want); err != nil {
				t.Fatal(err)
			}
			opt.o.Size = size
			got, err := Measure(opt.o, 0)
			if err != nil || got.Required != want.Required || got.FullyAllocated != want.Full {
				t.Errorf("%s of %d: %+v, %v; QEMU says %+v", opt.args, size, got, err, want)
			}
		}
	}
}

// TestVMState goes with snapshots, which QEMU lists.
func TestVMState(t *testing.T) {
	path, f, _ := variant{o: CreateOptions{ClusterSize: 4096}}.create(t, 1<<20)
	im := mustOpen(t, f, Options{})
	state := bytes.Repeat([]byte{0x5a}, 3<<20)
	if err := im.WriteVMState(100, [][]byte{state}); err != nil {
		t.Fatal(err)
	}
	s, err := im.CreateSnapshot(Snapshot{Name: "live", VMStateSize: int64(len(state)) + 100, VMClock: 5e9, ICount: 77})
	if err != nil || s.ID != "1" || s.DiskSize != 1<<20 {
		t.Fatal(s, err)
	}
	if err := errors.Join(im.DropVMState(), im.Writev(0, [][]byte{{1, 2, 3}}, 0)); err != nil {
		t.Fatal(err)
	}
	mustClose(t, im)
	if i := qemuInfo(t, path); len(i.Snapshots) != 1 || i.Snapshots[0].VMStateSize != int64(len(state))+100 ||
		i.Snapshots[0].ClockSec != 5 || i.Snapshots[0].ICount != 77 || i.Snapshots[0].DateSec != s.Date.Unix() {
		t.Errorf("%+v", i)
	}
	verify(t, path, mustOpen(t, f, Options{ReadOnly: true}), append([]byte{1, 2, 3}, make([]byte, 1<<20-3)...))
	im = mustOpen(t, f, Options{Overlap: OverlapAll})
	if err := im.ApplySnapshot("live"); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, len(state))
	if err := im.ReadVMState(100, [][]byte{got}); err != nil || !bytes.Equal(got, state) {
		t.Errorf("state differs at %d, %v", diff(got, state), err)
	}
	if err := im.ApplySnapshot("nothing"); !errors.Is(err, ErrNoSnapshot) {
		t.Error(err)
	}
	mustClose(t, im)
	verify(t, path, mustOpen(t, f, Options{ReadOnly: true}), make([]byte, 1<<20))
}

// TestSnapshotSize: a snapshot brings back the size the disk had.
func TestSnapshotSize(t *testing.T) {
	path, f, _ := variant{o: CreateOptions{ClusterSize: 1024}}.create(t, 1<<20)
	im := mustOpen(t, f, Options{})
	for i, size := range []int64{8 << 20, 1 << 19} {
		if _, err := im.CreateSnapshot(Snapshot{Name: fmt.Sprint("n", i)}); err != nil {
			t.Fatal(err)
		}
		if err := im.Truncate(size, ""); err != nil {
			t.Fatal(err)
		}
	}
	if err := im.ApplySnapshot("n1"); err != nil || im.Size() != 8<<20 {
		t.Fatal(err, im.Size())
	}
	if err := im.ApplySnapshot("1"); err != nil || im.Size() != 1<<20 {
		t.Fatal(err, im.Size())
	}
	mustClose(t, im)
	verify(t, path, mustOpen(t, f, Options{ReadOnly: true}), make([]byte, 1<<20))
}

func TestCacheOptions(t *testing.T) {
	_, f, _ := variant{}.create(t, 1<<30)
	for _, o := range []Options{
		{L2CacheEntrySize: 100}, {L2CacheEntrySize: 1 << 20}, {CacheSize: 1 << 20, L2CacheSize: 1, RefcountCacheSize: 1}, {CacheSize: 10, L2CacheSize: 20},
	} {
		if _, err := Open(f, o); err == nil {
			t.Errorf("%+v was accepted", o)
		}
	}
	for _, c := range []struct {
		o        Options
		l2, refs int64
	}{
		{Options{}, 128 << 10, 256 << 10},
		{Options{CacheSize: 1 << 20}, 128 << 10, 1<<20 - 128<<10},
		{Options{CacheSize: 1 << 20, L2CacheSize: 1 << 19}, 1 << 19, 1 << 19},
		{Options{CacheSize: 1 << 20, RefcountCacheSize: 1 << 19}, 1 << 19, 1 << 19},
		{Options{CacheSize: 300 << 10}, 44 << 10, 256 << 10},
	} {
		im := mustOpen(t, f, c.o)
		if l2, refs, err := im.cacheSizes(); l2 != c.l2 || refs != c.refs || err != nil {
			t.Errorf("%+v: %d %d %v", c.o, l2, refs, err)
		}
		mustClose(t, im)
	}
}

// TestReadOnly: nothing can change an image that is only read.
func TestReadOnly(t *testing.T) {
	_, f, _ := variant{}.create(t, 1<<20)
	im := mustOpen(t, f, Options{ReadOnly: true})
	_, snap := im.CreateSnapshot(Snapshot{})
	_, check := im.Check(FixAll)
	for i, err := range []error{im.Writev(0, [][]byte{{1}}, 0), im.WriteZeroes(0, 1, 0), im.Discard(0, 65536), im.Truncate(1, ""),
		im.SetBackingFile("x", ""), im.StoreBitmaps(nil), snap, check, im.WriteVMState(0, [][]byte{{1}})} {
		if !errors.Is(err, ErrReadOnly) {
			t.Errorf("%d: %v", i, err)
		}
	}
	if err := im.Readv(1<<20, [][]byte{{1}}); !errors.Is(err, ErrRange) {
		t.Error(err)
	}
	mustClose(t, im)
}
