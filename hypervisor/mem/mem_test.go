package mem

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
)

// region returns pages of RAM at base, each byte of value fill.
func region(base uint64, pages int, fill byte) Region {
	return Region{Base: base, Data: bytes.Repeat([]byte{fill}, pages*PageSize), FD: -1}
}

func newMemory(t testing.TB, regions ...Region) *Memory {
	t.Helper()
	m, err := New(regions...)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// two is a memory of two adjacent regions and one apart.
func two(t testing.TB) *Memory {
	return newMemory(t, region(0x4000, 1, 2), region(0, 4, 1), region(1<<32, 2, 3))
}

func TestRegionsAreOrdered(t *testing.T) {
	m := two(t)
	var bases []uint64
	for _, r := range m.Regions() {
		bases = append(bases, r.Base)
	}
	if !slices.Equal(bases, []uint64{0, 0x4000, 1 << 32}) || m.Size() != 7*PageSize {
		t.Errorf("%#x, %d bytes", bases, m.Size())
	}
	if (&Memory{}).Size() != 0 || (&Memory{}).Regions() != nil {
		t.Error("an empty memory has RAM")
	}
}

func TestAddRefuses(t *testing.T) {
	m := two(t)
	for _, r := range []Region{
		{Base: 0x8000}, region(0x8001, 1, 0), {Base: 0x8000, Data: make([]byte, 100)},
		region(0x3000, 1, 0), region(0x4000, 1, 0), region(1<<32-PageSize, 2, 0), region(1<<32+PageSize, 2, 0),
		region(1<<64-PageSize, 2, 0),
	} {
		if err := m.Add(r); err == nil {
			t.Errorf("%#x+%#x was added", r.Base, len(r.Data))
		}
	}
	if _, err := New(region(0, 1, 0), region(0, 1, 0)); err == nil {
		t.Error("overlapping regions made a memory")
	}
	if err := m.Add(region(0x5000, 1, 0)); err != nil {
		t.Error(err)
	}
}

func TestRemove(t *testing.T) {
	m := two(t)
	if r, ok := m.Remove(0x4000); !ok || r.Data[0] != 2 {
		t.Errorf("%v", ok)
	}
	if _, ok := m.Remove(0x4000); ok {
		t.Error("removed twice")
	}
	if _, err := m.Slice(0x4000, 1); !errors.Is(err, ErrNotRAM) {
		t.Error(err)
	}
}

func TestSlice(t *testing.T) {
	m := two(t)
	for _, c := range []struct {
		addr, n uint64
		ok      bool
	}{
		{0, 0x4000, true}, {0x3fff, 1, true}, {0x3fff, 2, false}, {0x4000, 0x1000, true}, {0x5000, 1, false},
		{1 << 32, 2 * PageSize, true}, {1<<32 - 1, 1, false}, {1<<32 + 2*PageSize, 0, false}, {0, 0, true},
		{0, 1<<64 - 1, false}, {1<<64 - 1, 2, false}, {1 << 32, 1<<64 - 1, false},
	} {
		b, err := m.Slice(c.addr, c.n)
		if (err == nil) != c.ok || err == nil && (uint64(len(b)) != c.n || cap(b) != len(b)) {
			t.Errorf("%#x+%#x: %d, %v", c.addr, c.n, len(b), err)
		}
		var e *RangeError
		if !c.ok && (!errors.As(err, &e) || e.Addr != c.addr || e.Len != c.n) {
			t.Errorf("%#x+%#x: %v", c.addr, c.n, err)
		}
	}
}

func TestReadAndWriteCrossRegions(t *testing.T) {
	m := two(t)
	if err := m.WriteAt([]byte("abcd"), 0x3ffe); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 6)
	if err := m.ReadAt(got, 0x3ffd); err != nil || string(got) != "\x01abcd\x02" {
		t.Errorf("%q, %v", got, err)
	}
	if err := m.WriteAt([]byte("xyz"), 0x4ffe); !errors.Is(err, ErrNotRAM) {
		t.Error(err)
	}
	if b, _ := m.Slice(0x4ffe, 2); string(b) != "\x02\x02" {
		t.Errorf("a refused write left %q", b)
	}
	if err := m.ReadAt(nil, 1<<63); err != nil {
		t.Error("nothing cannot be read:", err)
	}
}

