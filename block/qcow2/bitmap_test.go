package qcow2

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

func mustOpen(t testing.TB, f Storage, o Options) *Image {
	t.Helper()
	im, err := Open(f, o)
	if err != nil {
		t.Fatal(err)
	}
	return im
}

func mustClose(t testing.TB, im *Image) {
	t.Helper()
	if err := im.Close(); err != nil {
		t.Fatal(err)
	}
}

func loadBitmaps(t testing.TB, f Storage, o Options) map[string]Bitmap {
	t.Helper()
	im := mustOpen(t, f, o)
	defer mustClose(t, im)
	l, err := im.LoadBitmaps()
	if err != nil {
		t.Fatal(err)
	}
	m := map[string]Bitmap{}
	for _, b := range l {
		m[b.Name] = b
	}
	return m
}

// TestBitmapsFromQEMU reads bitmaps in which QEMU followed writes.
func TestBitmapsFromQEMU(t *testing.T) {
	for _, cluster := range []int64{512, 65536} {
		path, f, _ := variant{o: CreateOptions{ClusterSize: cluster}}.create(t, 4<<20)
		qemuImg(t, "bitmap", "--add", "-g", "4096", path, "fine")
		qemuImg(t, "bitmap", "--add", path, "coarse")
		qemuImg(t, "bitmap", "--add", "--disable", path, "off")
		qemuIO(t, path, "write 4096 1", "write 1M 64k")
		m := loadBitmaps(t, f, Options{ReadOnly: true})
		fine := make([]byte, 4<<20/4096/8)
		fine[0] = 2
		copy(fine[256/8:], []byte{0xff, 0xff})
		if b := m["fine"]; b.Granularity != 4096 || !b.Enabled || b.Inconsistent || !bytes.Equal(b.Bits, fine) {
			t.Errorf("fine: granularity %d, enabled %v, bits differ at %d", b.Granularity, b.Enabled, diff(b.Bits, fine))
		}
		if b := m["coarse"]; b.Granularity != max(4096, cluster) || b.Bits[0] == 0 || b.Bits[1<<20/b.Granularity/8] == 0 {
			t.Errorf("coarse: %+v", b)
		}
		if b := m["off"]; b.Enabled || !bytes.Equal(b.Bits, make([]byte, len(b.Bits))) {
			t.Errorf("off: %+v", b)
		}
		verify(t, path, mustOpen(t, f, Options{ReadOnly: true}), readAll(t, f))
	}
}

func readAll(t testing.TB, f Storage) []byte {
	t.Helper()
	im := mustOpen(t, f, Options{ReadOnly: true})
	defer mustClose(t, im)
	b := make([]byte, im.Size())
	if err := im.Readv(0, [][]byte{b}); err != nil {
		t.Fatal(err)
	}
	return b
}

// TestBitmapsToQEMU stores bitmaps again and again, has QEMU merge them, and reads the result.
func TestBitmapsToQEMU(t *testing.T) {
	path, f, _ := variant{o: CreateOptions{ClusterSize: 1024}}.create(t, 8<<20)
	rng := rand.New(rand.NewPCG(1, 4))
	for round := range 4 {
		im := mustOpen(t, f, Options{})
		bits := make([]byte, 8<<20/512/8)
		for i := range bits {
			if i/1024 != round%2 {
				bits[i] = byte(rng.Int())
			}
		}
		l := []Bitmap{{Name: "a", Granularity: 512, Enabled: round%2 == 0, Bits: bits}, {Name: "b", Granularity: 1 << 20, Bits: []byte{byte(round)}}}
		if err := im.StoreBitmaps(l); err != nil {
			t.Fatal(err)
		}
		if err := im.Truncate(9<<20, ""); err == nil {
			t.Error("an image with bitmaps was resized")
		}
		mustClose(t, im)
		var info struct {
			Specific struct {
				Data struct {
					Bitmaps []struct {
						Name        string
						Granularity int64
						Flags       []string
					}
				}
			} `json:"format-specific"`
		}
		if err := json.Unmarshal([]byte(qemuImg(t, "info", "--output=json", path)), &info); err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprint(info.Specific.Data.Bitmaps); round%2 == 0 && got != "[{a 512 [auto]} {b 1048576 []}]" || round%2 == 1 && got != "[{a 512 []} {b 1048576 []}]" {
			t.Errorf("QEMU sees %s", got)
		}
		qemuImg(t, "bitmap", "--add", "--disable", "-g", "512", path, "c")
		qemuImg(t, "bitmap", "--merge", "a", path, "c")
		if m := loadBitmaps(t, f, Options{ReadOnly: true}); !bytes.Equal(m["c"].Bits, bits) || m["b"].Bits[0] != byte(round) {
			t.Error("the merged bitmap differs")
		}
		verify(t, path, mustOpen(t, f, Options{ReadOnly: true}), make([]byte, 8<<20))
	}
	im := mustOpen(t, f, Options{})
	if err := im.StoreBitmaps(nil); err != nil {
		t.Fatal(err)
	}
	mustClose(t, im)
	if im := mustOpen(t, f, Options{ReadOnly: true}); im.HasBitmaps() || im.hdr.bitmaps.count != 0 {
		t.Error("bitmaps are still there")
	}
}

