package pci

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"hv/devices/irq"
)

const (
	msixEntrySize  = 16
	msixMaxVectors = 2048
	msixEnable     = 1 << 15
	msixMaskAll    = 1 << 14
	msixEntryMask  = 1
	msixControl    = 2 // offset of message control in the capability
)

// MSIX is the MSI-X capability of a function with its table and pending bits
// (PCI 3.0 §6.8.2).
type MSIX struct {
	f       *Function
	off     int // of the capability
	vectors []irq.Vector
	enabled atomic.Bool
	// switched is told when the guest has enabled or disabled MSI-X.
	switched func()

	mu      sync.Mutex // guards the table and what is applied
	table   []byte
	applied []message
}

// message is what a vector was last told.
type message struct {
	addr   uint64
	data   uint32
	masked bool
}

// AddMSIX gives the function n message-signalled interrupts. Table and pending
// bits are laid over BAR bar, which must exist and be memory, as regions at
// tableOff and pbaOff (multiples of 8); the BAR's handler keeps the rest.
func (f *Function) AddMSIX(ctl irq.Controller, n, bar int, tableOff, pbaOff uint64) (*MSIX, error) {
	m := &MSIX{f: f}
	if err := m.place(n, bar, tableOff, pbaOff); err != nil {
		return nil, fmt.Errorf("MSI-X of %s: %w", f.name(), err)
	}
	body := binary.LittleEndian.AppendUint16(nil, uint16(n-1))
	body = binary.LittleEndian.AppendUint32(body, uint32(tableOff)|uint32(bar))
	body = binary.LittleEndian.AppendUint32(body, uint32(pbaOff)|uint32(bar))
	off, err := f.AddCapability(CapMSIX, body, []byte{0, (msixEnable | msixMaskAll) >> 8, 0, 0, 0, 0, 0, 0, 0, 0})
	if err != nil {
		return nil, err
	}
	for range n {
		v, err := ctl.NewVector()
		if err != nil {
			return nil, errors.Join(fmt.Errorf("MSI-X of %s: %w", f.name(), err), m.close())
		}
		m.vectors = append(m.vectors, v)
	}
	m.off = off
	m.clear()
	f.msix = m
	f.OnConfig(off+msixControl, 2, nil, func(int, []byte) { m.write() })
	return m, nil
}

// place adds the table and the pending bits to the BAR.
func (m *MSIX) place(n, bar int, tableOff, pbaOff uint64) error {
	if n < 1 || n > msixMaxVectors || (tableOff|pbaOff)&7 != 0 {
		return fmt.Errorf("%d vectors at %#x and %#x: want 1 to %d, offsets divisible by 8", n, tableOff, pbaOff, msixMaxVectors)
	}
	if bar < 0 || bar >= numBARs || m.f.bars[bar] == nil || m.f.bars[bar].Kind == BARIO {
		return fmt.Errorf("BAR %d is not a memory BAR", bar)
	}
	b := m.f.bars[bar]
	m.table = make([]byte, n*msixEntrySize)
	m.applied = make([]message, n)
	regions := b.Regions
	for _, r := range []Region{
		{tableOff, uint64(len(m.table)), msixTable{m}},
		{pbaOff, uint64(n+63) / 64 * 8, msixPBA{m}},
	} {
		if err := b.fits(r, regions); err != nil {
			return err
		}
		regions = append(regions[:len(regions):len(regions)], r)
	}
	b.Regions = regions
	return nil
}

// Signal raises interrupt i. It does nothing while the guest has MSI-X
// disabled or when there is no such vector; a masked one is kept pending.
func (m *MSIX) Signal(i int) {
	if m.enabled.Load() && uint(i) < uint(len(m.vectors)) {
		m.vectors[i].Signal()
	}
}

// Enabled reports whether the guest enabled MSI-X.
func (m *MSIX) Enabled() bool { return m.enabled.Load() }

// Vector returns interrupt i, nil when there is no such vector.
func (m *MSIX) Vector(i int) irq.Vector {
	if uint(i) >= uint(len(m.vectors)) {
		return nil
	}
	return m.vectors[i]
}

