package pci

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
)

func TestBARSizing(t *testing.T) {
	r := newRig(t)
	f := NewFunction(testID)
	r.must(f.AddBAR(0, BAR{Size: 32, Kind: BARIO, Name: "io"}))
	r.must(f.AddBAR(1, BAR{Size: 4096, Name: "m32"}))
	r.must(f.AddBAR(2, BAR{Size: 16 << 30, Kind: BARMem64, Prefetch: true, Name: "m64"}))
	a := r.attach(r.host.Root(), nil, f)
	for i, want := range []uint64{0xffffffe1, 0xfffff000, 0x0000000c, 0xfffffffc, 0, 0} {
		r.mech1Write(0, a, regBAR0+4*i, 4, 0xffffffff)
		if got := r.mech1Read(0, a, regBAR0+4*i, 4); got != want {
			t.Errorf("BAR %d sizes as %#x, want %#x", i, got, want)
		}
	}
}

func TestBARFollowsTheGuest(t *testing.T) {
	r := newRig(t)
	var log []string
	note := func(base uint64, on bool) { log = append(log, fmt.Sprintf("%#x %v", base, on)) }
	f := NewFunction(testID)
	r.must(f.AddBAR(0, BAR{Size: 4096, Name: "m", Handler: make(ram, 4096), Mapped: note}))
	a := r.attach(r.host.Root(), nil, f)
	r.write(0, a, regBAR0, 4, 0xc0000000)
	if len(log) != 0 {
		t.Fatal("decoded without memory enable")
	}
	r.set(0, a, regCommand, cmdMemory)
	r.store(0xc0000010, 4, 0x1234)
	r.write(0, a, regBAR0, 4, 0xd0000000)
	if got := r.load(0xd0000010, 4); got != 0x1234 {
		t.Errorf("moved BAR reads %#x", got)
	}
	if got := r.load(0xc0000010, 4); got != 0xffffffff {
		t.Errorf("the old place still answers: %#x", got)
	}
	r.write(0, a, regBAR0, 4, 0xffffffff) // sizing with decoding on
	r.write(0, a, regBAR0, 4, 0xd0000000)
	f.Reset()
	want := []string{"0xc0000000 true", "0xc0000000 false", "0xd0000000 true",
		"0xd0000000 false", "0xd0000000 true", "0xd0000000 false"}
	if !slices.Equal(log, want) {
		t.Errorf("mapped %q", log)
	}
}

func TestOverlappingBARsWait(t *testing.T) {
	r := newRig(t)
	one, _ := r.disk("one")
	two, _ := r.disk("two")
	a, b := r.attach(r.host.Root(), nil, one), r.attach(r.host.Root(), nil, two)
	for _, x := range []Addr{a, b} {
		r.write(0, x, regBAR0+4, 4, 0xc0000000)
		r.set(0, x, regCommand, cmdMemory)
		r.set(0, x, regCommand, cmdMemory)
	}
	if !one.BARs()[0].Decoded || two.BARs()[0].Decoded {
		t.Fatal("the first BAR does not win")
	}
	if err := r.host.Root().Detach(one); err != nil {
		t.Fatal(err)
	}
	if got := two.BARs()[0]; !got.Decoded || got.Base != 0xc0000000 {
		t.Errorf("the second does not get its turn: %+v", got)
	}
}

func TestUndecodableAddresses(t *testing.T) {
	r := newRig(t)
	f := NewFunction(testID)
	r.must(f.AddBAR(0, BAR{Size: 256, Kind: BARIO, Name: "io", Handler: make(ram, 256)}))
	r.must(f.AddBAR(2, BAR{Size: 1 << 20, Kind: BARMem64, Name: "m64", Handler: make(ram, 1<<20)}))
	a := r.attach(r.host.Root(), nil, f)
	r.write(0, a, regCommand, 2, cmdIO|cmdMemory)
	before := len(r.ports.Mappings()) + len(r.mmio.Mappings())
	for _, io := range []uint64{0x10000, 0xffffff00} {
		r.write(0, a, regBAR0, 4, io)
	}
	r.write(0, a, regBAR0+8, 8, 0xffffffff_fff00000)
	r.write(0, a, regBAR0+8, 8, 0)
	if got := len(r.ports.Mappings()) + len(r.mmio.Mappings()); got != before {
		t.Errorf("%d mappings, had %d", got, before)
	}
	r.write(0, a, regBAR0, 4, 0xff00)
	r.write(0, a, regBAR0+8, 8, 0x1000000000)
	if got := f.BARs(); !got[0].Decoded || !got[1].Decoded || got[1].Base != 0x1000000000 {
		t.Errorf("not decoded at legal addresses: %+v", got)
	}
}

