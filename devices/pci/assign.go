package pci

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"slices"
)

// pool is a kind of address space that bridges forward in a window.
type pool int

const (
	poolIO   pool = iota
	poolMem       // 32-bit memory
	poolPref      // 64-bit prefetchable memory
	numPools
)

// Granularity of bridge windows (Bridge 1.2 §3.2.5.6, §3.2.5.8), and what a
// slot for hot plugging gets of each pool.
const (
	ioGranularity  = 0x1000
	memGranularity = 1 << 20
	hotplugReserve = 2 << 20
)

// granularity returns the unit of a pool's windows.
func (p pool) granularity() uint64 {
	if p == poolIO {
		return ioGranularity
	}
	return memGranularity
}

// request asks for addresses for a BAR or for a bridge's window.
type request struct {
	size, align uint64
	bar         *barState
	window      *needs  // what is behind a bridge, nil for a BAR
	bridge      *Bridge // whose window it is
	off         uint64  // within the bus
}

// needs is what one bus wants of one pool.
type needs struct {
	pool        pool
	requests    []request
	size, align uint64
}

// Assign does what firmware does before an operating system starts: numbers
// the buses, places BARs and bridge windows, fills in interrupt lines and turns
// decoding on; bus mastering only in bridges. Everything goes below 4 GiB when
// it fits, otherwise 64-bit prefetchable BARs go to Window64. The same tree
// always gets the same addresses. It is called after each Reset, while no vCPU
// runs.
func (h *Host) Assign() error {
	h.root.quiesce()
	last := uint8(0)
	if err := h.number(h.root, &last); err != nil {
		return err
	}
	h.lastBus = last
	if err := h.place(); err != nil {
		return err
	}
	h.enable(h.root)
	return nil
}

// quiesce turns decoding off, so that BARs can be moved freely.
func (b *Bus) quiesce() {
	for _, s := range b.Functions() {
		s.Function.WriteConfig(regCommand, []byte{0, 0})
		if br := s.Function.bridge; br != nil {
			br.secondary.quiesce()
		}
	}
}

// number gives buses their numbers, depth first.
func (h *Host) number(b *Bus, last *uint8) error {
	limit := uint64(slotsPerBus * funcsPerSlot)
	if h.cfg.ECAMSize != 0 {
		limit = min(limit, h.cfg.ECAMSize>>20)
	}
	for _, s := range b.Functions() {
		br := s.Function.bridge
		if br == nil {
			continue
		}
		if uint64(*last)+1 >= limit {
			return fmt.Errorf("PCI: no bus number left for %s: the machine has %d", br.name(), limit)
		}
		*last++
		sec := *last
		br.WriteConfig(regPrimaryBus, []byte{b.number(), sec, uint8(limit - 1)})
		if err := h.number(br.secondary, last); err != nil {
			return err
		}
		if r := br.reserve.Bus; r != nil {
			*last = uint8(min(max(uint64(*last), uint64(sec)+uint64(*r)), limit-1))
		}
		br.WriteConfig(regSubordinateBus, []byte{*last})
	}
	return nil
}

// place finds room for everything and programs it.
func (h *Host) place() error {
	var n [numPools]*needs
	for p := range numPools {
		n[p] = h.root.needs(p)
	}
	if err := fit(h.cfg.WindowIO, n[poolIO]); err != nil {
		return err
	}
	err := fit(h.cfg.Window32, n[poolMem], n[poolPref])
	if err == nil || h.cfg.Window64.Size == 0 {
		return err
	}
	if err := fit(h.cfg.Window32, n[poolMem]); err != nil {
		return err
	}
	return fit(h.cfg.Window64, n[poolPref])
}

// fit lays the root bus's needs out one after the other in w, and programs
// them if they all fit.
func fit(w Window, all ...*needs) error {
	bases := make([]uint64, len(all))
	next, end := w.Base, w.Base+w.Size
	for i, n := range all {
		bases[i] = alignUp(next, n.align)
		if bases[i] < next || bases[i] > end || n.size > end-bases[i] {
			return fmt.Errorf("PCI: devices need %#x bytes at alignment %#x, more than the window %#x+%#x has left", n.size, n.align, w.Base, w.Size)
		}
		next = bases[i] + n.size
	}
	for i, n := range all {
		n.program(bases[i])
	}
	return nil
}

// needs collects what the bus and all behind it want of a pool.
func (b *Bus) needs(p pool) *needs {
	n := &needs{pool: p}
	for _, s := range b.Functions() {
		for _, bar := range s.Function.bars {
			if bar != nil && bar.pool() == p {
				n.requests = append(n.requests, request{size: bar.Size, align: bar.Size, bar: bar})
			}
		}
		if br := s.Function.bridge; br != nil {
			n.addWindow(br)
		}
	}
	n.layout()
	return n
}

