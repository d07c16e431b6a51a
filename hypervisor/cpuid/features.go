package cpuid

// Register is one of the four that CPUID returns.
type Register int

// Registers.
const (
	EAX Register = iota
	EBX
	ECX
	EDX
)

// String names the register as messages do.
func (r Register) String() string { return [...]string{"EAX", "EBX", "ECX", "EDX"}[r] }

// word is a register of a leaf whose bits are features, with their names by bit.
type word struct {
	leaf, index uint32
	reg         Register
	names       [32]string
}

// words are the feature words, with QEMU's names for the bits.
var words = []word{
	{1, 0, EDX, [32]string{"fpu", "vme", "de", "pse", "tsc", "msr", "pae", "mce", "cx8", "apic", "", "sep", "mtrr", "pge", "mca", "cmov",
		"pat", "pse36", "pn", "clflush", "", "ds", "acpi", "mmx", "fxsr", "sse", "sse2", "ss", "ht", "tm", "ia64", "pbe"}},
	{1, 0, ECX, [32]string{"pni", "pclmulqdq", "dtes64", "monitor", "ds-cpl", "vmx", "smx", "est", "tm2", "ssse3", "cid", "", "fma", "cx16",
		"xtpr", "pdcm", "", "pcid", "dca", "sse4.1", "sse4.2", "x2apic", "movbe", "popcnt", "tsc-deadline", "aes", "xsave", "osxsave",
		"avx", "f16c", "rdrand", "hypervisor"}},
	{7, 0, EBX, [32]string{"fsgsbase", "tsc-adjust", "sgx", "bmi1", "hle", "avx2", "", "smep", "bmi2", "erms", "invpcid", "rtm", "", "", "mpx", "",
		"avx512f", "avx512dq", "rdseed", "adx", "smap", "avx512ifma", "pcommit", "clflushopt", "clwb", "intel-pt", "avx512pf", "avx512er",
		"avx512cd", "sha-ni", "avx512bw", "avx512vl"}},
	{7, 0, ECX, [32]string{"", "avx512vbmi", "umip", "pku", "ospke", "waitpkg", "avx512vbmi2", "", "gfni", "vaes", "vpclmulqdq", "avx512vnni",
		"avx512bitalg", "", "avx512-vpopcntdq", "", "la57", "", "", "", "", "", "rdpid", "", "bus-lock-detect", "cldemote", "", "movdiri",
		"movdir64b", "", "sgxlc", "pks"}},
	{7, 0, EDX, [32]string{"", "", "avx512-4vnniw", "avx512-4fmaps", "fsrm", "", "", "", "avx512-vp2intersect", "", "md-clear", "", "", "",
		"serialize", "", "tsx-ldtrk", "", "", "arch-lbr", "", "", "amx-bf16", "avx512-fp16", "amx-tile", "amx-int8", "spec-ctrl", "stibp",
		"flush-l1d", "arch-capabilities", "core-capability", "ssbd"}},
	{7, 1, EAX, [32]string{4: "avx-vnni", 5: "avx512-bf16"}},
	{0xd, 1, EAX, [32]string{"xsaveopt", "xsavec", "xgetbv1", "xsaves", "xfd"}},
	{0x80000001, 0, EDX, [32]string{11: "syscall", 19: "mp", 20: "nx", 22: "mmxext", 25: "fxsr-opt", 26: "pdpe1gb", 27: "rdtscp", 29: "lm",
		30: "3dnowext", 31: "3dnow"}},
	{0x80000001, 0, ECX, [32]string{"lahf-lm", "cmp-legacy", "svm", "extapic", "cr8legacy", "abm", "sse4a", "misalignsse", "3dnowprefetch",
		"osvw", "ibs", "xop", "skinit", "wdt", "", "lwp", "fma4", "tce", "", "nodeid-msr", "", "tbm", "topoext", "perfctr-core", "perfctr-nb"}},
	{0x80000007, 0, EDX, [32]string{8: "invtsc"}},
	{0x80000008, 0, EBX, [32]string{0: "clzero", 2: "xsaveerptr", 9: "wbnoinvd", 12: "ibpb", 14: "ibrs", 15: "amd-stibp", 24: "amd-ssbd",
		25: "virt-ssbd", 26: "amd-no-ssb", 28: "amd-psfd"}},
	{0x8000000a, 0, EDX, [32]string{"npt", "lbrv", "svm-lock", "nrip-save", "tsc-scale", "vmcb-clean", "flushbyasid", "decodeassists", "", "",
		"pause-filter", "", "pfthreshold", "avic", "", "v-vmsave-vmload", "vgif", 28: "svme-addr-chk"}},
	{0x40000001, 0, EAX, [32]string{"kvmclock", "kvm-nopiodelay", "kvm-mmu", "kvm-clock2", "kvm-asyncpf", "kvm-steal-time", "kvm-pv-eoi",
		"kvm-pv-unhalt", "", "kvm-pv-tlb-flush", "kvm-asyncpf-vmexit", "kvm-pv-ipi", "kvm-poll-control", "kvm-pv-sched-yield", "kvm-asyncpf-int",
		"kvm-msi-ext-dest-id", "", 24: "kvmclock-stable-bit"}},
}

// aliases are other spellings of features.
var aliases = map[string]string{
	"sse3": "pni", "sse4-1": "sse4.1", "sse4_1": "sse4.1", "sse4-2": "sse4.2", "sse4_2": "sse4.2", "xd": "nx", "ffxsr": "fxsr-opt",
	"i64": "lm", "ds_cpl": "ds-cpl", "tsc_adjust": "tsc-adjust", "fxsr_opt": "fxsr-opt", "lahf_lm": "lahf-lm",
	"cmp_legacy": "cmp-legacy", "nodeid_msr": "nodeid-msr", "perfctr_core": "perfctr-core", "perfctr_nb": "perfctr-nb",
	"nrip_save": "nrip-save", "npt_": "npt", "tsc_scale": "tsc-scale", "pause_filter": "pause-filter",
}

// bit is a feature's place.
type bit struct {
	word int // index in words
	bit  int
}

// features returns the place of every feature by name.
func features() map[string]bit {
	m := map[string]bit{}
	for w := range words {
		for b, name := range words[w].names {
			if name != "" {
				m[name] = bit{w, b}
			}
		}
	}
	return m
}

// FeatureNames lists all features, word by word.
func FeatureNames() []string {
	var all []string
	for _, w := range words {
		for _, name := range w.names {
			if name != "" {
				all = append(all, name)
			}
		}
	}
	return all
}

// set is a value for each feature word.
type set []uint32

func newSet() set { return make(set, len(words)) }

func (s set) has(b bit) bool { return s[b.word]&(1<<b.bit) != 0 }
func (s set) put(b bit, on bool) {
	if on {
		s[b.word] |= 1 << b.bit
	} else {
		s[b.word] &^= 1 << b.bit
	}
}
