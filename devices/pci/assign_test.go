package pci

import (
	"encoding/binary"
	"fmt"
	"strings"
	"testing"
)

// tree builds a machine with devices on the root bus, behind root ports and
// behind conventional bridges.
func (r *rig) tree() {
	r.t.Helper()
	root := r.host.Root()
	r.attach(root, &Addr{31, 0}, NewLPC(0x600))
	top, _ := r.disk("top")
	r.attach(root, nil, top)
	for i := range 3 {
		p := r.port(fmt.Sprintf("rp%d", i), nil)
		r.attach(root, nil, p.Function)
		if i > 0 {
			f, _ := r.disk(fmt.Sprintf("d%d", i))
			r.attach(p.Secondary(), nil, f)
		}
	}
	outer, err := NewPCIBridge("outer", 1, Reserve{})
	r.must(err)
	inner, err := NewPCIBridge("inner", 2, Reserve{})
	r.must(err)
	r.attach(root, nil, outer.Function)
	r.attach(outer.Secondary(), &Addr{3, 0}, inner.Function)
	old := NewFunction(testID)
	old.SetName("old", "")
	r.must(old.AddBAR(0, BAR{Size: 64, Kind: BARIO, Name: "io", Handler: make(ram, 64)}))
	r.must(old.AddBAR(1, BAR{Size: 32 << 20, Prefetch: true, Name: "fb"}))
	r.attach(inner.Secondary(), nil, old)
}

// snapshot is the whole configuration space below bus.
func snapshot(b *Bus) string {
	var out strings.Builder
	for _, s := range b.Functions() {
		fmt.Fprintf(&out, "%s %s %x\n", b.ID, s.Addr, s.Function.cfg)
		if br := s.Function.bridge; br != nil {
			out.WriteString(snapshot(br.secondary))
		}
	}
	return out.String()
}

func TestAssignMapsEverything(t *testing.T) {
	r := newRig(t)
	r.tree()
	r.assign()
	checkDecoded(t, r.host.Root())
	if got := fmt.Sprint(busNumbers(r.host.Root())); got != "[1-1 2-2 3-3 4-5 5-5]" {
		t.Errorf("buses %s", got)
	}
	for _, s := range r.host.Root().Functions() {
		cmd := s.Function.load16(regCommand)
		if s.Function.bridge != nil && cmd != cmdIO|cmdMemory|cmdMaster || s.Function.bridge == nil && cmd&cmdMaster != 0 {
			t.Errorf("%v: command %#x", s.Addr, cmd)
		}
	}
	if line := r.read(0, Addr{1, 0}, regInterruptLine, 1); line != 10 {
		t.Errorf("interrupt line %d", line)
	}
}

func busNumbers(b *Bus) (out []string) {
	for _, s := range b.Functions() {
		if br := s.Function.bridge; br != nil {
			lo, hi := br.busRange()
			out = append(out, fmt.Sprintf("%d-%d", lo, hi))
			out = append(out, busNumbers(br.secondary)...)
		}
	}
	return out
}

// checkDecoded checks that all BARs are decoded, aligned, and inside the
// windows of the bridges above them.
func checkDecoded(t *testing.T, b *Bus) {
	t.Helper()
	for _, s := range b.Functions() {
		for _, bar := range s.Function.BARs() {
			if !bar.Decoded || bar.Base%bar.Size != 0 {
				t.Errorf("bus %s, %v: %+v", b.ID, s.Addr, bar)
			}
			for up := b.bridge; up != nil; up = up.bus.bridge {
				if !up.forwards(bar) {
					t.Errorf("bridge %s does not let %+v of %v through", up.ID(), bar, s.Addr)
				}
			}
		}
		if br := s.Function.bridge; br != nil {
			checkDecoded(t, br.secondary)
		}
	}
}

// forwards reports whether a BAR lies in a window of the bridge.
func (b *Bridge) forwards(bar BARInfo) bool {
	first, last := bar.Base, bar.Base+bar.Size-1
	if bar.Kind == BARIO {
		return first >= uint64(b.load8(regIOBase)&0xf0)<<8 && last <= uint64(b.load8(regIOLimit)&0xf0)<<8|0xfff
	}
	memBase, memLimit := uint64(b.load16(regMemBase)), uint64(b.load16(regMemLimit))
	in := first >= memBase<<16 && last <= memLimit<<16|0xfffff
	b.mu.Lock()
	defer b.mu.Unlock()
	up := func(reg int) uint64 { return uint64(binary.LittleEndian.Uint32(b.cfg[reg:])) << 32 }
	prefBase := uint64(b.get16(regPrefBase)&^0xf)<<16 | up(regPrefBaseUpper)
	prefLimit := uint64(b.get16(regPrefLimit)&^0xf)<<16 | 0xfffff | up(regPrefLimitUpper)
	return in || bar.Prefetch && first >= prefBase && last <= prefLimit
}

