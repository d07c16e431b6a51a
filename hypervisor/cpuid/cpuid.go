// Package cpuid decides what CPUID tells a guest: processor models and features
// by QEMU's names, cut down to what the host can do, with the topology of each
// vCPU. Its functions are pure; hypervisor/vm asks KVM and hands the leaves on.
//
// Implements Intel SDM volume 2 (CPUID), AMD APM volume 3 appendix E, and KVM's
// leaves (Documentation/virt/kvm/x86/cpuid.rst). It depends on nothing of ours.
package cpuid

import (
	"encoding/binary"
	"fmt"
	"math/bits"
	"strings"
)

// Entry is one leaf, or subleaf when Flags says that Index matters.
type Entry struct {
	Function, Index, Flags uint32
	EAX, EBX, ECX, EDX     uint32
}

// FlagIndex in Entry.Flags says that Index matters (KVM_CPUID_FLAG_SIGNIFCANT_INDEX).
const FlagIndex = 1

// Topology is the number of each level in a machine.
type Topology struct{ Sockets, Dies, Cores, Threads int }

// width returns the bits that ids of n things take.
func width(n int) int { return bits.Len(uint(max(n, 1) - 1)) }

// shifts returns how far an APIC ID is shifted to the right for core, die and
// socket.
func (t Topology) shifts() (core, die, socket int) {
	core = width(t.Threads)
	die = core + width(t.Cores)
	return core, die, die + width(t.Dies)
}

// APICID returns the APIC ID of the vCPU with an index: its place in the
// topology, each level in as many bits as it needs.
func (t Topology) APICID(index int) uint32 {
	thread, core, die, socket := t.Place(index)
	c, d, s := t.shifts()
	return uint32(thread | core<<c | die<<d | socket<<s)
}

// Place returns where the vCPU with an index is.
func (t Topology) Place(index int) (thread, core, die, socket int) {
	threads, cores, dies := max(t.Threads, 1), max(t.Cores, 1), max(t.Dies, 1)
	return index % threads, index / threads % cores, index / threads / cores % dies, index / threads / cores / dies
}

// Host is what KVM can do.
type Host struct {
	Leaves []Entry           // KVM_GET_SUPPORTED_CPUID
	MSRs   map[uint32]uint64 // the feature MSRs that it has
	Brand  string            // the processor's name for people, where KVM does not tell
}

// register returns what the host has in a register of a leaf.
func (h *Host) register(leaf, index uint32, r Register) uint32 {
	for _, e := range h.Leaves {
		if e.Function == leaf && (e.Index == index || e.Flags&FlagIndex == 0) {
			return [...]uint32{e.EAX, e.EBX, e.ECX, e.EDX}[r]
		}
	}
	return 0
}

// withheld are features that KVM may offer and that need more than it: performance
// counters, enclaves, processor trace.
var withheld = []string{"pdcm", "arch-lbr", "sgx", "sgxlc", "intel-pt"}

// features returns all features that a guest can have.
func (h *Host) features() set {
	have := newSet()
	for i := range words {
		switch w := &words[i]; {
		case w.msr == 0:
			have[i] = uint64(h.register(w.leaf, w.index, w.reg))
		case w.allowed:
			have[i] = h.MSRs[w.msr] >> 32
		default:
			have[i] = h.MSRs[w.msr]
		}
	}
	// What KVM provides whatever KVM_GET_SUPPORTED_CPUID says. KVM claims
	// arch-capabilities for processors without such a register, too.
	have.put(true, "x2apic", "tsc-deadline", "hypervisor", "arat", "kvm-hint-dedicated", "mtrr", "pat", "mce", "mca")
	have.put(true, "topoext")
	have.put(false, withheld...)
	have[word1ECX] &^= osxsave
	have[word7ECX] &^= ospke
	have[wordExtEDX] |= have[word1EDX] & aliasedEDX
	if _, ok := h.MSRs[msrArchCapabilities]; !ok {
		have.put(false, "arch-capabilities")
	}
	have.depend()
	return have
}

// Bits that show what the guest's system does, and those of leaf 1's EDX that AMD
// repeats in leaf 0x80000001.
const (
	osxsave    = 1 << 27
	ospke      = 1 << 4
	aliasedEDX = 0x0183f3ff
)

// Builder makes the leaves of a VM's vCPUs.
type Builder struct {
	host    Host
	spec    Spec
	topo    Topology
	model   *Model // nil for the host's own, and base
	want    set    // what the model and the switches ask for
	words   set    // what of that the host has
	amd     bool
	Missing []string // features asked for that the host lacks, as messages
	// Unavailable are their names.
	Unavailable []string
}

