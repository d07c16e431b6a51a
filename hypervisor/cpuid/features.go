package cpuid

import "sync"

// aliases are other spellings of features.
var aliases = map[string]string{
	"sse3": "pni", "sse4-1": "sse4.1", "sse4_1": "sse4.1", "sse4-2": "sse4.2", "sse4_2": "sse4.2", "xd": "nx", "ffxsr": "fxsr-opt",
	"i64": "lm", "pclmuldq": "pclmulqdq", "ds_cpl": "ds-cpl", "tsc_adjust": "tsc-adjust", "fxsr_opt": "fxsr-opt", "lahf_lm": "lahf-lm",
	"cmp_legacy": "cmp-legacy", "nodeid_msr": "nodeid-msr", "perfctr_core": "perfctr-core", "perfctr_nb": "perfctr-nb",
	"kvm_nopiodelay": "kvm-nopiodelay", "kvm_mmu": "kvm-mmu", "kvm_asyncpf": "kvm-asyncpf", "kvm_asyncpf_int": "kvm-asyncpf-int",
	"kvm_steal_time": "kvm-steal-time", "kvm_pv_eoi": "kvm-pv-eoi", "kvm_pv_unhalt": "kvm-pv-unhalt", "kvm_poll_control": "kvm-poll-control",
	"svm_lock": "svm-lock", "nrip_save": "nrip-save", "tsc_scale": "tsc-scale", "vmcb_clean": "vmcb-clean", "pause_filter": "pause-filter",
}

// place is where a feature's bits are: two of them, for some.
type place struct {
	word int // index in words
	mask uint64
}

// features returns the place of every feature by name.
var features = sync.OnceValue(func() map[string]place {
	m := map[string]place{}
	for w := range words {
		for b, name := range words[w].names {
			if name != "" {
				m[name] = place{w, m[name].mask | 1<<b}
			}
		}
	}
	return m
})

// FeatureNames lists all features, word by word.
func FeatureNames() []string {
	var all []string
	for _, w := range words {
		seen := map[string]bool{"": true}
		for _, name := range w.names {
			if !seen[name] {
				all = append(all, name)
			}
			seen[name] = true
		}
	}
	return all
}

// set is a value for each feature word.
type set []uint64

func newSet() set { return make(set, len(words)) }

// has tells whether all bits of a feature are set.
func (s set) has(name string) bool {
	p := features()[name]
	return p.mask != 0 && s[p.word]&p.mask == p.mask
}

func (s set) put(on bool, names ...string) {
	for _, name := range names {
		p := features()[name]
		if on {
			s[p.word] |= p.mask
		} else {
			s[p.word] &^= p.mask
		}
	}
}

// dependencies say which features are nothing without another: all of a word with
// an MSR, or those named.
var dependencies = []struct {
	on    string
	msr   uint32 // the word that needs it
	leaf  uint32 // or that of a leaf, if not 0
	names []string
}{
	{on: "arch-capabilities", msr: msrArchCapabilities},
	{on: "core-capability", msr: msrCoreCapability},
	{on: "pdcm", msr: msrPerfCapabilities},
	{on: "vmx", msr: msrVMXProc},
	{on: "vmx", msr: msrVMXPin},
	{on: "vmx", msr: msrVMXExit},
	{on: "vmx", msr: msrVMXEntry},
	{on: "vmx", msr: msrVMXMisc},
	{on: "vmx", msr: msrVMXBasic},
	{on: "lm", names: []string{"vmx-entry-ia32e-mode"}},
	{on: "vmx-secondary-ctls", msr: msrVMXSecondary},
	{on: "vmx-ept", msr: msrVMXEPTVPID},
	{on: "vmx-vmfunc", msr: msrVMXFunc},
	{on: "intel-pt", leaf: 0x14},
	{on: "svm", leaf: 0x8000000a},
}

// depend removes features whose precondition is missing.
func (s set) depend() {
	for _, d := range dependencies {
		if s.has(d.on) {
			continue
		}
		s.put(false, d.names...)
		for i := range words {
			if w := &words[i]; d.msr != 0 && w.msr == d.msr || d.leaf != 0 && w.leaf == d.leaf {
				s[i] = 0
			}
		}
	}
}
