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

// word is a register of a leaf, or a model-specific register, whose bits are
// features, with QEMU's names for them.
type word struct {
	leaf, index uint32
	reg         Register
	// msr is the register's number, 0 for a word of CPUID. allowed says that its
	// high half tells which of the low half's bits may be set.
	msr     uint32
	allowed bool
	names   []string
}

// Feature MSRs (Intel SDM volume 4, volume 3 appendix A).
const (
	msrCoreCapability   = 0xcf
	msrArchCapabilities = 0x10a
	msrPerfCapabilities = 0x345
	msrVMXBasic         = 0x480
	msrVMXMisc          = 0x485
	msrVMXSecondary     = 0x48b
	msrVMXEPTVPID       = 0x48c
	msrVMXPin           = 0x48d
	msrVMXProc          = 0x48e
	msrVMXExit          = 0x48f
	msrVMXEntry         = 0x490
	msrVMXFunc          = 0x491
)

// Words that code refers to, by their place in words.
const (
	word1EDX   = 0
	word1ECX   = 1
	word7ECX   = 3
	wordExtEDX = 6
	wordKVM    = 11
	wordXSave  = 14
	wordARAT   = 15
)

// kvmFeatures is KVM's leaf of features.
const kvmFeatures = 0x40000001

// words are the feature words in QEMU's order, which is that in which missing
// features are listed.
var words = []word{
	{leaf: 1, reg: EDX, names: []string{"fpu", "vme", "de", "pse", "tsc", "msr", "pae", "mce", "cx8", "apic", "", "sep", "mtrr", "pge", "mca", "cmov",
		"pat", "pse36", "pn", "clflush", "", "ds", "acpi", "mmx", "fxsr", "sse", "sse2", "ss", "ht", "tm", "ia64", "pbe"}},
	{leaf: 1, reg: ECX, names: []string{"pni", "pclmulqdq", "dtes64", "monitor", "ds-cpl", "vmx", "smx", "est", "tm2", "ssse3", "cid", "", "fma", "cx16",
		"xtpr", "pdcm", "", "pcid", "dca", "sse4.1", "sse4.2", "x2apic", "movbe", "popcnt", "tsc-deadline", "aes", "xsave", "",
		"avx", "f16c", "rdrand", "hypervisor"}},
	{leaf: 7, reg: EBX, names: []string{"fsgsbase", "tsc-adjust", "sgx", "bmi1", "hle", "avx2", "", "smep", "bmi2", "erms", "invpcid", "rtm", "", "", "mpx", "",
		"avx512f", "avx512dq", "rdseed", "adx", "smap", "avx512ifma", "pcommit", "clflushopt", "clwb", "intel-pt", "avx512pf", "avx512er",
		"avx512cd", "sha-ni", "avx512bw", "avx512vl"}},
	{leaf: 7, reg: ECX, names: []string{"", "avx512vbmi", "umip", "pku", "", "waitpkg", "avx512vbmi2", "", "gfni", "vaes", "vpclmulqdq", "avx512vnni",
		"avx512bitalg", "", "avx512-vpopcntdq", "", "la57", 22: "rdpid", 24: "bus-lock-detect", 25: "cldemote", 27: "movdiri",
		28: "movdir64b", 30: "sgxlc", 31: "pks"}},
	{leaf: 7, reg: EDX, names: []string{2: "avx512-4vnniw", 3: "avx512-4fmaps", 4: "fsrm", 8: "avx512-vp2intersect", 10: "md-clear",
		14: "serialize", 16: "tsx-ldtrk", 19: "arch-lbr", 22: "amx-bf16", 23: "avx512-fp16", 24: "amx-tile", 25: "amx-int8", 26: "spec-ctrl", 27: "stibp",
		29: "arch-capabilities", 30: "core-capability", 31: "ssbd"}},
	{leaf: 7, index: 1, reg: EAX, names: []string{4: "avx-vnni", 5: "avx512-bf16"}},
	{leaf: 0x80000001, reg: EDX, names: []string{11: "syscall", 20: "nx", 22: "mmxext", 25: "fxsr-opt", 26: "pdpe1gb", 27: "rdtscp", 29: "lm",
		30: "3dnowext", 31: "3dnow"}},
	{leaf: 0x80000001, reg: ECX, names: []string{"lahf-lm", "cmp-legacy", "svm", "extapic", "cr8legacy", "abm", "sse4a", "misalignsse", "3dnowprefetch",
		"osvw", "ibs", "xop", "skinit", "wdt", "", "lwp", "fma4", "tce", "", "nodeid-msr", "", "tbm", "topoext", "perfctr-core", "perfctr-nb"}},
	{leaf: 0x80000007, reg: EDX, names: []string{8: "invtsc"}},
	{leaf: 0x80000008, reg: EBX, names: []string{0: "clzero", 2: "xsaveerptr", 9: "wbnoinvd", 12: "ibpb", 14: "ibrs", 15: "amd-stibp", 24: "amd-ssbd",
		25: "virt-ssbd", 26: "amd-no-ssb"}},
	{leaf: 0xc0000001, reg: EDX, names: []string{2: "xstore", 3: "xstore-en", 6: "xcrypt", 7: "xcrypt-en", 8: "ace2", 9: "ace2-en", 10: "phe", 11: "phe-en",
		12: "pmm", 13: "pmm-en"}},
	{leaf: kvmFeatures, reg: EAX, names: []string{"kvmclock", "kvm-nopiodelay", "kvm-mmu", "kvmclock", "kvm-asyncpf", "kvm-steal-time", "kvm-pv-eoi",
		"kvm-pv-unhalt", "", "kvm-pv-tlb-flush", "", "kvm-pv-ipi", "kvm-poll-control", "kvm-pv-sched-yield", "kvm-asyncpf-int",
		"kvm-msi-ext-dest-id", 24: "kvmclock-stable-bit"}},
	{leaf: kvmFeatures, reg: EDX, names: []string{"kvm-hint-dedicated"}},
	{leaf: 0x8000000a, reg: EDX, names: []string{"npt", "lbrv", "svm-lock", "nrip-save", "tsc-scale", "vmcb-clean", "flushbyasid", "decodeassists", "", "",
		"pause-filter", "", "pfthreshold", "avic", "", "v-vmsave-vmload", "vgif", 28: "svme-addr-chk"}},
	{leaf: 0xd, index: 1, reg: EAX, names: []string{"xsaveopt", "xsavec", "xgetbv1", "xsaves", "xfd"}},
	{leaf: 6, reg: EAX, names: []string{2: "arat"}},
	{msr: msrArchCapabilities, names: []string{"rdctl-no", "ibrs-all", "rsba", "skip-l1dfl-vmentry", "ssb-no", "mds-no", "pschange-mc-no", "tsx-ctrl", "taa-no"}},
	{msr: msrCoreCapability, names: []string{5: "split-lock-detect"}},
	{msr: msrPerfCapabilities, names: []string{13: "full-width-write"}},
	{msr: msrVMXProc, allowed: true, names: []string{2: "vmx-vintr-pending", 3: "vmx-tsc-offset", 7: "vmx-hlt-exit", 9: "vmx-invlpg-exit",
		10: "vmx-mwait-exit", 11: "vmx-rdpmc-exit", 12: "vmx-rdtsc-exit", 15: "vmx-cr3-load-noexit", 16: "vmx-cr3-store-noexit",
		19: "vmx-cr8-load-exit", 20: "vmx-cr8-store-exit", 21: "vmx-flexpriority", 22: "vmx-vnmi-pending", 23: "vmx-movdr-exit",
		24: "vmx-io-exit", 25: "vmx-io-bitmap", 27: "vmx-mtf", 28: "vmx-msr-bitmap", 29: "vmx-monitor-exit", 30: "vmx-pause-exit",
		31: "vmx-secondary-ctls"}},
	{msr: msrVMXSecondary, allowed: true, names: []string{"vmx-apicv-xapic", "vmx-ept", "vmx-desc-exit", "vmx-rdtscp-exit", "vmx-apicv-x2apic", "vmx-vpid",
		"vmx-wbinvd-exit", "vmx-unrestricted-guest", "vmx-apicv-register", "vmx-apicv-vid", "vmx-ple", "vmx-rdrand-exit", "vmx-invpcid-exit",
		"vmx-vmfunc", "vmx-shadow-vmcs", "vmx-encls-exit", "vmx-rdseed-exit", "vmx-pml", 20: "vmx-xsaves", 25: "vmx-tsc-scaling"}},
	{msr: msrVMXPin, allowed: true, names: []string{0: "vmx-intr-exit", 3: "vmx-nmi-exit", 5: "vmx-vnmi", 6: "vmx-preemption-timer", 7: "vmx-posted-intr"}},
	{msr: msrVMXExit, allowed: true, names: []string{2: "vmx-exit-nosave-debugctl", 12: "vmx-exit-load-perf-global-ctrl", 15: "vmx-exit-ack-intr",
		18: "vmx-exit-save-pat", 19: "vmx-exit-load-pat", 20: "vmx-exit-save-efer", 21: "vmx-exit-load-efer",
		22: "vmx-exit-save-preemption-timer", 23: "vmx-exit-clear-bndcfgs", 25: "vmx-exit-clear-rtit-ctl", 29: "vmx-exit-load-pkrs"}},
	{msr: msrVMXEntry, allowed: true, names: []string{2: "vmx-entry-noload-debugctl", 9: "vmx-entry-ia32e-mode", 13: "vmx-entry-load-perf-global-ctrl",
		14: "vmx-entry-load-pat", 15: "vmx-entry-load-efer", 16: "vmx-entry-load-bndcfgs", 18: "vmx-entry-load-rtit-ctl", 22: "vmx-entry-load-pkrs"}},
	{msr: msrVMXMisc, names: []string{5: "vmx-store-lma", 6: "vmx-activity-hlt", 7: "vmx-activity-shutdown", 8: "vmx-activity-wait-sipi",
		29: "vmx-vmwrite-vmexit-fields", 30: "vmx-zero-len-inject"}},
	{msr: msrVMXEPTVPID, names: []string{0: "vmx-ept-execonly", 6: "vmx-page-walk-4", 7: "vmx-page-walk-5", 16: "vmx-ept-2mb", 17: "vmx-ept-1gb",
		20: "vmx-invept", 21: "vmx-eptad", 22: "vmx-ept-advanced-exitinfo", 25: "vmx-invept-single-context", 26: "vmx-invept-all-context",
		32: "vmx-invvpid", 40: "vmx-invvpid-single-addr", 41: "vmx-invept-single-context", 42: "vmx-invvpid-all-context",
		43: "vmx-invept-single-context-noglobals"}},
	{msr: msrVMXBasic, names: []string{54: "vmx-ins-outs", 55: "vmx-true-ctls"}},
	{msr: msrVMXFunc, names: []string{"vmx-eptp-switching"}},
	{leaf: 0x14, reg: ECX, names: []string{31: "intel-pt-lip"}},
	{leaf: 0x12, reg: EAX, names: []string{"sgx1", "sgx2"}},
	{leaf: 0x12, reg: EBX, names: []string{"sgx-exinfo"}},
	{leaf: 0x12, index: 1, reg: EAX, names: []string{1: "sgx-debug", 2: "sgx-mode64", 4: "sgx-provisionkey", 5: "sgx-tokenkey", 7: "sgx-kss"}},
}

// named returns the bits of the word that have names.
func (w *word) named() (mask uint64) {
	for i, name := range w.names {
		if name != "" {
			mask |= 1 << i
		}
	}
	return mask
}

// vmx tells whether the word describes nested virtualization with VMX.
func (w *word) vmx() bool { return w.msr >= msrVMXBasic && w.msr <= msrVMXFunc }
