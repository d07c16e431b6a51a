package kvm

import "fmt"

// ExitReason says why a vCPU stopped running the guest (KVM_EXIT_*).
type ExitReason uint32

// Exit reasons that can happen with the extensions in use here.
const (
	ExitUnknown       ExitReason = 0
	ExitException     ExitReason = 1
	ExitIO            ExitReason = 2
	ExitHypercall     ExitReason = 3
	ExitDebug         ExitReason = 4
	ExitHLT           ExitReason = 5
	ExitMMIO          ExitReason = 6
	ExitIRQWindowOpen ExitReason = 7
	ExitShutdown      ExitReason = 8
	ExitFailEntry     ExitReason = 9
	ExitIntr          ExitReason = 10
	ExitSetTPR        ExitReason = 11
	ExitTPRAccess     ExitReason = 12
	ExitInternalError ExitReason = 17
	ExitSystemEvent   ExitReason = 24
)

var exitNames = map[ExitReason]string{
	ExitUnknown: "UNKNOWN", ExitException: "EXCEPTION", ExitIO: "IO", ExitHypercall: "HYPERCALL", ExitDebug: "DEBUG",
	ExitHLT: "HLT", ExitMMIO: "MMIO", ExitIRQWindowOpen: "IRQ_WINDOW_OPEN", ExitShutdown: "SHUTDOWN",
	ExitFailEntry: "FAIL_ENTRY", ExitIntr: "INTR", ExitSetTPR: "SET_TPR", ExitTPRAccess: "TPR_ACCESS",
	ExitInternalError: "INTERNAL_ERROR", ExitSystemEvent: "SYSTEM_EVENT",
}

// String returns the name as in <linux/kvm.h>.
func (r ExitReason) String() string {
	if name := exitNames[r]; name != "" {
		return "KVM_EXIT_" + name
	}
	return fmt.Sprintf("KVM_EXIT %d", uint32(r))
}

// Kinds of KVM_EXIT_SYSTEM_EVENT (KVM_SYSTEM_EVENT_*).
const (
	SystemEventShutdown = 1
	SystemEventReset    = 2
	SystemEventCrash    = 3
)

// Kinds of KVM_EXIT_INTERNAL_ERROR (KVM_INTERNAL_ERROR_*).
const (
	InternalErrorEmulation      = 1
	InternalErrorSimultaneous   = 2
	InternalErrorDelivery       = 3
	InternalErrorUnexpectedExit = 4
)

// Directions of port I/O.
const (
	IOIn  = 0 // KVM_EXIT_IO_IN
	IOOut = 1 // KVM_EXIT_IO_OUT
)

// IOExit is kvm_run.io: Count accesses of Size bytes to Port.
type IOExit struct {
	Direction  uint8
	Size       uint8
	Port       uint16
	Count      uint32
	DataOffset uint64
}

// MMIOExit is kvm_run.mmio: an access of Len bytes.
type MMIOExit struct {
	PhysAddr uint64
	Data     [8]byte
	Len      uint32
	IsWrite  uint8
}

// runArea is struct kvm_run as far as it is used.
type runArea struct {
	control    uint32 // request_interrupt_window, immediate_exit and padding
	_          uint32
	exitReason ExitReason
	_          uint32 // ready_for_interrupt_injection, if_flag, flags
	cr8        uint64
	apicBase   uint64
	exit       [32]uint64 // the union
}

// immediateExit is kvm_run.immediate_exit, the second byte, in control. Nothing
// else there is used while interrupt controllers are in the kernel.
const immediateExit = 1 << 8

// ExitReason returns why the last Run returned.
func (v *VCPU) ExitReason() ExitReason { return v.run.exitReason }

// IO returns the access of an ExitIO.
func (v *VCPU) IO() *IOExit { return v.io }

// IOData returns the data of an ExitIO: what the guest wrote, or where the
// answer goes. It is valid until the next Run.
func (v *VCPU) IOData() []byte {
	n := uint64(v.io.Size) * uint64(v.io.Count)
	return v.page[v.io.DataOffset:][:n:n]
}

// MMIO returns the access of an ExitMMIO. An answer goes to its Data.
func (v *VCPU) MMIO() *MMIOExit { return v.mmio }

// InternalErrorData returns the kind of an ExitInternalError and what comes with
// it, whose meaning depends on the kind and the kernel.
func (v *VCPU) InternalErrorData() (suberror uint32, data []uint64) {
	return v.kindAndData()
}

// SystemEventData returns the kind of an ExitSystemEvent, SystemEvent*, and what
// comes with it.
func (v *VCPU) SystemEventData() (typ uint32, data []uint64) { return v.kindAndData() }

// kindAndData decodes the layout that both have: two words, then an array.
func (v *VCPU) kindAndData() (uint32, []uint64) {
	e := v.run.exit[:]
	n := min(e[0]>>32, 16)
	return uint32(e[0]), append([]uint64(nil), e[1:1+n]...)
}

// HardwareReason returns the processor's reason for an ExitFailEntry or
// ExitUnknown.
func (v *VCPU) HardwareReason() uint64 { return v.run.exit[0] }
