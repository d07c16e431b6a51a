package pci

import (
	"encoding/binary"
	"fmt"
	"sync"

	"hv/devices/bus"
	"hv/devices/irq"
)

// Window is a range of addresses that functions may be placed in.
type Window struct{ Base, Size uint64 }

// HostConfig says where a host bridge sits in its machine.
type HostConfig struct {
	Ports, MMIO *bus.Space
	IRQ         irq.Controller
	// ECAMBase and ECAMSize place the enhanced configuration mechanism, 1 MiB
	// a bus. ECAMSize 0 leaves it out.
	ECAMBase, ECAMSize uint64
	// WindowIO, Window32 and Window64 are what Assign gives out. Without a
	// WindowIO it is 0xc000-0xffff.
	WindowIO, Window32, Window64 Window
	// Identity is that of function 00.0; the zero value is the q35 MCH.
	Identity Identity
	// PIRQ returns the interrupt that pin (0 is INTA) of a slot on the root bus
	// is wired to; nil means Q35PIRQ.
	PIRQ func(slot, pin uint8) int
	// ResetControl answers for the byte at port 0xCF9, which lies within the
	// ports of configuration mechanism #1. It may be nil.
	ResetControl bus.Handler
}

// Host is a host bridge with its tree of buses.
type Host struct {
	cfg    HostConfig
	root   *Bus
	bridge *Function // 00.0

	lastBus uint8 // as of Assign

	mu    sync.RWMutex // guards the tree: every Bus.funcs, and lines
	lines map[int]*sharedLine

	mapMu   sync.Mutex  // guards barState.base and on; comes before Function.mu
	waiting []*barState // decoded by the guest, but the range is taken

	addrMu  sync.Mutex
	address uint32 // CONFIG_ADDRESS
}

const (
	configPort     = 0xcf8
	configPortSize = 8
	configEnable   = 1 << 31
	resetPort      = 0xcf9
)

// NewHost maps configuration space and returns a host bridge with an empty
// root bus, pcie.0, but for the bridge itself at 00.0.
func NewHost(cfg HostConfig) (*Host, error) {
	h := &Host{cfg: cfg, lines: make(map[int]*sharedLine)}
	if h.cfg.PIRQ == nil {
		h.cfg.PIRQ = Q35PIRQ
	}
	if h.cfg.WindowIO.Size == 0 {
		h.cfg.WindowIO = Window{0xc000, 0x4000}
	}
	h.root = &Bus{ID: "pcie.0", host: h, express: true}
	h.bridge = newHostBridge(&h.cfg)
	if _, err := h.root.Attach(&Addr{}, h.bridge, false); err != nil {
		return nil, err
	}
	if err := cfg.Ports.Map(configPort, configPortSize, "pci-conf", (*mechanism1)(h)); err != nil {
		return nil, err
	}
	if cfg.ECAMSize == 0 {
		return h, nil
	}
	if err := cfg.MMIO.Map(cfg.ECAMBase, cfg.ECAMSize, "pcie-mmcfg", (*ecam)(h)); err != nil {
		cfg.Ports.Unmap(configPort)
		return nil, err
	}
	return h, nil
}

// LastBus returns the highest bus number that Assign gave out.
func (h *Host) LastBus() uint8 { return h.lastBus }

// Root returns the root bus.
func (h *Host) Root() *Bus { return h.root }

// Bus returns the bus with an id, nil when there is none.
func (h *Host) Bus(id string) *Bus {
	h.mu.RLock()
	defer h.mu.RUnlock()
	return h.root.findID(id)
}

// findID searches the tree; the host's mu is held.
func (b *Bus) findID(id string) *Bus {
	if b.ID == id {
		return b
	}
	for _, s := range b.slots() {
		if br := s.Function.bridge; br != nil {
			if found := br.secondary.findID(id); found != nil {
				return found
			}
		}
	}
	return nil
}

// Reset resets every function. Firmware's work must then be done again: see
// Assign.
func (h *Host) Reset() {
	h.addrMu.Lock()
	h.address = 0
	h.addrMu.Unlock()
	h.root.reset()
}

