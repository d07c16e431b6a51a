package imgtool

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"hv/block/qcow2"
)

func TestParseSize(t *testing.T) {
	for text, want := range map[string]int64{
		"0": 0, "512": 512, "1k": 1024, "1K": 1024, "3M": 3 << 20, "1.5G": 3 << 29, "2T": 2 << 40, "0x200": 512, "7b": 7, "1E": 1 << 60,
	} {
		if got, err := ParseSize(text); err != nil || got != want {
			t.Errorf("%s: %d, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "k", "-1", "1x", "9E", "1e3", "nan", "inf", "1_000k", "1.2.3", " 1", "99999999999999999999"} {
		if got, err := ParseSize(text); err == nil {
			t.Errorf("%q is %d", text, got)
		}
	}
}

func TestSplit(t *testing.T) {
	for text, want := range map[string][]string{
		"": nil, "a": {"a"}, "a=1,b=2": {"a=1", "b=2"}, "a=1,,2,b": {"a=1,2", "b"}, "a,": {"a", ""}, ",,": {","},
	} {
		if got := Split(text); !reflect.DeepEqual(got, want) {
			t.Errorf("%q: %q", text, got)
		}
	}
	if _, err := ParseOptions("a.b=1,a"); err == nil {
		t.Error("an option without a value")
	}
}

func FuzzParseOptions(f *testing.F) {
	f.Add("driver=qcow2,file.filename=a,,b")
	f.Add("a=1,a.b=2")
	f.Fuzz(func(t *testing.T, text string) {
		if o, err := ParseOptions(text); err == nil && len(o) == 0 && text != "" {
			t.Errorf("nothing is left of %q", text)
		}
		if n, err := ParseSize(text); err == nil && n < 0 {
			t.Errorf("%q is %d", text, n)
		}
	})
}

// create makes an image.
func create(t *testing.T, format, name string, size int64, options ...string) {
	t.Helper()
	c := Creation{Name: name, Format: format, Size: size, Options: map[string]string{}}
	for i := 0; i < len(options); i += 2 {
		c.Options[options[i]] = options[i+1]
	}
	if err := errors.Join(c.Check(), c.Create()); err != nil {
		t.Fatal(err)
	}
}

// change opens an image to be written to.
func change(t *testing.T, name string, f func(*Image)) {
	t.Helper()
	im, err := Open(Source{Name: name}, Access{Write: true})
	if err != nil {
		t.Fatal(err)
	}
	f(im)
	if err := im.Close(); err != nil {
		t.Fatal(err)
	}
}

// scribble writes at random, zeroes too, and returns what the disk has then.
func scribble(t *testing.T, rng *rand.Rand, name string, want []byte) {
	t.Helper()
	change(t, name, func(im *Image) {
		for range 12 {
			off := rng.Int64N(int64(len(want)))
			b := want[off : off+rng.Int64N(min(int64(len(want))-off, 200000)+1)]
			var err error
			if rng.IntN(4) == 0 {
				clear(b)
				err = im.WriteZeroes(off, int64(len(b)), 0)
			} else {
				for i := range b {
					b[i] = byte(rng.IntN(3) * 85)
				}
				err = im.Writev(off, [][]byte{b}, 0)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	})
}

// holds sees that an image reads as it should, with QEMU's eyes too.
func holds(t *testing.T, name string, want []byte) {
	t.Helper()
	im, err := Open(Source{Name: name}, Access{})
	if err != nil {
		t.Fatal(err)
	}
	defer im.Close()
	got := make([]byte, im.Size())
	if err := im.Readv(0, [][]byte{got}); err != nil || !bytes.Equal(got, want) {
		t.Fatalf("%s has other data: %v", name, err)
	}
	raw := filepath.Join(t.TempDir(), "raw")
	if err := os.WriteFile(raw, want, 0o644); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("qemu-img", "compare", "-F", "raw", name, raw).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v: %s", name, err, out)
	}
}

// TestRandomChains converts, rebases and commits chains of random data.
func TestRandomChains(t *testing.T) {
	for seed := range uint64(8) {
		rng := rand.New(rand.NewPCG(seed, 1))
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			dir := t.TempDir()
			name := func(s string) string { return filepath.Join(dir, s) }
			size := 512 * (1 + rng.Int64N(3000))
			cluster := []string{"512", "4k", "64k", "1M"}[rng.IntN(4)]
			base, mid, top := make([]byte, size), make([]byte, size), make([]byte, size)
			create(t, "qcow2", name("base"), size, "cluster_size", cluster)
			scribble(t, rng, name("base"), base)
			create(t, "qcow2", name("mid"), -1, "backing_file", "base", "backing_fmt", "qcow2")
			copy(mid, base)
			scribble(t, rng, name("mid"), mid)
			create(t, "qcow2", name("top"), -1, "backing_file", "mid", "backing_fmt", "qcow2", "cluster_size", cluster)
			copy(top, mid)
			scribble(t, rng, name("top"), top)
			holds(t, name("top"), top)
			for i, c := range []Copying{{Sparse: 4096, Blank: true}, {}, {Sparse: 512, Blank: true, Compress: true, Cluster: 65536}} {
				flat := name(fmt.Sprint("flat", i))
				create(t, "qcow2", flat, size)
				change(t, flat, func(to *Image) {
					from, err := Open(Source{Name: name("top")}, Access{})
					if err != nil {
						t.Fatal(err)
					}
					if err := errors.Join(to.Copy([]*Image{from}, c), from.Close()); err != nil {
						t.Fatal(err)
					}
				})
				holds(t, flat, top)
			}
			if err := Rebase(Source{Name: name("top")}, "base", "qcow2", "", nil); err != nil {
				t.Fatal(err)
			}
			holds(t, name("top"), top)
			if err := Commit(Source{Name: name("mid")}, "", "", false, nil); err != nil {
				t.Fatal(err)
			}
			holds(t, name("base"), mid)
			holds(t, name("mid"), mid)
			for _, s := range []string{"base", "mid", "top", "flat0", "flat1", "flat2"} {
				if r, err := Check(Source{Name: name(s)}, 0, false); err != nil || r.Corruptions > 0 || r.Leaks > 0 {
					t.Errorf("%s: %+v, %v", s, r, err)
				}
			}
		})
	}
}

// TestRepair breaks an image and has it repaired.
func TestRepair(t *testing.T) {
	name := filepath.Join(t.TempDir(), "a")
	create(t, "qcow2", name, 1<<20)
	change(t, name, func(im *Image) {
		if err := im.Writev(0, [][]byte{bytes.Repeat([]byte{7}, 1<<20)}, 0); err != nil {
			t.Fatal(err)
		}
	})
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	// The refcounts of clusters that are in use, and of some that are not.
	_, err = f.WriteAt([]byte{0, 0, 0, 2}, 2*65536+2*6)
	_, err2 := f.WriteAt([]byte{0, 1, 0, 1}, 2*65536+2*100)
	if err := errors.Join(err, err2, f.Close()); err != nil {
		t.Fatal(err)
	}
	r, err := Check(Source{Name: name}, 0, false)
	if err != nil || r.Corruptions == 0 || r.Leaks == 0 {
		t.Fatalf("%+v, %v", r, err)
	}
	if r, err = Check(Source{Name: name}, qcow2.FixAll, false); err != nil || r.CorruptionsFixed == 0 || r.LeaksFixed == 0 {
		t.Fatalf("%+v, %v", r, err)
	}
	if out, err := exec.Command("qemu-img", "check", name).CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
	holds(t, name, bytes.Repeat([]byte{7}, 1<<20))
}

// TestInUse sees that an image that somebody writes to is refused, and the other way round.
func TestInUse(t *testing.T) {
	name := filepath.Join(t.TempDir(), "a")
	create(t, "qcow2", name, 1<<20)
	change(t, name, func(*Image) {
		_, err := Open(Source{Name: name}, Access{})
		_, lerr := OpenLayer(Source{Name: name, Format: "qcow2"}, Access{}, false)
		for _, err := range []error{err, lerr} {
			if err == nil || !strings.Contains(err.Error(), `lock`) {
				t.Errorf("%v", err)
			}
		}
		if _, err := Describe(Source{Name: name}, true); err != nil {
			t.Error(err)
		}
		if out, err := exec.Command("qemu-img", "info", name).CombinedOutput(); err == nil || !bytes.Contains(out, []byte("lock")) {
			t.Errorf("%v: %s", err, out)
		}
	})
}

// TestMerge joins bitmaps of different granularities.
func TestMerge(t *testing.T) {
	name := filepath.Join(t.TempDir(), "a")
	create(t, "qcow2", name, 1<<20)
	b, err := OpenBitmaps(Source{Name: name}, Access{Write: true})
	if err != nil {
		t.Fatal(err)
	}
	err = errors.Join(b.Add("fine", 512), b.Add("coarse", 65536), b.Add("back", 512))
	b.list[0].Bits[0], b.list[0].Bits[128/8] = 1, 1 // the first bytes of clusters 0 and 1
	if err = errors.Join(err, b.Merge("coarse", b, "fine"), b.Merge("back", b, "coarse")); err != nil {
		t.Fatal(err)
	}
	if got := b.list[1].Bits; got[0] != 3 || got[1] != 0 {
		t.Errorf("coarse has %x", got)
	}
	full := bytes.Repeat([]byte{0xff}, 32)
	if got := b.list[2].Bits; !bytes.Equal(got[:32], full) || got[32] != 0 {
		t.Errorf("back has %x", got)
	}
	if err := errors.Join(b.Store(), b.Close()); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("qemu-img", "check", name).CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
}

// TestResizeBitmaps has the bitmaps of an image follow its size, unless one cannot.
func TestResizeBitmaps(t *testing.T) {
	name := filepath.Join(t.TempDir(), "a")
	create(t, "qcow2", name, 1<<20)
	src := Source{Name: name}
	b, err := OpenBitmaps(src, Access{Write: true})
	if err != nil {
		t.Fatal(err)
	}
	err = errors.Join(b.Add("a", 65536), b.Add("off", 512), b.Enable("off", false))
	b.list[0].Bits[1] = 0x81 // clusters 8 and 15
	if err := errors.Join(err, b.Store(), b.Close(), ResizeLayer(src, 2<<20, "metadata"), ResizeLayer(src, 576<<10, "")); err != nil {
		t.Fatal(err)
	}
	if b, err = OpenBitmaps(src, Access{Write: true}); err != nil {
		t.Fatal(err)
	}
	if x := b.list[0]; len(b.list) != 2 || x.Name != "a" || !x.Enabled || !bytes.Equal(x.Bits, []byte{0, 1}) || b.list[1].Enabled || len(b.list[1].Bits) != 576<<10/512/8 {
		t.Errorf("%+v", b.list)
	}
	if err := b.Close(); err != nil { // which leaves them in use
		t.Error(err)
	}
	if err := ResizeLayer(src, 1<<20, "metadata"); err == nil || !strings.Contains(err.Error(), "inconsistent") {
		t.Error(err)
	}
	if out, err := exec.Command("qemu-img", "check", name).CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
}

// TestRefusals is what is wrong with an image that is to be made.
func TestRefusals(t *testing.T) {
	dir := t.TempDir()
	for want, c := range map[string]Creation{
		"Unknown file format 'x'":                            {Format: "x", Size: 1},
		"Invalid parameter 'x'":                              {Format: "raw", Size: 1, Options: map[string]string{"x": "1"}},
		"Image creation needs a size parameter":              {Format: "raw", Size: -1},
		"Unsupported preallocation mode 'metadata'":          {Format: "raw", Size: 1, Options: map[string]string{"preallocation": "metadata"}},
		"cluster size must be a power of two":                {Format: "qcow2", Size: 1, Options: map[string]string{"cluster_size": "3k"}},
		"Parameter 'compression-type' does not accept value": {Format: "qcow2", Size: 1, Options: map[string]string{"compression_type": "lz4"}},
		"Parameter 'lazy_refcounts' expects 'on' or 'off'":   {Format: "qcow2", Size: 1, Options: map[string]string{"lazy_refcounts": "x"}},
		"same filename as the backing file":                  {Format: "qcow2", Size: 1, Options: map[string]string{"backing_file": filepath.Join(dir, "x")}},
	} {
		c.Name = filepath.Join(dir, "x")
		err := c.Check()
		if err == nil {
			err = c.Create()
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	if err := Commit(Source{Name: newRaw(t)}, "", "", false, nil); !errors.Is(err, ErrNoBacking) {
		t.Errorf("%v", err)
	}
	if _, err := Check(Source{Name: newRaw(t)}, 0, false); !errors.Is(err, ErrNoCheck) {
		t.Errorf("%v", err)
	}
}

func newRaw(t *testing.T) string {
	name := filepath.Join(t.TempDir(), "raw")
	create(t, "raw", name, 1<<16)
	return name
}
