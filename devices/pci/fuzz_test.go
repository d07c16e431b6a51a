package pci

import (
	"encoding/binary"
	"testing"
)

// fuzzTree is a machine for the fuzzer: a disk on the root bus, one behind a
// root port, and an old device behind a conventional bridge.
func fuzzTree(t testing.TB) (*rig, *RootPort) {
	r := newRig(t)
	r.tree()
	p := r.port("fuzz", nil)
	r.attach(r.host.Root(), nil, p.Function)
	f, _ := r.disk("fuzz")
	r.attach(p.Secondary(), nil, f)
	r.assign()
	return r, p
}

// op is one access by the fuzzer: what, where and which value.
type op struct {
	kind, size   byte
	bus, devfn   byte
	reg          uint16
	value        uint64
	plug, unplug bool
}

const opSize = 14

func parseOp(b []byte) op {
	return op{
		kind: b[0] & 7, size: 1 << (b[1] & 3), bus: b[2] & 7, devfn: b[3], reg: binary.LittleEndian.Uint16(b[4:]) & 0xfff,
		value: binary.LittleEndian.Uint64(b[6:]), plug: b[0]&0xf8 == 8, unplug: b[0]&0xf8 == 16,
	}
}

// run makes the access.
func (o op) run(r *rig, p *RootPort) {
	a, reg, size := AddrOf(o.devfn), int(o.reg), int(o.size)
	switch o.kind {
	case 0:
		r.read(o.bus, a, reg, size)
	case 1, 2:
		r.write(o.bus, a, reg, size, o.value)
	case 3:
		r.mech1Write(o.bus, a, reg, min(size, 4), o.value)
	case 4:
		r.mech1Read(o.bus, a, reg, min(size, 4))
	case 5, 6: // some BAR
		m := r.mmio.Mappings()
		at := m[int(o.devfn)%len(m)]
		addr := at.Base + uint64(reg)%at.Size
		r.store(addr, size, o.value)
		r.load(addr, size)
	case 7:
		r.host.Reset()
		r.assign()
	}
	if o.plug {
		f, _ := r.disk("plugged")
		_, _ = p.Plug(nil, f, o.value&1 != 0)
	}
	if o.unplug {
		_ = p.RequestUnplug()
	}
}

// readOnly is what no guest may change: the bits outside both masks, but for
// those that the device itself changes.
func readOnly(b *Bus, seen map[*Function][]byte) map[*Function][]byte {
	for _, s := range b.Functions() {
		f := s.Function
		fixed := make([]byte, len(f.cfg))
		for i := range fixed {
			fixed[i] = f.cfg[i] &^ f.wmask[i] &^ f.w1c[i]
		}
		fixed[regStatus] &^= statusINTx
		if f.bridge != nil {
			readOnly(f.bridge.secondary, seen)
			if f.bridge.hotplug {
				fixed[f.express+expSltSta] = 0
				fixed[f.express+expLnkSta+1] = 0
			}
		}
		seen[f] = fixed
	}
	return seen
}

// checkMappings compares the spaces with the BARs: each mapping is a BAR's at
// its address, and each BAR that is decoded but not mapped overlaps one.
func (r *rig) checkMappings(t *testing.T, b *Bus, count *int) {
	for _, s := range b.Functions() {
		for _, bar := range s.Function.bars {
			if bar == nil {
				continue
			}
			space, base := bar.target()
			switch {
			case bar.on && (space != bar.space || base != bar.base):
				t.Errorf("%s is mapped at %#x, registers say %#x", bar.Name, bar.base, base)
			case bar.on:
				*count++
			case space != nil && space.Map(base, bar.Size, "probe", bar) == nil:
				t.Errorf("%s is decoded at %#x, which is free, but not mapped", bar.Name, base)
			}
		}
		if br := s.Function.bridge; br != nil {
			r.checkMappings(t, br.secondary, count)
		}
	}
}

func FuzzConfigSpace(f *testing.F) {
	seed := func(ops ...op) {
		var data []byte
		for _, o := range ops {
			data = append(data, o.kind, 2, o.bus, o.devfn)
			data = binary.LittleEndian.AppendUint16(data, o.reg)
			data = binary.LittleEndian.AppendUint64(data, o.value)
		}
		f.Add(data)
	}
	seed(op{kind: 1, devfn: 8, reg: regBAR0 + 4, value: 0xffffffff}, op{kind: 0, devfn: 8, reg: regBAR0 + 4})
	seed(op{kind: 1, devfn: 8, reg: regBAR0 + 4, value: 0xd0000000}, op{kind: 1, devfn: 16, reg: regBAR0, value: 0xd0000000}, op{kind: 7})
	seed(op{kind: 3, devfn: 16, reg: regSecondaryBus, value: 0x0101}, op{kind: 3, bus: 2, reg: regCommand, value: 0x407})
	seed(op{kind: 1, devfn: 48, reg: 0x58, value: 0x7ff}, op{kind: 16}, op{kind: 1, devfn: 48, reg: 0x58, value: 0x7f8}, op{kind: 8})
	seed(op{kind: 5, devfn: 3, value: 1}, op{kind: 6, devfn: 4, reg: 12}, op{kind: 1, bus: 1, reg: 0x49, value: 0x8000})
	f.Fuzz(func(t *testing.T, data []byte) {
		r, p := fuzzTree(t)
		before := readOnly(r.host.Root(), map[*Function][]byte{})
		for n := 0; len(data) >= opSize && n < 64; n++ {
			parseOp(data).run(r, p)
			data = data[opSize:]
		}
		for fn, fixed := range readOnly(r.host.Root(), map[*Function][]byte{}) {
			if was, ok := before[fn]; ok && string(was) != string(fixed) {
				t.Errorf("%s: read-only bits changed:\n%x\n%x", fn.name(), was, fixed)
			}
		}
		count := 0
		mapped := len(r.mmio.Mappings()) - 1 + len(r.ports.Mappings()) - 1 // ECAM, mechanism #1
		r.checkMappings(t, r.host.Root(), &count)
		if count != mapped {
			t.Errorf("%d BARs are mapped, but there are %d mappings", count, mapped)
		}
	})
}