// TestBitmapsInUse has a crash leave bitmaps inconsistent; storing keeps them so.
func TestBitmapsInUse(t *testing.T) {
	path, f, _ := variant{}.create(t, 1<<20)
	im := mustOpen(t, f, Options{})
	if err := im.StoreBitmaps([]Bitmap{{Name: "x", Granularity: 65536, Enabled: true, Bits: []byte{7, 0}}}); err != nil {
		t.Fatal(err)
	}
	if l, err := im.LoadBitmaps(); err != nil || len(l) != 1 || l[0].Inconsistent || l[0].Bits[0] != 7 {
		t.Fatal(l, err)
	}
	mustClose(t, im) // without storing
	m := loadBitmaps(t, f, Options{ReadOnly: true})
	if b := m["x"]; !b.Inconsistent || b.Bits != nil {
		t.Errorf("%+v", b)
	}
	if !strings.Contains(qemuImg(t, "info", path), "in-use") {
		t.Error("QEMU does not see that the bitmap is in use")
	}
	im = mustOpen(t, f, Options{})
	for _, bad := range [][]Bitmap{
		{{Name: "y", Granularity: 65536, Inconsistent: true}},
		{{Name: "y", Granularity: 65536}},
		{{Name: "y", Granularity: 100, Bits: []byte{0, 0}}},
		{{Name: "", Granularity: 65536, Bits: []byte{0, 0}}},
		{{Name: "x", Inconsistent: true}, {Name: "x", Inconsistent: true}},
	} {
		if err := im.StoreBitmaps(bad); err == nil {
			t.Errorf("stored %+v", bad)
		}
	}
	if err := im.StoreBitmaps([]Bitmap{m["x"], {Name: "z", Granularity: 65536, Bits: []byte{1, 0}}}); err != nil {
		t.Fatal(err)
	}
	mustClose(t, im)
	if m := loadBitmaps(t, f, Options{}); !m["x"].Inconsistent || m["z"].Inconsistent {
		t.Errorf("%+v", m)
	}
	if m := loadBitmaps(t, f, Options{}); !m["z"].Inconsistent {
		t.Error("a bitmap that was loaded for writing is not in use")
	}
}

func TestBitmapsVersion2(t *testing.T) {
	_, f, _ := variant{o: CreateOptions{Compat: "0.10"}}.create(t, 1<<20)
	im := mustOpen(t, f, Options{})
	defer mustClose(t, im)
	if err := im.StoreBitmaps(nil); !errors.Is(err, ErrNotSupported) {
		t.Error(err)
	}
}

// TestBitmapDirectory refuses directories that can't be.
func TestBitmapDirectory(t *testing.T) {
	_, f, _ := variant{}.create(t, 1<<20)
	im := mustOpen(t, f, Options{})
	if err := im.StoreBitmaps([]Bitmap{{Name: "x", Granularity: 65536, Bits: []byte{7, 0}}}); err != nil {
		t.Fatal(err)
	}
	x := im.hdr.bitmaps
	mustClose(t, im)
	good := make([]byte, x.size)
	if err := f.Readv(x.off, [][]byte{good}); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(b []byte){
		"table offset": func(b []byte) { b[7] = 1 },
		"table size":   func(b []byte) { binary.BigEndian.PutUint32(b[8:], 9) },
		"flags":        func(b []byte) { b[15] |= 8 },
		"type":         func(b []byte) { b[16] = 2 },
		"granularity":  func(b []byte) { b[17] = 60 },
		"name":         func(b []byte) { b[19] = 200 },
		"extra":        func(b []byte) { b[23] = 200 },
	} {
		b := bytes.Clone(good)
		change(b)
		if err := f.Writev(x.off, [][]byte{b}); err != nil {
			t.Fatal(err)
		}
		im := mustOpen(t, f, Options{ReadOnly: true})
		if _, err := im.LoadBitmaps(); err == nil {
			t.Errorf("%s: loaded", name)
		}
	}
}
