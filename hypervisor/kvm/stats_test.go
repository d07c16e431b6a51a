package kvm

import (
	"bytes"
	"encoding/binary"
	"slices"
	"testing"
)

// TestStats reads a VM's and a vCPU's statistics of this kernel.
func TestStats(t *testing.T) {
	vm, cpu := guest(t, 0xf4)
	for what, open := range map[string]func() (*Stats, error){"remote_tlb_flush": vm.Stats, "exits": cpu.Stats} {
		s, err := open()
		if err != nil {
			t.Fatal(err)
		}
		i := slices.IndexFunc(s.All, func(x Stat) bool { return x.Name == what })
		if i < 0 {
			t.Fatalf("no %s in %+v", what, s.All)
		}
		for k := range s.All {
			if v, err := s.Read(&s.All[k]); err != nil || len(v) != s.All[k].Size {
				t.Errorf("%+v: %v, %v", s.All[k], v, err)
			}
		}
		if what == "exits" {
			enter(cpu)
			if v, err := s.Read(&s.All[i]); err != nil || v[0] == 0 {
				t.Errorf("no exits after a run: %v, %v", v, err)
			}
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
}

// image is a statistics file.
func image(h statsHeader, descs []statsDesc, names ...string) []byte {
	var b bytes.Buffer
	_ = binary.Write(&b, binary.NativeEndian, h)
	for i, d := range descs {
		_ = binary.Write(&b, binary.NativeEndian, d)
		b.Write(append([]byte(names[i]), make([]byte, int(h.NameSize)-len(names[i]))...))
	}
	return b.Bytes()
}

func TestStatDescriptions(t *testing.T) {
	descs := []statsDesc{
		{Flags: 0x20, Exponent: -9, Size: 1, Offset: 8},
		{Flags: 0x4 | 0x20, Exponent: -9, Size: 32},
		{Flags: 0x3 | 0x110, Exponent: 20, Size: 4, BucketSize: 7},
		{Flags: 0x41, Size: 1},
		{Flags: 0x5, Size: 1}, {Flags: 0x50, Size: 1}, {Flags: 0x200, Size: 1}, {Size: 0}, // not understood
	}
	s := &Stats{}
	err := s.describe(bytes.NewReader(image(statsHeader{NameSize: 8, NumDesc: 8, DescOffset: 24, DataOffset: 99}, descs, "a", "b", "c", "d", "e", "f", "g", "h")))
	want := []Stat{
		{Name: "a", Unit: StatSeconds, Base: 10, Exponent: -9, Size: 1, offset: 8},
		{Name: "b", Kind: StatLog2Histogram, Unit: StatSeconds, Base: 10, Exponent: -9, Size: 32},
		{Name: "c", Kind: StatLinearHistogram, Unit: StatBytes, Base: 2, Exponent: 20, Size: 4, BucketSize: 7},
		{Name: "d", Kind: StatInstant, Unit: StatBoolean, Base: 10, Size: 1},
	}
	if err != nil || !slices.Equal(s.All, want) || s.data != 99 {
		t.Errorf("%+v, %v", s, err)
	}
}

func TestBadStats(t *testing.T) {
	for _, h := range []statsHeader{
		{NumDesc: maxStats + 1}, {NumDesc: 1, NameSize: 1 << 31}, {NumDesc: 2, NameSize: 8, DescOffset: 24}, {NumDesc: 1, NameSize: 8, DescOffset: 1 << 30},
	} {
		s := &Stats{}
		if err := s.describe(bytes.NewReader(image(h, nil))); err == nil {
			t.Errorf("%+v was understood: %+v", h, s.All)
		}
	}
	if err := new(Stats).describe(bytes.NewReader(nil)); err == nil {
		t.Error("nothing was understood")
	}
}
