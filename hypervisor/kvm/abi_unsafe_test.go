package kvm

import (
	"fmt"
	"maps"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unsafe"

	"hv/test/hvrun"

	gokvm "github.com/bobuhiro11/gokvm/kvm"
)

// abi is what this package believes of <linux/kvm.h>: C expressions and their
// values.
func abi() map[string]uintptr {
	m := map[string]uintptr{
		"KVM_API_VERSION":    apiVersion,
		"KVM_CREATE_VM":      gokvm.IIO(nrCreateVM),
		"KVM_RUN":            gokvm.IIO(nrRun),
		"KVM_SET_TSS_ADDR":   gokvm.IIO(nrSetTSSAddr),
		"KVM_NMI":            gokvm.IIO(nrNMI),
		"KVM_SET_TSC_KHZ":    gokvm.IIO(nrSetTSCKHz),
		"KVM_GET_TSC_KHZ":    gokvm.IIO(nrGetTSCKHz),
		"KVM_KVMCLOCK_CTRL":  gokvm.IIO(nrKVMClockCtrl),
		"KVM_GET_STATS_FD":   gokvm.IIO(nrGetStatsFD),
		"KVM_CREATE_VCPU":    gokvm.IIO(0x41), // made by gokvm
		"KVM_CREATE_IRQCHIP": gokvm.IIO(0x60),

		"KVM_GET_REGS":                   ior[Regs](nrGetRegs),
		"KVM_SET_REGS":                   iow[Regs](nrSetRegs),
		"KVM_GET_SREGS":                  ior[Sregs](nrGetSregs),
		"KVM_SET_SREGS":                  iow[Sregs](nrSetSregs),
		"KVM_GET_SREGS2":                 ior[Sregs2](nrGetSregs2),
		"KVM_SET_SREGS2":                 iow[Sregs2](nrSetSregs2),
		"KVM_GET_FPU":                    ior[FPU](nrGetFPU),
		"KVM_SET_FPU":                    iow[FPU](nrSetFPU),
		"KVM_GET_XCRS":                   ior[XCRS](nrGetXCRS),
		"KVM_SET_XCRS":                   iow[XCRS](nrSetXCRS),
		"KVM_GET_DEBUGREGS":              ior[DebugRegs](nrGetDebugRegs),
		"KVM_SET_DEBUGREGS":              iow[DebugRegs](nrSetDebugRegs),
		"KVM_GET_VCPU_EVENTS":            ior[VCPUEvents](nrGetVCPUEvents),
		"KVM_SET_VCPU_EVENTS":            iow[VCPUEvents](nrSetVCPUEvents),
		"KVM_GET_MP_STATE":               ior[MPState](nrGetMPState),
		"KVM_SET_MP_STATE":               iow[MPState](nrSetMPState),
		"KVM_GET_LAPIC":                  ior[LAPICState](nrGetLAPIC),
		"KVM_SET_LAPIC":                  iow[LAPICState](nrSetLAPIC),
		"KVM_GET_CLOCK":                  ior[ClockData](nrGetClock),
		"KVM_SET_CLOCK":                  iow[ClockData](nrSetClock),
		"KVM_GET_PIT2":                   ior[PITState2](nrGetPIT2),
		"KVM_SET_PIT2":                   iow[PITState2](nrSetPIT2),
		"KVM_CREATE_PIT2":                iow[pitConfig](nrCreatePIT2),
		"KVM_GET_IRQCHIP":                iowr[IRQChip](nrGetIRQChip),
		"KVM_SET_IRQCHIP":                ior[IRQChip](nrSetIRQChip),
		"KVM_IRQ_LINE":                   iow[irqLevel](nrIRQLine),
		"KVM_IRQFD":                      iow[irqfd](nrIRQFD),
		"KVM_IOEVENTFD":                  iow[ioeventfd](nrIOEventFD),
		"KVM_SIGNAL_MSI":                 iow[msi](nrSignalMSI),
		"KVM_ENABLE_CAP":                 iow[enableCap](nrEnableCap),
		"KVM_TRANSLATE":                  iowr[Translation](nrTranslate),
		"KVM_SET_USER_MEMORY_REGION":     iow[userspaceMemoryRegion](nrSetUserMemoryRegion),
		"KVM_GET_DIRTY_LOG":              iow[dirtyLog](nrGetDirtyLog),
		"KVM_CLEAR_DIRTY_LOG":            iowr[clearDirtyLog](nrClearDirtyLog),
		"KVM_SET_IDENTITY_MAP_ADDR":      iow[uint64](nrSetIdentityMapAddr),
		"KVM_X86_SETUP_MCE":              iow[uint64](nrSetupMCE),
		"KVM_X86_GET_MCE_CAP_SUPPORTED":  ior[uint64](nrGetMCECapSupported),
		"KVM_GET_MSR_INDEX_LIST":         iowr[uint32](nrGetMSRIndexList),
		"KVM_GET_MSR_FEATURE_INDEX_LIST": iowr[uint32](nrGetMSRFeatureList),

		"KVM_GET_SUPPORTED_CPUID": gokvm.IIOWR(nrGetSupportedCPUID, arrayHeader),
		"KVM_SET_CPUID2":          gokvm.IIOW(nrSetCPUID2, arrayHeader),
		"KVM_GET_MSRS":            gokvm.IIOWR(nrGetMSRs, arrayHeader),
		"KVM_SET_MSRS":            gokvm.IIOW(nrSetMSRs, arrayHeader),
		"KVM_SET_GSI_ROUTING":     gokvm.IIOW(nrSetGSIRouting, arrayHeader),
		"KVM_GET_XSAVE":           gokvm.IIOR(nrGetXSave, xsaveRegion),
		"KVM_SET_XSAVE":           gokvm.IIOW(nrSetXSave, xsaveRegion),
		"KVM_GET_XSAVE2":          gokvm.IIOR(nrGetXSave2, xsaveRegion),

		"sizeof(struct kvm_irq_routing_entry)":                unsafe.Sizeof(Route{}),
		"offsetof(struct kvm_irq_routing_entry, u)":           unsafe.Offsetof(Route{}.U),
		"offsetof(struct kvm_irq_routing_entry, u.msi.data)":  unsafe.Offsetof(Route{}.U) + 8,
		"sizeof(struct kvm_cpuid_entry2)":                     unsafe.Sizeof(CPUIDEntry2{}),
		"sizeof(struct kvm_msr_entry)":                        unsafe.Sizeof(MSREntry{}),
		"offsetof(struct kvm_fpu, xmm)":                       unsafe.Offsetof(FPU{}.XMM),
		"offsetof(struct kvm_fpu, mxcsr)":                     unsafe.Offsetof(FPU{}.MXCSR),
		"offsetof(struct kvm_irqfd, resamplefd)":              unsafe.Offsetof(irqfd{}.resamplefd),
		"offsetof(struct kvm_ioeventfd, flags)":               unsafe.Offsetof(ioeventfd{}.flags),
		"offsetof(struct kvm_ioeventfd, fd)":                  unsafe.Offsetof(ioeventfd{}.fd),
		"offsetof(struct kvm_enable_cap, args)":               unsafe.Offsetof(enableCap{}.args),
		"offsetof(struct kvm_clear_dirty_log, dirty_bitmap)":  unsafe.Offsetof(clearDirtyLog{}.bitmap),
		"offsetof(struct kvm_vcpu_events, smi)":               unsafe.Offsetof(VCPUEvents{}.S),
		"offsetof(struct kvm_vcpu_events, exception_payload)": unsafe.Offsetof(VCPUEvents{}.ExceptionPayload),
		"offsetof(struct kvm_run, immediate_exit)":            1,
		"offsetof(struct kvm_run, exit_reason)":               unsafe.Offsetof(runArea{}.exitReason),
		"offsetof(struct kvm_run, apic_base)":                 unsafe.Offsetof(runArea{}.apicBase),
		"offsetof(struct kvm_run, io)":                        unsafe.Offsetof(runArea{}.exit),
		"offsetof(struct kvm_run, mmio)":                      unsafe.Offsetof(runArea{}.exit),
		"offsetof(struct kvm_run, io.port)":                   unsafe.Offsetof(runArea{}.exit) + unsafe.Offsetof(IOExit{}.Port),
		"offsetof(struct kvm_run, io.data_offset)":            unsafe.Offsetof(runArea{}.exit) + unsafe.Offsetof(IOExit{}.DataOffset),
		"offsetof(struct kvm_run, mmio.data)":                 unsafe.Offsetof(runArea{}.exit) + unsafe.Offsetof(MMIOExit{}.Data),
		"offsetof(struct kvm_run, mmio.is_write)":             unsafe.Offsetof(runArea{}.exit) + unsafe.Offsetof(MMIOExit{}.IsWrite),
		"offsetof(struct kvm_run, internal.data)":             unsafe.Offsetof(runArea{}.exit) + 8,
		"offsetof(struct kvm_run, system_event.data)":         unsafe.Offsetof(runArea{}.exit) + 8,
		"sizeof(((struct kvm_run *)0)->padding)":              unsafe.Sizeof(runArea{}.exit),
		"offsetof(struct kvm_cpuid2, entries)":                arrayHeader,
		"offsetof(struct kvm_msrs, entries)":                  arrayHeader,
		"offsetof(struct kvm_irq_routing, entries)":           arrayHeader,
		"sizeof(struct kvm_xsave)":                            xsaveRegion,
	}
	maps.Copy(m, constants())
	return m
}

