package vcpu

import (
	"fmt"
	"strings"

	"hv/hypervisor/kvm"
)

// Bits that the dump looks at.
const (
	cr0PE   = 1 << 0
	cr0ET   = 1 << 4
	cr0NW   = 1 << 29
	cr0CD   = 1 << 30
	cr0PG   = 1 << 31
	cr4PAE  = 1 << 5
	eferLME = 1 << 8
	eferLMA = 1 << 10
)

// Registers returns the vCPU's registers as text, in the way of QEMU's
// `info registers`. It may be running.
func (c *VCPU) Registers() (string, error) {
	var text string
	var err error
	if e := c.Do(func(kv *kvm.VCPU) { text, err = dump(kv) }); e != nil {
		return "", e
	}
	return text, err
}

func dump(kv *kvm.VCPU) (string, error) {
	regs, err := kv.Regs()
	if err != nil {
		return "", err
	}
	sregs, err := kv.Sregs()
	if err != nil {
		return "", err
	}
	return formatRegisters(regs, sregs), nil
}

func formatRegisters(r *kvm.Regs, s *kvm.Sregs) string {
	var b strings.Builder
	long := s.EFER&eferLMA != 0
	code64 := long && s.CS.L != 0
	if code64 {
		fmt.Fprintf(&b, "RAX=%016x RBX=%016x RCX=%016x RDX=%016x\n", r.RAX, r.RBX, r.RCX, r.RDX)
		fmt.Fprintf(&b, "RSI=%016x RDI=%016x RBP=%016x RSP=%016x\n", r.RSI, r.RDI, r.RBP, r.RSP)
		fmt.Fprintf(&b, "R8 =%016x R9 =%016x R10=%016x R11=%016x\n", r.R8, r.R9, r.R10, r.R11)
		fmt.Fprintf(&b, "R12=%016x R13=%016x R14=%016x R15=%016x\n", r.R12, r.R13, r.R14, r.R15)
		fmt.Fprintf(&b, "RIP=%016x RFL=%08x [%s] CPL=%d\n", r.RIP, r.RFLAGS, flags(r.RFLAGS), s.SS.DPL)
	} else {
		fmt.Fprintf(&b, "EAX=%08x EBX=%08x ECX=%08x EDX=%08x\n", uint32(r.RAX), uint32(r.RBX), uint32(r.RCX), uint32(r.RDX))
		fmt.Fprintf(&b, "ESI=%08x EDI=%08x EBP=%08x ESP=%08x\n", uint32(r.RSI), uint32(r.RDI), uint32(r.RBP), uint32(r.RSP))
		fmt.Fprintf(&b, "EIP=%08x EFL=%08x [%s] CPL=%d\n", uint32(r.RIP), r.RFLAGS, flags(r.RFLAGS), s.SS.DPL)
	}
	for _, x := range [...]struct {
		name string
		seg  *kvm.Segment
	}{{"ES", &s.ES}, {"CS", &s.CS}, {"SS", &s.SS}, {"DS", &s.DS}, {"FS", &s.FS}, {"GS", &s.GS}, {"LDT", &s.LDT}, {"TR", &s.TR}} {
		fmt.Fprintf(&b, "%-3s=%04x %0*x %08x %08x\n", x.name, x.seg.Selector, width(code64), x.seg.Base, x.seg.Limit, attributes(x.seg))
	}
	fmt.Fprintf(&b, "GDT=     %0*x %08x\n", width(long), s.GDT.Base, s.GDT.Limit)
	fmt.Fprintf(&b, "IDT=     %0*x %08x\n", width(long), s.IDT.Base, s.IDT.Limit)
	fmt.Fprintf(&b, "CR0=%08x CR2=%0*x CR3=%0*x CR4=%08x\n", s.CR0, width(long), s.CR2, width(long), s.CR3, s.CR4)
	fmt.Fprintf(&b, "EFER=%016x\n", s.EFER)
	return b.String()
}

// width is how many digits an address has.
func width(long bool) int {
	if long {
		return 16
	}
	return 8
}

// flags returns the arithmetic flags and the direction flag by their letters.
func flags(f uint64) string {
	text := []byte("DOSZAPC")
	for i, bit := range [...]uint{10, 11, 7, 6, 4, 2, 0} {
		if f>>bit&1 == 0 {
			text[i] = '-'
		}
	}
	return string(text)
}

// attributes packs a segment's attributes as the second word of a descriptor
// has them (Intel SDM volume 3 §3.4.5).
func attributes(s *kvm.Segment) uint32 {
	return uint32(s.Typ&15)<<8 | uint32(s.S&1)<<12 | uint32(s.DPL&3)<<13 | uint32(s.Present&1)<<15 |
		uint32(s.AVL&1)<<20 | uint32(s.L&1)<<21 | uint32(s.DB&1)<<22 | uint32(s.G&1)<<23
}
