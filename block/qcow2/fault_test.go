package qcow2

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"sync/atomic"
	"testing"

	"hv/test/hvrun"
)

var errFault = errors.New("injected")

// faulty fails one of so many operations.
type faulty struct {
	*memStorage
	rate  atomic.Int32 // one of rate fails; 0 is none
	rng   *rand.Rand
	count int
}

func (f *faulty) hit() bool {
	if r := f.rate.Load(); r > 0 && f.rng.Int32N(r) == 0 {
		f.count++
		return true
	}
	return false
}

func (f *faulty) Readv(off int64, v [][]byte) error {
	if f.hit() {
		return errFault
	}
	return f.memStorage.Readv(off, v)
}

func (f *faulty) Writev(off int64, v [][]byte) error {
	if f.hit() {
		return errFault
	}
	return f.memStorage.Writev(off, v)
}

func (f *faulty) Flush() error {
	if f.hit() {
		return errFault
	}
	return nil
}

// TestFaults: requests that fail change nothing but what they were to write, and leave an
// image that is good once storage is.
func TestFaults(t *testing.T) {
	for i, o := range []CreateOptions{
		{ClusterSize: 512, RefcountBits: 64}, {ClusterSize: 4096}, {ClusterSize: 16384, ExtendedL2: true}, {ClusterSize: 1024, LazyRefcounts: true}, {Compat: "0.10"},
	} {
		o.Size = 1 << 20
		f := &faulty{memStorage: newMem(nil), rng: rand.New(rand.NewPCG(uint64(i), 8))}
		if err := Create(f, nil, o); err != nil {
			t.Fatal(err)
		}
		d := &disk{im: mustOpen(t, f, Options{L2CacheSize: 1024}), want: make([]byte, 1<<20), rng: f.rng}
		unknown := make([]bool, 1<<20)
		failed := 0
		f.rate.Store(25)
		for range 600 {
			off, n := d.pick()
			b := d.data(n)
			var err error
			if d.rng.IntN(4) == 0 {
				clear(b)
				err = d.im.WriteZeroes(off, n, MayUnmap)
			} else {
				err = d.im.Writev(off, [][]byte{b}, Flags(d.rng.IntN(2))*FUA)
			}
			copy(d.want[off:], b)
			for k := off; k < off+n; k++ {
				unknown[k] = err != nil
			}
			if err != nil {
				if !errors.Is(err, errFault) {
					t.Fatal(err)
				}
				failed++
			}
		}
		f.rate.Store(0)
		got := make([]byte, 1<<20)
		if err := d.im.Readv(0, [][]byte{got}); err != nil {
			t.Fatal(err)
		}
		for k := range got {
			if got[k] != d.want[k] && !unknown[k] {
				t.Fatalf("%+v: at %d: %d, want %d", o, k, got[k], d.want[k])
			}
		}
		mustClose(t, d.im)
		res, err := mustOpen(t, f, Options{ReadOnly: true}).Check(0)
		if err != nil || res.Corruptions+res.Errors > 0 {
			t.Errorf("%+v: %+v, %v", o, res, err)
		}
		if failed < 10 || f.count < failed {
			t.Errorf("%d requests failed, %d faults", failed, f.count)
		}
	}
}

// TestFaultsWhole does the same to snapshots, bitmaps and resizing: what fails there leaves
// an image that repair makes good.
func TestFaultsWhole(t *testing.T) {
	for seed := range uint64(hvrun.Count(20, 400)) {
		f := &faulty{memStorage: newMem(nil), rng: rand.New(rand.NewPCG(seed, 9))}
		if err := Create(f, nil, CreateOptions{ClusterSize: 1024, Size: 256 << 10}); err != nil {
			t.Fatal(err)
		}
		d := &disk{im: mustOpen(t, f, Options{}), want: make([]byte, 256<<10), rng: f.rng}
		for i := range 40 {
			f.rate.Store(int32(i%2) * 30)
			if err := wholeStep(d, i); err != nil && !errors.Is(err, errFault) {
				t.Fatalf("seed %d step %d: %v", seed, i, err)
			}
			d.want = make([]byte, d.im.Size())
		}
		f.rate.Store(0)
		if err := d.im.Close(); err != nil {
			t.Fatal(err)
		}
		im := mustOpen(t, f, Options{Check: true})
		res, err := im.Check(FixAll)
		if err != nil || res.Errors+res.Corruptions > 0 {
			t.Fatalf("seed %d: %+v, %v", seed, res, err)
		}
		mustClose(t, im)
		mustClose(t, mustOpen(t, f, Options{}))
	}
}