func constants() map[string]uintptr {
	m := map[string]uintptr{
		"KVM_MP_STATE_RUNNABLE": uintptr(MPStateRunnable), "KVM_MP_STATE_UNINITIALIZED": uintptr(MPStateUninitialized),
		"KVM_MP_STATE_HALTED":             uintptr(MPStateHalted),
		"KVM_VCPUEVENT_VALID_NMI_PENDING": EventValidNMIPending, "KVM_VCPUEVENT_VALID_SIPI_VECTOR": EventValidSIPIVector,
		"KVM_VCPUEVENT_VALID_SHADOW": EventValidShadow, "KVM_VCPUEVENT_VALID_SMM": EventValidSMM,
		"KVM_VCPUEVENT_VALID_PAYLOAD": EventValidPayload, "KVM_VCPUEVENT_VALID_TRIPLE_FAULT": EventValidTripleFault,
		"KVM_IRQCHIP_PIC_MASTER": ChipPICMaster, "KVM_IRQCHIP_PIC_SLAVE": ChipPICSlave, "KVM_IRQCHIP_IOAPIC": ChipIOAPIC,
		"KVM_IOAPIC_NUM_PINS": IOAPICPins, "KVM_IRQ_ROUTING_IRQCHIP": routingIRQChip, "KVM_IRQ_ROUTING_MSI": routingMSI,
		"KVM_MEM_LOG_DIRTY_PAGES": memLogDirtyPages, "KVM_MEM_READONLY": memReadonly,
		"KVM_IRQFD_FLAG_DEASSIGN": irqfdDeassign, "KVM_IRQFD_FLAG_RESAMPLE": irqfdResample,
		"KVM_IOEVENTFD_FLAG_DEASSIGN": ioeventfdDeassign, "KVM_PIT_SPEAKER_DUMMY": pitSpeakerDummy,
		"KVM_X2APIC_API_USE_32BIT_IDS": x2apicUse32BitIDs, "KVM_X2APIC_API_DISABLE_BROADCAST_QUIRK": x2apicDisableBroadcastQuirk,
		"KVM_DIRTY_LOG_MANUAL_PROTECT_ENABLE": dirtyLogManualProtect,
		"KVM_SYSTEM_EVENT_SHUTDOWN":           SystemEventShutdown, "KVM_SYSTEM_EVENT_RESET": SystemEventReset, "KVM_SYSTEM_EVENT_CRASH": SystemEventCrash,
		"KVM_INTERNAL_ERROR_EMULATION": InternalErrorEmulation, "KVM_INTERNAL_ERROR_SIMUL_EX": InternalErrorSimultaneous,
		"KVM_INTERNAL_ERROR_DELIVERY_EV": InternalErrorDelivery, "KVM_INTERNAL_ERROR_UNEXPECTED_EXIT_REASON": InternalErrorUnexpectedExit,
		"KVM_EXIT_IO_IN": IOIn, "KVM_EXIT_IO_OUT": IOOut,
		"KVM_CAP_NR_VCPUS": uintptr(CapNRVCPUs), "KVM_CAP_NR_MEMSLOTS": uintptr(CapNRMemSlots), "KVM_CAP_MCE": uintptr(CapMCE),
		"KVM_CAP_INTR_SHADOW": uintptr(CapIntrShadow), "KVM_CAP_TSC_CONTROL": uintptr(CapTSCControl), "KVM_CAP_GET_TSC_KHZ": uintptr(CapGetTSCKHz),
		"KVM_CAP_MAX_VCPUS": uintptr(CapMaxVCPUs), "KVM_CAP_TSC_DEADLINE_TIMER": uintptr(CapTSCDeadlineTimer),
		"KVM_CAP_KVMCLOCK_CTRL": uintptr(CapKVMClockCtrl), "KVM_CAP_SIGNAL_MSI": uintptr(CapSignalMSI),
		"KVM_CAP_READONLY_MEM": uintptr(CapReadonlyMem), "KVM_CAP_IRQFD_RESAMPLE": uintptr(CapIRQFDResample),
		"KVM_CAP_X86_SMM": uintptr(CapX86SMM), "KVM_CAP_IOEVENTFD_ANY_LENGTH": uintptr(CapIOEventFDAnyLen),
		"KVM_CAP_MAX_VCPU_ID": uintptr(CapMaxVCPUID), "KVM_CAP_X2APIC_API": uintptr(CapX2APICAPI),
		"KVM_CAP_EXCEPTION_PAYLOAD": uintptr(CapExceptionPayload), "KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2": uintptr(CapManualDirtyLog),
		"KVM_CAP_SREGS2": uintptr(CapSregs2), "KVM_CAP_XSAVE2": uintptr(CapXSave2),
		"KVM_CAP_X86_TRIPLE_FAULT_EVENT": uintptr(CapTripleFaultEvent), "KVM_CAP_SYSTEM_EVENT_DATA": uintptr(CapSystemEventData),
	}
	for _, n := range needs {
		m[n.name] = uintptr(n.capability)
	}
	for r, name := range exitNames {
		m["KVM_EXIT_"+name] = uintptr(r)
	}
	return m
}

