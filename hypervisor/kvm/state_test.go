package kvm

import (
	"errors"
	"testing"

	"golang.org/x/sys/unix"
)

// roundTrip sets what was got, and gets it again.
func roundTrip[T comparable](t *testing.T, what string, get func() (*T, error), set func(*T) error) {
	t.Helper()
	before, err := get()
	if err != nil {
		t.Errorf("%s: %v", what, err)
		return
	}
	if err := set(before); err != nil {
		t.Errorf("%s: %v", what, err)
		return
	}
	if after, err := get(); err != nil || *after != *before {
		t.Errorf("%s changed: %v\n%+v\n%+v", what, err, *before, *after)
	}
}

func TestStateRoundTrips(t *testing.T) {
	vm := newVM(t)
	if err := vm.CreateIRQChip(); err != nil {
		t.Fatal(err)
	}
	v := realMode(t, vm)
	roundTrip(t, "registers", v.Regs, v.SetRegs)
	roundTrip(t, "special registers", v.Sregs, v.SetSregs)
	roundTrip(t, "FPU", v.FPU, v.SetFPU)
	roundTrip(t, "XCRs", v.XCRS, v.SetXCRS)
	roundTrip(t, "debug registers", v.DebugRegs, v.SetDebugRegs)
	roundTrip(t, "events", v.Events, v.SetEvents)
	roundTrip(t, "LAPIC", v.LAPIC, v.SetLAPIC)
	if vm.Check(CapSregs2) > 0 {
		roundTrip(t, "special registers 2", v.Sregs2, v.SetSregs2)
	}
	if err := v.SetEvents(&VCPUEvents{Flags: v.EventFlags()}); err != nil {
		t.Errorf("all event flags: %v", err)
	}
	if err := v.SetMPState(MPStateHalted); err != nil {
		t.Error(err)
	}
	if s, err := v.MPState(); err != nil || s != MPStateHalted {
		t.Errorf("state %d, %v", s, err)
	}
}

func TestXSave(t *testing.T) {
	_, v := guest(t)
	b, err := v.XSave()
	if err != nil || len(b) != v.XSaveSize() {
		t.Fatal(len(b), err)
	}
	b[0], b[1] = 0x7e, 0x03 // FCW
	b[512] |= 1             // XSTATE_BV: the x87 state is not the initial one
	if err := v.SetXSave(b); err != nil {
		t.Fatal(err)
	}
	if f, err := v.FPU(); err != nil || f.FCW != 0x37e {
		t.Errorf("FCW %#x, %v", f.FCW, err)
	}
	if err := v.SetXSave(b[:100]); err == nil {
		t.Error("a short state was accepted")
	}
}

func TestMSRsStopAtWhatIsRefused(t *testing.T) {
	_, v := guest(t)
	const sysenterESP, none, lstar = 0x175, 0xdead_beef, 0xc000_0082
	list := []MSREntry{{Index: sysenterESP, Data: 0x1234}, {Index: none}, {Index: lstar, Data: 1}}
	if n, err := v.SetMSRs(list); n != 1 || err != nil {
		t.Errorf("set %d, %v", n, err)
	}
	list[0].Data = 0
	if n, err := v.MSRs(list); n != 1 || err != nil || list[0].Data != 0x1234 {
		t.Errorf("got %d, %#x, %v", n, list[0].Data, err)
	}
}

func TestCPUIDAndTSC(t *testing.T) {
	s := openSystem(t)
	leaves, err := s.SupportedCPUID()
	if err != nil {
		t.Fatal(err)
	}
	_, v := guest(t)
	if err := v.SetCPUID(leaves); err != nil {
		t.Error(err)
	}
	khz, err := v.TSCKHz()
	if err != nil || khz < 100_000 {
		t.Fatalf("%d kHz, %v", khz, err)
	}
	if err := v.SetTSCKHz(khz); err != nil {
		t.Error(err)
	}
	if banks, err := s.MCECap(); err == nil {
		if err := v.SetupMCE(banks&^0xff | 10); err != nil {
			t.Error(err)
		}
	}
}

func TestTranslate(t *testing.T) {
	_, v := guest(t)
	if phys, ok, err := v.Translate(0x1234); phys != 0x1234 || !ok || err != nil {
		t.Errorf("%#x %v %v", phys, ok, err)
	}
}

func TestClockCanBeSet(t *testing.T) {
	vm, v := guest(t)
	if err := vm.SetClock(1 << 50); err != nil {
		t.Fatal(err)
	}
	c, err := vm.Clock()
	if err != nil || c.Clock < 1<<50 || c.Clock > 1<<50+60e9 {
		t.Errorf("%+v, %v", c, err)
	}
	if err := v.KVMClockCtrl(); err != nil && !errors.Is(err, unix.EINVAL) {
		t.Error(err)
	}
}

func TestNMIReachesTheGuest(t *testing.T) {
	vm := newVM(t)
	page, _ := ram(t, vm, 0, 2*pageSize, false)
	copy(page[8:], []byte{0x00, 0x11, 0, 0})  // vector 2 at 0000:1100
	copy(page[codeBase:], []byte{0xeb, 0xfe}) // jmp $
	copy(page[0x1100:], []byte{0xe6, 0x99})   // out 0x99, al
	v := realMode(t, vm)
	r, err := v.Regs()
	if err != nil {
		t.Fatal(err)
	}
	r.RSP = 0x800
	if err := errors.Join(v.SetRegs(r), v.NMI()); err != nil {
		t.Fatal(err)
	}
	expect(t, v, ExitIO)
	if v.IO().Port != 0x99 {
		t.Errorf("%+v", v.IO())
	}
}

func TestErrorsNameTheVCPU(t *testing.T) {
	vm, _ := guest(t)
	if _, err := vm.CreateVCPU(0); !errors.Is(err, unix.EEXIST) {
		t.Error(err)
	}
	if _, err := vm.CreateVCPU(1 << 30); err == nil {
		t.Error("an impossible vCPU was created")
	}
}