func TestRegionsShareABAR(t *testing.T) {
	r := newRig(t)
	whole, part := make(ram, 4096), make(ram, 256)
	f := NewFunction(testID)
	r.must(f.AddBAR(0, BAR{Size: 4096, Name: "m", Handler: whole, Regions: []Region{{1024, 256, part}}}))
	r.must(f.AddBAR(1, BAR{Size: 4096, Name: "empty"}))
	a := r.attach(r.host.Root(), nil, f)
	r.write(0, a, regBAR0, 8, 0xc0002000_c0001000)
	r.set(0, a, regCommand, cmdMemory)
	r.store(0xc0001000+1024+8, 4, 0x11)
	r.store(0xc0001000+8, 4, 0x22)
	r.store(0xc0002000, 4, 0x33)
	if part[8] != 0x11 || whole[8] != 0x22 || r.load(0xc0002000, 2) != 0xffff {
		t.Errorf("part %x whole %x", part[8], whole[8])
	}
}

func TestAddBARRefuses(t *testing.T) {
	f := NewFunction(testID)
	ok := BAR{Size: 4096, Kind: BARMem64}
	if err := f.AddBAR(2, ok); err != nil {
		t.Fatal(err)
	}
	h := make(ram, 16)
	for _, c := range []struct {
		i    int
		bar  BAR
		want string
	}{
		{-1, ok, "does not exist"}, {6, ok, "does not exist"}, {5, ok, "does not exist"},
		{2, ok, "taken"}, {3, ok, "taken"}, {1, ok, "taken"},
		{0, BAR{Size: 3000}, "power of two"}, {0, BAR{Size: 8}, "power of two"},
		{0, BAR{Size: 512, Kind: BARIO}, "power of two"}, {0, BAR{Size: 1 << 32}, "power of two"},
		{0, BAR{Size: 64, Regions: []Region{{60, 8, h}}}, "fit"},
		{0, BAR{Size: 64, Regions: []Region{{0, 8, h}, {4, 8, h}}}, "overlaps"},
	} {
		if err := f.AddBAR(c.i, c.bar); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("BAR %d %+v: %v", c.i, c.bar, err)
		}
	}
	bridge, err := NewPCIBridge("b", 1, Reserve{})
	if err != nil || bridge.AddBAR(2, BAR{Size: 16}) == nil {
		t.Errorf("BAR 2 of a bridge: %v", err)
	}
}

func TestBARAccessAllocatesNothing(t *testing.T) {
	r := newRig(t)
	f, _ := r.disk("d")
	r.attach(r.host.Root(), nil, f)
	r.assign()
	base, data := f.BARs()[1].Base, make([]byte, 4)
	if n := testing.AllocsPerRun(100, func() { r.mmio.Write(base, data); r.mmio.Read(base, data) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkBARAccess(b *testing.B) {
	r := newRig(b)
	f, _ := r.disk("d")
	r.attach(r.host.Root(), nil, f)
	r.assign()
	base, data := f.BARs()[1].Base, make([]byte, 4)
	b.ReportAllocs()
	for b.Loop() {
		r.mmio.Write(base, data)
	}
}

func TestConcurrentWritersAgreeInTheEnd(t *testing.T) {
	r := newRig(t)
	one, _ := r.disk("one")
	two, _ := r.disk("two")
	a, b := r.attach(r.host.Root(), nil, one), r.attach(r.host.Root(), nil, two)
	var guests sync.WaitGroup
	for n := range 4 {
		guests.Go(func() {
			x := []Addr{a, b}[n%2]
			for i := range 200 {
				r.write(0, x, regBAR0+4, 4, 0xc0000000+uint64((i*7+n)%5)<<12)
				r.write(0, x, regCommand, 2, uint64(i%3))
			}
			r.write(0, x, regCommand, 2, cmdMemory)
		})
	}
	guests.Wait()
	count := 0
	mapped := len(r.mmio.Mappings()) - 1
	r.checkMappings(t, r.host.Root(), &count)
	if count != mapped {
		t.Errorf("%d BARs on, %d mapped", count, mapped)
	}
}