func TestAccessAllocatesNothing(t *testing.T) {
	m := two(t)
	var p [16]byte
	if n := testing.AllocsPerRun(100, func() {
		if _, err := m.Slice(1<<32, 8); err != nil {
			t.Error(err)
		}
		if m.ReadAt(p[:], 0x3ff8) != nil || m.WriteAt(p[:], 0x3ff8) != nil {
			t.Error("not RAM")
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestLookupWhileRegionsChange(t *testing.T) {
	m := newMemory(t, region(0, 1, 7))
	var readers sync.WaitGroup
	for range 2 {
		readers.Go(func() {
			for range 2000 {
				if b, err := m.Slice(16, 1); err != nil || b[0] != 7 {
					t.Error("lost the region that stays", err)
					return
				}
			}
		})
	}
	extra := region(1<<20, 1, 0)
	for range 300 {
		if err := m.Add(extra); err != nil {
			t.Error(err)
		}
		m.Remove(1 << 20)
	}
	readers.Wait()
}

// flat is a model of guest-physical memory.
type flat map[uint64]byte

func (f flat) has(addr uint64, n int) bool {
	for i := range n {
		if _, ok := f[addr+uint64(i)]; !ok {
			return false
		}
	}
	return true
}

// TestAgainstModel makes random accesses, also around the ends of regions, and
// compares with a map of bytes.
func TestAgainstModel(t *testing.T) {
	m := two(t)
	model := flat{}
	for _, r := range m.Regions() {
		for i, b := range r.Data {
			model[r.Base+uint64(i)] = b
		}
	}
	rnd := rand.New(rand.NewPCG(1, 2))
	ends := []uint64{0, 0x4000, 0x5000, 1 << 32, 1<<32 + 2*PageSize}
	for range 3000 {
		addr := ends[rnd.IntN(len(ends))] + uint64(rnd.IntN(64)) - 32
		p := make([]byte, rnd.IntN(48))
		ok := model.has(addr, len(p))
		if rnd.IntN(2) == 0 {
			for i := range p {
				p[i] = byte(rnd.Uint32())
			}
			if err := m.WriteAt(p, addr); (err == nil) != ok {
				t.Fatalf("write %#x+%d: %v", addr, len(p), err)
			}
			for i := 0; ok && i < len(p); i++ {
				model[addr+uint64(i)] = p[i]
			}
			continue
		}
		if err := m.ReadAt(p, addr); (err == nil) != ok {
			t.Fatalf("read %#x+%d: %v", addr, len(p), err)
		}
		for i := 0; ok && i < len(p); i++ {
			if p[i] != model[addr+uint64(i)] {
				t.Fatalf("read %#x: %d, want %d", addr+uint64(i), p[i], model[addr+uint64(i)])
			}
		}
	}
}

func FuzzSlice(f *testing.F) {
	f.Add(uint64(0), uint64(1))
	f.Add(uint64(0x3fff), uint64(2))
	f.Add(uint64(1<<32), uint64(1<<64-1))
	f.Add(uint64(1<<64-1), uint64(1))
	m := two(f)
	f.Fuzz(func(t *testing.T, addr, n uint64) {
		b, err := m.Slice(addr, n)
		if err != nil {
			return
		}
		if uint64(len(b)) != n {
			t.Fatalf("%d bytes of %d", len(b), n)
		}
		got := make([]byte, n)
		if err := m.ReadAt(got, addr); err != nil || !bytes.Equal(got, b) {
			t.Fatalf("ReadAt disagrees: %v", err)
		}
	})
}

func BenchmarkSlice(b *testing.B) {
	m := two(b)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := m.Slice(1<<32, 64); err != nil {
			b.Fatal(err)
		}
	}
}