// attach puts f into the tree.
func (h *Host) attach(b *Bus, addr *Addr, f *Function, multifunction bool) (Addr, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if f.host != nil {
		return Addr{}, fmt.Errorf("PCI: %s is attached already", f.name())
	}
	a, err := b.place(addr, f, multifunction)
	if err != nil {
		return Addr{}, err
	}
	b.funcs[a.Slot][a.Func] = f
	if f.bridge != nil {
		f.bridge.secondary.host = h
	}
	pin := f.load8(regInterruptPin)
	var line *sharedLine
	if pin != 0 {
		line = h.line(b.route(a.Slot, pin-1))
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.host, f.bus, f.addr, f.line = h, b, a, line
	if multifunction {
		f.set8(regHeaderType, f.cfg[regHeaderType]|headerMultifunction)
	}
	f.updateINTx()
	return a, nil
}

// route follows an interrupt pin up to the root bus (Bridge 1.2 §9.1).
func (b *Bus) route(slot, pin uint8) int {
	for b.bridge != nil {
		pin = (pin + slot) % 4
		b, slot = b.bridge.bus, b.bridge.addr.Slot
	}
	return b.host.cfg.PIRQ(slot, pin)
}

// line returns the input gsi, shared by all functions wired to it; mu is held.
func (h *Host) line(gsi int) *sharedLine {
	l := h.lines[gsi]
	if l == nil {
		l = &sharedLine{line: h.cfg.IRQ.Line(gsi)}
		h.lines[gsi] = l
	}
	return l
}

// detach takes f out of the tree and unmaps its BARs.
func (h *Host) detach(b *Bus, f *Function) error {
	if err := h.unlink(b, f); err != nil {
		return err
	}
	h.remap(f)
	return nil
}

func (h *Host) unlink(b *Bus, f *Function) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if f.bus != b {
		return fmt.Errorf("PCI: %s is not on bus %s", f.name(), b.ID)
	}
	if f.bridge != nil {
		if len(f.bridge.secondary.slots()) != 0 {
			return fmt.Errorf("PCI: %s cannot go while devices are behind it", f.name())
		}
		f.bridge.secondary.host = nil
	}
	b.funcs[f.addr.Slot][f.addr.Func] = nil
	f.mu.Lock()
	if f.lineOn {
		f.line.set(false)
	}
	f.host, f.bus, f.line, f.lineOn = nil, nil, nil, false
	f.mu.Unlock()
	return nil
}

// remap brings the mappings of f's BARs in step with its registers. When that
// frees addresses, BARs that waited for them get their turn.
func (h *Host) remap(f *Function) {
	h.mapMu.Lock()
	defer h.mapMu.Unlock()
	freed := false
	for _, b := range f.bars {
		if b != nil {
			freed = b.release() || freed
		}
	}
	h.claim(f.bars[:])
	if freed {
		waiting := h.waiting
		h.waiting = nil
		h.claim(waiting)
	}
}

// release unmaps the BAR unless it is decoded where it should be.
func (b *barState) release() bool {
	space, base := b.target()
	if !b.on || b.space == space && b.base == base {
		return false
	}
	b.space.Unmap(b.base)
	b.on = false
	if b.Mapped != nil {
		b.Mapped(b.base, false)
	}
	return true
}

// claim maps the BARs that are decoded but not mapped. One whose range is
// taken waits: the guest put two on top of each other.
func (h *Host) claim(bars []*barState) {
	for _, b := range bars {
		if b == nil || b.on {
			continue
		}
		space, base := b.target()
		if space == nil {
			continue
		}
		if space.Map(base, b.Size, b.Name, b) != nil {
			h.wait(b)
			continue
		}
		b.space, b.base, b.on = space, base, true
		if b.Mapped != nil {
			b.Mapped(base, true)
		}
	}
}

func (h *Host) wait(b *barState) {
	for _, w := range h.waiting {
		if w == b {
			return
		}
	}
	h.waiting = append(h.waiting, b)
}

// access finds the function for a configuration access and how much of its
// space is visible there; nil when nothing answers.
func (h *Host) access(busNum, devfn uint8) (*Function, int) {
	h.mu.RLock()
	defer h.mu.RUnlock()
	b := h.root.findNumber(busNum)
	if b == nil {
		return nil, 0
	}
	a := AddrOf(devfn)
	f, f0 := b.funcs[a.Slot][a.Func], b.funcs[a.Slot][0]
	if f == nil || f0 == nil || f.hidden() {
		return nil, 0
	}
	if !b.express {
		return f, configSize
	}
	return f, extConfigSize
}

