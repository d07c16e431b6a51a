package cpuid

import (
	"encoding/binary"
	"slices"
)

// Leaves returns what CPUID tells the vCPU with an index.
func (b *Builder) Leaves(index int) []Entry {
	apic := b.topo.APICID(index)
	var out []Entry
	for _, e := range b.host.Leaves {
		if b.keep(e) {
			out = append(out, b.adjust(e, apic))
		}
	}
	out = slices.DeleteFunc(out, func(e Entry) bool { return e.Function == 0xb || e.Function == 0x1f || e.Function == 4 && !b.amd })
	out = append(out, b.topology(apic)...)
	switch {
	case !b.amd:
		out = append(out, b.caches()...)
	case b.words.has("topoext"):
		out = append(out, b.topoext(index)...)
	}
	out = b.extendedState(out)
	basic, extended := b.top()
	out = slices.DeleteFunc(out, func(e Entry) bool {
		return e.Function>>16 == 0 && e.Function > basic || e.Function>>16 == 0x8000 && e.Function > max(extended, 0x80000000)
	})
	for i := range out {
		switch out[i].Function {
		case 0:
			out[i].EAX = basic
		case 0x80000000:
			out[i].EAX = extended
		}
	}
	return out
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
		if w.msr == 0 && w.leaf == e.Function && (w.index == e.Index || e.Flags&FlagIndex == 0) {
			*regs[w.reg] = uint32(b.words[i])
		}
	}
	switch e.Function {
	case 0, 0x80000000:
		v := make([]byte, 12)
		copy(v, b.Vendor())
		e.EBX, e.EDX, e.ECX = binary.LittleEndian.Uint32(v), binary.LittleEndian.Uint32(v[4:]), binary.LittleEndian.Uint32(v[8:])
	case 1:
		e.EAX = b.signature()
		e.EBX = apic<<24 | uint32(min(b.perSocket(), 255))<<16 | 8<<8
		if b.perSocket() > 1 {
			e.EDX |= 1 << 28 // ht
		} else {
			e.EDX &^= 1 << 28
		}
	case 0x80000001:
		if b.amd {
			e.EAX = b.signature()
		}
		if b.amd && b.perSocket() > 1 {
			e.ECX |= 1 << 1 // cmp-legacy
		}
	case 0x80000002, 0x80000003, 0x80000004:
		if s := b.Brand(); s != "" {
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

// Brand returns the processor's name for people.
func (b *Builder) Brand() string {
	if b.spec.Brand != "" {
		return b.spec.Brand
	}
	switch {
	case b.model != nil:
		return b.model.Desc
	case b.spec.likeHost():
		return b.host.brand()
	}
	return ""
}

// identity returns family, model and stepping; those of the host are in its leaf 1.
func (b *Builder) identity() (family, model, stepping int) {
	host := b.host.register(1, 0, EAX)
	family, model, stepping = int(host>>8&0xf), int(host>>4&0xf|host>>12&0xf0), int(host&0xf)
	if family == 0xf {
		family += int(host >> 20 & 0xff)
	}
	switch {
	case b.model != nil:
		family, model, stepping = b.model.Family, b.model.Model, b.model.Stepping
	case !b.spec.likeHost():
		family, model, stepping = 0, 0, 0
	}
	for _, o := range []struct{ to, from *int }{{&family, b.spec.family}, {&model, b.spec.model}, {&stepping, b.spec.stepping}} {
		if o.from != nil {
			*o.to = *o.from
		}
	}
	return family, model, stepping
}

// signature returns leaf 1's family, model and stepping.
func (b *Builder) signature() uint32 {
	family, model, stepping := b.identity()
	s := uint32(model&0xf)<<4 | uint32(model>>4&0xf)<<16 | uint32(stepping&0xf)
	if family > 15 {
		return s | 0xf<<8 | uint32(family-15)<<20
	}
	return s | uint32(family)<<8
}
