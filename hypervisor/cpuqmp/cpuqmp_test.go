package cpuqmp

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"hv/hypervisor/cpuid"
	"hv/qmp/dispatch"
	"hv/qmp/qapi"
)

// host is a processor with little: no SSE3, no AVX.
var host = cpuid.Host{Brand: "A processor", Leaves: []cpuid.Entry{
	{Function: 0, EAX: 0xd, EBX: 0x68747541, ECX: 0x444d4163, EDX: 0x69746e65},
	{Function: 1, EAX: 0x00a10f11, ECX: 0x04202000, EDX: 0x178bfbff},
	{Function: 0xd, Flags: cpuid.FlagIndex, EAX: 3, EBX: 576, ECX: 576},
	{Function: 0x40000001, EAX: 0x01007afb},
	{Function: 0x80000000, EAX: 0x80000008, EBX: 0x68747541, ECX: 0x444d4163, EDX: 0x69746e65},
	{Function: 0x80000001, ECX: 0x1, EDX: 0x2fd3fbff},
}}

type fake struct{ built bool }

var errBuilt = errors.New("it is built")

func (f fake) ExitPreconfig(context.Context) error {
	if f.built {
		return errBuilt
	}
	return nil
}

func (fake) CPUHost() (cpuid.Host, error) { return host, nil }
func (fake) LatestCPUs() bool             { return true }
func (fake) HotpluggableCPUs() (qapi.HotpluggableCPUList, error) {
	return nil, errors.New("they are fixed")
}
func (fake) CanSuspend() bool                       { return true }
func (fake) OSTInfo() (qapi.ACPIOSTInfoList, error) { return nil, nil }
func (fake) MemoryBackends() qapi.MemdevList        { return qapi.MemdevList{} }
func (fake) MemorySize() qapi.MemoryInfo            { return qapi.MemoryInfo{BaseMemory: 1 << 20} }
func (fake) MemoryDevices() qapi.MemoryDeviceInfoList {
	return qapi.MemoryDeviceInfoList{{Type: qapi.MemoryDeviceInfoKindVirtioMem, VirtioMem: &qapi.VirtioMEMDeviceInfoWrapper{}}}
}

func TestEveryCommandIsHere(t *testing.T) {
	table := dispatch.NewTable()
	Register(table, fake{built: true})
	want := []string{"query-acpi-ospm-status", "query-cpu-definitions", "query-cpu-model-expansion", "query-current-machine", "query-hotpluggable-cpus", "query-machines",
		"query-memdev", "query-memory-devices", "query-memory-size-summary", "x-exit-preconfig"}
	if got := table.Names(); !slices.Equal(got, want) {
		t.Errorf("commands %q", got)
	}
}

func TestMachines(t *testing.T) {
	defaults := 0
	byName := map[string]qapi.MachineInfo{}
	for _, m := range machines() {
		if _, twice := byName[m.Name]; twice {
			t.Errorf("%s is there twice", m.Name)
		}
		byName[m.Name] = m
		if m.IsDefault != nil {
			defaults++
		}
	}
	if defaults != 1 {
		t.Errorf("%d default machines", defaults)
	}
	q35, old, none := byName["pc-q35-7.2"], byName["pc-q35-6.0"], byName["none"]
	if q35.Alias == nil || *q35.Alias != "q35" || !q35.HotpluggableCpus || *q35.DefaultRamId != "pc.ram" || *q35.DefaultCpuType != "qemu64-x86_64-cpu" {
		t.Errorf("q35: %+v", q35)
	}
	if old.Alias != nil || old.IsDefault != nil || !old.HotpluggableCpus {
		t.Errorf("an older q35: %+v", old)
	}
	if none.HotpluggableCpus || none.DefaultCpuType != nil || none.CpuMax != 1 {
		t.Errorf("none: %+v", none)
	}
}

func TestDefinitions(t *testing.T) {
	for latest, version := range map[bool]string{false: "EPYC-v1", true: "EPYC-v3"} {
		list, err := definitions(host, latest)
		if err != nil {
			t.Fatal(err)
		}
		byName := map[string]qapi.CpuDefinitionInfo{}
		for _, d := range list {
			byName[d.Name] = d
		}
		if d := byName["EPYC"]; d.AliasOf == nil || *d.AliasOf != version || d.Typename != "EPYC-x86_64-cpu" || !*d.MigrationSafe || d.Static {
			t.Errorf("EPYC: %+v", d)
		}
		if d := byName["EPYC-IBPB"]; d.AliasOf == nil || *d.AliasOf != "EPYC-v2" {
			t.Errorf("EPYC-IBPB: %+v", d)
		}
		if d := byName["Nehalem-v1"]; !slices.Equal(d.UnavailableFeatures, []string{"pni", "ssse3", "sse4.1", "sse4.2", "popcnt"}) || d.AliasOf != nil {
			t.Errorf("Nehalem-v1: %+v", d)
		}
		for _, name := range []string{"host", "max", "base", "kvm32"} {
			if d := byName[name]; d.UnavailableFeatures == nil || name != "kvm32" && len(d.UnavailableFeatures) > 0 || d.Static != (name == "base") {
				t.Errorf("%s: %+v", name, d)
			}
		}
	}
}

