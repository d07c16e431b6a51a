package kvm

import (
	"fmt"

	gokvm "github.com/bobuhiro11/gokvm/kvm"
	"golang.org/x/sys/unix"
)

// VCPU is one virtual processor. Its methods but Interrupt belong to the thread
// that runs it.
type VCPU struct {
	fd   int
	vm   *VM
	id   int
	page []byte // struct kvm_run, the port I/O data page behind it and more

	run  *runArea
	io   *IOExit
	mmio *MMIOExit
}

// CreateVCPU makes the vCPU whose APIC ID is id.
func (vm *VM) CreateVCPU(id int) (*VCPU, error) {
	fd, err := gokvm.CreateVCPU(uintptr(vm.fd), id)
	if err != nil {
		return nil, fmt.Errorf("create vCPU %d: %w", id, err)
	}
	page, err := unix.Mmap(int(fd), 0, vm.runSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		unix.Close(int(fd))
		return nil, fmt.Errorf("map the run area of vCPU %d: %w", id, err)
	}
	v := &VCPU{fd: int(fd), vm: vm, id: id, page: page}
	v.overlay()
	return v, nil
}

// ID returns the vCPU's APIC ID.
func (v *VCPU) ID() int { return v.id }

// VM returns the virtual machine that the vCPU is part of.
func (v *VCPU) VM() *VM { return v.vm }

// Close unmaps and closes the vCPU. It must not be running.
func (v *VCPU) Close() error {
	v.run, v.io, v.mmio = nil, nil, nil
	if err := unix.Munmap(v.page); err != nil {
		return fmt.Errorf("unmap the run area of vCPU %d: %w", v.id, err)
	}
	return unix.Close(v.fd)
}

// wrap names the vCPU and the state in an error.
func (v *VCPU) wrap(what string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s of vCPU %d: %w", what, v.id, err)
}

func vcpuGet[T any](v *VCPU, nr uintptr, what string) (*T, error) {
	t, err := get[T](v.fd, nr)
	return t, v.wrap("get "+what, err)
}

func vcpuSet[T any](v *VCPU, nr uintptr, what string, t *T) error {
	return v.wrap("set "+what, set(v.fd, nr, t))
}

// Regs returns the general registers.
func (v *VCPU) Regs() (*Regs, error) { return vcpuGet[Regs](v, nrGetRegs, "registers") }

// SetRegs sets the general registers.
func (v *VCPU) SetRegs(r *Regs) error { return vcpuSet(v, nrSetRegs, "registers", r) }

// Sregs returns segment, table and control registers.
func (v *VCPU) Sregs() (*Sregs, error) { return vcpuGet[Sregs](v, nrGetSregs, "special registers") }

// SetSregs sets segment, table and control registers.
func (v *VCPU) SetSregs(s *Sregs) error { return vcpuSet(v, nrSetSregs, "special registers", s) }

// Sregs2 is Sregs with the PAE page directory pointers (CapSregs2).
func (v *VCPU) Sregs2() (*Sregs2, error) {
	return vcpuGet[Sregs2](v, nrGetSregs2, "special registers")
}

// SetSregs2 is SetSregs with the PAE page directory pointers (CapSregs2).
func (v *VCPU) SetSregs2(s *Sregs2) error { return vcpuSet(v, nrSetSregs2, "special registers", s) }

// FPU returns the x87 and SSE registers.
func (v *VCPU) FPU() (*FPU, error) { return vcpuGet[FPU](v, nrGetFPU, "FPU") }

// SetFPU sets the x87 and SSE registers.
func (v *VCPU) SetFPU(f *FPU) error { return vcpuSet(v, nrSetFPU, "FPU", f) }

// XCRS returns the extended control registers.
func (v *VCPU) XCRS() (*XCRS, error) { return vcpuGet[XCRS](v, nrGetXCRS, "XCRs") }

// SetXCRS sets the extended control registers.
func (v *VCPU) SetXCRS(x *XCRS) error { return vcpuSet(v, nrSetXCRS, "XCRs", x) }

// DebugRegs returns the debug registers.
func (v *VCPU) DebugRegs() (*DebugRegs, error) {
	return vcpuGet[DebugRegs](v, nrGetDebugRegs, "debug registers")
}

// SetDebugRegs sets the debug registers.
func (v *VCPU) SetDebugRegs(d *DebugRegs) error {
	return vcpuSet(v, nrSetDebugRegs, "debug registers", d)
}

// Events returns what is about to be delivered: exceptions, interrupts, NMIs.
func (v *VCPU) Events() (*VCPUEvents, error) {
	return vcpuGet[VCPUEvents](v, nrGetVCPUEvents, "events")
}

// SetEvents sets what is about to be delivered; e.Flags, of EventValid*, says
// which optional fields count.
func (v *VCPU) SetEvents(e *VCPUEvents) error { return vcpuSet(v, nrSetVCPUEvents, "events", e) }

