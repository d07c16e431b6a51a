package boot

import (
	"cmp"
	"slices"

	"hv/hypervisor/mem"
)

// E820Type is what a range of guest-physical memory is, as ACPI 6.4 §15 numbers
// it and both boot protocols do.
type E820Type uint32

// Types. A Hole is not in a memory map: BuildE820 takes it for what RAM there
// is no use for.
const (
	Hole     E820Type = 0
	RAM      E820Type = 1
	Reserved E820Type = 2
	ACPI     E820Type = 3 // reclaimable, after the tables were read
	NVS      E820Type = 4
)

// E820Entry is a range of guest-physical memory, in bytes.
type E820Entry struct {
	Base, Size uint64
	Type       E820Type
}

func (e E820Entry) end() uint64 { return e.Base + e.Size }

// The first MiB of a PC: the extended BIOS data area, the legacy video window,
// and firmware.
var legacy = []E820Entry{
	{Base: 0x9fc00, Size: 0x400, Type: Reserved},
	{Base: 0xa0000, Size: 0x50000, Type: Hole},
	{Base: 0xf0000, Size: 0x10000, Type: Reserved},
}

// BuildE820 returns the memory map of a PC with the RAM in regions: sorted,
// without overlaps, with the first MiB as on every PC. The ranges of special
// replace what they overlap, a later one an earlier one.
func BuildE820(regions []mem.Region, special ...E820Entry) []E820Entry {
	var m []E820Entry
	for i := range regions {
		m = append(m, E820Entry{Base: regions[i].Base, Size: uint64(len(regions[i].Data)), Type: RAM})
	}
	for _, s := range slices.Concat(legacy, special) {
		m = overlay(m, s)
	}
	slices.SortFunc(m, func(a, b E820Entry) int { return cmp.Compare(a.Base, b.Base) })
	return m
}

// overlay returns m with s in place of what it overlaps.
func overlay(m []E820Entry, s E820Entry) []E820Entry {
	if s.Size == 0 {
		return m
	}
	var out []E820Entry
	for _, e := range m {
		if e.end() <= s.Base || e.Base >= s.end() {
			out = append(out, e)
			continue
		}
		if e.Base < s.Base {
			out = append(out, E820Entry{e.Base, s.Base - e.Base, e.Type})
		}
		if e.end() > s.end() {
			out = append(out, E820Entry{s.end(), e.end() - s.end(), e.Type})
		}
	}
	if s.Type != Hole {
		out = append(out, s)
	}
	return out
}
