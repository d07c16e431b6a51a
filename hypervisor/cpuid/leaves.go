package cpuid

import (
	"encoding/binary"
	"slices"
)

// Leaves returns what CPUID tells the vCPU with an index.
func (b *Builder) Leaves(index int) []Entry {
	apic := b.topo.APICID(index)
	var out []Entry
	for _, e := range b.host {
		if b.keep(e) {
			out = append(out, b.adjust(e, apic))
		}
	}
	out = slices.DeleteFunc(out, func(e Entry) bool { return e.Function == 0xb || e.Function == 0x1f || e.Function == 4 && !b.amd })
	out = append(out, b.topology(apic)...)
	if !b.amd {
		out = append(out, b.caches()...)
	}
	for i := range out {
		if out[i].Function == 0 {
			out[i].EAX = max(out[i].EAX, b.maxBasic())
		}
	}
	return out
}

func (b *Builder) maxBasic() uint32 {
	if b.topo.Dies > 1 {
		return 0x1f
	}
	return 0xd
}

// keep tells which of the host's leaves a guest sees at all.
func (b *Builder) keep(e Entry) bool {
	switch {
	case e.Function == 0xa, e.Function == 0x14, e.Function == 0x12, e.Function >= 0x1a && e.Function <= 0x20 && e.Function != 0x1d && e.Function != 0x1e:
		return false // no PMU, processor trace, SGX or hybrid leaves
	case e.Function >= 0x40000000 && e.Function < 0x50000000:
		return !b.spec.HideKVM
	case e.Function == 0x8000001d, e.Function == 0x8000001e:
		return false // made by topology
	}
	return true
}

// adjust replaces the features and what depends on the vCPU in a leaf.
func (b *Builder) adjust(e Entry, apic uint32) Entry {
	regs := [...]*uint32{&e.EAX, &e.EBX, &e.ECX, &e.EDX}
	for i, w := range words {
		if w.leaf == e.Function && (w.index == e.Index || e.Flags&FlagIndex == 0) {
			*regs[w.reg] = b.words[i]
		}
	}
	switch e.Function {
	case 0, 0x80000000:
		v := []byte(b.vendor())
		e.EBX, e.EDX, e.ECX = binary.LittleEndian.Uint32(v), binary.LittleEndian.Uint32(v[4:]), binary.LittleEndian.Uint32(v[8:])
	case 1:
		e.EAX = b.signature(e.EAX)
		e.EBX = apic<<24 | uint32(min(b.perSocket(), 255))<<16 | 8<<8
		if b.perSocket() > 1 {
			e.EDX |= 1 << 28 // ht
		} else {
			e.EDX &^= 1 << 28
		}
	case 0x80000001:
		if b.amd {
			e.EAX = b.signature(e.EAX)
		}
		if b.amd && b.perSocket() > 1 {
			e.ECX |= 1 << 1 // cmp-legacy
		}
	case 0x80000002, 0x80000003, 0x80000004:
		if s := b.brand(); s != "" {
			text := make([]byte, 48)
			copy(text, s)
			part := text[16*(e.Function-0x80000002):]
			for i := range regs {
				*regs[i] = binary.LittleEndian.Uint32(part[4*i:])
			}
		}
	case 0x80000008:
		e.EAX = e.EAX&^0xff | uint32(b.PhysBits())
		e.ECX = 0
		if n := b.perSocket(); n > 1 {
			e.ECX = uint32(n-1) | uint32(width(n))<<12
		}
	}
	return e
}

func (b *Builder) perSocket() int {
	return max(b.topo.Dies, 1) * max(b.topo.Cores, 1) * max(b.topo.Threads, 1)
}

func (b *Builder) brand() string {
	if b.spec.Brand != "" {
		return b.spec.Brand
	}
	if m := lookup(b.spec.Model); m != nil {
		if m.brand != "" {
			return m.brand
		}
		return m.Desc
	}
	return ""
}

// signature returns leaf 1's family, model and stepping.
func (b *Builder) signature(host uint32) uint32 {
	family := int(host>>8&0xf + host>>20&0xff)
	model := int(host>>4&0xf | host>>12&0xf0)
	stepping := int(host & 0xf)
	if m := lookup(b.spec.Model); m != nil {
		family, model, stepping = m.Family, m.Model, m.Stepping
	}
	for _, o := range []struct{ to, from *int }{{&family, b.spec.family}, {&model, b.spec.model}, {&stepping, b.spec.stepping}} {
		if o.from != nil {
			*o.to = *o.from
		}
	}
	s := uint32(model&0xf)<<4 | uint32(model>>4&0xf)<<16 | uint32(stepping&0xf)
	if family > 15 {
		return s | 0xf<<8 | uint32(family-15)<<20
	}
	return s | uint32(family)<<8
}

// Levels of the topology leaves.
const (
	levelSMT  = 1
	levelCore = 2
	levelDie  = 5
)

// topology returns the leaves that say where the vCPU with an APIC ID is.
func (b *Builder) topology(apic uint32) []Entry {
	core, die, socket := b.topo.shifts()
	threads, perDie := max(b.topo.Threads, 1), max(b.topo.Threads, 1)*max(b.topo.Cores, 1)
	level := func(leaf, index uint32, shift, count int, kind uint32) Entry {
		return Entry{Function: leaf, Index: index, Flags: FlagIndex, EAX: uint32(shift), EBX: uint32(count), ECX: kind<<8 | index, EDX: apic}
	}
	out := []Entry{
		level(0xb, 0, core, threads, levelSMT),
		level(0xb, 1, socket, b.perSocket(), levelCore),
		level(0xb, 2, 0, 0, 0),
	}
	if b.topo.Dies > 1 {
		out = append(out, level(0x1f, 0, core, threads, levelSMT), level(0x1f, 1, die, perDie, levelCore),
			level(0x1f, 2, socket, b.perSocket(), levelDie), level(0x1f, 3, 0, 0, 0))
	}
	return out
}

// caches returns leaf 4 with the caches of a common processor: 32 KiB for
// instructions and for data, 2 MiB a core, 16 MiB a die.
func (b *Builder) caches() []Entry {
	threads, perDie := max(b.topo.Threads, 1), max(b.topo.Threads, 1)*max(b.topo.Cores, 1)
	cores := uint32(1<<width(max(b.topo.Cores, 1)) - 1)
	cache := func(index, kind, level uint32, sharing, ways, sets int, edx uint32) Entry {
		return Entry{Function: 4, Index: index, Flags: FlagIndex,
			EAX: kind | level<<5 | 1<<8 | uint32(1<<width(sharing)-1)<<14 | cores<<26,
			EBX: uint32(ways-1)<<22 | 63, ECX: uint32(sets - 1), EDX: edx}
	}
	return []Entry{
		cache(0, 1, 1, threads, 8, 64, 1),
		cache(1, 2, 1, threads, 8, 64, 1),
		cache(2, 3, 2, threads, 16, 2048, 1),
		cache(3, 3, 3, perDie, 16, 16384, 6),
		{Function: 4, Index: 4, Flags: FlagIndex},
	}
}
