package coredump

import (
	"bytes"
	"debug/elf"
	"encoding/binary"

	"hv/hypervisor/kvm"
)

// CPU is a processor's registers.
type CPU struct {
	Regs  kvm.Regs
	Sregs kvm.Sregs
	// KernelGSBase is IA32_KERNEL_GS_BASE.
	KernelGSBase uint64
}

const eferLMA = 1 << 10

// machine is what the first processor runs: 64-bit code or older.
func (d *Dump) machine() elf.Machine {
	if len(d.CPUs) > 0 && d.CPUs[0].Sregs.EFER&eferLMA == 0 {
		return elf.EM_386
	}
	return elf.EM_X86_64
}

// notes returns the notes of all processors: a status each, then QEMU's.
func (d *Dump) notes() []byte {
	var out []byte
	for i := range d.CPUs {
		c := &d.CPUs[i]
		status := c.status64(uint32(i + 1))
		if d.machine() == elf.EM_386 {
			status = c.status32(uint32(i + 1))
		}
		out = append(out, note("CORE", uint32(elf.NT_PRSTATUS), status)...)
	}
	for i := range d.CPUs {
		out = append(out, note("QEMU", 0, d.CPUs[i].state())...)
	}
	return out
}

// note encodes a note: sizes, type, name and description, each part of whole words.
func note(name string, typ uint32, desc []byte) []byte {
	var b []byte
	for _, v := range []uint32{uint32(len(name) + 1), uint32(len(desc)), typ} {
		b = binary.LittleEndian.AppendUint32(b, v)
	}
	b = append(b, name...)
	b = append(b, make([]byte, 4-len(name)%4)...)
	b = append(b, desc...)
	return append(b, make([]byte, -len(desc)&3)...)
}

// prstatus64 is struct elf_prstatus of x86-64, with struct user_regs_struct in it.
type prstatus64 struct {
	_                                                          [32]byte
	PID                                                        uint32
	_                                                          [76]byte
	R15, R14, R13, R12, RBP, RBX, R11, R10, R9, R8             uint64
	RAX, RCX, RDX, RSI, RDI, OrigRAX, RIP, CS, RFLAGS, RSP, SS uint64
	FSBase, GSBase, DS, ES, FS, GS                             uint64
	_                                                          uint64
}

func (c *CPU) status64(pid uint32) []byte {
	r, s := &c.Regs, &c.Sregs
	return encode(prstatus64{
		PID: pid,
		R15: r.R15, R14: r.R14, R13: r.R13, R12: r.R12, RBP: r.RBP, RBX: r.RBX, R11: r.R11, R10: r.R10, R9: r.R9, R8: r.R8,
		RAX: r.RAX, RCX: r.RCX, RDX: r.RDX, RSI: r.RSI, RDI: r.RDI, RIP: r.RIP, RFLAGS: r.RFLAGS, RSP: r.RSP,
		CS: uint64(s.CS.Selector), SS: uint64(s.SS.Selector), FSBase: s.FS.Base, GSBase: s.GS.Base,
		DS: uint64(s.DS.Selector), ES: uint64(s.ES.Selector), FS: uint64(s.FS.Selector), GS: uint64(s.GS.Selector),
	})
}

// prstatus32 is struct elf_prstatus of i386.
type prstatus32 struct {
	_                                 [24]byte
	PID                               uint32
	_                                 [44]byte
	EBX, ECX, EDX, ESI, EDI, EBP, EAX uint32
	DS, ES, FS, GS                    uint32
	OrigEAX, EIP, CS, EFLAGS, ESP, SS uint32
	_                                 uint32
}

func (c *CPU) status32(pid uint32) []byte {
	r, s := &c.Regs, &c.Sregs
	return encode(prstatus32{
		PID: pid,
		EBX: uint32(r.RBX), ECX: uint32(r.RCX), EDX: uint32(r.RDX), ESI: uint32(r.RSI), EDI: uint32(r.RDI), EBP: uint32(r.RBP), EAX: uint32(r.RAX),
		DS: uint32(s.DS.Selector), ES: uint32(s.ES.Selector), FS: uint32(s.FS.Selector), GS: uint32(s.GS.Selector),
		EIP: uint32(r.RIP), CS: uint32(s.CS.Selector), EFLAGS: uint32(r.RFLAGS), ESP: uint32(r.RSP), SS: uint32(s.SS.Selector),
	})
}

// segment is a segment register in QEMU's note. Flags are the upper half of a descriptor.
type segment struct {
	Selector, Limit, Flags, _ uint32
	Base                      uint64
}

func newSegment(s kvm.Segment) segment {
	flags := uint32(s.Typ)<<8 | uint32(s.S)<<12 | uint32(s.DPL)<<13 | usable(s)<<15 |
		uint32(s.AVL)<<20 | uint32(s.L)<<21 | uint32(s.DB)<<22 | uint32(s.G)<<23
	return segment{Selector: uint32(s.Selector), Limit: s.Limit, Flags: flags, Base: s.Base}
}

// usable is a segment's present bit, 0 for one that KVM says is not to be used.
func usable(s kvm.Segment) uint32 {
	if s.Unusable != 0 {
		return 0
	}
	return uint32(s.Present)
}

func newTable(t kvm.DTable) segment { return segment{Limit: uint32(t.Limit), Base: t.Base} }

// cpuState is the description of QEMU's note.
type cpuState struct {
	Version, Size                             uint32
	RAX, RBX, RCX, RDX, RSI, RDI, RSP, RBP    uint64
	R8, R9, R10, R11, R12, R13, R14, R15      uint64
	RIP, RFLAGS                               uint64
	CS, DS, ES, FS, GS, SS, LDT, TR, GDT, IDT segment
	CR                                        [5]uint64
	KernelGSBase                              uint64
}

func (c *CPU) state() []byte {
	r, s := &c.Regs, &c.Sregs
	state := cpuState{
		Version: 1,
		RAX:     r.RAX, RBX: r.RBX, RCX: r.RCX, RDX: r.RDX, RSI: r.RSI, RDI: r.RDI, RSP: r.RSP, RBP: r.RBP,
		R8: r.R8, R9: r.R9, R10: r.R10, R11: r.R11, R12: r.R12, R13: r.R13, R14: r.R14, R15: r.R15, RIP: r.RIP, RFLAGS: r.RFLAGS,
		CS: newSegment(s.CS), DS: newSegment(s.DS), ES: newSegment(s.ES), FS: newSegment(s.FS), GS: newSegment(s.GS), SS: newSegment(s.SS),
		LDT: newSegment(s.LDT), TR: newSegment(s.TR), GDT: newTable(s.GDT), IDT: newTable(s.IDT),
		CR: [5]uint64{s.CR0, 0, s.CR2, s.CR3, s.CR4}, KernelGSBase: c.KernelGSBase,
	}
	state.Size = uint32(binary.Size(state))
	return encode(state)
}

// encode writes a structure without padding of its own.
func encode(v any) []byte {
	var b bytes.Buffer
	_ = binary.Write(&b, binary.LittleEndian, v) // a Buffer takes everything
	return b.Bytes()
}