// wholeStep does an operation on the image as a whole, or writes.
func wholeStep(d *disk, i int) error {
	im := d.im
	switch op := d.rng.IntN(9); {
	case op == 0 && len(im.snaps) < 3:
		_, err := im.CreateSnapshot(Snapshot{Name: fmt.Sprint(i)})
		return err
	case op == 1 && len(im.snaps) > 0:
		return im.DeleteSnapshot(im.snaps[0].ID)
	case op == 2 && len(im.snaps) > 0 && im.hdr.bitmaps.count == 0:
		err := im.ApplySnapshot(im.snaps[d.rng.IntN(len(im.snaps))].ID)
		d.want = make([]byte, im.Size())
		return err
	case op == 3:
		bits := bytes.Repeat([]byte{byte(i)}, int(im.bitmapBytes(9)))
		if d.rng.IntN(2) == 0 {
			return im.StoreBitmaps(nil)
		}
		return im.StoreBitmaps([]Bitmap{{Name: fmt.Sprint(i), Granularity: 512, Bits: bits}, {Name: "b", Granularity: 512, Bits: bits}})
	case op == 4 && im.hdr.bitmaps.count == 0:
		size := (d.rng.Int64N(400) + 1) << 10
		d.want = make([]byte, size)
		return im.Truncate(size, []string{PreallocOff, PreallocMetadata}[map[bool]int{true: d.rng.IntN(2)}[size > im.Size()]])
	}
	off, n := d.pick()
	return im.Writev(off, [][]byte{make([]byte, n)}, 0)
}

// discards counts what is passed on.
type discards struct {
	*memStorage
	n int64
}

func (d *discards) Discard(off, n int64) error {
	d.n += n
	return d.memStorage.Discard(off, n)
}

// TestDiscardPassed: storage hears of what became free, for the reasons that were asked for.
func TestDiscardPassed(t *testing.T) {
	for _, c := range []struct {
		o        Options
		discard  int64
		snapshot int64
	}{
		{Options{}, 0, 0}, {Options{DiscardRequest: true}, 16, 0}, {Options{DiscardSnapshot: true}, 0, 16 + 1}, {Options{DiscardOther: true}, 0, 1},
	} {
		s := &discards{memStorage: newMem(nil)}
		if err := Create(s, nil, CreateOptions{Size: 1 << 20}); err != nil {
			t.Fatal(err)
		}
		im := mustOpen(t, s, c.o)
		write := func() {
			if err := im.Writev(0, [][]byte{make([]byte, 1<<20)}, 0); err != nil {
				t.Fatal(err)
			}
		}
		write()
		if err := errors.Join(im.Discard(0, 1<<20), im.Flush()); err != nil {
			t.Fatal(err)
		}
		if s.n>>16 != c.discard {
			t.Errorf("%+v: %d clusters discarded, want %d", c.o, s.n>>16, c.discard)
		}
		write()
		if _, err := im.CreateSnapshot(Snapshot{Name: "x"}); err != nil {
			t.Fatal(err)
		}
		write()
		s.n = 0
		if err := im.DeleteSnapshot("x"); err != nil {
			t.Fatal(err)
		}
		if n := s.n >> 16; n < c.snapshot || c.snapshot == 0 && n > 0 {
			t.Errorf("%+v: %d clusters discarded with the snapshot, want %d", c.o, n, c.snapshot)
		}
		mustClose(t, im)
	}
}