// FD returns the descriptor that raises interrupt i, or -1.
func (m *MSIX) FD(i int) int {
	if v := m.Vector(i); v != nil {
		return v.FD()
	}
	return -1
}

// Len returns the number of vectors.
func (m *MSIX) Len() int { return len(m.vectors) }

// OnSwitch has fn called after the guest enabled or disabled MSI-X.
func (m *MSIX) OnSwitch(fn func()) { m.switched = fn }

// write follows a write to message control.
func (m *MSIX) write() {
	was := m.enabled.Load()
	m.update()
	if m.switched != nil && m.enabled.Load() != was {
		m.switched()
	}
}

// update applies message control to all vectors.
func (m *MSIX) update() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.enabled.Store(m.control()&msixEnable != 0)
	for i := range m.vectors {
		m.apply(i)
	}
}

func (m *MSIX) control() uint16 { return m.f.load16(m.off + msixControl) }

// apply hands entry i to its vector if it changed; mu is held. A route that
// the host refuses leaves the vector as it was: the guest loses an interrupt,
// and tries again when it next writes the entry.
func (m *MSIX) apply(i int) {
	e := m.table[i*msixEntrySize:][:msixEntrySize]
	next := message{
		addr:   binary.LittleEndian.Uint64(e),
		data:   binary.LittleEndian.Uint32(e[8:]),
		masked: e[12]&msixEntryMask != 0 || m.control()&(msixEnable|msixMaskAll) != msixEnable,
	}
	if next == m.applied[i] || next.masked && m.applied[i].masked {
		return // while masked the message does not matter
	}
	if m.vectors[i].SetMessage(next.addr, next.data, next.masked) == nil {
		m.applied[i] = next
	}
}

// clear puts the table into its reset state, all vectors masked; the vectors
// are not told.
func (m *MSIX) clear() {
	clear(m.table)
	for i := range m.applied {
		m.table[i*msixEntrySize+12] = msixEntryMask
		m.applied[i].masked = true
	}
}

func (m *MSIX) reset() {
	m.mu.Lock()
	clear(m.table)
	for i := range m.vectors {
		m.table[i*msixEntrySize+12] = msixEntryMask
	}
	m.mu.Unlock()
	m.update()
}

func (m *MSIX) close() error {
	m.enabled.Store(false)
	var errs []error
	for _, v := range m.vectors {
		errs = append(errs, v.Close())
	}
	return errors.Join(errs...)
}

// msixTable is the table as the guest sees it: aligned accesses of 4 or 8
// bytes work, others read as zero and change nothing (PCI 3.0 §6.8.2).
type msixTable struct{ m *MSIX }

// Read returns table entries.
func (t msixTable) Read(off uint64, data []byte) {
	clear(data)
	if !aligned(off, len(data)) {
		return
	}
	t.m.mu.Lock()
	defer t.m.mu.Unlock()
	copy(data, t.m.table[off:])
}

// Write changes table entries. Only the mask bit of vector control exists.
func (t msixTable) Write(off uint64, data []byte) {
	if !aligned(off, len(data)) {
		return
	}
	t.m.mu.Lock()
	defer t.m.mu.Unlock()
	copy(t.m.table[off:], data)
	i := int(off) / msixEntrySize
	clear(t.m.table[i*msixEntrySize+13 : (i+1)*msixEntrySize])
	t.m.table[i*msixEntrySize+12] &= msixEntryMask
	t.m.apply(i)
}

func aligned(off uint64, n int) bool { return (n == 4 || n == 8) && off%uint64(n) == 0 }

// msixPBA is the pending bit array; writes to it are ignored.
type msixPBA struct{ m *MSIX }

// Read returns the pending bits of vectors.
func (p msixPBA) Read(off uint64, data []byte) {
	for i := range data {
		data[i] = 0
		for bit := range 8 {
			n := (int(off)+i)*8 + bit
			if n < len(p.m.vectors) && p.m.vectors[n].Pending() {
				data[i] |= 1 << bit
			}
		}
	}
}

// Write does nothing.
func (msixPBA) Write(uint64, []byte) {}
