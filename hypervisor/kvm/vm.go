package kvm

import (
	"fmt"
	"sync"

	"golang.org/x/sys/unix"
)

// Where the pages lie that KVM needs in guest-physical memory to run real mode
// on Intel processors without unrestricted guest mode. They are reserved in the
// guest's memory map: four pages from IdentityMapAddr.
const (
	IdentityMapAddr = 0xfeff_c000
	TSSAddr         = 0xfeff_d000
)

// VM is a virtual machine.
type VM struct {
	fd      int
	runSize int

	// What KVM_ENABLE_CAP switched on, which decides the fields of VCPUEvents.
	exceptionPayload, tripleFault, smm bool
	manualDirtyLog                     bool
	msrs                               map[uint32]bool // KVM_GET_MSR_INDEX_LIST

	mu    sync.Mutex
	slots []bool // by number: in use
}

// CreateVM makes a virtual machine without memory, interrupts or vCPUs.
func (s *System) CreateVM() (*VM, error) {
	fd, err := call(s.fd, nrCreateVM, 0)
	if err != nil {
		return nil, fmt.Errorf("create a VM: %w", err)
	}
	vm := &VM{fd: fd, runSize: s.runSize}
	if err := vm.setUp(s); err != nil {
		vm.Close()
		return nil, err
	}
	return vm, nil
}

func (vm *VM) setUp(s *System) error {
	list, err := s.MSRIndexList()
	if err != nil {
		return err
	}
	vm.msrs = make(map[uint32]bool, len(list))
	for _, index := range list {
		vm.msrs[index] = true
	}
	// Intel's alone need these, but they cost nothing elsewhere.
	addr := uint64(IdentityMapAddr)
	if err := set(vm.fd, nrSetIdentityMapAddr, &addr); err != nil {
		return fmt.Errorf("set the identity map address: %w", err)
	}
	if _, err := call(vm.fd, nrSetTSSAddr, TSSAddr); err != nil {
		return fmt.Errorf("set the TSS address: %w", err)
	}
	vm.smm = vm.Check(CapX86SMM) > 0
	vm.exceptionPayload = vm.enable(CapExceptionPayload, 1)
	vm.tripleFault = vm.enable(CapTripleFaultEvent, 1)
	vm.manualDirtyLog = vm.enable(CapManualDirtyLog, dirtyLogManualProtect)
	// For APIC IDs above 254, in interrupt routes and LAPIC state.
	vm.enable(CapX2APICAPI, x2apicUse32BitIDs|x2apicDisableBroadcastQuirk)
	return nil
}

// enable switches an optional extension on and reports whether it is there.
func (vm *VM) enable(c Capability, arg uint64) bool {
	return vm.Check(c) > 0 && set(vm.fd, nrEnableCap, &enableCap{cap: uint32(c), args: [4]uint64{arg}}) == nil
}

// Check returns what KVM_CHECK_EXTENSION says of c for this VM.
func (vm *VM) Check(c Capability) int { return check(vm.fd, c) }

// HasMSR reports whether index is in KVM_GET_MSR_INDEX_LIST.
func (vm *VM) HasMSR(index uint32) bool { return vm.msrs[index] }

// MaxVCPUs returns the most vCPUs that the VM can have.
func (vm *VM) MaxVCPUs() int {
	if n := vm.Check(CapMaxVCPUs); n > 0 {
		return n
	}
	return vm.RecommendedVCPUs()
}

// RecommendedVCPUs returns the number of vCPUs beyond which the kernel warns of
// poor performance.
func (vm *VM) RecommendedVCPUs() int {
	if n := vm.Check(CapNRVCPUs); n > 0 {
		return n
	}
	return defaultMaxVCPUs
}

// MaxVCPUID returns the number that vCPU ids, which are APIC IDs, are below.
func (vm *VM) MaxVCPUID() int {
	if n := vm.Check(CapMaxVCPUID); n > 0 {
		return n
	}
	return vm.MaxVCPUs()
}

// Clock returns the guest's kvmclock (KVM_GET_CLOCK).
func (vm *VM) Clock() (*ClockData, error) {
	c, err := get[ClockData](vm.fd, nrGetClock)
	if err != nil {
		return nil, fmt.Errorf("get the VM's clock: %w", err)
	}
	return c, nil
}

// SetClock sets the guest's kvmclock to ns nanoseconds (KVM_SET_CLOCK).
func (vm *VM) SetClock(ns uint64) error {
	if err := set(vm.fd, nrSetClock, &ClockData{Clock: ns}); err != nil {
		return fmt.Errorf("set the VM's clock: %w", err)
	}
	return nil
}

// Close closes the VM. The kernel keeps it until its vCPUs are closed too.
func (vm *VM) Close() error { return unix.Close(vm.fd) }
