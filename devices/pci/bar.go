package pci

import (
	"encoding/binary"
	"fmt"
	"math/bits"

	"hv/devices/bus"
)

// BARKind is the address space and width of a base address register.
type BARKind uint8

// Kinds of BAR (PCI 3.0 §6.2.5.1). A 64-bit BAR takes two registers.
const (
	BARMem32 BARKind = iota
	BARMem64
	BARIO
)

// Region is a part of a BAR with a handler of its own, which sees offsets
// relative to Off.
type Region struct {
	Off, Size uint64
	Handler   bus.Handler
}

// BAR describes what a base address register decodes.
type BAR struct {
	// Size is a power of two: at least 16 for memory and 4 for ports.
	Size     uint64
	Kind     BARKind
	Prefetch bool
	Name     string
	// Handler gets the accesses that no region claims, with offsets relative to
	// the BAR. With a nil Handler they read as ones and writes vanish.
	Handler bus.Handler
	// Regions must not overlap. AddMSIX adds its table and PBA to them.
	Regions []Region
	// Mapped, if not nil, is called when the BAR becomes decoded at base, and
	// when it stops being so (for doorbells). Calls are serialised.
	Mapped func(base uint64, on bool)
}

// barState is a BAR in place. base and on are guarded by the host's mapMu.
type barState struct {
	BAR
	f     *Function
	reg   int
	base  uint64
	on    bool
	space *bus.Space // where it is mapped while on
}

// AddBAR installs base address register i.
func (f *Function) AddBAR(i int, b BAR) error {
	limit := numBARs
	if f.bridge != nil {
		limit = bridgeBARs
	}
	if b.Kind == BARMem64 {
		limit--
	}
	if i < 0 || i >= limit || f.bars[i] != nil || f.upperHalf(i) || b.Kind == BARMem64 && f.bars[i+1] != nil {
		return fmt.Errorf("%s: BAR %d is taken or does not exist", f.name(), i)
	}
	if err := b.check(); err != nil {
		return fmt.Errorf("%s: BAR %d: %w", f.name(), i, err)
	}
	reg := regBAR0 + 4*i
	f.bars[i] = &barState{BAR: b, f: f, reg: reg}
	f.set32(reg, b.flags())
	mask := -b.Size
	f.allow32(reg, uint32(mask)&^0xf)
	switch b.Kind {
	case BARIO:
		f.allow32(reg, uint32(mask)&^0x3)
	case BARMem64:
		f.allow32(reg+4, uint32(mask>>32))
	}
	return nil
}

// upperHalf reports whether register i holds the top of a 64-bit BAR.
func (f *Function) upperHalf(i int) bool {
	return i > 0 && f.bars[i-1] != nil && f.bars[i-1].Kind == BARMem64
}

func (b *BAR) check() error {
	least, most := uint64(16), uint64(1)<<31
	switch b.Kind {
	case BARIO:
		least, most = 4, 256
	case BARMem64:
		most = 1 << 62
	}
	if bits.OnesCount64(b.Size) != 1 || b.Size < least || b.Size > most {
		return fmt.Errorf("size %#x is not a power of two from %#x to %#x", b.Size, least, most)
	}
	for i, r := range b.Regions {
		if err := b.fits(r, b.Regions[:i]); err != nil {
			return err
		}
	}
	return nil
}

// fits checks a region against the BAR and the regions already in it.
func (b *BAR) fits(r Region, others []Region) error {
	if r.Size == 0 || r.Off >= b.Size || r.Size > b.Size-r.Off {
		return fmt.Errorf("region %#x+%#x does not fit into %#x bytes", r.Off, r.Size, b.Size)
	}
	for _, o := range others {
		if r.Off < o.Off+o.Size && o.Off < r.Off+r.Size {
			return fmt.Errorf("region %#x+%#x overlaps %#x+%#x", r.Off, r.Size, o.Off, o.Size)
		}
	}
	return nil
}

// flags returns the register's read-only low bits.
func (b *BAR) flags() uint32 {
	var v uint32
	switch b.Kind {
	case BARIO:
		return barTypeIO
	case BARMem64:
		v = barType64
	}
	if b.Prefetch {
		v |= barPrefetch
	}
	return v
}

// Read dispatches to the region that holds the access.
func (b *barState) Read(off uint64, data []byte) {
	if h, o := b.find(off, uint64(len(data))); h != nil {
		h.Read(o, data)
		return
	}
	for i := range data {
		data[i] = 0xff
	}
}

// Write dispatches to the region that holds the access.
func (b *barState) Write(off uint64, data []byte) {
	if h, o := b.find(off, uint64(len(data))); h != nil {
		h.Write(o, data)
	}
}

func (b *barState) find(off, n uint64) (bus.Handler, uint64) {
	for i := range b.Regions {
		if r := &b.Regions[i]; off >= r.Off && off-r.Off+n <= r.Size {
			return r.Handler, off - r.Off
		}
	}
	return b.Handler, off
}

// target says where the guest wants the BAR decoded: base and, if at all, the
// address space. Addresses that QEMU takes as unset are: zero, what wraps, and
// what reaches the end of its space.
func (b *barState) target() (space *bus.Space, base uint64) {
	f := b.f
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.host == nil || f.off {
		return nil, 0
	}
	cmd := f.get16(regCommand)
	base = b.address()
	last := base + b.Size - 1
	switch {
	case base == 0 || last <= base:
		return nil, 0
	case b.Kind == BARIO && cmd&cmdIO != 0 && last < 0x10000:
		return f.host.cfg.Ports, base
	case b.Kind == BARMem32 && cmd&cmdMemory != 0 && last < 0xffffffff,
		b.Kind == BARMem64 && cmd&cmdMemory != 0 && last < 1<<63:
		return f.host.cfg.MMIO, base
	}
	return nil, 0
}

// address returns the address in the register; the function's mu is held.
func (b *barState) address() uint64 {
	f := b.f
	v := uint64(f.get32(b.reg) & binary.LittleEndian.Uint32(f.wmask[b.reg:]))
	if b.Kind == BARMem64 {
		v |= uint64(f.get32(b.reg+4)) << 32
	}
	return v
}

// program writes the address that firmware chose into the register.
func (b *barState) program(base uint64) {
	b.f.WriteConfig(b.reg, binary.LittleEndian.AppendUint32(nil, uint32(base)))
	if b.Kind == BARMem64 {
		b.f.WriteConfig(b.reg+4, binary.LittleEndian.AppendUint32(nil, uint32(base>>32)))
	}
}

// BARInfo is the state of a BAR, for inspection. Base is where it is decoded;
// it means nothing unless Decoded.
type BARInfo struct {
	Index    int
	Size     uint64
	Kind     BARKind
	Prefetch bool
	Base     uint64
	Decoded  bool
}

// BARs lists the function's BARs in register order.
func (f *Function) BARs() []BARInfo {
	f.mu.Lock()
	host := f.host
	f.mu.Unlock()
	if host != nil {
		host.mapMu.Lock()
		defer host.mapMu.Unlock()
	}
	var out []BARInfo
	for i, b := range f.bars {
		if b != nil {
			out = append(out, BARInfo{i, b.Size, b.Kind, b.Prefetch, b.base, b.on})
		}
	}
	return out
}
