package kvm

import gokvm "github.com/bobuhiro11/gokvm/kvm"

// Structures of <linux/kvm.h> and <asm/kvm.h> that gokvm has right.
type (
	Regs        = gokvm.Regs        // struct kvm_regs
	Sregs       = gokvm.Sregs       // struct kvm_sregs
	Sregs2      = gokvm.SRegs2      // struct kvm_sregs2
	Segment     = gokvm.Segment     // struct kvm_segment
	DTable      = gokvm.Descriptor  // struct kvm_dtable
	DebugRegs   = gokvm.DebugRegs   // struct kvm_debugregs
	XCRS        = gokvm.XCRS        // struct kvm_xcrs
	VCPUEvents  = gokvm.VCPUEvents  // struct kvm_vcpu_events
	MPState     = gokvm.MPState     // struct kvm_mp_state
	LAPICState  = gokvm.LAPICState  // struct kvm_lapic_state
	CPUIDEntry2 = gokvm.CPUIDEntry2 // struct kvm_cpuid_entry2
	MSREntry    = gokvm.MSREntry    // struct kvm_msr_entry
	Translation = gokvm.Translation // struct kvm_translation
	ClockData   = gokvm.ClockData   // struct kvm_clock_data
	IRQChip     = gokvm.IRQChip     // struct kvm_irqchip
	PITState2   = gokvm.PITState2   // struct kvm_pit_state2
)

// States of a vCPU (KVM_SET_MP_STATE).
const (
	MPStateRunnable      = gokvm.MPStateRunnable
	MPStateUninitialized = gokvm.MPStateUninitialized
	MPStateHalted        = gokvm.MPStateHalted
)

// Fields of VCPUEvents that KVM_SET_VCPU_EVENTS is to take (KVM_VCPUEVENT_VALID_*).
const (
	EventValidNMIPending  = 1 << 0
	EventValidSIPIVector  = 1 << 1
	EventValidShadow      = 1 << 2
	EventValidSMM         = 1 << 3
	EventValidPayload     = 1 << 4
	EventValidTripleFault = 1 << 5
)

// FPU is struct kvm_fpu.
type FPU struct {
	FPR        [8][16]byte
	FCW, FSW   uint16
	FTWX       uint8
	_          uint8
	LastOpcode uint16
	LastIP     uint64
	LastDP     uint64
	XMM        [16][16]byte
	MXCSR      uint32
	_          uint32
}

// Numbers of the in-kernel interrupt controllers (KVM_IRQCHIP_*).
const (
	ChipPICMaster = 0
	ChipPICSlave  = 1
	ChipIOAPIC    = 2

	// IOAPICPins is how many inputs the I/O APIC has (KVM_IOAPIC_NUM_PINS).
	IOAPICPins = 24
)

// Kinds of interrupt route (KVM_IRQ_ROUTING_*).
const (
	routingIRQChip = 1
	routingMSI     = 2
)

// Route is struct kvm_irq_routing_entry: where a global system interrupt goes.
// gokvm's is 24 bytes short.
type Route struct {
	GSI   uint32
	Type  uint32
	Flags uint32
	_     uint32
	U     [8]uint32 // the union, by Type
}

// PinRoute routes gsi to an input of an in-kernel interrupt controller.
func PinRoute(gsi, chip, pin uint32) Route {
	return Route{GSI: gsi, Type: routingIRQChip, U: [8]uint32{chip, pin}}
}

// MSIRoute routes gsi to a message-signalled interrupt.
func MSIRoute(gsi uint32, addr uint64, data uint32) Route {
	return Route{GSI: gsi, Type: routingMSI, U: [8]uint32{uint32(addr), uint32(addr >> 32), data}}
}

// The structures below are private to their calls.

type irqLevel struct { // struct kvm_irq_level
	irq   uint32
	level uint32
}

type pitConfig struct { // struct kvm_pit_config
	flags uint32
	_     [15]uint32
}

type irqfd struct { // struct kvm_irqfd
	fd         uint32
	gsi        uint32
	flags      uint32
	resamplefd uint32
	_          [16]uint8
}

type ioeventfd struct { // struct kvm_ioeventfd
	_     uint64 // datamatch
	addr  uint64
	len   uint32
	fd    int32
	flags uint32
	_     [36]uint8
}

