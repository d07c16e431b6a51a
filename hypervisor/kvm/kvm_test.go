package kvm

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// openSystem opens KVM, or skips where there is none.
func openSystem(t testing.TB) *System {
	t.Helper()
	s, err := Open(DevicePath)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
		t.Skipf("SKIPPED: this test needs KVM: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func newVM(t testing.TB) *VM {
	t.Helper()
	vm, err := openSystem(t).CreateVM()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { vm.Close() })
	return vm
}

// ram maps n bytes of guest RAM at base.
func ram(t testing.TB, vm *VM, base uint64, n int, readonly bool) ([]byte, *Slot) {
	t.Helper()
	data, err := unix.Mmap(-1, 0, n, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		t.Fatal(err)
	}
	slot, err := vm.MapRAM(base, data, readonly)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Munmap(data) })
	return data, slot
}

// codeBase is where guests run, in real mode.
const codeBase = 0x1000

// guest makes a VM of one vCPU, without interrupt controllers, that is about to
// run code.
func guest(t testing.TB, code ...byte) (*VM, *VCPU) {
	t.Helper()
	vm := newVM(t)
	page, _ := ram(t, vm, codeBase, pageSize, false)
	copy(page, code)
	return vm, realMode(t, vm)
}

func realMode(t testing.TB, vm *VM) *VCPU {
	t.Helper()
	v, err := vm.CreateVCPU(0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { v.Close() })
	s, err := v.Sregs()
	if err != nil {
		t.Fatal(err)
	}
	s.CS.Base, s.CS.Selector = 0, 0
	if err := v.SetSregs(s); err != nil {
		t.Fatal(err)
	}
	if err := v.SetRegs(&Regs{RIP: codeBase, RFLAGS: 2}); err != nil {
		t.Fatal(err)
	}
	return v
}

// enter runs the guest until it needs something: Go's signals end a Run as well.
func enter(v *VCPU) unix.Errno {
	for {
		if errno := v.Run(); errno != unix.EINTR {
			return errno
		}
	}
}

// expect runs v and demands an exit reason.
func expect(t *testing.T, v *VCPU, want ExitReason) {
	t.Helper()
	if errno := enter(v); errno != 0 || v.ExitReason() != want {
		t.Fatalf("errno %v, %v, want %v", errno, v.ExitReason(), want)
	}
}

func TestOpenSaysWhatToDo(t *testing.T) {
	plain := filepath.Join(t.TempDir(), "kvm")
	if err := os.WriteFile(plain, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		path, want string
		err        error
	}{
		{plain + "-none", "load kvm_amd or kvm_intel", nil},
		{plain, "check that it is the KVM character device", nil},
		{"x", "group", unix.EACCES},
		{"x", "another hypervisor", unix.EBUSY},
	} {
		err := openError(c.path, c.err)
		if c.err == nil {
			_, err = Open(c.path)
		}
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), c.path) {
			t.Errorf("%s: %v", c.path, err)
		}
	}
}

func TestMissingCapabilitiesAreAllNamed(t *testing.T) {
	if err := missing(func(Capability) int { return 1 }); err != nil {
		t.Error(err)
	}
	err := missing(func(c Capability) int {
		if c == CapImmediateExit || c == CapIRQFD {
			return 0
		}
		return 1
	})
	for _, want := range []string{"KVM_CAP_IMMEDIATE_EXIT", "Linux 4.13", "KVM_CAP_IRQFD", "device interrupts"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in %v", want, err)
		}
	}
	var e *MissingError
	if !errors.As(err, &e) || e.Name != "KVM_CAP_IRQFD" {
		t.Errorf("%v", e)
	}
}

func TestSystemLists(t *testing.T) {
	s := openSystem(t)
	leaves, err := s.SupportedCPUID()
	if err != nil || len(leaves) < 10 {
		t.Errorf("%d CPUID leaves, %v", len(leaves), err)
	}
	msrs, err := s.MSRIndexList()
	if err != nil || len(msrs) < 10 {
		t.Errorf("%d MSRs, %v", len(msrs), err)
	}
	if features, err := s.FeatureMSRs(); err != nil || s.Check(CapGetMSRFeatures) != 0 && len(features) == 0 {
		t.Errorf("%d feature MSRs, %v", len(features), err)
	}
	if banks, err := s.MCECap(); err != nil || banks&0xff == 0 {
		t.Errorf("MCE capabilities %#x, %v", banks, err)
	}
}