// New resolves spec against what KVM supports. With Spec.Enforce a missing
// feature is an error.
func New(host Host, spec Spec, topo Topology) (*Builder, error) {
	b := &Builder{host: host, spec: spec, topo: topo, model: lookup(spec.Model, spec.Latest)}
	have := host.features()
	if err := b.resolve(have); err != nil {
		return nil, err
	}
	b.amd = b.Vendor() == amd
	b.drop(have)
	b.words[wordExtEDX] &^= aliasedEDX
	if b.amd {
		b.words[wordExtEDX] |= b.words[word1EDX] & aliasedEDX
	}
	if spec.Enforce && len(b.Missing) > 0 {
		return nil, fmt.Errorf("host doesn't support requested features: %s", strings.Join(b.Missing, ", "))
	}
	return b, nil
}

// likeHost says that the model is whatever the host has.
func (s *Spec) likeHost() bool { return s.Model == modelHost || s.Model == modelMax }

// resolve finds the features that are wanted: the model's with the switches
// applied.
func (b *Builder) resolve(have set) error {
	b.want = newSet()
	switch {
	case b.spec.likeHost():
		b.takeHost(have)
	case b.model != nil:
		copy(b.want, b.model.features)
		b.want.put(true, "hypervisor")
		// What QEMU switches on and off under KVM unless it is asked for.
		b.want.put(true, "kvmclock", "kvm-nopiodelay", "kvm-asyncpf", "kvm-steal-time", "kvm-pv-eoi", "kvmclock-stable-bit", "x2apic")
		b.want.put(false, "acpi", "monitor", "svm")
	}
	for i := range words {
		if words[i].vmx() {
			b.want[i] = have[i]
		}
	}
	for _, t := range b.spec.toggles {
		b.want.put(t.on, t.name)
	}
	b.want.depend()
	for _, t := range b.spec.toggles {
		if words[t.at.word].vmx() && !t.on && b.want.has("vmx") && have.has(t.name) {
			return fmt.Errorf("CPU property '%s' is only available as on", t.name)
		}
	}
	if b.spec.HideKVM {
		b.want[wordKVM] = 0
	}
	return nil
}

// takeHost asks for everything but what makes the guest hard to move, and what
// only users can know to be right.
func (b *Builder) takeHost(have set) {
	copy(b.want, have)
	if b.spec.Migratable {
		for i := range words {
			b.want[i] &= words[i].named()
		}
		b.want.put(false, "invtsc")
	}
	b.want.put(false, "topoext", "kvm-hint-dedicated")
}

// drop removes what the host lacks and notes it.
func (b *Builder) drop(have set) {
	b.words = newSet()
	for i, w := range words {
		missing := b.want[i] &^ have[i]
		for n, name := range w.names {
			if missing&(1<<n) != 0 && name != "" {
				b.Missing = append(b.Missing, w.message(n))
				b.Unavailable = append(b.Unavailable, name)
			}
		}
		b.words[i] = b.want[i] & have[i]
		if i == wordARAT {
			b.dropState()
		}
	}
}

// dropState notes the features whose extended state the host cannot save; QEMU
// tells of them after the word of leaf 6.
func (b *Builder) dropState() {
	missing := b.want.components() &^ b.host.components()
	for n, name := range xstate {
		if missing&(1<<n) != 0 {
			b.Missing = append(b.Missing, fmt.Sprintf("CPUID.0DH:EAX.%s [bit %d]", name, n))
			b.Unavailable = append(b.Unavailable, name)
		}
	}
}

// message names a bit as QEMU's messages do.
func (w *word) message(n int) string {
	if w.msr != 0 {
		return fmt.Sprintf("MSR(%XH).%s [bit %d]", w.msr, w.names[n], n)
	}
	return fmt.Sprintf("CPUID.%02XH:%s.%s [bit %d]", w.leaf, w.reg, w.names[n], n)
}

// Vendor returns the name of the processor's maker.
func (b *Builder) Vendor() string {
	if b.spec.Vendor != "" || b.spec.Model == modelBase {
		return b.spec.Vendor
	}
	// The host's, whatever the model: instructions differ between makers in ways
	// that no feature bit shows (SYSENTER in compatibility mode, for one).
	var v []byte
	for _, r := range []Register{EBX, EDX, ECX} {
		v = binary.LittleEndian.AppendUint32(v, b.host.register(0, 0, r))
	}
	return string(v)
}

// PhysBits returns the width of a guest-physical address.
func (b *Builder) PhysBits() int {
	if b.spec.PhysBits != 0 {
		return b.spec.PhysBits
	}
	if n := int(b.host.register(0x80000008, 0, EAX) & 0xff); n != 0 {
		return n
	}
	return 36
}

// TSCKHz returns the frequency that was asked for the time stamp counter, 0 for the
// host's.
func (b *Builder) TSCKHz() int { return b.spec.TSCKHz }
