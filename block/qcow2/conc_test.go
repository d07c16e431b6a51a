package qcow2

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"
)

// TestConcurrent has many writers, each on sectors of its own that lie between those of the
// others, beside flushes, snapshots and checks.
func TestConcurrent(t *testing.T) {
	for _, o := range []CreateOptions{{ClusterSize: 4096}, {ClusterSize: 16384, ExtendedL2: true}, {ClusterSize: 512, LazyRefcounts: true}, {Compat: "0.10"}} {
		t.Run(fmt.Sprint(o.ClusterSize, o.Compat), func(t *testing.T) {
			t.Parallel()
			const size, writers = 1 << 20, 8
			path, f, _ := variant{o: o}.create(t, size)
			im := mustOpen(t, f, Options{L2CacheSize: 4096, CacheCleanInterval: time.Millisecond, DiscardRequest: true})
			want := make([]byte, size)
			var wg sync.WaitGroup
			for w := range writers {
				wg.Go(func() {
					if err := writer(im, want, w, writers); err != nil {
						t.Errorf("writer %d: %v", w, err)
					}
				})
			}
			done := make(chan struct{})
			var others sync.WaitGroup
			others.Go(func() { disturb(t, im, done) })
			wg.Wait()
			close(done)
			others.Wait()
			mustClose(t, im)
			verify(t, path, mustOpen(t, f, Options{ReadOnly: true}), want)
		})
	}
}

// writeSpot writes to what Find found.
func writeSpot(im *Image, s Spot, b []byte, rng *rand.Rand) error {
	v := [][]byte{make([]byte, s.Head), b, make([]byte, s.Tail)}
	err := im.data.Writev(s.Offset, v)
	ok, lerr := im.Left(s, err != nil, rng.IntN(2) == 0)
	if !ok {
		_, lerr = im.Left(s, err != nil, true)
	}
	return errors.Join(err, lerr)
}

// writer owns the sectors whose number is w modulo all.
func writer(im *Image, want []byte, w, all int) error {
	rng := rand.New(rand.NewPCG(uint64(w), 5))
	b, got := make([]byte, 512), make([]byte, 512)
	for i := range 300 {
		off := (rng.Int64N(int64(len(want)/512/all))*int64(all) + int64(w)) * 512
		mine := want[off : off+512]
		switch rng.IntN(8) {
		case 0:
			clear(mine)
			if err := im.WriteZeroes(off, 512, MayUnmap); err != nil {
				return err
			}
		case 1, 2:
			if err := im.Readv(off, [][]byte{got}); err != nil {
				return err
			}
			if !bytes.Equal(got, mine) {
				return fmt.Errorf("at %d: %x, want %x", off, got[:8], mine[:8])
			}
		case 3:
			spot := im.Find(true, off, 512)
			if spot.Place == Elsewhere {
				continue
			}
			fill(b, w, i)
			copy(mine, b)
			if err := writeSpot(im, spot, b, rng); err != nil {
				return fmt.Errorf("write past the image: %w", err)
			}
		default:
			fill(b, w, i)
			copy(mine, b)
			if err := im.Writev(off, [][]byte{b[:100], b[100:]}, Flags(rng.IntN(2))*FUA); err != nil {
				return err
			}
		}
	}
	return nil
}

func fill(b []byte, w, i int) {
	for k := 0; k < len(b); k += 8 {
		binary.BigEndian.PutUint64(b[k:], uint64(w)<<32|uint64(i)<<8|0xff)
	}
}

// disturb does what concerns all of the image until done is closed.
func disturb(t *testing.T, im *Image, done chan struct{}) {
	for i := 0; ; i++ {
		select {
		case <-done:
			return
		default:
		}
		var err error
		switch i % 4 {
		case 0:
			err = im.Flush()
		case 1:
			_, err = im.CreateSnapshot(Snapshot{Name: "x"})
		case 2:
			var r Result
			if r, err = im.Check(0); err == nil && r.Corruptions+r.Errors+r.Leaks > 0 {
				t.Errorf("check: %+v", r)
			}
		case 3:
			err = im.DeleteSnapshot("x")
		}
		if err != nil {
			t.Error(err)
			return
		}
	}
}

// slowStorage holds writes back until it is told.
type slowStorage struct {
	Storage
	gate chan struct{}
}

func (s slowStorage) Writev(off int64, v [][]byte) error {
	if length(v) >= 4096 {
		<-s.gate
	}
	return s.Storage.Writev(off, v)
}

// TestDependent has a write wait for an allocation of the same cluster, and not for others.
func TestDependent(t *testing.T) {
	m := newMem(nil)
	if err := Create(m, nil, CreateOptions{ClusterSize: 8192, Size: 1 << 20}); err != nil {
		t.Fatal(err)
	}
	im := mustOpen(t, m, Options{})
	if err := im.Writev(1<<19, [][]byte{{1}}, 0); err != nil { // the L2 table
		t.Fatal(err)
	}
	gate := make(chan struct{})
	im.data = slowStorage{m, gate}
	first, second := make(chan error), make(chan error)
	go func() { first <- im.Writev(0, [][]byte{bytes.Repeat([]byte{1}, 512)}, 0) }()
	for {
		im.mu.Lock()
		n := len(im.flight)
		im.mu.Unlock()
		if n == 1 {
			break
		}
	}
	go func() { second <- im.Writev(512, [][]byte{bytes.Repeat([]byte{2}, 512)}, 0) }()
	if err := im.Writev(1<<19, [][]byte{{3}}, 0); err != nil { // in place: nobody to wait for
		t.Fatal(err)
	}
	select {
	case <-second:
		t.Fatal("the second write did not wait")
	default:
	}
	close(gate)
	if err := <-first; err != nil {
		t.Fatal(err)
	}
	if err := <-second; err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 1025)
	if err := im.Readv(0, [][]byte{b}); err != nil || b[0] != 1 || b[511] != 1 || b[512] != 2 || b[1023] != 2 || b[1024] != 0 {
		t.Errorf("%v %x %x", err, b[:2], b[510:514])
	}
	mustClose(t, im)
}

// nullStorage is as fast as storage can be, below metadata that is kept.
type nullStorage struct{ *memStorage }

func (nullStorage) Readv(int64, [][]byte) error  { return nil }
func (nullStorage) Writev(int64, [][]byte) error { return nil }

func benchImage(b testing.TB) *Image {
	m := newMem(nil)
	if err := Create(m, nil, CreateOptions{Size: 64 << 20, Preallocation: PreallocMetadata}); err != nil {
		b.Fatal(err)
	}
	im := mustOpen(b, m, Options{})
	im.data = nullStorage{m}
	return im
}

func steady(im *Image, v [][]byte, i int) error {
	off := int64(i) * 12288 % (60 << 20)
	if err := im.Readv(off, v); err != nil {
		return err
	}
	return im.Writev(off, v, 0)
}

// TestNoAllocations: reading and overwriting what is allocated leaves no garbage.
func TestNoAllocations(t *testing.T) {
	im := benchImage(t)
	v := [][]byte{make([]byte, 4096), make([]byte, 65536)}
	i := 0
	if n := testing.AllocsPerRun(1000, func() {
		if err := steady(im, v, i); err != nil {
			t.Fatal(err)
		}
		i++
	}); n > 0 {
		t.Errorf("%v allocations a request", n)
	}
}

func BenchmarkSteady(b *testing.B) {
	im := benchImage(b)
	v := [][]byte{make([]byte, 4096)}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if err := steady(im, v, i); err != nil {
			b.Fatal(err)
		}
	}
}
