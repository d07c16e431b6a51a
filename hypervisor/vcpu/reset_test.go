package vcpu

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"testing"

	"hv/hypervisor/kvm"
)

// state is everything of a vCPU that a reset sets, as text.
func state(t *testing.T, c *VCPU) string {
	t.Helper()
	var b strings.Builder
	err := c.Do(func(kv *kvm.VCPU) {
		add(&b, kv.Regs)
		add(&b, kv.Sregs)
		add(&b, kv.XCRS)
		add(&b, kv.DebugRegs)
		add(&b, kv.Events)
		add(&b, kv.LAPIC)
		x, err := kv.XSave()
		fmt.Fprintf(&b, "%x %v\n", x[:464], err) // x87 and SSE
		mp, err := kv.MPState()
		fmt.Fprintln(&b, mp, err)
		msrs := c.resetMSRs(kv.VM())
		for i := range msrs {
			if msrs[i].Index != msrTSC {
				n, err := kv.MSRs(msrs[i : i+1])
				fmt.Fprintf(&b, "%#x=%#x %d %v\n", msrs[i].Index, msrs[i].Data, n, err)
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func add[T any](b *strings.Builder, get func() (*T, error)) {
	v, err := get()
	fmt.Fprintf(b, "%T %+v %v\n", v, v, err)
}

// messUp is a guest that changes what it can reach and then spins on port 0x10.
var messUp = []byte{
	0x0f, 0x20, 0xe0, // mov eax, cr4
	0x0d, 0x00, 0x06, 0x00, 0x00, // or eax, OSFXSR|OSXMMEXCPT
	0x0f, 0x22, 0xe0, // mov cr4, eax
	0x0f, 0x23, 0xc1, // mov dr0, ecx
	0xb9, 0x74, 0x01, 0x00, 0x00, // mov ecx, IA32_SYSENTER_CS
	0xb8, 0x10, 0x00, 0x00, 0x00, // mov eax, 0x10
	0x31, 0xd2, // xor edx, edx
	0x0f, 0x30, // wrmsr
	0xb9, 0x77, 0x02, 0x00, 0x00, // mov ecx, IA32_PAT
	0xb8, 0x06, 0x06, 0x06, 0x06, // mov eax, 0x06060606
	0x0f, 0x30, // wrmsr
	0xb9, 0x1b, 0x00, 0x00, 0x00, // mov ecx, IA32_APIC_BASE
	0x0f, 0x32, // rdmsr
	0x80, 0xcc, 0x04, // or ah, 4: x2APIC
	0x0f, 0x30, // wrmsr
	0x0f, 0x10, 0x05, 0x00, 0x10, 0x00, 0x00, // movups xmm0, [0x1000]
	0xe6, 0x10, // l: out 0x10, al
	0xeb, 0xfc, // jmp l
}

func TestResetUndoesWhatAGuestDid(t *testing.T) {
	b := newBox(t, messUp...)
	var count counter
	b.port(0x10, 1, &count)
	c := b.add()
	for _, e := range []Entry{flatEntry(c), {Mode: ModeReal}, {Mode: ModeWaitForSIPI}} {
		if err := c.Reset(e); err != nil {
			t.Fatal(err)
		}
		fresh := state(t, c)
		if err := c.Reset(flatEntry(c)); err != nil {
			t.Fatal(err)
		}
		b.resume()
		count.waitFor(b, 1)
		b.pause()
		if state(t, c) == fresh {
			t.Error("the guest changed nothing")
		}
		if err := c.Reset(e); err != nil {
			t.Fatal(err)
		}
		diff(t, fresh, state(t, c))
	}
}

// diff reports the lines that differ.
func diff(t *testing.T, want, got string) {
	t.Helper()
	w, g := strings.Split(want, "\n"), strings.Split(got, "\n")
	for i := range w {
		if w[i] != g[i] {
			t.Errorf("after a reset\n%s\nwas\n%s", g[i], w[i])
		}
	}
}

func TestRealModeResetState(t *testing.T) {
	b := newBox(t)
	c := b.add()
	if err := c.Reset(Entry{Mode: ModeReal}); err != nil {
		t.Fatal(err)
	}
	if err := c.Do(func(kv *kvm.VCPU) {
		r, err1 := kv.Regs()
		s, err2 := kv.Sregs()
		x, err3 := kv.XCRS()
		if err := errors.Join(err1, err2, err3); err != nil {
			t.Error(err)
			return
		}
		if r.RIP != 0xfff0 || r.RFLAGS != 2 || uint32(r.RDX) != c.signature() || r.RDX == 0 {
			t.Errorf("%+v", r)
		}
		if s.CS.Base != 0xffff_0000 || s.CS.Selector != 0xf000 || s.CR0 != 0x6000_0010 || s.CR4 != 0 || s.EFER != 0 ||
			s.ApicBase != 0xfee0_0900 {
			t.Errorf("%+v", s)
		}
		if x.Registers[0].Value != 1 {
			t.Errorf("%+v", x)
		}
	}); err != nil {
		t.Fatal(err)
	}
}

func TestLAPICAfterReset(t *testing.T) {
	for _, c := range []struct {
		id           int
		bsp          bool
		lint0, lint1 uint32
	}{{0, true, 0x700, 0x400}, {3, false, 0x10000, 0x10000}} {
		l := initialLAPIC(c.id, c.bsp)
		reg := func(off int) uint32 { return binary.LittleEndian.Uint32(l.Regs[off:]) }
		if reg(0x20) != uint32(c.id)<<24 || reg(0x350) != c.lint0 || reg(0x360) != c.lint1 || reg(0x320) != 0x10000 ||
			reg(0x370) != 0x10000 || reg(0xf0) != 0xff || reg(0xe0) != 0xffff_ffff || reg(0x380) != 0 {
			t.Errorf("LAPIC %d: %x", c.id, l.Regs)
		}
	}
}

// TestLongMode runs 64-bit code behind an identity mapping of the first 2 MiB.
func TestLongMode(t *testing.T) {
	b := newBox(t,
		0x48, 0xb8, 8, 7, 6, 5, 4, 3, 2, 1, // mov rax, 0x0102030405060708
		0x48, 0x89, 0x04, 0x25, 0x00, 0x20, 0, 0, // mov [0x2000], rax
		0x48, 0x89, 0x34, 0x25, 0x08, 0x20, 0, 0, // mov [0x2008], rsi
		0x66, 0xb8, 0x18, 0x00, // mov ax, 0x18
		0x8e, 0xd8, // mov ds, ax
		0xe6, 0x10, // out 0x10, al
		0xf4, // hlt
	)
	const pml4, pdpt, pd, gdt = 0x10000, 0x11000, 0x12000, 0x13000
	quad := func(addr uint64, v uint64) { b.write(addr, binary.LittleEndian.AppendUint64(nil, v)...) }
	quad(pml4, pdpt|3)
	quad(pdpt, pd|3)
	quad(pd, 0x83)                        // a large page
	quad(gdt+0x10, 0x00af_9b00_0000_ffff) // 64-bit code
	quad(gdt+0x18, 0x00cf_9300_0000_ffff) // data
	d := newDevice()
	b.port(0x10, 1, d)
	c := b.add()
	e := Entry{Mode: ModeLong, RIP: codeBase, RSI: 0x5157, CR3: pml4, GDT: kvm.DTable{Base: gdt, Limit: 0x1f}}
	if err := c.Reset(e); err != nil {
		t.Fatal(err)
	}
	if text, err := c.Registers(); err != nil || !strings.Contains(text, "RIP=0000000000001000") || !strings.Contains(text, "RSI=0000000000005157") {
		t.Errorf("%s %v", text, err)
	}
	b.resume()
	await(b, "64-bit code", d.writes)
	var p [16]byte
	if err := b.ram.ReadAt(p[:], 0x2000); err != nil || binary.LittleEndian.Uint64(p[:]) != 0x0102030405060708 ||
		binary.LittleEndian.Uint64(p[8:]) != 0x5157 {
		t.Errorf("%x %v", p, err)
	}
}

// startAP has the first processor start the second with INIT and SIPI.
var startAP = []byte{
	0xc7, 0x05, 0x10, 0x03, 0xe0, 0xfe, 0, 0, 0, 1, // mov dword [0xfee00310], 1 << 24
	0xc7, 0x05, 0x00, 0x03, 0xe0, 0xfe, 0x00, 0x45, 0, 0, // mov dword [0xfee00300], INIT
	0xc7, 0x05, 0x00, 0x03, 0xe0, 0xfe, 0x08, 0x46, 0, 0, // mov dword [0xfee00300], SIPI of page 8
	0xfa, // cli
	0xf4, // hlt
}

func TestSecondProcessorStartsAndResets(t *testing.T) {
	b := newBox(t, startAP...)
	b.write(apCode, sleep...)
	d := newDevice()
	b.port(0x10, 1, d)
	b.add()
	ap := b.add()
	for range 20 {
		b.resume()
		await(b, "the second processor", d.writes)
		if err := b.group.Reset(flatEntry); err != nil {
			t.Fatal(err)
		}
		if err := ap.Do(func(kv *kvm.VCPU) {
			if s, err := kv.MPState(); s != kvm.MPStateUninitialized || err != nil {
				t.Errorf("state %d, %v", s, err)
			}
		}); err != nil {
			t.Fatal(err)
		}
	}
	if len(d.writes) != 0 {
		t.Error("the second processor started by itself")
	}
}

func TestEntryMSRs(t *testing.T) {
	b := newBox(t)
	c := b.add()
	e := flatEntry(c)
	e.MSRs = FirmwareMTRRs(0xb000_0000, 40)
	if err := c.Reset(e); err != nil {
		t.Fatal(err)
	}
	if err := c.Do(func(kv *kvm.VCPU) {
		got := []kvm.MSREntry{{Index: msrMTRRDefType}, {Index: 0x200}, {Index: 0x201}, {Index: 0x250}}
		if n, err := kv.MSRs(got); n != len(got) || err != nil {
			t.Error(n, err)
		}
		for i, want := range []uint64{0xc06, 0xb000_0000, 0xff_f000_0800, 0x0606_0606_0606_0606} {
			if got[i].Data != want {
				t.Errorf("MSR %#x is %#x, want %#x", got[i].Index, got[i].Data, want)
			}
		}
	}); err != nil {
		t.Fatal(err)
	}
}

func TestFirmwareMTRRsCoverTheHole(t *testing.T) {
	const bits = 46
	for _, hole := range []uint64{0xb000_0000, 0xc000_0000, 0x8000_0000, 0xe100_0000, fourGiB} {
		next := hole
		var base uint64
		for _, e := range FirmwareMTRRs(hole, bits) {
			switch {
			case e.Index < msrMTRRPhysBase0 || e.Index >= msrMTRRPhysBase0+2*mtrrVariableRanges:
			case e.Index%2 == 0:
				base = e.Data
			default:
				size := -(e.Data &^ mtrrMaskValid) & (1<<bits - 1)
				if base != next || base%size != 0 || size&(size-1) != 0 {
					t.Errorf("hole %#x: range %#x+%#x after %#x", hole, base, size, next)
				}
				next = base + size
			}
		}
		if next != fourGiB {
			t.Errorf("hole %#x is covered up to %#x", hole, next)
		}
	}
}

func TestResetMCE(t *testing.T) {
	c := &VCPU{cfg: Config{MCECap: 1<<8 | 3}}
	list := c.resetMCE()
	if len(list) != 2+3*mceBankRegisters || list[2].Index != 0x400 || list[2].Data != allOnes || list[13].Index != 0x40b {
		t.Errorf("%x", list)
	}
	if (&VCPU{}).resetMCE() != nil {
		t.Error("machine checks without banks")
	}
}

// TestCountersAgreeAfterReset demands that a reset of the group leaves the time
// stamp counters of all vCPUs alike.
func TestCountersAgreeAfterReset(t *testing.T) {
	b := newBox(t)
	b.add()
	b.add()
	tsc := func(i int) uint64 {
		list := []kvm.MSREntry{{Index: msrTSC}}
		if err := b.group.VCPUs()[i].Do(func(kv *kvm.VCPU) {
			if n, err := kv.MSRs(list); n != 1 || err != nil {
				t.Error(n, err)
			}
		}); err != nil {
			t.Fatal(err)
		}
		return list[0].Data
	}
	for range 3 {
		if err := b.group.Reset(flatEntry); err != nil {
			t.Fatal(err)
		}
		if first, second, third := tsc(0), tsc(1), tsc(0); second < first || third < second {
			t.Errorf("the counters %d, %d, %d do not agree", first, second, third)
		}
	}
}
