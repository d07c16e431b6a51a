package cpuid

import (
	"bytes"
	"encoding/binary"
	"strings"
)

// Properties returns what QEMU has as properties of a processor, by name: the
// features that the model and the switches ask for, and its identity. Values are
// bool, int64, uint64 or string. With all they include other spellings and what is
// not part of the model.
func (b *Builder) Properties(all bool) map[string]any {
	p := map[string]any{}
	for _, name := range FeatureNames() {
		p[name] = b.want.has(name)
	}
	family, model, stepping := b.identity()
	level, xlevel := b.levels()
	p["family"], p["model"], p["stepping"] = int64(family), int64(model), int64(stepping)
	p["vendor"], p["model-id"] = b.Vendor(), b.Brand()
	p["min-level"], p["min-xlevel"] = int64(level), int64(xlevel)
	p["lmce"] = false
	if all {
		b.rest(p)
	}
	return p
}

// brand returns the host processor's name for people.
func (h *Host) brand() string {
	var text []byte
	for leaf := uint32(0x80000002); leaf <= 0x80000004; leaf++ {
		for _, r := range []Register{EAX, EBX, ECX, EDX} {
			text = binary.LittleEndian.AppendUint32(text, h.register(leaf, 0, r))
		}
	}
	name, _, _ := bytes.Cut(text, []byte{0})
	if len(name) == 0 {
		return h.Brand
	}
	return strings.ToValidUTF8(string(name), "?")
}

// rest adds the properties that are not part of a model.
func (b *Builder) rest(p map[string]any) {
	for name, of := range aliases {
		p[name] = p[of]
	}
	for name, v := range fixed {
		p[name] = v
	}
	for _, name := range []string{"core-id", "die-id", "node-id", "socket-id", "thread-id"} {
		p[name] = int64(-1)
	}
	for _, name := range []string{"level-func7", "min-xlevel2", "xlevel2"} {
		p[name] = int64(0)
	}
	p["apic-id"] = int64(1<<32 - 1)
	level, xlevel := b.top()
	p["level"], p["xlevel"] = int64(level), int64(xlevel)
	p["phys-bits"], p["tsc-frequency"] = int64(b.spec.PhysBits), int64(b.spec.TSCKHz)*1000
	p["check"], p["enforce"], p["kvm"] = b.spec.Check, b.spec.Enforce, !b.spec.HideKVM
	p["realized"] = false
	if b.spec.likeHost() {
		p["migratable"], p["host-cache-info"] = b.spec.Migratable, false
	}
}

// raising are the words whose leaf a processor has if it has one of their features.
var raising = map[uint32]bool{1: true, 6: true, 7: true, 0xd: true, 0x80000001: true, 0x80000007: true, 0x80000008: true, 0x8000000a: true}

// levels returns the highest basic and extended leaf of the model, or what its
// features need.
func (b *Builder) levels() (basic, extended uint32) {
	switch {
	case b.model != nil:
		basic, extended = b.model.level, b.model.xlevel
	case b.spec.likeHost():
		basic, extended = b.host.register(0, 0, EAX), b.host.register(0x80000000, 0, EAX)
	}
	for i, w := range words {
		switch {
		case w.msr != 0 || b.want[i] == 0 || !raising[w.leaf]:
		case w.leaf < 1<<31:
			basic = max(basic, w.leaf)
		default:
			extended = max(extended, w.leaf)
		}
	}
	if b.want.has("svm") {
		extended = max(extended, 0x8000000a)
	}
	return max(basic, uint32(b.spec.minLevel)), max(extended, uint32(b.spec.minXLevel))
}

// top returns the highest leaves that CPUID tells of.
func (b *Builder) top() (basic, extended uint32) {
	basic, extended = b.levels()
	if b.topo.Dies > 1 {
		basic = max(basic, 0x1f)
	}
	if b.spec.level != nil {
		basic = uint32(*b.spec.level)
	}
	if b.spec.xlevel != nil {
		extended = uint32(*b.spec.xlevel)
	}
	return basic, extended
}

// MSR is a model-specific register and its value.
type MSR struct {
	Index uint32
	Value uint64
}

// MSRs returns the feature registers that a vCPU's are to differ from the host's
// in.
func (b *Builder) MSRs() []MSR {
	var out []MSR
	for i, w := range words {
		host, ok := b.host.MSRs[w.msr]
		if ok && (w.msr == msrArchCapabilities || w.msr == msrCoreCapability) && b.words[i] != host&w.named() {
			out = append(out, MSR{w.msr, b.words[i]})
		}
	}
	return out
}