// addWindow asks for a bridge's window, unless it can stay closed.
func (n *needs) addWindow(br *Bridge) {
	behind := br.secondary.needs(n.pool)
	unit := n.pool.granularity()
	size := alignUp(max(behind.size, br.reserved(n.pool)), unit)
	if size != 0 {
		n.requests = append(n.requests, request{size: size, align: max(behind.align, unit), window: behind, bridge: br})
	}
}

// reserved returns how much to keep free behind the bridge.
func (b *Bridge) reserved(p pool) uint64 {
	var asked *uint64
	switch p {
	case poolIO:
		asked = b.reserve.IO
	case poolMem:
		asked = b.reserve.Mem
	case poolPref:
		asked = cmp.Or(b.reserve.Pref64, b.reserve.Pref32)
	}
	if asked != nil {
		return *asked
	}
	if b.hotplug && p != poolIO {
		return hotplugReserve
	}
	return 0
}

// pool says where a BAR is placed. Prefetchable 32-bit BARs may live in a
// window that is not prefetchable; others that are prefetchable must be able
// to take any address in theirs.
func (b *barState) pool() pool {
	switch {
	case b.Kind == BARIO:
		return poolIO
	case b.Kind == BARMem64 && b.Prefetch:
		return poolPref
	}
	return poolMem
}

// layout orders the requests by alignment, the largest first, and sums them up.
func (n *needs) layout() {
	slices.SortStableFunc(n.requests, func(a, b request) int { return cmp.Compare(b.align, a.align) })
	n.align = 1
	for i := range n.requests {
		r := &n.requests[i]
		n.align = max(n.align, r.align)
		r.off = alignUp(n.size, r.align)
		n.size = r.off + r.size
	}
}

// program writes BARs and windows, the bus starting at base.
func (n *needs) program(base uint64) {
	for _, r := range n.requests {
		if r.bar != nil {
			r.bar.program(base + r.off)
			continue
		}
		r.bridge.open(n.pool, base+r.off, base+r.off+r.size-1)
		r.window.program(base + r.off)
	}
}

// open sets a bridge's window to [base, last].
func (b *Bridge) open(p pool, base, last uint64) {
	switch p {
	case poolIO:
		b.WriteConfig(regIOBase, []byte{uint8(base >> 8), uint8(last >> 8)})
	case poolMem:
		b.WriteConfig(regMemBase, windowRegs(base, last))
	case poolPref:
		b.WriteConfig(regPrefBase, windowRegs(base, last))
		b.WriteConfig(regPrefBaseUpper, binary.LittleEndian.AppendUint32(nil, uint32(base>>32)))
		b.WriteConfig(regPrefLimitUpper, binary.LittleEndian.AppendUint32(nil, uint32(last>>32)))
	}
}

// windowRegs encodes memory base and limit, whose registers hold address bits
// 31 to 20.
func windowRegs(base, last uint64) []byte {
	v := binary.LittleEndian.AppendUint16(nil, uint16(base>>16))
	return binary.LittleEndian.AppendUint16(v, uint16(last>>16))
}

// enable turns on decoding and tells functions their interrupt.
func (h *Host) enable(b *Bus) {
	for _, s := range b.Functions() {
		f := s.Function
		if pin := f.load8(regInterruptPin); pin != 0 {
			f.WriteConfig(regInterruptLine, []byte{legacyIRQ(b.route(s.Slot, pin-1))})
		}
		cmd := f.decodes()
		if f.bridge != nil {
			cmd = cmdIO | cmdMemory | cmdMaster
			h.enable(f.bridge.secondary)
		}
		f.WriteConfig(regCommand, []byte{cmd, 0})
	}
}

// decodes returns the command bits for the BARs that the function has.
func (f *Function) decodes() uint8 {
	var cmd uint8
	for _, b := range f.bars {
		switch {
		case b == nil:
		case b.Kind == BARIO:
			cmd |= cmdIO
		default:
			cmd |= cmdMemory
		}
	}
	return cmd
}

// legacyIRQ is the PIC input that firmware routes an interrupt to, for
// operating systems without an I/O APIC: 10 or 11, as SeaBIOS has it.
func legacyIRQ(gsi int) uint8 {
	if gsi < 16 {
		return uint8(gsi)
	}
	return []uint8{10, 10, 11, 11}[gsi%4]
}

func alignUp(v, align uint64) uint64 { return (v + align - 1) &^ (align - 1) }