// EventFlags returns every EventValid* that this KVM knows, but for the SIPI
// vector's: what a full SetEvents needs.
func (v *VCPU) EventFlags() uint32 {
	flags := uint32(EventValidNMIPending)
	for _, f := range [...]struct {
		on   bool
		flag uint32
	}{
		{v.vm.Check(CapIntrShadow) > 0, EventValidShadow},
		{v.vm.smm, EventValidSMM},
		{v.vm.exceptionPayload, EventValidPayload},
		{v.vm.tripleFault, EventValidTripleFault},
	} {
		if f.on {
			flags |= f.flag
		}
	}
	return flags
}

// MPState returns MPState*.
func (v *VCPU) MPState() (uint32, error) {
	s, err := vcpuGet[MPState](v, nrGetMPState, "multiprocessing state")
	return s.State, err
}

// SetMPState sets MPState*.
func (v *VCPU) SetMPState(state uint32) error {
	return vcpuSet(v, nrSetMPState, "multiprocessing state", &MPState{State: state})
}

// LAPIC returns the registers of the local APIC.
func (v *VCPU) LAPIC() (*LAPICState, error) { return vcpuGet[LAPICState](v, nrGetLAPIC, "LAPIC") }

// SetLAPIC sets the registers of the local APIC.
func (v *VCPU) SetLAPIC(l *LAPICState) error { return vcpuSet(v, nrSetLAPIC, "LAPIC", l) }

// XSaveSize returns the bytes of the extended state, in XSAVE's standard format.
func (v *VCPU) XSaveSize() int { return max(xsaveRegion, v.vm.Check(CapXSave2)) }

// XSave returns the extended state, XSaveSize bytes.
func (v *VCPU) XSave() ([]byte, error) {
	b := make([]byte, v.XSaveSize())
	nr := uintptr(nrGetXSave)
	if len(b) > xsaveRegion {
		nr = nrGetXSave2
	}
	return b, v.wrap("get XSAVE state", xsave(v.fd, gokvm.IIOR, nr, b))
}

// SetXSave sets the extended state, XSaveSize bytes.
func (v *VCPU) SetXSave(b []byte) error {
	if len(b) < v.XSaveSize() {
		return fmt.Errorf("set XSAVE state of vCPU %d: %d bytes, %d needed", v.id, len(b), v.XSaveSize())
	}
	return v.wrap("set XSAVE state", xsave(v.fd, gokvm.IIOW, nrSetXSave, b))
}

// SetCPUID sets what the CPUID instruction tells the guest. It comes before the
// first run and before SetMSRs.
func (v *VCPU) SetCPUID(leaves []CPUIDEntry2) error {
	a := newArray[CPUIDEntry2](len(leaves))
	copy(a.entries, leaves)
	_, err := a.ioctl(v.fd, gokvm.IIOW, nrSetCPUID2)
	return v.wrap("set CPUID", err)
}

// MSRs fills in Data of each entry and returns how many were read: the one after
// them is refused by KVM.
func (v *VCPU) MSRs(entries []MSREntry) (int, error) {
	a := newArray[MSREntry](len(entries))
	copy(a.entries, entries)
	n, err := a.ioctl(v.fd, gokvm.IIOWR, nrGetMSRs)
	copy(entries, a.entries[:n])
	return n, v.wrap("get MSRs", err)
}

// SetMSRs sets MSRs in order and returns how many were set: the one after them
// is refused by KVM.
func (v *VCPU) SetMSRs(entries []MSREntry) (int, error) {
	a := newArray[MSREntry](len(entries))
	copy(a.entries, entries)
	n, err := a.ioctl(v.fd, gokvm.IIOW, nrSetMSRs)
	return n, v.wrap("set MSRs", err)
}

// TSCKHz returns the frequency of the guest's time stamp counter.
func (v *VCPU) TSCKHz() (int, error) {
	khz, err := call(v.fd, nrGetTSCKHz, 0)
	return khz, v.wrap("get the TSC frequency", err)
}

// SetTSCKHz sets the frequency of the guest's time stamp counter. One that is
// not the host's needs CapTSCControl.
func (v *VCPU) SetTSCKHz(khz int) error {
	_, err := call(v.fd, nrSetTSCKHz, uintptr(khz))
	return v.wrap("set the TSC frequency", err)
}

// KVMClockCtrl tells the guest that it was stopped, so that its watchdogs
// forgive the time it missed. EINVAL means that it does not use kvmclock.
func (v *VCPU) KVMClockCtrl() error {
	_, err := call(v.fd, nrKVMClockCtrl, 0)
	return v.wrap("mark the stop in the clock", err)
}

// NMI queues a non-maskable interrupt.
func (v *VCPU) NMI() error {
	_, err := call(v.fd, nrNMI, 0)
	return v.wrap("inject an NMI", err)
}

// SetupMCE sets IA32_MCG_CAP, and so the number of machine-check banks, which is
// at most System.MCECap's.
func (v *VCPU) SetupMCE(cap uint64) error { return vcpuSet(v, nrSetupMCE, "MCE", &cap) }

// Translate returns the guest-physical address of a linear address, and whether
// it has one.
func (v *VCPU) Translate(linear uint64) (uint64, bool, error) {
	t := Translation{LinearAddress: linear}
	err := update(v.fd, nrTranslate, &t)
	return t.PhysicalAddress, t.Valid != 0, v.wrap("translate an address", err)
}
