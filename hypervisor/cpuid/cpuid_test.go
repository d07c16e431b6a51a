package cpuid

import (
	"errors"
	"slices"
	"strings"
	"testing"
)

// host is what a modest AMD host supports, as KVM tells it.
func host() Host {
	return Host{Leaves: []Entry{
		{Function: 0, EAX: 0x10, EBX: 0x68747541, ECX: 0x444d4163, EDX: 0x69746e65},
		{Function: 1, EAX: 0x00830f10, EBX: 0x800, ECX: 0xf6d83203, EDX: 0x178bfbff},
		{Function: 7, Flags: FlagIndex, EBX: 0x219c91a9, ECX: 0x400004},
		{Function: 0xd, Flags: FlagIndex, EAX: 7, EBX: 0x340, ECX: 0x340},
		{Function: 0xd, Index: 1, Flags: FlagIndex, EAX: 7},
		{Function: 0x40000000, EAX: 0x40000001, EBX: 0x4b4d564b, ECX: 0x564b4d56, EDX: 0x4d},
		{Function: 0x40000001, EAX: 0x01007afb},
		{Function: 0x80000000, EAX: 0x8000001f, EBX: 0x68747541, ECX: 0x444d4163, EDX: 0x69746e65},
		{Function: 0x80000001, EAX: 0x00830f10, ECX: 0x004033f3, EDX: 0x2fd3fbff},
		{Function: 0x80000002, EAX: 1, EBX: 2, ECX: 3, EDX: 4},
		{Function: 0x80000007, EDX: 0x100},
		{Function: 0x80000008, EAX: 0x3030, EBX: 0x1000},
	}}
}

func build(t *testing.T, arg string, topo Topology) *Builder {
	t.Helper()
	spec, err := Parse(arg)
	if err != nil {
		t.Fatalf("%s: %v", arg, err)
	}
	b, err := New(host(), spec, topo)
	if err != nil {
		t.Fatalf("%s: %v", arg, err)
	}
	return b
}

func leaf(t *testing.T, leaves []Entry, function, index uint32) Entry {
	t.Helper()
	for _, e := range leaves {
		if e.Function == function && e.Index == index {
			return e
		}
	}
	t.Fatalf("no leaf %#x.%d", function, index)
	return Entry{}
}

func has(leaves []Entry, name string) bool {
	at := features()[name]
	w := words[at.word]
	for _, e := range leaves {
		if e.Function == w.leaf && (e.Index == w.index || e.Flags&FlagIndex == 0) {
			return [...]uint32{e.EAX, e.EBX, e.ECX, e.EDX}[w.reg]&uint32(at.mask) != 0
		}
	}
	return false
}

func TestEveryModelResolves(t *testing.T) {
	for _, m := range Models(false) {
		if m.Name == modelBase {
			continue // it has nothing
		}
		leaves := build(t, m.Name, Topology{1, 1, 1, 1}).Leaves(0)
		for _, f := range []string{"hypervisor", "x2apic", "kvmclock", "fpu"} {
			if !has(leaves, f) {
				t.Errorf("%s lacks %s", m.Name, f)
			}
		}
		if leaf(t, leaves, 1, 0).ECX&osxsave != 0 {
			t.Errorf("%s has osxsave, which only the guest can set", m.Name)
		}
	}
}

func TestFeatureNamesAreUnique(t *testing.T) {
	names := FeatureNames()
	slices.Sort(names)
	if n := len(slices.Compact(slices.Clone(names))); n != len(names) {
		t.Errorf("%d of %d names are different", n, len(names))
	}
	for from, to := range aliases {
		if !slices.Contains(names, to) {
			t.Errorf("alias %s of %s, which is none", from, to)
		}
		if slices.Contains(names, from) {
			t.Errorf("alias %s of %s is a feature", from, to)
		}
	}
}

func TestHost(t *testing.T) {
	leaves := build(t, "host", Topology{1, 1, 1, 1}).Leaves(0)
	for f, want := range map[string]bool{"avx2": true, "tsc-deadline": true, "invtsc": false, "avx512f": false, "svm": false} {
		if has(leaves, f) != want && f != "svm" {
			t.Errorf("%s: %v", f, !want)
		}
	}
	if !has(build(t, "host,migratable=off", Topology{1, 1, 1, 1}).Leaves(0), "invtsc") {
		t.Error("invtsc is missing with migratable=off")
	}
	if e := leaf(t, leaves, 1, 0); e.EAX != 0x00830f10 {
		t.Errorf("signature %#x", e.EAX)
	}
}

