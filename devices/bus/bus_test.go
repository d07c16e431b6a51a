package bus

import (
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
)

// tag answers reads with its own value and remembers where it was written.
type tag struct {
	id   byte
	offs []uint64
}

func (h *tag) Read(_ uint64, data []byte) {
	for i := range data {
		data[i] = h.id
	}
}
func (h *tag) Write(off uint64, _ []byte) { h.offs = append(h.offs, off) }

// fixed is a handler without state, for concurrent use.
type fixed byte

func (h fixed) Read(_ uint64, data []byte) { data[0] = byte(h) }
func (fixed) Write(uint64, []byte)         {}

func TestReadFindsTheMapping(t *testing.T) {
	var s Space
	for i, base := range []uint64{0x3f8, 0x60, 0x70, 0xcf8} {
		if err := s.Map(base, 8, "dev", &tag{id: byte(i + 1)}); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		addr uint64
		n    int
		want byte
		hit  bool
	}{
		{0x3f8, 1, 1, true}, {0x3ff, 1, 1, true}, {0x400, 1, 0xff, false}, {0x3f7, 1, 0xff, false},
		{0x60, 8, 2, true}, {0x61, 8, 0xff, false}, {0x77, 1, 3, true}, {0xcfc, 4, 4, true},
		{0, 1, 0xff, false}, {1<<64 - 1, 1, 0xff, false}, {1<<64 - 1, 8, 0xff, false},
	} {
		data := make([]byte, c.n)
		if hit := s.Read(c.addr, data); hit != c.hit || data[0] != c.want || data[c.n-1] != c.want {
			t.Errorf("read %#x+%d: %v %x", c.addr, c.n, hit, data)
		}
	}
}

func TestWriteIsRelativeToTheMapping(t *testing.T) {
	var s Space
	h := &tag{}
	if err := s.Map(1<<40, 1<<20, "bar", h); err != nil {
		t.Fatal(err)
	}
	if !s.Write(1<<40+0x123, []byte{1}) || s.Write(1<<40-1, []byte{1}) || s.Write(1<<40+1<<20, []byte{1}) {
		t.Error("a write hit or missed wrongly")
	}
	if len(h.offs) != 1 || h.offs[0] != 0x123 {
		t.Errorf("offsets %#x", h.offs)
	}
}

func TestMapRefusesOverlaps(t *testing.T) {
	var s Space
	if err := s.Map(0x100, 0x10, "first", &tag{}); err != nil {
		t.Fatal(err)
	}
	for _, r := range [][2]uint64{{0x100, 1}, {0x10f, 1}, {0xff, 2}, {0x80, 0x1000}, {0x104, 4}} {
		err := s.Map(r[0], r[1], "second", &tag{})
		if !errors.Is(err, ErrOverlap) || !strings.Contains(err.Error(), "first") {
			t.Errorf("%#x+%#x: %v", r[0], r[1], err)
		}
	}
	for _, r := range [][2]uint64{{0x200, 0}, {1<<64 - 4, 8}} {
		if err := s.Map(r[0], r[1], "bad", &tag{}); err == nil || errors.Is(err, ErrOverlap) {
			t.Errorf("%#x+%#x: %v", r[0], r[1], err)
		}
	}
	for _, base := range []uint64{0xff, 0x110, 1<<64 - 1} {
		if err := s.Map(base, 1, "beside", &tag{}); err != nil {
			t.Error(err)
		}
	}
	if got := len(s.Mappings()); got != 4 {
		t.Errorf("%d mappings", got)
	}
}

func TestUnmapTakesAMappingByItsBase(t *testing.T) {
	var s Space
	if err := s.Map(0x10, 4, "dev", &tag{}); err != nil {
		t.Fatal(err)
	}
	if s.Unmap(0x11) || !s.Unmap(0x10) || s.Unmap(0x10) {
		t.Error("unmap is wrong about what was there")
	}
	if s.Read(0x10, make([]byte, 1)) {
		t.Error("still mapped")
	}
}

func TestLookupWhileMapping(t *testing.T) {
	var s Space
	if err := s.Map(0x1000, 1, "still", fixed(7)); err != nil {
		t.Fatal(err)
	}
	var readers sync.WaitGroup
	for range 2 {
		readers.Go(func() {
			for range 2000 {
				data := []byte{0}
				if !s.Read(0x1000, data) || data[0] != 7 {
					t.Error("lost the mapping that stays")
					return
				}
			}
		})
	}
	for i := range 500 {
		if err := s.Map(uint64(i%16)*2, 1, "moving", fixed(1)); err != nil {
			t.Error(err)
		}
		s.Unmap(uint64(i%16) * 2)
	}
	readers.Wait()
}

func TestAccessAllocatesNothing(t *testing.T) {
	var s Space
	if err := s.Map(0x3f8, 8, "uart", fixed(1)); err != nil {
		t.Fatal(err)
	}
	data := make([]byte, 1)
	if n := testing.AllocsPerRun(100, func() { s.Read(0x3f8, data); s.Write(0x3ff, data) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func FuzzSpace(f *testing.F) {
	f.Add([]byte{0, 10, 4, 1, 10, 0, 0, 12, 9})
	f.Add([]byte{0, 0, 255, 0, 1, 1, 1, 0, 0, 0, 200, 100})
	f.Fuzz(func(t *testing.T, ops []byte) {
		var s Space
		var model [512]int // which handler owns each address
		for id := 1; len(ops) >= 3; ops = ops[3:] {
			base, size := int(ops[1]), int(ops[2])
			taken := slices.ContainsFunc(model[base:base+size], func(owner int) bool { return owner != 0 })
			switch {
			case ops[0]&1 == 1:
				owner := model[base]
				if s.Unmap(uint64(base)) != (owner != 0 && (base == 0 || model[base-1] != owner)) {
					t.Fatalf("unmap %d", base)
				}
				for i := base; owner != 0 && (base == 0 || model[base-1] != owner) && i < len(model) && model[i] == owner; i++ {
					model[i] = 0
				}
			case (s.Map(uint64(base), uint64(size), "x", &tag{id: byte(id)}) == nil) != (size > 0 && !taken):
				t.Fatalf("map %d+%d", base, size)
			case size > 0 && !taken:
				for i := range size {
					model[base+i] = id
				}
				id++
			}
		}
		for addr, owner := range model {
			data := []byte{0}
			if hit := s.Read(uint64(addr), data); hit != (owner != 0) || hit && data[0] != byte(owner) {
				t.Fatalf("address %d: %v %d, want %d", addr, hit, data[0], owner)
			}
		}
	})
}

func BenchmarkRead(b *testing.B) {
	var s Space
	for i := range uint64(40) {
		if err := s.Map(i*0x1000, 0x1000, "dev", fixed(1)); err != nil {
			b.Fatal(err)
		}
	}
	data := make([]byte, 4)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		s.Read(uint64(i%40)*0x1000, data)
	}
}
