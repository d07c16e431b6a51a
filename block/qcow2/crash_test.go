package qcow2

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"testing"
)

// device is what loses power: a file, or an image's file and its data file, and what they
// were told, in order.
type device struct {
	mu  sync.Mutex
	log []logged
}

// logged is a write that a file of a device got.
type logged struct {
	file  int // negative for a mark
	off   int64
	data  []byte // nil for a flush or a truncation
	size  int64  // of a truncation
	flush bool
	done  int // how much was in the log when it returned
}

// pos marks a place in the log, and returns how much is there then.
func (d *device) pos() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.log = append(d.log, logged{file: -1})
	return len(d.log)
}

// put lists l while f does it.
func (d *device) put(l logged, f func() error) error {
	d.mu.Lock()
	i := len(d.log)
	d.log = append(d.log, l)
	d.mu.Unlock()
	if !l.flush {
		runtime.Gosched() // others may come before it is done
	}
	err := f()
	d.mu.Lock()
	defer d.mu.Unlock()
	d.log[i].done = len(d.log)
	return err
}

// logStorage is a file of a device.
type logStorage struct {
	*memStorage
	dev  *device
	file int
}

func (s *logStorage) Writev(off int64, v [][]byte) error {
	return s.dev.put(logged{file: s.file, off: off, data: slices.Concat(v...)}, func() error { return s.memStorage.Writev(off, v) })
}

func (s *logStorage) WriteZeroes(off, n int64, unmap bool) error {
	return s.dev.put(logged{file: s.file, off: off, data: make([]byte, n)}, func() error { return s.memStorage.WriteZeroes(off, n, unmap) })
}

func (s *logStorage) Discard(off, n int64) error {
	n = min(n, max(s.Size()-off, 0))
	return s.dev.put(logged{file: s.file, off: off, data: make([]byte, n)}, func() error { return s.memStorage.Discard(off, n) })
}

func (s *logStorage) Truncate(size int64) error {
	return s.dev.put(logged{file: s.file, size: size, off: -1}, func() error { return s.memStorage.Truncate(size) })
}

func (s *logStorage) Flush() error {
	return s.dev.put(logged{file: s.file, flush: true}, func() error { return nil })
}

// apply does to m what was logged; with rng only a part of it, and its sectors one by one.
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

// replay has the device lose power at so many points of the log behind created, and calls f
// with what its files hold then, and with how far it came.
func (d *device) replay(created, cuts int, rng *rand.Rand, f func(files [2]*memStorage, k int) error) error {
	base := [2]*memStorage{newMem(nil), newMem(nil)}
	var pending [2][]int
	left := len(d.log) - created
	for k := range len(d.log) + 1 {
		if k >= created {
			// A cut comes as often before each of the writes that are left.
			if rng.IntN(left+1) < cuts {
				cuts--
				files := [2]*memStorage{base[0].clone(), base[1].clone()}
				for i, l := range pending {
					for _, p := range l {
						d.log[p].apply(files[i], rng)
					}
				}
				if err := f(files, k); err != nil {
					return err
				}
			}
			left--
		}
		if k == len(d.log) {
			return nil
		}
		l := d.log[k]
		if l.file < 0 {
			continue
		}
		if !l.flush {
			pending[l.file] = append(pending[l.file], k)
			continue
		}
		pending[l.file] = slices.DeleteFunc(pending[l.file], func(p int) bool {
			if d.log[p].done > k {
				return false
			}
			d.log[p].apply(base[l.file], nil)
			return true
		})
	}
	return nil
}

// model is what a disk may hold after a crash.
type model struct {
	mu     sync.Mutex
	size   int64 // at first
	first  uint64
	events []event
	now    []uint64 // of each sector
	disk   int64    // size now
	snaps  map[string]*snapState
}

// event is something that a guest or an operator did.
type event struct {
	start, end int   // in the log
	off, n     int64 // what was written
	value      uint64
	sure       bool     // it is durable once it has ended
	durable    int      // what ended by then is, too
	size       int64    // of the disk from then on, 0 as before
	all        []uint64 // what the disk holds from then on
	bitmaps    *bitmapState
}

// bitmapState says which bitmaps there are: none, or two that are filled with a byte.
type bitmapState struct {
	fill int // -1 for none
	used bool
}