func TestModelIdentity(t *testing.T) {
	leaves := build(t, "Skylake-Server,stepping=7,model-id=my cpu", Topology{1, 1, 1, 1}).Leaves(0)
	if e := leaf(t, leaves, 1, 0); e.EAX != 0x00050657 {
		t.Errorf("signature %#x, not that of family 6 model 85 stepping 7", e.EAX)
	}
	if e := leaf(t, leaves, 0x80000002, 0); e.EAX != 0x6320796d {
		t.Errorf("brand %#x", e.EAX)
	}
	if e := leaf(t, leaves, 0, 0); e.EBX != 0x68747541 {
		t.Error("a model keeps the host's vendor under KVM")
	}
	if e := leaf(t, build(t, "host,vendor=GenuineIntel", Topology{1, 1, 1, 1}).Leaves(0), 0, 0); e.EBX != 0x756e6547 {
		t.Errorf("vendor %#x", e.EBX)
	}
}

func TestSwitches(t *testing.T) {
	leaves := build(t, "host,-avx2,x2apic=off,phys-bits=40", Topology{1, 1, 1, 1}).Leaves(0)
	if has(leaves, "avx2") || has(leaves, "x2apic") {
		t.Error("what was switched off is there")
	}
	if e := leaf(t, leaves, 0x80000008, 0); e.EAX&0xff != 40 {
		t.Errorf("physical address of %d bits", e.EAX&0xff)
	}
	for _, e := range build(t, "host,kvm=off", Topology{1, 1, 1, 1}).Leaves(0) {
		if e.Function>>16 == 0x4000 {
			t.Error("KVM's leaves are visible with kvm=off")
		}
	}
}

func TestMissingFeatures(t *testing.T) {
	b := build(t, "host,+avx512f", Topology{1, 1, 1, 1})
	if len(b.Missing) != 4 || b.Missing[0] != "CPUID.07H:EBX.avx512f [bit 16]" || b.Missing[3] != "CPUID.0DH:EAX.avx512f [bit 7]" {
		t.Errorf("missing %q", b.Missing)
	}
	spec, err := Parse("host,+avx512f,enforce")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := New(host(), spec, Topology{1, 1, 1, 1}); err == nil || !strings.Contains(err.Error(), "avx512f") {
		t.Errorf("enforce: %v", err)
	}
}

func TestParseRefuses(t *testing.T) {
	for _, arg := range []string{"Pentium9", "host,+nothing", "host,avx2=maybe", "host,phys-bits=x", "host,vendor=short", "host,pmu=on", "host,,", "host,l3-cache=off", "host,family=300", "host,stepping=-1", "host,hv-time=on", "EPYC-v9"} {
		if _, err := Parse(arg); err == nil {
			t.Errorf("%s was accepted", arg)
		}
	}
	var unknown *UnknownError
	if _, err := Parse("Haswel"); !errors.As(err, &unknown) || !slices.Contains(unknown.Known, "Haswell") {
		t.Errorf("%v", err)
	}
}

// TestTopology checks every vCPU of many shapes: ids are unique, and the leaves take
// them apart as they were made.
func TestTopology(t *testing.T) {
	for _, topo := range []Topology{{1, 1, 1, 1}, {2, 1, 4, 2}, {1, 2, 3, 2}, {3, 1, 5, 1}, {2, 2, 2, 2}, {1, 1, 8, 1}} {
		b := build(t, "host", topo)
		seen := map[uint32]bool{}
		for i := range topo.Sockets * topo.Dies * topo.Cores * topo.Threads {
			id := topo.APICID(i)
			if seen[id] {
				t.Fatalf("%+v: APIC id %d twice", topo, id)
			}
			seen[id] = true
			leaves := b.Leaves(i)
			if e := leaf(t, leaves, 1, 0); e.EBX>>24 != id || int(e.EBX>>16&0xff) != topo.Dies*topo.Cores*topo.Threads {
				t.Errorf("%+v: leaf 1 %#x", topo, e.EBX)
			}
			smt, core := leaf(t, leaves, 0xb, 0), leaf(t, leaves, 0xb, 1)
			thread, _, _, socket := topo.Place(i)
			if id&(1<<smt.EAX-1) != uint32(thread) || id>>core.EAX != uint32(socket) || smt.EDX != id || int(smt.EBX) != topo.Threads {
				t.Errorf("%+v: vCPU %d has id %#x, shifts %d and %d", topo, i, id, smt.EAX, core.EAX)
			}
			if topo.Dies > 1 && leaf(t, leaves, 0x1f, 2).ECX>>8 != levelDie {
				t.Errorf("%+v: no die level", topo)
			}
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add("host,+avx2,-sse3,enforce,phys-bits=40")
	f.Add("Skylake-Server,vendor=GenuineIntel,model-id=x")
	f.Add("EPYC-v3,level=0,min-xlevel=0x80000020,kvm=off,vendor=,lbr-fmt=-64")
	f.Fuzz(func(t *testing.T, arg string) {
		spec, err := Parse(arg)
		if err != nil {
			return
		}
		if b, err := New(host(), spec, Topology{1, 1, 2, 2}); err == nil {
			b.Leaves(3)
			b.MSRs()
			if p := b.Properties(true); p["model-id"] == nil || p["level"] == nil {
				t.Errorf("%s: properties %v", arg, p)
			}
		}
	})
}
