package cpuid

import (
	"slices"
	"strings"
	"testing"
)

func one(t *testing.T, host Host, arg string) *Builder {
	t.Helper()
	spec, err := Parse(arg)
	if err != nil {
		t.Fatal(err)
	}
	b, err := New(host, spec, Topology{})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestVersions: names without a version, other names, and features that come and go.
func TestVersions(t *testing.T) {
	for _, c := range []struct {
		name    string
		latest  bool
		version string
	}{
		{"EPYC", false, "EPYC-v1"}, {"EPYC", true, "EPYC-v3"}, {"EPYC-IBPB", true, "EPYC-v2"}, {"Haswell-noTSX-IBRS", false, "Haswell-v4"},
		{"EPYC-Rome", true, "EPYC-Rome-v2"}, {"qemu64", true, "qemu64-v1"}, {"Icelake-Server", true, "Icelake-Server-v6"}, {"EPYC-v2", true, ""},
	} {
		if m := lookup(c.name, c.latest); m == nil || m.AliasOf != c.version || m.Name != c.name {
			t.Errorf("%s: %+v", c.name, m)
		}
	}
	for _, name := range []string{"", "EPYC-v4", "epyc", "host-v1"} {
		if known(name) {
			t.Errorf("%q is a model", name)
		}
	}
	v1, v2 := lookup("Skylake-Server-v1", false), lookup("Skylake-Server-noTSX-IBRS", false)
	if !v1.features.has("hle") || v2.features.has("hle") || v1.features.has("spec-ctrl") || !v2.features.has("spec-ctrl") {
		t.Error("versions of Skylake-Server do not differ as they should")
	}
}

func TestModelNamesAreUnique(t *testing.T) {
	var names []string
	for _, m := range Models(false) {
		names = append(names, m.Name)
	}
	if len(names) < 130 {
		t.Errorf("%d models", len(names))
	}
	slices.Sort(names)
	if n := len(slices.Compact(slices.Clone(names))); n != len(names) {
		t.Errorf("%d of %d names are different", n, len(names))
	}
}

func TestBadTable(t *testing.T) {
	for _, line := range []string{
		"", "a-v1||x|1|2|3|1|0|b|-", "a-v1||x|y|2|3|1|0|b|-|", "a-v1||x|1|2|16|1|0|b|-|", "a-v1||x|1|2|3|1|0|b|c-v1|", "a-v1||x|1|2|3|1|0|b|-|+none",
	} {
		if _, err := parseModel(line, nil); err == nil {
			t.Errorf("%q was read", line)
		}
	}
}

// TestRepeatedFeatures: AMD repeats features of leaf 1 in leaf 0x80000001, others do not.
func TestRepeatedFeatures(t *testing.T) {
	for arg, want := range map[string]bool{"host": true, "EPYC": true, "host,migratable=off": true, "host,vendor=GenuineIntel,migratable=off": false} {
		leaves := one(t, host(), arg).Leaves(0)
		low, ext := leaf(t, leaves, 1, 0).EDX&aliasedEDX, leaf(t, leaves, 0x80000001, 0).EDX&aliasedEDX
		if want && low != ext || !want && ext != 0 {
			t.Errorf("%s: %#x, repeated as %#x", arg, low, ext)
		}
	}
}

// TestMSRs: a model's registers are set where they differ from the host's.
func TestMSRs(t *testing.T) {
	h := host()
	h.Leaves[2].EDX = 1 << 29 // arch-capabilities
	h.MSRs = map[uint32]uint64{msrArchCapabilities: 0x1e9}
	if m := one(t, h, "host").MSRs(); len(m) != 0 {
		t.Errorf("host: %v", m)
	}
	if m := one(t, h, "EPYC,arch-capabilities=on,rdctl-no=on").MSRs(); !slices.Equal(m, []MSR{{msrArchCapabilities, 1}}) {
		t.Errorf("one feature: %v", m)
	}
	if m := one(t, h, "EPYC,rdctl-no=on"); m.want.has("rdctl-no") {
		t.Error("rdctl-no without the register that it is in")
	}
	if b := one(t, host(), "host"); b.words.has("arch-capabilities") || len(b.MSRs()) != 0 {
		t.Error("arch-capabilities without such a register")
	}
}

// TestNested: the registers of VMX are the host's, whole or not at all.
func TestNested(t *testing.T) {
	h := host()
	h.Leaves[1].ECX |= 1 << 5
	h.MSRs = map[uint32]uint64{msrVMXPin: 0x29<<32 | 0x16, msrVMXBasic: 1 << 54}
	for arg, want := range map[string][3]bool{
		"host": {true, true, false}, "host,-vmx": {}, "Haswell": {}, "Haswell,+vmx": {true, true, false},
	} {
		p := one(t, h, arg).Properties(false)
		for i, f := range []string{"vmx-nmi-exit", "vmx-ins-outs", "vmx-mtf"} {
			if p[f] != want[i] {
				t.Errorf("%s: %s is %v", arg, f, p[f])
			}
		}
	}
	spec, _ := Parse("host,-vmx-nmi-exit")
	if _, err := New(h, spec, Topology{}); err == nil || !strings.Contains(err.Error(), "only available as on") {
		t.Errorf("part of VMX: %v", err)
	}
}

// TestExtendedState: leaf 0xd has what the features need and no more.
func TestExtendedState(t *testing.T) {
	h := host()
	h.Leaves = append(h.Leaves, Entry{Function: 0xd, Index: 2, Flags: FlagIndex, EAX: 256, EBX: 576})
	for arg, want := range map[string]Entry{
		"host": {EAX: 7, ECX: 832}, "host,-avx": {EAX: 3, ECX: 576}, "host,-xsave": {},
	} {
		leaves := one(t, h, arg).Leaves(0)
		if e := leaf(t, leaves, 0xd, 0); e.EAX != want.EAX || e.ECX != want.ECX || e.EBX > e.ECX {
			t.Errorf("%s: %+v", arg, e)
		}
		if has := slices.ContainsFunc(leaves, func(e Entry) bool { return e.Function == 0xd && e.Index == 2 }); has != (want.EAX&4 != 0) {
			t.Errorf("%s: the component of AVX: %v", arg, has)
		}
	}
}

// TestTopologyExtensions: AMD's leaves tell of the same topology as the others.
func TestTopologyExtensions(t *testing.T) {
	b := build(t, "EPYC", Topology{2, 1, 4, 2})
	leaves := b.Leaves(13) // socket 1, core 2, thread 1
	if e := leaf(t, leaves, 0x8000001e, 0); e.EAX != 13 || e.EBX != 1<<8|2 || e.ECX != 1 {
		t.Errorf("%+v", e)
	}
	if e := leaf(t, leaves, 0x8000001d, 3); e.EAX>>14&0xfff != 7 || e.EAX&0xff != 0x63 {
		t.Errorf("level 3: %+v", e)
	}
	for _, e := range build(t, "host", Topology{2, 1, 4, 2}).Leaves(0) {
		if e.Function == 0x8000001e {
			t.Error("topology extensions on a model without them")
		}
	}
}

func TestLevels(t *testing.T) {
	for arg, want := range map[string][2]uint32{
		"host": {0x10, 0x8000001f}, "qemu64": {0xd, 0x8000000a}, "486": {7, 0}, "host,level=7": {7, 0x8000001f}, "qemu64,min-level=14": {14, 0x8000000a},
	} {
		leaves := one(t, host(), arg).Leaves(0)
		top, ext := leaf(t, leaves, 0, 0).EAX, uint32(0)
		for _, e := range leaves {
			if e.Function == 0x80000000 {
				ext = e.EAX
			}
			if e.Function>>16 == 0 && e.Function > top {
				t.Errorf("%s: leaf %#x above the highest", arg, e.Function)
			}
		}
		if arg == "486" {
			top = 7 // whatever the features that KVM adds need
		}
		if top != want[0] || ext != want[1] {
			t.Errorf("%s: highest leaves %#x and %#x", arg, top, ext)
		}
	}
}