// TestReuse: space that was discarded is used again after a flush, not before.
func TestReuse(t *testing.T) {
	m := newMem(nil)
	if err := Create(m, nil, CreateOptions{Size: 4 << 20}); err != nil {
		t.Fatal(err)
	}
	im := mustOpen(t, m, Options{})
	write := func(off int64) {
		if err := im.Writev(off, [][]byte{bytes.Repeat([]byte{7}, 1<<20)}, 0); err != nil {
			t.Fatal(err)
		}
	}
	write(0)
	size := m.Size()
	if err := im.Discard(0, 1<<20); err != nil {
		t.Fatal(err)
	}
	write(1 << 20)
	if m.Size() != size+1<<20 {
		t.Errorf("%d bytes, want %d: space was used before the flush", m.Size(), size+1<<20)
	}
	spot := im.Find(false, 1<<20, 4096)
	if spot.Place != InData {
		t.Fatal("not found")
	}
	if err := errors.Join(im.Flush(), im.Discard(1<<20, 1<<20), im.Flush()); err != nil {
		t.Fatal(err)
	}
	write(2 << 20)
	write(3 << 20)
	b := make([]byte, 4096)
	if err := m.Readv(spot.Offset, [][]byte{b}); err != nil || b[0] != 7 {
		t.Error("a cluster that somebody reads was given away", err)
	}
	if ok, err := im.Left(spot, false, false); !ok || err != nil {
		t.Error(ok, err)
	}
	if err := errors.Join(im.Flush(), im.Flush()); err != nil {
		t.Fatal(err)
	}
	size = m.Size()
	write(0)
	if m.Size() != size {
		t.Errorf("%d bytes, want %d: space was not used again", m.Size(), size)
	}
	for _, r := range [][2]int64{{4 << 20, 1}, {4<<20 - 1, 2}, {-1, 1}, {0, 0}, {0, math.MaxInt64}} {
		if s := im.Find(false, r[0], r[1]); s.Place != Elsewhere {
			t.Errorf("%d bytes at %d found: %+v", r[1], r[0], s)
		}
	}
	mustClose(t, im)
}

// TestLazyDirty: an image with lazy refcounts is dirty while it is open, and repaired if it
// was not closed.
func TestLazyDirty(t *testing.T) {
	m := newMem(nil)
	if err := Create(m, nil, CreateOptions{Size: 1 << 20, LazyRefcounts: true}); err != nil {
		t.Fatal(err)
	}
	im := mustOpen(t, m, Options{})
	if err := errors.Join(im.Writev(0, [][]byte{{1, 2, 3}}, 0), im.Flush()); err != nil {
		t.Fatal(err)
	}
	crashed := m.clone()
	mustClose(t, im)
	if h, err := ParseHeader(m); err != nil || h.Incompatible != 0 {
		t.Errorf("after Close: %+v, %v", h, err)
	}
	if h, err := ParseHeader(crashed); err != nil || h.Incompatible != IncompatDirty {
		t.Errorf("before Close: %+v, %v", h, err)
	}
	if _, err := Open(crashed.clone(), Options{NoRepair: true}); err == nil {
		t.Error("a dirty image was opened without a repair")
	}
	if res, err := mustOpen(t, crashed, Options{ReadOnly: true}).Check(0); err != nil || res.Corruptions == 0 {
		t.Errorf("refcounts were not lazy: %+v, %v", res, err)
	}
	im = mustOpen(t, crashed, Options{})
	res, err := im.Check(0)
	if err != nil || res.Corruptions+res.Leaks > 0 {
		t.Errorf("%+v, %v", res, err)
	}
	b := make([]byte, 3)
	if err := im.Readv(0, [][]byte{b}); err != nil || b[2] != 3 {
		t.Error(b, err)
	}
	mustClose(t, im)
	no := false
	if _, err := Open(newV2(t), Options{LazyRefcounts: &[]bool{true}[0]}); err == nil {
		t.Error("lazy refcounts in version 2")
	}
	mustClose(t, mustOpen(t, newV2(t), Options{LazyRefcounts: &no}))
}

func newV2(t *testing.T) *memStorage {
	t.Helper()
	m := newMem(nil)
	if err := Create(m, nil, CreateOptions{Size: 1 << 20, Compat: "0.10"}); err != nil {
		t.Fatal(err)
	}
	return m
}

// TestRefTableGrows: a file that outgrows its refcount table gets a larger one.
func TestRefTableGrows(t *testing.T) {
	path, f, _ := variant{o: CreateOptions{ClusterSize: 512, RefcountBits: 64}}.create(t, 8<<20)
	im := mustOpen(t, f, Options{})
	before := im.Header().RefTableClusters
	want := bytes.Repeat([]byte{3}, 8<<20)
	if err := im.Writev(0, [][]byte{want}, 0); err != nil {
		t.Fatal(err)
	}
	mustClose(t, im)
	if after := im.Header().RefTableClusters; after <= before {
		t.Errorf("%d clusters, were %d", after, before)
	}
	verify(t, path, mustOpen(t, f, Options{ReadOnly: true}), want)
}
