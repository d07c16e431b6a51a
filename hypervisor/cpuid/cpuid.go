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

// Builder makes the leaves of a VM's vCPUs.
type Builder struct {
	host    []Entry
	spec    Spec
	topo    Topology
	words   set
	amd     bool
	Missing []string // features asked for that the host lacks, as messages
}

// New resolves spec against the leaves that KVM supports. With Spec.Enforce a
// missing feature is an error.
func New(supported []Entry, spec Spec, topo Topology) (*Builder, error) {
	b := &Builder{host: supported, spec: spec, topo: topo}
	at := features()
	have := newSet()
	for i, w := range words {
		have[i] = b.register(w.leaf, w.index, w.reg)
	}
	b.words = b.wanted(at, have)
	b.emulated(at, have)
	b.drop(have)
	if spec.Enforce && len(b.Missing) > 0 {
		return nil, fmt.Errorf("host doesn't support requested features: %s", strings.Join(b.Missing, ", "))
	}
	b.amd = b.vendor() == amd
	return b, nil
}

// register returns what the host has in a register of a leaf.
func (b *Builder) register(leaf, index uint32, r Register) uint32 {
	for _, e := range b.host {
		if e.Function == leaf && (e.Index == index || e.Flags&FlagIndex == 0) {
			return [...]uint32{e.EAX, e.EBX, e.ECX, e.EDX}[r]
		}
	}
	return 0
}

// wanted returns the features of the model with the switches applied.
func (b *Builder) wanted(at map[string]bit, have set) set {
	s := newSet()
	if m := lookup(b.spec.Model); m != nil {
		s = m.set(at)
		for _, f := range []string{"kvmclock", "kvm-nopiodelay", "kvm-clock2", "kvm-asyncpf", "kvm-steal-time", "kvm-pv-eoi", "kvmclock-stable-bit"} {
			s.put(at[f], have.has(at[f]))
		}
	} else {
		copy(s, have)
		if b.spec.Migratable {
			s.put(at["invtsc"], false)
		}
	}
	if lookup(b.spec.Model) != nil {
		// What QEMU switches off under KVM unless it is asked for.
		for _, f := range []string{"acpi", "monitor", "svm"} {
			s.put(at[f], false)
		}
	}
	for _, t := range b.spec.toggles {
		s.put(t.at, t.on)
	}
	return s
}

// emulated adds what KVM provides whatever KVM_GET_SUPPORTED_CPUID says.
func (b *Builder) emulated(at map[string]bit, have set) {
	for _, f := range []string{"x2apic", "tsc-deadline", "hypervisor"} {
		have.put(at[f], true)
	}
	off := map[bit]bool{}
	for _, t := range b.spec.toggles {
		off[t.at] = !t.on
	}
	for _, f := range []string{"x2apic", "hypervisor"} {
		b.words.put(at[f], !off[at[f]])
	}
	if lookup(b.spec.Model) == nil {
		b.words.put(at["tsc-deadline"], !off[at["tsc-deadline"]])
	}
	b.words.put(at["osxsave"], false)
	b.words.put(at["ospke"], false)
}

// drop removes what the host lacks and notes it.
func (b *Builder) drop(have set) {
	for i, w := range words {
		missing := b.words[i] &^ have[i]
		for n := range 32 {
			if missing&(1<<n) != 0 && w.names[n] != "" {
				b.Missing = append(b.Missing, fmt.Sprintf("CPUID.%02XH:%s.%s [bit %d]", w.leaf, w.reg, w.names[n], n))
			}
		}
		b.words[i] &= have[i]
	}
}

func (b *Builder) vendor() string {
	if b.spec.Vendor != "" {
		return b.spec.Vendor
	}
	// The host's, whatever the model: instructions differ between makers in ways
	// that no feature bit shows (SYSENTER in compatibility mode, for one).
	var v []byte
	for _, r := range []Register{EBX, EDX, ECX} {
		v = binary.LittleEndian.AppendUint32(v, b.register(0, 0, r))
	}
	return string(v)
}

// PhysBits returns the width of a guest-physical address.
func (b *Builder) PhysBits() int {
	if b.spec.PhysBits != 0 {
		return b.spec.PhysBits
	}
	if n := int(b.register(0x80000008, 0, EAX) & 0xff); n != 0 {
		return n
	}
	return 36
}

// TSCKHz returns the frequency that was asked for the time stamp counter, 0 for the
// host's.
func (b *Builder) TSCKHz() int { return b.spec.TSCKHz }