func (f *Function) hidden() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.off
}

// findNumber walks to the bus that the guest numbered n; the host's mu is held.
func (b *Bus) findNumber(n uint8) *Bus {
	for n != b.number() {
		next := (*Bus)(nil)
		for s := range b.funcs {
			for _, f := range b.funcs[s] {
				if f == nil || f.bridge == nil || next != nil {
					continue
				}
				if lo, hi := f.bridge.busRange(); lo != 0 && lo <= n && n <= hi {
					next = f.bridge.secondary
				}
			}
		}
		if next == nil {
			return nil
		}
		b = next
	}
	return b
}

// number returns the bus number, 0 for the root bus.
func (b *Bus) number() uint8 {
	if b.bridge == nil {
		return 0
	}
	lo, _ := b.bridge.busRange()
	return lo
}

// configRead and configWrite make one configuration access.
func (h *Host) configRead(busNum, devfn uint8, off int, data []byte) {
	f, limit := h.access(busNum, devfn)
	if f == nil || off+len(data) > limit {
		for i := range data {
			data[i] = 0xff
		}
		return
	}
	f.ReadConfig(off, data)
}

func (h *Host) configWrite(busNum, devfn uint8, off int, data []byte) {
	if f, limit := h.access(busNum, devfn); f != nil && off+len(data) <= limit {
		f.WriteConfig(off, data)
	}
}

// ecam is the enhanced configuration access mechanism (PCIe 3.0 §7.2.2).
type ecam Host

// Read reads configuration space.
func (e *ecam) Read(off uint64, data []byte) {
	(*Host)(e).configRead(uint8(off>>20), uint8(off>>12), int(off&0xfff), data)
}

// Write writes configuration space.
func (e *ecam) Write(off uint64, data []byte) {
	(*Host)(e).configWrite(uint8(off>>20), uint8(off>>12), int(off&0xfff), data)
}

// mechanism1 is configuration mechanism #1 (PCI 3.0 §3.2.2.3.2), with the
// reset control register in its midst.
type mechanism1 Host

// Read reads CONFIG_ADDRESS (as a whole) or configuration space.
func (m *mechanism1) Read(off uint64, data []byte) {
	switch {
	case off == resetPort-configPort && len(data) == 1 && m.cfg.ResetControl != nil:
		m.cfg.ResetControl.Read(0, data)
	case off == 0 && len(data) == 4:
		binary.LittleEndian.PutUint32(data, m.latched())
	default:
		for i := range data {
			data[i] = 0xff
		}
		if a := m.latched(); off >= 4 && a&configEnable != 0 {
			(*Host)(m).configRead(uint8(a>>16), uint8(a>>8), register(a, off-4, len(data)), data)
		}
	}
}

// register returns where n bytes at an offset into CONFIG_DATA lie. The low bits of
// CONFIG_ADDRESS are to be zero; where they are not they count, as with QEMU, whose tests
// write them.
func register(address uint32, off uint64, n int) int {
	if low := int(address&3 | uint32(off)); low+n <= 4 {
		off = uint64(low)
	}
	return int(address&0xfc) + int(off)
}

// Write writes CONFIG_ADDRESS (as a whole) or configuration space.
func (m *mechanism1) Write(off uint64, data []byte) {
	switch {
	case off == resetPort-configPort && len(data) == 1 && m.cfg.ResetControl != nil:
		m.cfg.ResetControl.Write(0, data)
	case off == 0 && len(data) == 4:
		m.addrMu.Lock()
		m.address = binary.LittleEndian.Uint32(data)
		m.addrMu.Unlock()
	default:
		if a := m.latched(); off >= 4 && a&configEnable != 0 {
			(*Host)(m).configWrite(uint8(a>>16), uint8(a>>8), register(a, off-4, len(data)), data)
		}
	}
}

func (m *mechanism1) latched() uint32 {
	m.addrMu.Lock()
	defer m.addrMu.Unlock()
	return m.address
}
