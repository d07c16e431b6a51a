package pci

import (
	"fmt"
)

// Bus is one PCI bus: the root bus or what lies behind a bridge.
type Bus struct {
	// ID is the name that devices choose the bus by: pcie.0, or the id of the
	// bridge.
	ID string

	bridge   *Bridge   // nil for the root bus
	port     *RootPort // nil unless the bus is behind one
	host     *Host     // nil while the bridge is attached nowhere
	express  bool
	oneSlot  bool   // a PCI Express link: device 0 only
	attached func() // told after functions came or went, without locks

	funcs [slotsPerBus][funcsPerSlot]*Function // guarded by host.mu
}

// Slot is a function and its place.
type Slot struct {
	Addr
	Function *Function
}

// Express reports whether functions on the bus have extended configuration
// space; on a conventional bus they are limited to 256 bytes.
func (b *Bus) Express() bool { return b.express }

// Root reports whether the bus is the root bus.
func (b *Bus) Root() bool { return b.bridge == nil }

// Port returns the root port that the bus is behind, nil if that is something else.
func (b *Bus) Port() *RootPort { return b.port }

// Functions lists what is attached, in address order.
func (b *Bus) Functions() []Slot {
	if b.host == nil {
		return nil
	}
	b.host.mu.RLock()
	defer b.host.mu.RUnlock()
	return b.slots()
}

// slots lists what is attached; the host's mu is held.
func (b *Bus) slots() []Slot {
	var out []Slot
	for s := range b.funcs {
		for n, f := range b.funcs[s] {
			if f != nil {
				out = append(out, Slot{Addr{uint8(s), uint8(n)}, f})
			}
		}
	}
	return out
}

// Attach puts f on the bus at addr, or at function 0 of the first free slot
// when addr is nil. Only a function 0 that is marked multifunction may have
// others beside it. Attach fails, and changes nothing, when the place is taken
// or the bus is not connected to a host.
func (b *Bus) Attach(addr *Addr, f *Function, multifunction bool) (Addr, error) {
	if b.host == nil {
		return Addr{}, fmt.Errorf("PCI: bus %s of %s is not connected", b.ID, f.name())
	}
	at, err := b.host.attach(b, addr, f, multifunction)
	if err != nil {
		return Addr{}, err
	}
	b.host.remap(f)
	if b.attached != nil {
		b.attached()
	}
	return at, nil
}

// Detach takes f off its bus: it is no longer visible or decoded when Detach
// returns, though accesses under way may still reach its handlers. A bridge
// must be empty.
func (b *Bus) Detach(f *Function) error {
	if b.host == nil {
		return fmt.Errorf("PCI: %s is not on bus %s", f.name(), b.ID)
	}
	if err := b.host.detach(b, f); err != nil {
		return err
	}
	if b.attached != nil {
		b.attached()
	}
	return nil
}

// place chooses and checks the address for f; the host's mu is held.
func (b *Bus) place(addr *Addr, f *Function, multifunction bool) (Addr, error) {
	if addr == nil {
		for s := range b.funcs {
			if b.funcs[s] == [funcsPerSlot]*Function{} && (s == 0 || !b.oneSlot) {
				return Addr{Slot: uint8(s)}, nil
			}
		}
		return Addr{}, fmt.Errorf("PCI: no slot/function available for %s, all in use or reserved", f.driver)
	}
	a := *addr
	switch {
	case a.Slot >= slotsPerBus || a.Func >= funcsPerSlot:
		return a, fmt.Errorf("PCI: slot %d function %d does not exist", a.Slot, a.Func)
	case b.oneSlot && a.Slot != 0:
		return a, fmt.Errorf("PCI: slot %d is not valid for %s, parent device only allows plugging into slot 0", a.Slot, f.driver)
	case b.funcs[a.Slot][a.Func] != nil:
		return a, fmt.Errorf("PCI: slot %d function %d not available for %s, in use by %s",
			a.Slot, a.Func, f.driver, b.funcs[a.Slot][a.Func].name())
	}
	return a, b.multifunctionRule(a, multifunction)
}

// multifunctionRule keeps functions other than 0 away from a function 0 that
// does not announce them.
func (b *Bus) multifunctionRule(a Addr, multifunction bool) error {
	slot := &b.funcs[a.Slot]
	if a.Func != 0 {
		if f0 := slot[0]; f0 != nil && f0.load8(regHeaderType)&headerMultifunction == 0 {
			return fmt.Errorf("PCI: single function device can't be populated in function %x.%x", a.Slot, a.Func)
		}
		return nil
	}
	for n, f := range slot {
		if f != nil && !multifunction {
			return fmt.Errorf("PCI: %x.0 indicates single function, but %x.%x is already populated", a.Slot, a.Slot, n)
		}
	}
	return nil
}
