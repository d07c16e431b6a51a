package cpuid

import "strings"

// Model is a processor model that -cpu names.
type Model struct {
	Name, Desc              string
	Vendor                  string // 12 characters
	Family, Model, Stepping int
	features                string // names, separated by blanks, beyond those of base
	base                    string // model whose features it has too
	brand                   string
}

const (
	intel = "GenuineIntel"
	amd   = "AuthenticAMD"
	x64   = "fpu de pse tsc msr pae mce cx8 apic sep mtrr pge mca cmov pat pse36 clflush mmx fxsr sse sse2 pni cx16 syscall nx lm "
)

var models = []Model{
	{Name: "qemu64", Desc: "QEMU Virtual CPU", Vendor: amd, Family: 15, Model: 107, Stepping: 1, features: x64 + "hypervisor lahf-lm svm", brand: "QEMU Virtual CPU version 2.5+"},
	{Name: "kvm64", Desc: "Common KVM processor", Vendor: intel, Family: 15, Model: 6, Stepping: 1, features: x64 + "vme hypervisor", brand: "Common KVM processor"},
	{Name: "Conroe", Desc: "Intel Celeron_4x0 (Conroe/Merom Class Core 2)", Vendor: intel, Family: 6, Model: 15, Stepping: 3, features: x64 + "vme ssse3 lahf-lm"},
	{Name: "Penryn", Desc: "Intel Core 2 Duo P9xxx (Penryn Class Core 2)", Vendor: intel, Family: 6, Model: 23, Stepping: 3, base: "Conroe", features: "sse4.1"},
	{Name: "Nehalem", Desc: "Intel Core i7 9xx (Nehalem Class Core i7)", Vendor: intel, Family: 6, Model: 26, Stepping: 3, base: "Penryn", features: "popcnt sse4.2"},
	{Name: "Westmere", Desc: "Westmere E56xx/L56xx/X56xx (Nehalem-C)", Vendor: intel, Family: 6, Model: 44, Stepping: 1, base: "Nehalem", features: "aes pclmulqdq"},
	{Name: "SandyBridge", Desc: "Intel Xeon E312xx (Sandy Bridge)", Vendor: intel, Family: 6, Model: 42, Stepping: 1, base: "Westmere", features: "avx xsave tsc-deadline x2apic rdtscp xsaveopt"},
	{Name: "IvyBridge", Desc: "Intel Xeon E3-12xx v2 (Ivy Bridge)", Vendor: intel, Family: 6, Model: 58, Stepping: 9, base: "SandyBridge", features: "fsgsbase smep erms f16c rdrand"},
	{Name: "Haswell-noTSX", Desc: "Intel Core Processor (Haswell, no TSX)", Vendor: intel, Family: 6, Model: 60, Stepping: 1, base: "IvyBridge", features: "bmi1 bmi2 avx2 invpcid fma pcid movbe abm"},
	{Name: "Haswell", Desc: "Intel Core Processor (Haswell)", Vendor: intel, Family: 6, Model: 60, Stepping: 4, base: "Haswell-noTSX", features: "hle rtm"},
	{Name: "Broadwell-noTSX", Desc: "Intel Core Processor (Broadwell, no TSX)", Vendor: intel, Family: 6, Model: 61, Stepping: 2, base: "Haswell-noTSX", features: "rdseed adx smap 3dnowprefetch"},
	{Name: "Broadwell", Desc: "Intel Core Processor (Broadwell)", Vendor: intel, Family: 6, Model: 61, Stepping: 2, base: "Broadwell-noTSX", features: "hle rtm"},
	{Name: "Skylake-Client", Desc: "Intel Core Processor (Skylake)", Vendor: intel, Family: 6, Model: 94, Stepping: 3, base: "Broadwell", features: "xsavec xgetbv1"},
	{Name: "Skylake-Client-noTSX-IBRS", Desc: "Intel Core Processor (Skylake, IBRS, no TSX)", Vendor: intel, Family: 6, Model: 94, Stepping: 3, base: "Broadwell-noTSX", features: "xsavec xgetbv1 spec-ctrl"},
	{Name: "Skylake-Server", Desc: "Intel Xeon Processor (Skylake)", Vendor: intel, Family: 6, Model: 85, Stepping: 4, base: "Skylake-Client", features: "avx512f avx512dq avx512bw avx512cd avx512vl clwb clflushopt pdpe1gb pku"},
	{Name: "Skylake-Server-noTSX-IBRS", Desc: "Intel Xeon Processor (Skylake, IBRS, no TSX)", Vendor: intel, Family: 6, Model: 85, Stepping: 4, base: "Skylake-Client-noTSX-IBRS", features: "avx512f avx512dq avx512bw avx512cd avx512vl clwb clflushopt pdpe1gb pku"},
	{Name: "Cascadelake-Server-noTSX", Desc: "Intel Xeon Processor (Cascadelake, no TSX)", Vendor: intel, Family: 6, Model: 85, Stepping: 6, base: "Skylake-Server-noTSX-IBRS", features: "avx512vnni ssbd arch-capabilities"},
	{Name: "Cascadelake-Server", Desc: "Intel Xeon Processor (Cascadelake)", Vendor: intel, Family: 6, Model: 85, Stepping: 6, base: "Cascadelake-Server-noTSX", features: "hle rtm"},
	{Name: "Icelake-Server-noTSX", Desc: "Intel Xeon Processor (Icelake, no TSX)", Vendor: intel, Family: 6, Model: 134, Stepping: 0, base: "Cascadelake-Server-noTSX", features: "avx512vbmi umip avx512vbmi2 gfni vaes vpclmulqdq avx512bitalg avx512-vpopcntdq la57 wbnoinvd"},
	{Name: "Icelake-Server", Desc: "Intel Xeon Processor (Icelake)", Vendor: intel, Family: 6, Model: 134, Stepping: 0, base: "Icelake-Server-noTSX", features: "hle rtm"},
	{Name: "Opteron_G3", Desc: "AMD Opteron 23xx (Gen 3 Class Opteron)", Vendor: amd, Family: 16, Model: 2, Stepping: 3, features: x64 + "vme popcnt monitor rdtscp lahf-lm svm abm sse4a misalignsse"},
	{Name: "EPYC", Desc: "AMD EPYC Processor", Vendor: amd, Family: 23, Model: 1, Stepping: 2, features: x64 + "vme rdrand f16c avx xsave aes movbe popcnt sse4.2 sse4.1 fma ssse3 pclmulqdq rdtscp pdpe1gb fxsr-opt mmxext osvw 3dnowprefetch misalignsse sse4a abm cr8legacy svm lahf-lm topoext fsgsbase bmi1 avx2 smep bmi2 rdseed adx smap clflushopt sha-ni xsaveopt xsavec xgetbv1 npt nrip-save"},
	{Name: "EPYC-IBPB", Desc: "AMD EPYC Processor (with IBPB)", Vendor: amd, Family: 23, Model: 1, Stepping: 2, base: "EPYC", features: "ibpb"},
	{Name: "EPYC-Rome", Desc: "AMD EPYC-Rome Processor", Vendor: amd, Family: 23, Model: 49, Stepping: 0, base: "EPYC-IBPB", features: "perfctr-core clzero xsaveerptr wbnoinvd amd-stibp clwb rdpid umip"},
	{Name: "EPYC-Milan", Desc: "AMD EPYC-Milan Processor", Vendor: amd, Family: 25, Model: 1, Stepping: 1, base: "EPYC-Rome", features: "pcid erms invpcid pku fsrm ssbd spec-ctrl stibp amd-ssbd svme-addr-chk"},
}

// Models lists the named models, and the special ones.
func Models() []Model {
	return append([]Model{
		{Name: "host", Desc: "processor with all supported host features"},
		{Name: "max", Desc: "Enables all features supported by the accelerator in the current host"},
	}, models...)
}

func lookup(name string) *Model {
	for i := range models {
		if models[i].Name == name {
			return &models[i]
		}
	}
	return nil
}

// set returns the model's features.
func (m *Model) set(at map[string]bit) set {
	s := newSet()
	if m.base != "" {
		s = lookup(m.base).set(at)
	}
	for _, f := range strings.Fields(m.features) {
		s.put(at[f], true)
	}
	return s
}
