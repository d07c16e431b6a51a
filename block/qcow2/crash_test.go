package qcow2

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

// logged is a write that storage got.
type logged struct {
	off   int64
	data  []byte // nil for a flush or a truncation
	size  int64  // of a truncation
	flush bool
}

// logStorage remembers what it was told, in order.
type logStorage struct {
	*memStorage
	log []logged
}

func (s *logStorage) Writev(off int64, v [][]byte) error {
	s.log = append(s.log, logged{off: off, data: slices.Concat(v...)})
	return s.memStorage.Writev(off, v)
}

func (s *logStorage) WriteZeroes(off, n int64, unmap bool) error {
	s.log = append(s.log, logged{off: off, data: make([]byte, n)})
	return s.memStorage.WriteZeroes(off, n, unmap)
}

func (s *logStorage) Discard(off, n int64) error {
	return s.WriteZeroes(off, n, true)
}

func (s *logStorage) Truncate(size int64) error {
	s.log = append(s.log, logged{size: size, off: -1})
	return s.memStorage.Truncate(size)
}

func (s *logStorage) Flush() error {
	s.log = append(s.log, logged{flush: true})
	return nil
}

func (l logged) apply(m *memStorage, rng *rand.Rand) {
	switch {
	case l.flush:
	case l.off < 0:
		if rng == nil || rng.IntN(2) == 0 {
			_ = m.Truncate(l.size)
		}
	case rng == nil:
		_ = m.Writev(l.off, [][]byte{l.data})
	default:
		mode := rng.IntN(3)
		for at := int64(0); at < int64(len(l.data)); {
			n := min(512-(l.off+at)%512, int64(len(l.data))-at)
			if mode == 0 || mode == 1 && rng.IntN(2) == 0 {
				_ = m.Writev(l.off+at, [][]byte{l.data[at : at+n]})
			}
			at += n
		}
	}
}

func (m *memStorage) clone() *memStorage {
	c := newMem(nil)
	c.size = m.size
	for i, p := range m.pages {
		q := *p
		c.pages[i] = &q
	}
	return c
}

// sectors is what the sectors of a disk may hold after a crash.
type sectors struct {
	events []event
	size   int64
}

// event is a guest's write of a value, or a flush that returned.
type event struct {
	start  int // in the log
	end    int
	off, n int64
	value  uint64
	flush  bool
}

// allowed lists the values of each sector if the log ends at k.
func (s *sectors) allowed(k int) [][]uint64 {
	a := make([][]uint64, s.size/512)
	for i := range a {
		a[i] = []uint64{0}
	}
	for _, e := range s.events {
		switch {
		case e.flush && e.end <= k:
			for i := range a {
				a[i] = a[i][len(a[i])-1:]
			}
		case !e.flush && e.start < k:
			for i := e.off / 512; i < (e.off+e.n)/512; i++ {
				a[i] = append(a[i], e.value)
			}
		}
	}
	return a
}

func sectorData(n int64, value uint64) []byte {
	return bytes.Repeat(binary.BigEndian.AppendUint64(nil, value), int(n/8))
}

// crashRun makes a log of random operations.
func crashRun(t *testing.T, o CreateOptions, rng *rand.Rand, steps int, snaps bool) (*logStorage, *sectors) {
	t.Helper()
	s := &logStorage{memStorage: newMem(nil)}
	if err := Create(s, nil, o); err != nil {
		t.Fatal(err)
	}
	s.log = append(s.log, logged{flush: true})
	im, err := Open(s, Options{L2CacheSize: 1024, DiscardRequest: true, DiscardOther: true, DiscardSnapshot: true})
	if err != nil {
		t.Fatal(err)
	}
	d := &disk{im: im, want: make([]byte, o.Size), rng: rng}
	m := &sectors{size: o.Size}
	for i := range steps {
		if err := crashStep(d, s, m, uint64(i+1), snaps); err != nil {
			t.Fatalf("step %d: %v", i, err)
		}
	}
	if err := im.Close(); err != nil {
		t.Fatal(err)
	}
	m.events = append(m.events, event{flush: true, end: len(s.log)})
	return s, m
}

func crashStep(d *disk, s *logStorage, m *sectors, value uint64, snaps bool) error {
	off, n := d.pick()
	off, n = off&^511, max(n&^511, 512)
	e := event{start: len(s.log), off: off, n: n, value: value}
	var err error
	switch op := d.rng.IntN(20); {
	case op < 10:
		err = d.im.Writev(off, [][]byte{sectorData(n, value)}, 0)
	case op < 12:
		cs := d.im.geo.clusterSize
		e.off, e.n = off/cs*cs, min(cs, m.size-off/cs*cs)
		err = d.im.Writev(e.off, [][]byte{sectorData(e.n, value)}, Compressed)
	case op < 14:
		e.value = 0
		err = d.im.WriteZeroes(off, n, MayUnmap)
	case op < 16:
		cs := d.im.geo.clusterSize
		e.off, e.n, e.value = off/cs*cs, min((n+cs-1)/cs*cs, m.size-off/cs*cs), 0
		err = d.im.Discard(e.off, e.n)
	case op == 16 && snaps && len(d.im.snaps) < 3:
		_, err = d.im.CreateSnapshot(Snapshot{Name: fmt.Sprint(value)})
		e.flush = true
	case op == 17 && snaps && len(d.im.snaps) > 0:
		err = d.im.DeleteSnapshot(d.im.snaps[d.rng.IntN(len(d.im.snaps))].ID)
		e.flush = true
	default:
		e.flush = true
		err = d.im.Flush()
	}
	e.end = len(s.log)
	m.events = append(m.events, e)
	return err
}