func ior[T any](nr uintptr) uintptr  { return gokvm.IIOR(nr, unsafe.Sizeof(*new(T))) }
func iow[T any](nr uintptr) uintptr  { return gokvm.IIOW(nr, unsafe.Sizeof(*new(T))) }
func iowr[T any](nr uintptr) uintptr { return gokvm.IIOWR(nr, unsafe.Sizeof(*new(T))) }

// TestABIAgreesWithTheHeader has the C compiler say what <linux/kvm.h> says.
func TestABIAgreesWithTheHeader(t *testing.T) {
	gcc := hvrun.Tool(t, "gcc")
	want := abi()
	names := slices.Sorted(maps.Keys(want))
	var src strings.Builder
	src.WriteString("#include <stddef.h>\n#include <stdio.h>\n#include <linux/kvm.h>\nint main(void) {\n")
	for _, name := range names {
		fmt.Fprintf(&src, "printf(\"%%lu\\n\", (unsigned long)(%s));\n", name)
	}
	src.WriteString("return 0; }\n")
	bin := filepath.Join(t.TempDir(), "abi")
	cmd := exec.Command(gcc, "-w", "-x", "c", "-o", bin, "-")
	cmd.Stdin = strings.NewReader(src.String())
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("<linux/kvm.h> is missing (run `make deps`) or old: %s", out)
	}
	out, err := exec.Command(bin).Output()
	if err != nil {
		t.Fatal(err)
	}
	for i, line := range strings.Fields(string(out)) {
		if got := fmt.Sprint(uint32(want[names[i]])); got != line {
			t.Errorf("%s is %s here, %s in the header", names[i], got, line)
		}
	}
}

func TestArrayLayout(t *testing.T) {
	a := newArray[MSREntry](3)
	a.entries[2].Data = 7
	if len(a.words) != 1+3*2 || a.words[6] != 7 || a.count() != 3 {
		t.Errorf("%x", a.words)
	}
	if e := newArray[Route](0); e.count() != 0 || len(e.entries) != 0 || len(e.words) != 1 {
		t.Errorf("%x", e.words)
	}
}
