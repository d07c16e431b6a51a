package vcpu

import "hv/hypervisor/kvm"

// MSRs that are named here (Intel SDM volume 4, AMD APM volume 2 appendix A,
// Documentation/virt/kvm/x86/msr.rst).
const (
	msrTSC             = 0x10
	msrFeatureControl  = 0x3a
	msrTSCAdjust       = 0x3b
	msrMCGStatus       = 0x17a
	msrMCGCtl          = 0x17b
	msrMiscEnable      = 0x1a0
	msrMTRRPhysBase0   = 0x200
	msrMTRRFix64K      = 0x250
	msrMTRRFix16K      = 0x258
	msrMTRRFix4K       = 0x268
	msrPAT             = 0x277
	msrMTRRDefType     = 0x2ff
	msrMC0Ctl          = 0x400
	msrTSCDeadline     = 0x6e0
	msrKVMPollControl  = 0x4b56_4d05
	msrEFER            = 0xc000_0080
	msrTSCRatio        = 0xc000_0104
	tscRatioDefault    = 1 << 32
	miscEnableFast     = 1 << 0  // fast strings
	miscEnableMonitor  = 1 << 18 // MONITOR and MWAIT
	cpuidMonitor       = 1 << 3  // CPUID.1:ECX
	cpuidMTRR          = 1 << 12 // CPUID.1:EDX
	patInitial         = 0x0007_0406_0007_0406
	allOnes            = ^uint64(0)
	mceBankCount       = 0xff // mask of IA32_MCG_CAP
	mceBankRegisters   = 4
	mtrrVariableRanges = 8 // what KVM's IA32_MTRRCAP says
)

// msrRange is Count MSRs from First that are Value after RESET#.
type msrRange struct {
	first, count uint32
	value        uint64
}

// resetValues are the MSRs that a reset sets where KVM has them. Performance
// counters are stopped before they are cleared.
var resetValues = [...]msrRange{
	{first: 0x38d, count: 1},        // IA32_FIXED_CTR_CTRL
	{first: 0x38f, count: 1},        // IA32_PERF_GLOBAL_CTRL
	{first: 0x186, count: 8},        // IA32_PERFEVTSELn
	{first: 0xc1, count: 8},         // IA32_PMCn
	{first: 0x309, count: 4},        // IA32_FIXED_CTRn
	{first: 0xc001_0000, count: 8},  // PERF_CTL and PERF_CTR
	{first: 0xc001_0200, count: 12}, // PERF_CTL and PERF_CTR, extended
	{first: msrTSCAdjust, count: 1}, // after the TSC itself
	{first: 0x48, count: 1},         // IA32_SPEC_CTRL
	{first: 0xe1, count: 1},         // IA32_UMWAIT_CONTROL
	{first: 0x122, count: 1},        // IA32_TSX_CTRL
	{first: 0x174, count: 3},        // IA32_SYSENTER_CS, ESP, EIP
	{first: msrPAT, count: 1, value: patInitial},
	{first: 0x1c4, count: 2},          // IA32_XFD, IA32_XFD_ERR
	{first: msrTSCDeadline, count: 2}, // and IA32_PKRS
	{first: 0xd90, count: 1},          // IA32_BNDCFGS
	{first: 0xda0, count: 1},          // IA32_XSS
	{first: 0xc000_0081, count: 4},    // STAR, LSTAR, CSTAR, SFMASK
	{first: 0xc000_0102, count: 2},    // KERNEL_GS_BASE, TSC_AUX
	{first: msrTSCRatio, count: 1, value: tscRatioDefault},
	{first: 0xc001_011f, count: 1}, // VIRT_SPEC_CTRL
	{first: 0xc001_0117, count: 1}, // VM_HSAVE_PA
	{first: 0x11, count: 2},        // MSR_KVM_WALL_CLOCK, MSR_KVM_SYSTEM_TIME
	{first: 0x4b56_4d00, count: 5}, // the same, ASYNC_PF_EN, STEAL_TIME, PV_EOI_EN
	{first: msrKVMPollControl, count: 1, value: 1},
	{first: 0x4b56_4d06, count: 1}, // MSR_KVM_ASYNC_PF_INT
}

// resetMSRs returns the MSRs after RESET#.
func (c *VCPU) resetMSRs(vm *kvm.VM) []kvm.MSREntry {
	misc := uint64(miscEnableFast)
	if c.leaf(1).Ecx&cpuidMonitor != 0 {
		misc |= miscEnableMonitor
	}
	list := []kvm.MSREntry{{Index: msrMiscEnable, Data: misc}}
	if c.wasReset {
		// Writing 0 would ask KVM to continue the other vCPUs' counter; 1 starts
		// it anew, for all of them when all are reset within a second.
		list = append(list, kvm.MSREntry{Index: msrTSC, Data: 1})
	}
	for _, r := range resetValues {
		for index := r.first; index < r.first+r.count; index++ {
			if vm.HasMSR(index) {
				list = append(list, kvm.MSREntry{Index: index, Data: r.value})
			}
		}
	}
	if c.leaf(1).Edx&cpuidMTRR != 0 {
		list = append(list, clearedMTRRs()...)
	}
	return append(list, c.resetMCE()...)
}

// resetMCE returns the machine-check registers after RESET#.
func (c *VCPU) resetMCE() []kvm.MSREntry {
	if c.cfg.MCECap == 0 {
		return nil
	}
	list := []kvm.MSREntry{{Index: msrMCGStatus}, {Index: msrMCGCtl, Data: allOnes}}
	for bank := range uint32(c.cfg.MCECap & mceBankCount) {
		ctl := msrMC0Ctl + bank*mceBankRegisters
		list = append(list, kvm.MSREntry{Index: ctl, Data: allOnes}, kvm.MSREntry{Index: ctl + 1},
			kvm.MSREntry{Index: ctl + 2}, kvm.MSREntry{Index: ctl + 3})
	}
	return list
}

// setMSRs sets what it can. KVM refuses an MSR that the vCPU's CPUID does not
// have; the guest cannot have changed that one either.
func setMSRs(kv *kvm.VCPU, list []kvm.MSREntry) error {
	for len(list) > 0 {
		n, err := kv.SetMSRs(list)
		if err != nil {
			return err
		}
		list = list[min(n+1, len(list)):]
	}
	return nil
}
