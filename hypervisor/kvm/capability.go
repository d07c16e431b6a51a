package kvm

import (
	"errors"
	"fmt"

	gokvm "github.com/bobuhiro11/gokvm/kvm"
)

// Capability is the number of a KVM extension (KVM_CAP_*).
type Capability = gokvm.Capability

// Extensions that are used here or asked for by callers.
const (
	CapIRQChip           = gokvm.CapIRQChip
	CapUserMemory        = gokvm.CapUserMemory
	CapSetTSSAddr        = gokvm.CapSetTSSAddr
	CapExtCPUID          = gokvm.CapEXTCPUID
	CapNRVCPUs           = gokvm.CapNRVCPUS
	CapNRMemSlots        = gokvm.CapNRMemSlots
	CapMPState           = gokvm.CapMPState
	CapDestroyRegion     = gokvm.CapDestroyMemoryRegionWorks
	CapUserNMI           = gokvm.CapUserNMI
	CapIRQRouting        = gokvm.CapIRQRouting
	CapMCE               = gokvm.CapMCE
	CapIRQFD             = gokvm.CapIRQFD
	CapPIT2              = gokvm.CapPIT2
	CapPITState2         = gokvm.CapPITState2
	CapIOEventFD         = gokvm.CapIOEventFD
	CapSetIdentityMap    = gokvm.CapSetIdentityMapAddr
	CapAdjustClock       = gokvm.CapAdjustClock
	CapVCPUEvents        = gokvm.CapVCPUEvents
	CapIntrShadow        = gokvm.CapINTRShadow
	CapDebugRegs         = gokvm.CapDebugRegs
	CapXSave             = gokvm.CapXSave
	CapXCRS              = gokvm.CapXCRS
	CapTSCControl        = gokvm.CapTSCControl
	CapGetTSCKHz         = gokvm.CapGetTSCkHz
	CapMaxVCPUs          = gokvm.CapMAXVCPUS
	CapTSCDeadlineTimer  = gokvm.CapTSCDeadlineTimer
	CapKVMClockCtrl      = gokvm.CapKVMClockCtrl
	CapSignalMSI         = gokvm.CapSignalMSI
	CapReadonlyMem       = gokvm.CapReadOnlyMEM
	CapIRQFDResample     = gokvm.CapIRQFDResample
	CapEnableCapVM       = gokvm.CapEnableCAPVM
	CapCheckExtensionVM  = gokvm.CapCheckExtentionVM
	CapX86SMM            = gokvm.CapX86SMM
	CapIOEventFDAnyLen   = gokvm.CapIOEventFDAnyLength
	CapMaxVCPUID         = gokvm.CapMAXVCPUID
	CapX2APICAPI         = gokvm.CapX2APICAPI
	CapImmediateExit     = gokvm.CapImmediateExit
	CapGetMSRFeatures    = gokvm.CapGETMSRFeatures
	CapExceptionPayload  = gokvm.CapExceptionPayload
	CapManualDirtyLog    = gokvm.CapManualDirtyLogProtect2
	CapSregs2            = gokvm.CapSREGS2
	CapXSave2            = gokvm.CapXSave2
	CapTripleFaultEvent  = gokvm.CapX86TripleFaultEvent
	CapSystemEventData   = gokvm.CapSystemEventData
	defaultMaxVCPUs      = 4    // when CapNRVCPUs is absent (api.rst §4.7)
	defaultMemSlots      = 32   // when CapNRMemSlots is absent
	defaultMaxMSIRoutes  = 1024 // when CapIRQRouting only says yes
	firstRealRouteNumber = 2
)

// need is an extension that there is no running without.
type need struct {
	capability Capability
	name       string // as in <linux/kvm.h>
	purpose    string
	since      string // the first Linux that has it
}

var needs = [...]need{
	{CapUserMemory, "KVM_CAP_USER_MEMORY", "guest RAM", "2.6.25"},
	{CapDestroyRegion, "KVM_CAP_DESTROY_MEMORY_REGION_WORKS", "unplugging guest RAM", "2.6.29"},
	{CapSetTSSAddr, "KVM_CAP_SET_TSS_ADDR", "real mode on Intel processors", "2.6.24"},
	{CapSetIdentityMap, "KVM_CAP_SET_IDENTITY_MAP_ADDR", "real mode on Intel processors", "2.6.32"},
	{CapIRQChip, "KVM_CAP_IRQCHIP", "in-kernel interrupt controllers", "2.6.21"},
	{CapIRQRouting, "KVM_CAP_IRQ_ROUTING", "message-signalled interrupts", "2.6.30"},
	{CapPIT2, "KVM_CAP_PIT2", "the in-kernel timer", "2.6.31"},
	{CapPITState2, "KVM_CAP_PIT_STATE2", "resetting the in-kernel timer", "2.6.32"},
	{CapIRQFD, "KVM_CAP_IRQFD", "device interrupts", "2.6.32"},
	{CapIOEventFD, "KVM_CAP_IOEVENTFD", "device notifications", "2.6.32"},
	{CapExtCPUID, "KVM_CAP_EXT_CPUID", "CPU models", "2.6.25"},
	{CapMPState, "KVM_CAP_MP_STATE", "several vCPUs", "2.6.26"},
	{CapUserNMI, "KVM_CAP_USER_NMI", "injecting NMIs", "2.6.30"},
	{CapVCPUEvents, "KVM_CAP_VCPU_EVENTS", "resetting a vCPU", "2.6.33"},
	{CapDebugRegs, "KVM_CAP_DEBUGREGS", "resetting a vCPU", "2.6.34"},
	{CapXSave, "KVM_CAP_XSAVE", "resetting a vCPU", "2.6.36"},
	{CapXCRS, "KVM_CAP_XCRS", "resetting a vCPU", "2.6.36"},
	{CapAdjustClock, "KVM_CAP_ADJUST_CLOCK", "stopping the guest's clock with the guest", "2.6.33"},
	{CapEnableCapVM, "KVM_CAP_ENABLE_CAP_VM", "setting the VM up", "3.14"},
	{CapCheckExtensionVM, "KVM_CAP_CHECK_EXTENSION_VM", "asking what the VM can do", "3.17"},
	{CapImmediateExit, "KVM_CAP_IMMEDIATE_EXIT", "interrupting vCPUs without losing a request", "4.13"},
}

// MissingError names an extension that this host's KVM lacks.
type MissingError struct {
	Name    string // KVM_CAP_*
	Purpose string
	Since   string // the first Linux version that has it
}

func (e *MissingError) Error() string {
	return fmt.Sprintf("/dev/kvm lacks %s, needed for %s: use Linux %s or later on the host, or another outer hypervisor",
		e.Name, e.Purpose, e.Since)
}

// missing returns a MissingError for each need that check does not confirm,
// joined.
func missing(check func(Capability) int) error {
	var errs []error
	for _, n := range needs {
		if check(n.capability) <= 0 {
			errs = append(errs, &MissingError{n.name, n.purpose, n.since})
		}
	}
	return errors.Join(errs...)
}