func TestVMLimits(t *testing.T) {
	vm := newVM(t)
	if n, id := vm.MaxVCPUs(), vm.MaxVCPUID(); n < 1 || id < n || vm.RecommendedVCPUs() > n {
		t.Errorf("%d vCPUs, %d recommended, ids below %d", n, vm.RecommendedVCPUs(), id)
	}
	if vm.MaxRoutes() < 24 || vm.MemSlots() < 32 {
		t.Errorf("%d routes, %d slots", vm.MaxRoutes(), vm.MemSlots())
	}
	if !vm.HasMSR(0x10) || vm.HasMSR(0xdead_beef) {
		t.Error("the MSR list is wrong about the TSC or a MSR that is none")
	}
}

func TestPortOutputAndInput(t *testing.T) {
	_, v := guest(t,
		0xb0, 0x41, // mov al, 0x41
		0xe6, 0x10, // out 0x10, al
		0xe5, 0x12, // in ax, 0x12
		0xf4, // hlt
	)
	expect(t, v, ExitIO)
	if io := v.IO(); io.Direction != IOOut || io.Port != 0x10 || io.Size != 1 || io.Count != 1 || string(v.IOData()) != "A" {
		t.Errorf("%+v %q", io, v.IOData())
	}
	expect(t, v, ExitIO)
	if io := v.IO(); io.Direction != IOIn || io.Port != 0x12 || io.Size != 2 {
		t.Errorf("%+v", io)
	}
	copy(v.IOData(), "\x34\x12")
	expect(t, v, ExitHLT)
	if r, err := v.Regs(); err != nil || r.RAX != 0x1234 {
		t.Errorf("%+v %v", r, err)
	}
}

func TestMMIO(t *testing.T) {
	_, v := guest(t,
		0xc7, 0x06, 0x08, 0x50, 0xcd, 0xab, // mov word [0x5008], 0xabcd
		0xa0, 0x00, 0x60, // mov al, [0x6000]
		0xf4, // hlt
	)
	expect(t, v, ExitMMIO)
	if m := v.MMIO(); m.PhysAddr != 0x5008 || m.Len != 2 || m.IsWrite != 1 || m.Data[0] != 0xcd || m.Data[1] != 0xab {
		t.Errorf("%+v", m)
	}
	expect(t, v, ExitMMIO)
	if m := v.MMIO(); m.PhysAddr != 0x6000 || m.Len != 1 || m.IsWrite != 0 {
		t.Errorf("%+v", m)
	}
	v.MMIO().Data[0] = 0x5a
	expect(t, v, ExitHLT)
	if r, err := v.Regs(); err != nil || byte(r.RAX) != 0x5a {
		t.Errorf("%+v %v", r, err)
	}
}

func TestInterruptCompletesTheAccess(t *testing.T) {
	_, v := guest(t,
		0xe4, 0x12, // in al, 0x12
		0xf4, // hlt
	)
	expect(t, v, ExitIO)
	v.IOData()[0] = 0x77
	v.Interrupt(true)
	if errno := v.Run(); errno != unix.EINTR || !v.Interrupted() {
		t.Fatalf("%v", errno)
	}
	if r, err := v.Regs(); err != nil || byte(r.RAX) != 0x77 || r.RIP != codeBase+2 {
		t.Errorf("%+v %v", r, err)
	}
	v.Interrupt(false)
	expect(t, v, ExitHLT)
}

func TestTripleFaultIsShutdown(t *testing.T) {
	_, v := guest(t, 0x0f, 0x0b) // ud2
	s, err := v.Sregs()
	if err != nil {
		t.Fatal(err)
	}
	s.IDT.Limit = 0
	if err := v.SetSregs(s); err != nil {
		t.Fatal(err)
	}
	expect(t, v, ExitShutdown)
}

func TestExitReasonNames(t *testing.T) {
	if ExitMMIO.String() != "KVM_EXIT_MMIO" || ExitReason(99).String() != "KVM_EXIT 99" {
		t.Error(ExitMMIO, ExitReason(99))
	}
}

func TestKindAndDataIsBounded(t *testing.T) {
	var run runArea
	v := &VCPU{run: &run}
	run.exit[0] = 1000<<32 | InternalErrorEmulation // a count beyond the array
	run.exit[1] = 42
	kind, data := v.InternalErrorData()
	if kind != InternalErrorEmulation || len(data) != 16 || data[0] != 42 {
		t.Errorf("%d %v", kind, data)
	}
	run.exit[0] = SystemEventCrash
	if kind, data := v.SystemEventData(); kind != SystemEventCrash || len(data) != 0 {
		t.Errorf("%d %v", kind, data)
	}
	if v.HardwareReason() != SystemEventCrash {
		t.Error(v.HardwareReason())
	}
}