// snapState is what a snapshot holds; all of it is known only if nobody wrote meanwhile.
type snapState struct {
	values         []uint64
	size           int64
	created        int // in the log, as are the others; 0 for not yet
	drop, dropped  int
	nothingIsKnown bool
}

func newModel(size int64, first uint64) *model {
	return &model{size: size, first: first, disk: size, now: slices.Repeat([]uint64{first}, int(size/512)), snaps: map[string]*snapState{}}
}

// happened notes an event.
func (m *model) happened(e event) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.events = append(m.events, e)
	e.each(len(m.now), func(i int) { m.now[i] = e.at(i) })
	if e.size > 0 {
		m.disk = e.size
		for int64(len(m.now)) < e.size/512 {
			m.now = append(m.now, 0)
		}
	}
}

// each calls f for the sectors, of so many, that an event is about.
func (e *event) each(sectors int, f func(i int)) {
	lo, hi := e.off/512, (e.off+e.n)/512
	if e.size > 0 {
		lo, hi = e.size/512, int64(sectors)
	}
	if e.all != nil {
		lo = 0
	}
	for i := lo; i < min(hi, int64(sectors)); i++ {
		f(int(i))
	}
}

// at is what an event leaves in a sector.
func (e *event) at(i int) uint64 {
	if i < len(e.all) {
		return e.all[i]
	}
	return e.value
}

// maybe is what there may be after a crash.
type maybe struct {
	sectors [][]uint64
	sizes   []int64
	bitmaps []bitmapState
}

// allowed lists what there may be if the log ends at k.
func (m *model) allowed(k int) maybe {
	durable, most := 0, m.size
	for _, e := range m.events {
		if e.end <= k {
			durable = max(durable, e.durable)
		}
		most = max(most, e.size)
	}
	a := maybe{make([][]uint64, most/512), []int64{m.size}, []bitmapState{{fill: -1}}}
	for i := range a.sectors {
		a.sectors[i] = []uint64{0}
		if int64(i) < m.size/512 {
			a.sectors[i][0] = m.first
		}
	}
	for _, e := range m.events {
		if e.start >= k {
			continue
		}
		sure := e.end <= durable || e.sure && e.end <= k
		e.each(len(a.sectors), func(i int) {
			if !sure && e.size > 0 {
				a.sectors[i] = append(a.sectors[i], m.first) // on its way out
			}
			a.sectors[i] = with(a.sectors[i], e.at(i), sure)
		})
		if e.size > 0 {
			a.sizes = with(a.sizes, e.size, sure)
		}
		if e.bitmaps != nil {
			if !sure && !e.bitmaps.used {
				a.bitmaps = append(a.bitmaps, bitmapState{fill: -1}) // the old ones are given up first
			}
			a.bitmaps = with(a.bitmaps, *e.bitmaps, sure)
		}
	}
	return a
}

// with adds a value that may be there, or replaces the others by one that must.
func with[T any](l []T, v T, sure bool) []T {
	if sure {
		l = l[:0]
	}
	return append(l, v)
}

func sectorData(n int64, value uint64) []byte {
	return bytes.Repeat(binary.BigEndian.AppendUint64(nil, value), int(n/8))
}

// TestModel has the model itself tell what may be from what may not.
func TestModel(t *testing.T) {
	m := newModel(1024, 9)
	m.happened(event{start: 1, end: 3, n: 512, value: 1})
	m.happened(event{start: 4, end: 6, n: 1024, value: 2})
	m.happened(event{start: 6, end: 8, durable: 6})
	m.happened(event{start: 9, end: 12, size: 512, durable: 12})
	m.happened(event{start: 12, end: 14, size: 1536, durable: 14})
	for k, want := range map[int][3][]uint64{
		0:  {{9}, {9}, {0}},
		2:  {{9, 1}, {9}, {0}},
		7:  {{9, 1, 2}, {9, 2}, {0}},
		8:  {{2}, {2}, {0}},
		10: {{2}, {2, 9, 0}, {0, 9, 0}},
		12: {{2}, {0}, {0}},
	} {
		for i, got := range m.allowed(k).sectors {
			if !slices.Equal(got, want[i]) {
				t.Errorf("after %d, sector %d: %v, want %v", k, i, got, want[i])
			}
		}
	}
	if got := m.allowed(13).sizes; !slices.Equal(got, []int64{512, 1536}) {
		t.Errorf("sizes %v", got)
	}
}
