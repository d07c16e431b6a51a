package boot

import (
	"math/rand/v2"
	"slices"
	"testing"

	"hv/hypervisor/mem"
)

func TestBuildE820(t *testing.T) {
	const gib = 1 << 30
	low := make([]byte, 64*mib)
	regions := []mem.Region{{Base: 0, Data: low}, {Base: 4 * gib, Data: low}}
	got := BuildE820(regions,
		E820Entry{60 * mib, 4 * mib, ACPI},
		E820Entry{0xb000_0000, 256 * mib, Reserved},
		E820Entry{61 * mib, 0, Reserved})
	want := []E820Entry{
		{0, 0x9fc00, RAM}, {0x9fc00, 0x400, Reserved}, {0xf0000, 0x10000, Reserved}, {mib, 59 * mib, RAM},
		{60 * mib, 4 * mib, ACPI}, {0xb000_0000, 256 * mib, Reserved}, {4 * gib, 64 * mib, RAM},
	}
	if !slices.Equal(got, want) {
		t.Errorf("map is\n%x, not\n%x", got, want)
	}
}

// typeAt returns what a map says of an address.
func typeAt(m []E820Entry, addr uint64) E820Type {
	for _, e := range m {
		if addr >= e.Base && addr < e.end() {
			return e.Type
		}
	}
	return Hole
}

// TestOverlay compares overlays with painting, and looks for overlaps.
func TestOverlay(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 500 {
		var m []E820Entry
		var painted [64]E820Type
		for range 8 {
			s := E820Entry{rnd.Uint64N(64), 0, E820Type(rnd.IntN(5))}
			s.Size = rnd.Uint64N(64 - s.Base)
			m = overlay(m, s)
			for a := s.Base; a < s.end(); a++ {
				painted[a] = s.Type
			}
		}
		var size uint64
		for _, e := range m {
			size += e.Size
		}
		for a, want := range painted {
			if got := typeAt(m, uint64(a)); got != want {
				t.Fatalf("%d has type %d, not %d", a, got, want)
			}
			if want != Hole {
				size--
			}
		}
		if size != 0 {
			t.Fatalf("entries overlap: %v", m)
		}
	}
}