// afterCrash checks an image that a crash left after k entries of the log.
func afterCrash(img *memStorage, allowed [][]uint64) error {
	im, err := Open(img, Options{})
	if err != nil {
		return fmt.Errorf("open: %w", err)
	}
	defer im.Close()
	res, err := im.Check(0)
	if err != nil || res.Corruptions+res.Errors > 0 {
		return fmt.Errorf("check: %+v, %v", res, err)
	}
	b := make([]byte, 512)
	for i, values := range allowed {
		if err := im.Readv(int64(i)*512, [][]byte{b}); err != nil {
			return err
		}
		got := binary.BigEndian.Uint64(b)
		if !slices.Contains(values, got) || !bytes.Equal(b, sectorData(512, got)) {
			return fmt.Errorf("sector %d holds %x..., allowed are %v", i, b[:16], values)
		}
	}
	if res, err = im.Check(FixAll); err != nil || res.Corruptions+res.Errors+res.Leaks > 0 {
		return fmt.Errorf("repair: %+v, %v", res, err)
	}
	return nil
}

func TestCrash(t *testing.T) {
	for _, c := range []struct {
		name  string
		o     CreateOptions
		snaps bool
	}{
		{"512", CreateOptions{ClusterSize: 512, Size: 256 << 10, RefcountBits: 64}, false},
		{"v2", CreateOptions{ClusterSize: 4096, Size: 1 << 20, Compat: "0.10"}, false},
		{"4k", CreateOptions{ClusterSize: 4096, Size: 1 << 20, RefcountBits: 8}, false},
		{"lazy", CreateOptions{ClusterSize: 1024, Size: 512 << 10, LazyRefcounts: true}, false},
		{"extended", CreateOptions{ClusterSize: 16384, Size: 2 << 20, ExtendedL2: true}, false},
		{"snapshots", CreateOptions{ClusterSize: 1024, Size: 256 << 10}, true},
		{"lazy snapshots", CreateOptions{ClusterSize: 1024, Size: 256 << 10, LazyRefcounts: true}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			for seed := range uint64(4) {
				rng := rand.New(rand.NewPCG(seed, 2))
				s, m := crashRun(t, c.o, rng, 150, c.snaps)
				replay(t, s, m, rng, seed)
			}
		})
	}
}

// replay has the machine crash at many points of the log.
func replay(t *testing.T, s *logStorage, m *sectors, rng *rand.Rand, seed uint64) {
	t.Helper()
	base, pending := newMem(nil), 0
	created := m.events[0].start
	for k, l := range s.log {
		if k >= created && rng.IntN(6) == 0 {
			img := base.clone()
			for _, p := range s.log[pending:k] {
				p.apply(img, rng)
			}
			if err := afterCrash(img, m.allowed(k)); err != nil {
				t.Fatalf("seed %d, crash after %d of %d writes: %v", seed, k, len(s.log), err)
			}
		}
		if l.flush {
			for _, p := range s.log[pending:k] {
				p.apply(base, nil)
			}
			pending = k
		}
	}
}

// TestCrashWhole has crashes during what concerns the image as a whole.
func TestCrashWhole(t *testing.T) {
	for _, o := range []CreateOptions{
		{ClusterSize: 512, RefcountBits: 64, Size: 128 << 10}, {ClusterSize: 4096, Size: 1 << 20}, {ClusterSize: 16384, Size: 1 << 20, ExtendedL2: true, LazyRefcounts: true},
	} {
		for seed := range uint64(3) {
			rng := rand.New(rand.NewPCG(seed, 6))
			s := &logStorage{memStorage: newMem(nil)}
			if err := Create(s, nil, o); err != nil {
				t.Fatal(err)
			}
			m := &sectors{events: []event{{start: len(s.log)}}}
			d := &disk{im: mustOpen(t, s, Options{L2CacheSize: 1024, DiscardOther: true}), want: make([]byte, o.Size), rng: rng}
			for i := range 60 {
				if err := wholeStep(d, i); err != nil {
					t.Fatalf("step %d: %v", i, err)
				}
			}
			mustClose(t, d.im)
			replay(t, s, m, rng, seed)
		}
	}
}

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