func ask(t *testing.T, typ qapi.CpuModelExpansionType, name string, fill func(*qapi.Document)) (qapi.CpuModelInfo, error) {
	t.Helper()
	a := qapi.CpuModelExpansionArgs{Type: typ, Model: qapi.CpuModelInfo{Name: name}}
	if fill != nil {
		a.Model.Props = qapi.NewValue(fill)
	}
	return expand(host, false, a)
}

// props fills in one property.
func props(name string, add func(*qapi.Document)) func(*qapi.Document) {
	return func(d *qapi.Document) {
		at := d.Open(qapi.Object)
		d.AddString([]byte(name))
		add(d)
		d.Close(at, 1)
	}
}

func yes(d *qapi.Document) { d.AddBool(true) }

// TestStaticExpansion spells a model out; the result, as it is, spells itself out.
func TestStaticExpansion(t *testing.T) {
	for _, name := range []string{"host", "EPYC", "Skylake-Server-v5", "base", "486"} {
		m, err := ask(t, qapi.CpuModelExpansionTypeStatic, name, nil)
		if err != nil || m.Name != "base" {
			t.Fatalf("%s: %s, %v", name, m.Name, err)
		}
		again, err := expand(host, false, qapi.CpuModelExpansionArgs{Type: qapi.CpuModelExpansionTypeFull, Model: m})
		if err != nil || again.Name != "base" {
			t.Fatalf("%s again: %s, %v", name, again.Name, err)
		}
		for k, v := range m.Props.Members() {
			if w := again.Props.Get(string(k.Text())); string(w.Text()) != string(v.Text()) || w.Bool() != v.Bool() {
				t.Errorf("%s: %s changes", name, k.Text())
			}
		}
	}
	m, err := ask(t, qapi.CpuModelExpansionTypeStatic, "host", nil)
	if s := string(m.Props.Get("model-id").Text()); err != nil || s != "A processor" || m.Props.Get("pni").Bool() || !m.Props.Get("sse2").Bool() {
		t.Errorf("host: %q, %v", s, err)
	}
	if n, _ := m.Props.Get("family").Int64(); n != 25 {
		t.Errorf("family %d", n)
	}
}

func TestFullExpansion(t *testing.T) {
	m, err := ask(t, qapi.CpuModelExpansionTypeFull, "EPYC", props("avx512f", yes))
	if err != nil || m.Name != "EPYC" || !m.Props.Get("avx512f").Bool() || !m.Props.Get("sse4_2").Bool() || m.Props.Get("svm").Bool() {
		t.Errorf("%s, %v", m.Name, err)
	}
	if n, ok := m.Props.Get("lbr-fmt").Uint64(); !ok || n != 1<<64-64 {
		t.Errorf("lbr-fmt %d", n)
	}
	if _, err := ask(t, qapi.CpuModelExpansionTypeFull, "host", props("hv-passthrough", yes)); err != nil {
		t.Error(err)
	}
}

func TestRefusals(t *testing.T) {
	number := func(d *qapi.Document) { d.AddInt(3) }
	for _, c := range []struct {
		model string
		fill  func(*qapi.Document)
		want  string
	}{
		{"nope", nil, "CPU model 'nope' not found"},
		{"host", props("nope", yes), "Property 'host-x86_64-cpu.nope' not found"},
		{"host", props("avx2", number), "Invalid parameter type for 'avx2', expected: boolean"},
		{"host", props("family", yes), "Invalid parameter type for 'family', expected: integer"},
		{"host", props("vendor", yes), "Invalid parameter type for 'vendor', expected: string"},
		{"host", props("avx2", func(d *qapi.Document) { d.AddNull() }), "Invalid parameter type for 'avx2', expected: boolean"},
		{"host", props("stepping", func(d *qapi.Document) { d.AddUint(1 << 63) }), "cannot be"},
		{"host", props("pmu", yes), "only available as off"},
		{"host", yes, "expected: object"},
	} {
		if _, err := ask(t, qapi.CpuModelExpansionTypeStatic, c.model, c.fill); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v, want %s", err, c.want)
		}
	}
}