type msi struct { // struct kvm_msi
	addressLo uint32
	addressHi uint32
	data      uint32
	flags     uint32
	devid     uint32
	_         [12]uint8
}

type enableCap struct { // struct kvm_enable_cap
	cap  uint32
	_    uint32 // flags
	args [4]uint64
	_    [64]uint8
}

type userspaceMemoryRegion = gokvm.UserspaceMemoryRegion // struct kvm_userspace_memory_region

type dirtyLog = gokvm.DirtyLog // struct kvm_dirty_log

type clearDirtyLog struct { // struct kvm_clear_dirty_log
	slot     uint32
	numPages uint32
	_        uint64 // first_page
	bitmap   uint64
}

const (
	memLogDirtyPages = 1 << 0 // KVM_MEM_LOG_DIRTY_PAGES
	memReadonly      = 1 << 1 // KVM_MEM_READONLY

	irqfdDeassign = 1 << 0 // KVM_IRQFD_FLAG_DEASSIGN
	irqfdResample = 1 << 1 // KVM_IRQFD_FLAG_RESAMPLE

	ioeventfdDeassign = 1 << 2 // KVM_IOEVENTFD_FLAG_DEASSIGN

	pitSpeakerDummy = 1 // KVM_PIT_SPEAKER_DUMMY

	x2apicUse32BitIDs           = 1 << 0 // KVM_X2APIC_API_USE_32BIT_IDS
	x2apicDisableBroadcastQuirk = 1 << 1 // KVM_X2APIC_API_DISABLE_BROADCAST_QUIRK

	dirtyLogManualProtect = 1 << 0 // KVM_DIRTY_LOG_MANUAL_PROTECT_ENABLE
)

// Numbers of the calls that are made here, in the low byte of an ioctl.
const (
	nrCreateVM            = 0x01
	nrGetMSRIndexList     = 0x02
	nrGetSupportedCPUID   = 0x05
	nrGetMSRFeatureList   = 0x0a
	nrGetDirtyLog         = 0x42
	nrSetUserMemoryRegion = 0x46
	nrSetTSSAddr          = 0x47
	nrSetIdentityMapAddr  = 0x48
	nrIRQLine             = 0x61
	nrGetIRQChip          = 0x62
	nrSetIRQChip          = 0x63
	nrSetGSIRouting       = 0x6a
	nrIRQFD               = 0x76
	nrCreatePIT2          = 0x77
	nrIOEventFD           = 0x79
	nrSetClock            = 0x7b
	nrGetClock            = 0x7c
	nrRun                 = 0x80
	nrGetRegs             = 0x81
	nrSetRegs             = 0x82
	nrGetSregs            = 0x83
	nrSetSregs            = 0x84
	nrTranslate           = 0x85
	nrGetMSRs             = 0x88
	nrSetMSRs             = 0x89
	nrGetFPU              = 0x8c
	nrSetFPU              = 0x8d
	nrGetLAPIC            = 0x8e
	nrSetLAPIC            = 0x8f
	nrSetCPUID2           = 0x90
	nrGetMPState          = 0x98
	nrSetMPState          = 0x99
	nrNMI                 = 0x9a
	nrSetupMCE            = 0x9c
	nrGetMCECapSupported  = 0x9d
	nrGetPIT2             = 0x9f
	nrSetPIT2             = 0xa0
	nrGetVCPUEvents       = 0x9f
	nrSetVCPUEvents       = 0xa0
	nrGetDebugRegs        = 0xa1
	nrSetDebugRegs        = 0xa2
	nrSetTSCKHz           = 0xa2
	nrGetTSCKHz           = 0xa3
	nrEnableCap           = 0xa3
	nrGetXSave            = 0xa4
	nrSetXSave            = 0xa5
	nrSignalMSI           = 0xa5
	nrGetXCRS             = 0xa6
	nrSetXCRS             = 0xa7
	nrKVMClockCtrl        = 0xad
	nrClearDirtyLog       = 0xc0
	nrGetSregs2           = 0xcc
	nrSetSregs2           = 0xcd
	nrGetStatsFD          = 0xce
	nrGetXSave2           = 0xcf
)

// apiVersion is what KVM_GET_API_VERSION has returned since Linux 2.6.22.
const apiVersion = 12
