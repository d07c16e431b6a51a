package pci

import (
	"bytes"
	"fmt"
	"slices"
	"testing"
)

func TestHeaderSaysWhoItIs(t *testing.T) {
	r := newRig(t)
	a := r.attach(r.host.Root(), nil, NewFunction(testID))
	for reg, want := range map[int]uint64{
		regVendorID: 0x1af4, regDeviceID: 0x1042, regSubVendorID: 0x1af4, regSubDeviceID: 0x1100,
		regRevision: 0x0001 | 0x00<<8, regClass + 1: 0x0180, regCommand: 0, regStatus: 0,
	} {
		if got := r.read(0, a, reg, 2); got != want {
			t.Errorf("register %#x is %#x, want %#x", reg, got, want)
		}
	}
	if got := r.read(0, a, firstExtCap, 4); got != 0xffffffff {
		t.Errorf("a conventional function has extended space: %#x", got)
	}
}

func TestReadOnlyAndWriteOneToClear(t *testing.T) {
	f := NewFunction(testID)
	f.change16(regStatus, 0xffff, 0xf910)
	f.WriteConfig(0, bytes.Repeat([]byte{0xff}, 8))
	var got [8]byte
	f.ReadConfig(0, got[:])
	want := [8]byte{0xf4, 0x1a, 0x42, 0x10, 0x07, 0x05, 0x10, 0x00}
	if got != want {
		t.Errorf("header %x, want %x", got, want)
	}
	f.Reset()
	if f.ReadConfig(0, got[:]); got[4] != 0 || got[5] != 0 {
		t.Errorf("command %x after reset", got[4:6])
	}
}

func TestAccessOutsideTheSpace(t *testing.T) {
	f := NewFunction(testID)
	data := make([]byte, 4)
	for _, off := range []int{-2, 254, 4095, 1 << 40} {
		f.WriteConfig(off, []byte{1, 2, 3, 4})
		f.ReadConfig(off, data)
	}
	if data[0] != 0xff {
		t.Errorf("outside reads as %x", data)
	}
	if f.SetConfig(254, data, nil) == nil || f.SetConfig(-1, data, nil) == nil {
		t.Error("registers outside the space")
	}
}

// capabilities walks the list as a driver does.
func (r *rig) capabilities(busNum uint8, a Addr) map[uint8]int {
	caps := make(map[uint8]int)
	for off := r.read(busNum, a, regCapPointer, 1); off != 0; off = r.read(busNum, a, int(off)+1, 1) {
		caps[uint8(r.read(busNum, a, int(off), 1))] = int(off)
	}
	return caps
}

// extCapabilities walks the extended list.
func (r *rig) extCapabilities(busNum uint8, a Addr) map[uint16]int {
	caps := make(map[uint16]int)
	for off := firstExtCap; off != 0; {
		h := r.read(busNum, a, off, 4)
		if h != 0 {
			caps[uint16(h)] = off
		}
		off = int(h >> 20)
	}
	return caps
}

func TestCapabilityLists(t *testing.T) {
	r := newRig(t)
	f, _ := r.disk("d")
	pm, err := f.AddPMCap()
	r.must(err)
	_, err = f.AddCapability(CapVendor, []byte{16, 9}, []byte{0, 0xff})
	r.must(err)
	_, err = f.AddExtCapability(ExtCapACS, 1, make([]byte, 4), nil)
	r.must(err)
	_, err = f.AddExtCapability(0x0003, 1, make([]byte, 8), nil)
	r.must(err)
	a := r.attach(r.host.Root(), nil, f)
	caps := r.capabilities(0, a)
	if len(caps) != 4 || caps[CapPM] != pm || r.read(0, a, regStatus, 2)&statusCapList == 0 {
		t.Errorf("capabilities %v", caps)
	}
	r.write(0, a, caps[CapVendor], 4, 0xffffffff)
	if got := r.read(0, a, caps[CapVendor], 4); got != 0xff100000|uint64(CapVendor) {
		t.Errorf("vendor capability %#x", got)
	}
	if got := r.extCapabilities(0, a); fmt.Sprint(got) != "map[3:264 13:256]" {
		t.Errorf("extended capabilities %v", got)
	}
	if got := r.read(0, a, caps[CapPCIe]+expFlags, 2); got != 2 {
		t.Errorf("PCI Express flags %#x", got)
	}
}

func TestCapabilitiesThatDoNotFit(t *testing.T) {
	f := NewFunction(testID)
	if _, err := f.AddExtCapability(ExtCapACS, 1, nil, nil); err == nil {
		t.Error("an extended capability without PCI Express")
	}
	if _, err := f.AddCapability(CapVendor, make([]byte, 191), nil); err == nil {
		t.Error("a capability beyond the space")
	}
	if _, err := f.AddPCIeCap(PCIeIntegrated); err != nil {
		t.Error(err)
	}
	if _, err := f.AddPCIeCap(PCIeIntegrated); err == nil {
		t.Error("two PCI Express capabilities")
	}
	if _, err := f.AddExtCapability(ExtCapAER, 1, make([]byte, 4096), nil); err == nil {
		t.Error("an extended capability beyond the space")
	}
	if f.SetInterruptPin(5) == nil {
		t.Error("pin 5")
	}
}

func TestConfigHooksSeeTheirPart(t *testing.T) {
	f := NewFunction(testID)
	var log []string
	f.OnConfig(0x50, 4,
		func(off int, data []byte) { data[0] = 0xa0 + byte(off) },
		func(off int, data []byte) { log = append(log, fmt.Sprintf("%d:%x", off, data)) })
	f.WriteConfig(0x4e, []byte{1, 2, 3, 4})
	f.WriteConfig(0x52, []byte{5, 6, 7, 8})
	f.WriteConfig(0x54, []byte{9})
	if want := []string{"0:0304", "2:0506"}; !slices.Equal(log, want) {
		t.Errorf("hook saw %v, want %v", log, want)
	}
	var data [4]byte
	f.ReadConfig(0x4f, data[:])
	if data != [4]byte{0, 0xa0, 0, 0} {
		t.Errorf("read %x", data)
	}
}

func TestFunctionLevelReset(t *testing.T) {
	r := newRig(t)
	f, _ := r.disk("d")
	resets := 0
	f.OnReset(func() { resets++ })
	a := r.attach(r.host.Root(), nil, f)
	r.assign()
	exp := r.capabilities(0, a)[CapPCIe]
	r.set(0, a, exp+expDevCtl, 0xf)
	if r.read(0, a, exp+expDevCap, 4)&devCapFLR == 0 || resets != 0 {
		t.Fatal("no function-level reset, or one too early")
	}
	r.set(0, a, exp+expDevCtl, devCtlFLR)
	if resets != 1 || r.read(0, a, exp+expDevCtl, 2) != 0 || r.read(0, a, regCommand, 2) != 0 {
		t.Errorf("%d resets, control %#x", resets, r.read(0, a, exp+expDevCtl, 2))
	}
	if got := f.BARs()[0]; got.Decoded {
		t.Errorf("still decoded: %+v", got)
	}
}
