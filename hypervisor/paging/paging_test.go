package paging

import (
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"testing"
)

// ram is guest memory from address 0 on.
type ram []byte

var errOutside = errors.New("not RAM")

func (m ram) ReadAt(p []byte, addr uint64) error {
	if addr > uint64(len(m)) || uint64(len(p)) > uint64(len(m))-addr {
		return errOutside
	}
	copy(p, m[addr:])
	return nil
}

func (m ram) put64(addr, v uint64) { binary.LittleEndian.PutUint64(m[addr:], v) }
func (m ram) put32(addr uint64, v uint32) {
	binary.LittleEndian.PutUint32(m[addr:], v)
}

const (
	kib = 1 << 10
	mib = 1 << 20
	gib = 1 << 30
)

// Each mode with a small page at a linear address, a large one at another, and their
// tables at 0x1000, 0x2000 and so on.
var modes = []struct {
	name         string
	state        State
	build        func(m ram)
	small, large Mapping
}{
	{
		"32-bit", State{CR0: cr0PG, CR3: 0x1000, CR4: cr4PSE},
		func(m ram) {
			m.put32(0x1000+4*1, 0x2000|present)
			m.put32(0x2000+4*3, 0x5000|present)
			m.put32(0x1000+4*768, 0x0080_0000|0x12<<13|pageSize|present)
		},
		Mapping{4*mib + 3*4*kib, 0x5000, 4 * kib}, Mapping{0xc000_0000, 0x12_0080_0000, 4 * mib},
	},
	{
		"PAE", State{CR0: cr0PG, CR3: 0x1020, CR4: cr4PAE | cr4PSE},
		func(m ram) {
			m.put64(0x1020, 0x2000|present)
			m.put64(0x1020+8*3, 0x3000|present)
			m.put64(0x2000, 0x4000|present)
			m.put64(0x4000+8*7, 0xf_1234_5000|present|1<<63)
			m.put64(0x3000+8*1, 0x20_0000|pageSize|present|1<<12)
		},
		Mapping{7 * 4 * kib, 0xf_1234_5000, 4 * kib}, Mapping{3*gib + 2*mib, 0x20_0000, 2 * mib},
	},
	{
		"4 levels", State{CR0: cr0PG, CR3: 0x1fff, CR4: cr4PAE, EFER: eferLMA},
		func(m ram) {
			m.put64(0x1000, 0x2000|present)
			m.put64(0x2000, 0x3000|present)
			m.put64(0x3000, 0x4000|present)
			m.put64(0x4000+8*5, 0x7000|present)
			m.put64(0x1000+8*511, 0x5000|present)
			m.put64(0x5000+8*2, 0x4000_0000|pageSize|present)
		},
		Mapping{5 * 4 * kib, 0x7000, 4 * kib}, Mapping{0xffff_ff80_8000_0000, 0x4000_0000, gib},
	},
	{
		"5 levels", State{CR0: cr0PG, CR3: 0x1000, CR4: cr4PAE | cr4LA57, EFER: eferLMA},
		func(m ram) {
			m.put64(0x1000, 0x2000|present)
			m.put64(0x2000, 0x3000|present)
			m.put64(0x3000, 0x4000|present)
			m.put64(0x4000, 0x5000|present)
			m.put64(0x5000, 0x9000|present)
			m.put64(0x1000+8*256, 0x6000|present)
			m.put64(0x6000, 0x7000|present)
			m.put64(0x7000, 0x8000|present)
			m.put64(0x8000+8*4, 0x60_0000|pageSize|present)
		},
		Mapping{0, 0x9000, 4 * kib}, Mapping{0xff00_0000_0080_0000, 0x60_0000, 2 * mib},
	},
}

func TestTranslate(t *testing.T) {
	for _, c := range modes {
		m := make(ram, 64*kib)
		c.build(m)
		for _, page := range []Mapping{c.small, c.large} {
			for _, off := range []uint64{0, 1, page.Size / 2, page.Size - 1} {
				phys, n, ok := Translate(m, c.state, page.Linear+off)
				if !ok || phys != page.Phys+off || n != page.Size-off {
					t.Errorf("%s: %#x is at %#x, %d bytes (%v), want %#x", c.name, page.Linear+off, phys, n, ok, page.Phys+off)
				}
			}
			for _, beyond := range []uint64{page.Linear + page.Size, page.Linear ^ 1<<62} {
				if phys, _, ok := Translate(m, c.state, beyond); ok {
					t.Errorf("%s: %#x is mapped, at %#x", c.name, beyond, phys)
				}
			}
		}
		found, err := Mappings(m, c.state)
		if err != nil || len(found) != 2 || found[0] != c.small || found[1] != c.large {
			t.Errorf("%s: mappings %x, %v", c.name, found, err)
		}
	}
}

