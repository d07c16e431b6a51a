package vcpu

import "hv/hypervisor/kvm"

// Mode is the processor mode that a vCPU starts in.
type Mode int

// Modes.
const (
	// ModeReal is the state after RESET#: real mode at the reset vector.
	ModeReal Mode = iota
	// ModeProtected is flat 32-bit protected mode without paging, as PVH
	// (xen/include/public/arch-x86/hvm/start_info.h) starts a kernel.
	ModeProtected
	// ModeLong is 64-bit mode with paging, as the 64-bit boot protocol of
	// Linux (Documentation/arch/x86/boot.rst) starts a kernel.
	ModeLong
	// ModeRealAt is the state after RESET#, but for where it begins: at RIP, which is
	// below 1 MiB, as firmware wakes a guest (ACPI 6.4 §16.3.2).
	ModeRealAt
	// ModeWaitForSIPI waits for another processor's INIT and SIPI.
	ModeWaitForSIPI
)

// Entry is where and how a vCPU starts after a reset.
type Entry struct {
	Mode Mode
	// RIP, RSP, RBX and RSI are the initial registers, for ModeProtected and
	// ModeLong: PVH has the start info in RBX, the boot protocol the boot
	// parameters in RSI.
	RIP, RSP, RBX, RSI uint64
	// CR3 is the page table of ModeLong, four levels.
	CR3 uint64
	// GDT is where the descriptors of the flat segments lie, which are CodeSelector and
	// DataSelector, for code that loads a segment register before a table of
	// its own.
	GDT kvm.DTable
	// MSRs are set beyond the reset state: what firmware would have done.
	// Every vCPU gets the same.
	MSRs []kvm.MSREntry
}

// Selectors that the boot protocol demands (__BOOT_CS and __BOOT_DS).
const (
	CodeSelector = 0x10
	DataSelector = 0x18
)

// Types of segment descriptors (Intel SDM volume 3 §3.4.5.1, §3.5), accessed
// and busy.
const (
	typeData  = 3
	typeCode  = 11
	typeLDT   = 2
	typeTSS   = 11
	limit64K  = 0xffff
	limit4G   = 0xffff_ffff
	tssLimit  = 0x67 // the smallest 32-bit TSS, as PVH has it
	resetCS   = 0xf000
	resetBase = 0xffff_0000
	resetRIP  = 0xfff0
)

// Bits of IA32_APIC_BASE.
const (
	apicDefaultBase = 0xfee0_0000
	apicBSP         = 1 << 8
	apicEnable      = 1 << 11
)

func realSegment(selector uint16, base uint64, typ uint8) kvm.Segment {
	return kvm.Segment{Base: base, Limit: limit64K, Selector: selector, Typ: typ, Present: 1, S: 1}
}

func flatSegment(selector uint16, typ, db, l uint8) kvm.Segment {
	return kvm.Segment{Limit: limit4G, Selector: selector, Typ: typ, Present: 1, S: 1, G: 1, DB: db, L: l}
}

// resetSregs returns the special registers after RESET#.
func resetSregs(bsp bool) kvm.Sregs {
	data := realSegment(0, 0, typeData)
	s := kvm.Sregs{
		CS: realSegment(resetCS, resetBase, typeCode),
		DS: data, ES: data, FS: data, GS: data, SS: data,
		TR:       kvm.Segment{Limit: limit64K, Typ: typeTSS, Present: 1},
		LDT:      kvm.Segment{Limit: limit64K, Typ: typeLDT, Present: 1},
		GDT:      kvm.DTable{Limit: limit64K},
		IDT:      kvm.DTable{Limit: limit64K},
		CR0:      cr0ET | cr0NW | cr0CD,
		ApicBase: apicDefaultBase | apicEnable,
	}
	if bsp {
		s.ApicBase |= apicBSP
	}
	return s
}

// sregs returns the special registers that the entry wants.
func (e *Entry) sregs(bsp bool) kvm.Sregs {
	s := resetSregs(bsp)
	if e.Mode == ModeRealAt {
		s.CS = realSegment(uint16(e.RIP>>4), e.RIP&0xffff0, typeCode)
	}
	if e.Mode != ModeProtected && e.Mode != ModeLong {
		return s
	}
	data := flatSegment(DataSelector, typeData, 1, 0)
	s.DS, s.ES, s.FS, s.GS, s.SS = data, data, data, data, data
	s.CS = flatSegment(CodeSelector, typeCode, 1, 0)
	s.TR.Limit = tssLimit
	s.LDT = kvm.Segment{Unusable: 1}
	s.GDT, s.IDT = e.GDT, kvm.DTable{}
	s.CR0 = cr0PE | cr0ET
	if e.Mode == ModeLong {
		s.CS = flatSegment(CodeSelector, typeCode, 0, 1)
		s.CR0 |= cr0PG
		s.CR3 = e.CR3
		s.CR4 = cr4PAE
		s.EFER = eferLME | eferLMA
	}
	return s
}

// regs returns the general registers that the entry wants; signature is
// CPUID.1:EAX, which RDX holds after RESET#.
func (e *Entry) regs(signature uint32) kvm.Regs {
	r := kvm.Regs{RIP: resetRIP, RDX: uint64(signature), RFLAGS: 2}
	if e.Mode == ModeRealAt {
		r.RIP = e.RIP & 0xf
	}
	if e.Mode == ModeProtected || e.Mode == ModeLong {
		r.RIP, r.RSP, r.RBX, r.RSI = e.RIP, e.RSP, e.RBX, e.RSI
	}
	return r
}
