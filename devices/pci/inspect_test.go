package pci

import "testing"

// TestRanges checks that the windows are those which firmware opened, and that a closed one
// has its first address above its last.
func TestRanges(t *testing.T) {
	r := newRig(t)
	port, err := NewRootPort(RootPortConfig{ID: "rp", IRQ: &r.irq})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.host.Root().Attach(nil, port.Function, false); err != nil {
		t.Fatal(err)
	}
	f := NewFunction(Identity{Vendor: 1, Device: 2})
	if err := f.AddBAR(0, BAR{Size: 1 << 20}); err != nil {
		t.Fatal(err)
	}
	if err := f.AddBAR(2, BAR{Size: 4 << 20, Kind: BARMem64, Prefetch: true}); err != nil {
		t.Fatal(err)
	}
	if f.Behind() != nil {
		t.Error("a bus behind an endpoint")
	}
	behind := port.Behind()
	if _, err := behind.Attach(nil, f, false); err != nil {
		t.Fatal(err)
	}
	if err := r.host.Assign(); err != nil {
		t.Fatal(err)
	}
	if r.host.Root().Number() != 0 || behind.Number() != 1 || r.host.Root().Ranges() != (Ranges{}) {
		t.Errorf("buses %d and %d, %+v", r.host.Root().Number(), behind.Number(), r.host.Root().Ranges())
	}
	w, bars := behind.Ranges(), f.BARs()
	if w.IO[0] <= w.IO[1] {
		t.Errorf("an I/O window for no ports: %#x", w.IO)
	}
	if w.Memory != [2]uint64{bars[0].Base, bars[0].Base + 1<<20 - 1} {
		t.Errorf("memory window %#x, BAR at %#x", w.Memory, bars[0].Base)
	}
	if w.Prefetch != [2]uint64{bars[1].Base, bars[1].Base + 4<<20 - 1} {
		t.Errorf("prefetchable window %#x, BAR at %#x", w.Prefetch, bars[1].Base)
	}
	// Beyond 4 GiB the upper registers count.
	port.WriteConfig(regPrefBaseUpper, []byte{0x12, 0, 0, 0, 0x34, 0, 0, 0})
	if w := behind.Ranges(); w.Prefetch[0]>>32 != 0x12 || w.Prefetch[1]>>32 != 0x34 {
		t.Errorf("prefetchable window %#x", w.Prefetch)
	}
}