func TestNoPaging(t *testing.T) {
	phys, n, ok := Translate(ram(nil), State{}, 0x12345)
	if !ok || phys != 0x12345 || n != 0xcbb {
		t.Errorf("%#x, %#x, %v", phys, n, ok)
	}
	if found, err := Mappings(ram(nil), State{}); found != nil || err != nil {
		t.Errorf("%v, %v", found, err)
	}
}

// TestLargePagesNeedPSE checks that 32-bit paging without PSE knows tables only.
func TestLargePagesNeedPSE(t *testing.T) {
	m := make(ram, 16*kib)
	m.put32(0x1000, 0x2000|pageSize|present)
	m.put32(0x2000, 0x3000|present)
	if phys, _, ok := Translate(m, State{CR0: cr0PG, CR3: 0x1000}, 0x10); !ok || phys != 0x3010 {
		t.Errorf("%#x, %v", phys, ok)
	}
}

// TestJoin checks that neighbouring pages become one mapping, and others do not.
func TestJoin(t *testing.T) {
	m := make(ram, 16*kib)
	m.put32(0x1000, 0x2000|present)
	for i, page := range []uint32{5, 6, 7, 9, 8} {
		m.put32(0x2000+4*uint64(i), page<<12|present)
	}
	found, err := Mappings(m, State{CR0: cr0PG, CR3: 0x1000})
	want := []Mapping{{0, 0x5000, 0x3000}, {0x3000, 0x9000, 0x1000}, {0x4000, 0x8000, 0x1000}}
	if err != nil || len(found) != len(want) {
		t.Fatalf("%x, %v", found, err)
	}
	for i := range want {
		if found[i] != want[i] {
			t.Errorf("%x, want %x", found[i], want[i])
		}
	}
}

// TestLoop checks that tables which point to themselves end the walk with an error.
func TestLoop(t *testing.T) {
	m := make(ram, 8*kib)
	for i := range uint64(512) {
		m.put64(0x1000+8*i, 0x1000|present)
	}
	if _, err := Mappings(m, State{CR0: cr0PG, CR3: 0x1000, CR4: cr4PAE, EFER: eferLMA}); !errors.Is(err, ErrTooMany) {
		t.Errorf("%v", err)
	}
}

// TestAgree compares the two ways to walk over random tables: what is mapped is
// translated so, and what is translated is mapped.
func TestAgree(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		m := make(ram, 64*kib)
		for at := uint64(0); at < uint64(len(m)); at += 8 {
			if r.IntN(40) == 0 {
				m.put64(at, r.Uint64()&0xffff_007f|uint64(r.IntN(16))<<12&0xf000|present)
			}
		}
		s := State{CR0: cr0PG, CR3: uint64(r.IntN(16)) << 12, CR4: cr4PAE | cr4LA57*uint64(r.IntN(2)), EFER: eferLMA * uint64(r.IntN(2))}
		found, err := Mappings(m, s)
		if err != nil {
			continue
		}
		for _, f := range found[:min(len(found), 50)] {
			off := r.Uint64N(f.Size)
			if phys, _, ok := Translate(m, s, f.Linear+off); !ok || phys != f.Phys+off {
				t.Fatalf("%+v: %x maps %#x to %#x, translated to %#x, %v", s, f, f.Linear+off, f.Phys+off, phys, ok)
			}
		}
	}
}

// FuzzWalk gives any bytes as tables.
func FuzzWalk(f *testing.F) {
	for _, c := range modes {
		m := make(ram, 64*kib)
		c.build(m)
		f.Add([]byte(m[:0x6000]), c.state.CR3, c.state.CR4, c.state.EFER, c.small.Linear)
	}
	f.Fuzz(func(t *testing.T, b []byte, cr3, cr4, efer, linear uint64) {
		s := State{CR0: cr0PG, CR3: cr3, CR4: cr4, EFER: efer}
		phys, n, ok := Translate(ram(b), s, linear)
		if ok && (n == 0 || n > 1<<30) {
			t.Errorf("%#x at %#x: %d bytes to its end", linear, phys, n)
		}
	})
}
