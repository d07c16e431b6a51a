package qcow2

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// qemuImg runs qemu-img and returns its output; it fails the test where there is none.
func qemuImg(t testing.TB, args ...string) string {
	t.Helper()
	path, err := exec.LookPath("qemu-img")
	if err != nil {
		t.Fatal("no qemu-img: apt-get install qemu-utils")
	}
	out, err := exec.Command(path, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("qemu-img %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// variant is a kind of image.
type variant struct {
	name string
	o    CreateOptions
}

var variants = []variant{
	{"default", CreateOptions{}},
	{"v2", CreateOptions{Compat: "0.10"}},
	{"512", CreateOptions{ClusterSize: 512}},
	{"512-ref64", CreateOptions{ClusterSize: 512, RefcountBits: 64}},
	{"512-ref1", CreateOptions{ClusterSize: 512, RefcountBits: 1}},
	{"4k-ref2", CreateOptions{ClusterSize: 4096, RefcountBits: 2}},
	{"4k-ref4-zstd", CreateOptions{ClusterSize: 4096, RefcountBits: 4, Compression: Zstd}},
	{"2M-ref8", CreateOptions{ClusterSize: 2 << 20, RefcountBits: 8}},
	{"ext16k", CreateOptions{ClusterSize: 16384, ExtendedL2: true, RefcountBits: 32}},
	{"ext64k-lazy", CreateOptions{ExtendedL2: true, LazyRefcounts: true}},
	{"lazy", CreateOptions{LazyRefcounts: true}},
	{"data", CreateOptions{DataFile: "data.raw"}},
	{"data-raw", CreateOptions{DataFile: "data.raw", DataFileRaw: true}},
	{"data-ext", CreateOptions{DataFile: "data.raw", ExtendedL2: true}},
	{"metadata", CreateOptions{Preallocation: PreallocMetadata}},
	{"ext-metadata", CreateOptions{Preallocation: PreallocMetadata, ExtendedL2: true}},
	{"4k-falloc", CreateOptions{Preallocation: PreallocFalloc, ClusterSize: 4096}},
	{"full", CreateOptions{Preallocation: PreallocFull}},
}

// disk is an image beside what it must hold.
type disk struct {
	im   *Image
	want []byte
	rng  *rand.Rand
}

func (d *disk) pick() (off, n int64) {
	size := int64(len(d.want))
	units := []int64{1, 512, 4096, d.im.geo.subSize, d.im.geo.clusterSize, 3 * d.im.geo.clusterSize}
	u := units[d.rng.IntN(len(units))]
	off = d.rng.Int64N(size) / u * u
	n = (d.rng.Int64N(4) + 1) * u
	return off, min(n, size-off)
}

func split(rng *rand.Rand, b []byte) [][]byte {
	k := rng.IntN(len(b) + 1)
	return [][]byte{b[:k], b[k:]}
}

func (d *disk) data(n int64) []byte {
	b := make([]byte, n)
	if d.rng.IntN(3) == 0 {
		return bytes.Repeat([]byte{byte(d.rng.Int())}, int(n))
	}
	for i := range b {
		b[i] = byte(d.rng.Int()) & 31
	}
	return b
}

// step does one random operation.
func (d *disk) step() error {
	off, n := d.pick()
	switch op := d.rng.IntN(20); {
	case op < 9:
		b := d.data(n)
		copy(d.want[off:], b)
		if s := d.im.Find(true, off, n); s.Place != Elsewhere && op < 5 {
			return writeSpot(d.im, s, b, d.rng)
		} else if s.Place != Elsewhere {
			_, _ = d.im.Left(s, true, true)
		}
		return d.im.Writev(off, split(d.rng, b), 0)
	case op < 11 && !d.im.geo.external:
		cs := d.im.geo.clusterSize
		off = off / cs * cs
		n = min(cs, int64(len(d.want))-off)
		b := d.data(n)
		copy(d.want[off:], b)
		return d.im.Writev(off, split(d.rng, b), Compressed)
	case op < 14:
		clear(d.want[off : off+n])
		f := Flags(0)
		if d.rng.IntN(2) == 0 {
			f = MayUnmap
		}
		return d.im.WriteZeroes(off, n, f)
	case op < 16:
		cs := d.im.geo.clusterSize
		off = off / cs * cs
		n = min((n+cs-1)/cs*cs, int64(len(d.want))-off)
		if d.im.hdr.Version < 3 && d.im.backing != nil {
			return nil
		}
		clear(d.want[off : off+n])
		return d.im.Discard(off, n)
	case op < 17:
		return d.im.Flush()
	}
	return d.compare(off, n)
}

func (d *disk) compare(off, n int64) error {
	got := make([]byte, n)
	if err := d.im.Readv(off, split(d.rng, got)); err != nil {
		return err
	}
	if err := d.find(off, n, got); err != nil {
		return err
	}
	if i := diff(got, d.want[off:off+n]); i >= 0 {
		return fmt.Errorf("at %d (of %d at %d): read %#x, want %#x", off+int64(i), n, off, got[i], d.want[off+int64(i)])
	}
	return nil
}

// find compares what was read with what lies where Find says.
func (d *disk) find(off, n int64, got []byte) (err error) {
	b := make([]byte, n)
	for _, isWrite := range []bool{false, true} {
		s := d.im.Find(isWrite, off, n)
		switch s.Place {
		case InData:
			err = d.im.data.Readv(s.Offset, [][]byte{b})
			_, _ = d.im.Left(s, false, true)
		case InNew:
			_, _ = d.im.Left(s, true, true)
			continue
		case InBacking:
			err = d.im.readBacking(off, n, [][]byte{b})
		case InNothing:
			clear(b)
		default:
			continue
		}
		if isWrite && s.Place != InData {
			return fmt.Errorf("to be written at %d: %+v", off, s)
		}
		if i := diff(b, got); err == nil && i >= 0 {
			err = fmt.Errorf("at %d (of %d at %d): found %#x in %v, read %#x", off+int64(i), n, off, b[i], s, got[i])
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func diff(a, b []byte) int {
	if bytes.Equal(a, b) {
		return -1
	}
	for i := range a {
		if a[i] != b[i] {
			return i
		}
	}
	return len(a)
}

// checkReport is what qemu-img check says.
type checkReport struct {
	Leaks       int64 `json:"leaks"`
	Corruptions int64 `json:"corruptions"`
	Errors      int64 `json:"check-errors"`
	End         int64 `json:"image-end-offset"`
	Total       int64 `json:"total-clusters"`
	Allocated   int64 `json:"allocated-clusters"`
	Compressed  int64 `json:"compressed-clusters"`
	Fragmented  int64 `json:"fragmented-clusters"`
}

func qemuCheck(t testing.TB, path string) checkReport {
	t.Helper()
	if _, err := exec.LookPath("qemu-img"); err != nil {
		t.Fatal("no qemu-img: apt-get install qemu-utils")
	}
	cmd := exec.Command("qemu-img", "check", "-U", "-f", "qcow2", "--output=json", path)
	out, _ := cmd.Output() // exit status says what the report does
	var r checkReport
	if err := json.Unmarshal(out, &r); err != nil {
		t.Fatalf("qemu-img check: %v: %s", err, out)
	}
	return r
}

func report(r Result) checkReport {
	return checkReport{r.Leaks, r.Corruptions, r.Errors, r.ImageEnd, r.TotalClusters, r.Allocated, r.CompressedClusters, r.Fragmented}
}

// verify has our check and QEMU's agree that the image is good, and compares its contents.
func verify(t *testing.T, path string, im *Image, want []byte) {
	t.Helper()
	ours, err := im.Check(0)
	if err != nil {
		t.Fatal(err)
	}
	if ours.Leaks+ours.Corruptions+ours.Errors > 0 {
		t.Errorf("check: %+v", ours)
	}
	if theirs := qemuCheck(t, path); theirs != report(ours) {
		t.Errorf("check: QEMU says\n%+v, we say\n%+v", theirs, report(ours))
	}
	raw := filepath.Join(t.TempDir(), "raw")
	if err := os.WriteFile(raw, want, 0o644); err != nil {
		t.Fatal(err)
	}
	qemuImg(t, "compare", "-U", "-f", "qcow2", "-F", "raw", path, raw)
}

func (v variant) create(t testing.TB, size int64) (path string, file, data Storage) {
	t.Helper()
	dir := t.TempDir()
	path = filepath.Join(dir, "a.qcow2")
	o := v.o
	o.Size = size
	f := openFile(t, path)
	if o.DataFile != "" {
		o.DataFile = filepath.Join(dir, o.DataFile)
		data = openFile(t, o.DataFile)
	}
	if err := Create(f, data, o); err != nil {
		t.Fatal(err)
	}
	return path, f, data
}

func TestRandomOperations(t *testing.T) {
	for _, v := range variants {
		t.Run(v.name, func(t *testing.T) {
			t.Parallel()
			size := int64(3<<20 + 1536)
			if v.o.ClusterSize == 2<<20 {
				size = 24 << 20
			}
			for seed := range uint64(2) {
				path, f, data := v.create(t, size)
				d := &disk{want: make([]byte, size), rng: rand.New(rand.NewPCG(seed, 1))}
				for range 2 {
					var err error
					if d.im, err = Open(f, Options{DataFile: data, L2CacheSize: 4096, DiscardRequest: seed == 1}); err != nil {
						t.Fatal(err)
					}
					for i := range 150 {
						if err := d.step(); err != nil {
							t.Fatalf("seed %d step %d: %v", seed, i, err)
						}
					}
					if err := d.compare(0, size); err != nil {
						t.Fatalf("seed %d: %v", seed, err)
					}
					if err := d.im.Close(); err != nil {
						t.Fatal(err)
					}
					ro, err := Open(f, Options{DataFile: data, ReadOnly: true})
					if err != nil {
						t.Fatal(err)
					}
					verify(t, path, ro, d.want)
				}
			}
		})
	}
}