func TestAssignIsDeterministicAndIdempotent(t *testing.T) {
	one, two := newRig(t), newRig(t)
	one.tree()
	two.tree()
	one.assign()
	two.assign()
	first := snapshot(one.host.Root())
	if first != snapshot(two.host.Root()) {
		t.Error("the same tree got other addresses")
	}
	one.assign()
	if snapshot(one.host.Root()) != first {
		t.Error("assigning again changes something")
	}
	one.host.Reset()
	if n := len(one.mmio.Mappings()); n != 1 {
		t.Errorf("%d mappings after reset", n)
	}
	one.assign()
	if snapshot(one.host.Root()) != first {
		t.Error("assigning after a reset changes something")
	}
}

func TestAssignReservesForHotPlug(t *testing.T) {
	r := newRig(t)
	p := r.port("rp0", nil)
	r.attach(r.host.Root(), nil, p.Function)
	r.assign()
	mem := uint64(p.load16(regMemLimit)&0xfff0)<<16 | 0xfffff - uint64(p.load16(regMemBase))<<16
	if mem != hotplugReserve-1 || p.load8(regIOBase) <= p.load8(regIOLimit) {
		t.Errorf("memory window %#x, I/O base %#x", mem, p.load8(regIOBase))
	}
	if p.load16(regPrefBase) >= p.load16(regPrefLimit) {
		t.Error("no prefetchable window")
	}
}

func TestAssignUsesTheHighWindow(t *testing.T) {
	r := newRig(t)
	p := r.port("rp0", nil)
	r.attach(r.host.Root(), nil, p.Function)
	big := NewFunction(testID)
	r.must(big.AddBAR(0, BAR{Size: 4096, Name: "small"}))
	r.must(big.AddBAR(2, BAR{Size: 4 << 30, Kind: BARMem64, Prefetch: true, Name: "big"}))
	r.attach(p.Secondary(), nil, big)
	r.assign()
	checkDecoded(t, r.host.Root())
	if bars := big.BARs(); bars[1].Base < 1<<32 || bars[0].Base > 1<<32 {
		t.Errorf("%+v", bars)
	}
}

func TestAssignThatDoesNotFit(t *testing.T) {
	for name, bar := range map[string]BAR{
		"32-bit": {Size: 1 << 30, Name: "m"},
		"64-bit": {Size: 64 << 30, Kind: BARMem64, Prefetch: true, Name: "m"},
	} {
		r := newRig(t)
		f := NewFunction(testID)
		r.must(f.AddBAR(0, bar))
		r.attach(r.host.Root(), nil, f)
		if err := r.host.Assign(); err == nil || !strings.Contains(err.Error(), "more than the window") {
			t.Errorf("%s: %v", name, err)
		}
	}
	r := newRig(t)
	for s := range 30 {
		for n := range 8 {
			f := NewFunction(testID)
			for i := range 6 {
				r.must(f.AddBAR(i, BAR{Size: 256, Kind: BARIO, Name: "io"}))
			}
			if _, err := r.host.Root().Attach(&Addr{uint8(s + 1), uint8(n)}, f, true); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := r.host.Assign(); err == nil {
		t.Error("368640 ports in 16384")
	}
}

func TestAssignRunsOutOfBuses(t *testing.T) {
	r := newRig(t)
	r.host.cfg.ECAMSize = 4 << 20
	last := r.host.Root()
	for i := range 4 {
		b, err := NewPCIBridge(fmt.Sprint(i), 1, Reserve{})
		r.must(err)
		r.attach(last, nil, b.Function)
		last = b.Secondary()
	}
	if err := r.host.Assign(); err == nil || !strings.Contains(err.Error(), "no bus number left") {
		t.Error(err)
	}
}

func TestSecondaryBusReset(t *testing.T) {
	r := newRig(t)
	p := r.port("rp0", nil)
	a := r.attach(r.host.Root(), nil, p.Function)
	f, _ := r.disk("d")
	resets := 0
	f.OnReset(func() { resets++ })
	r.attach(p.Secondary(), nil, f)
	r.assign()
	r.write(0, a, regBridgeControl, 2, bridgeReset)
	if resets != 1 || f.BARs()[0].Decoded {
		t.Errorf("%d resets, %+v", resets, f.BARs()[0])
	}
	r.write(0, a, regBridgeControl, 2, 0)
	if resets != 1 {
		t.Error("releasing the reset resets again")
	}
}

func TestConventionalBusHasNoExtendedSpace(t *testing.T) {
	r := newRig(t)
	b, err := NewPCIBridge("b", 1, Reserve{})
	r.must(err)
	r.attach(r.host.Root(), nil, b.Function)
	f, _ := r.disk("d")
	r.attach(b.Secondary(), nil, f)
	r.assign()
	if r.read(1, Addr{}, 0, 2) != 0x1af4 || r.read(1, Addr{}, firstExtCap, 4) != 0xffffffff {
		t.Error("extended space behind a conventional bridge, or nothing at all")
	}
	if b.Secondary().Express() || b.Secondary().Root() || !r.host.Root().Express() || !r.host.Root().Root() {
		t.Error("kinds of buses")
	}
}
