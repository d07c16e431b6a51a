package pci

import (
	"encoding/binary"
	"fmt"
)

// Slot registers (PCIe 3.0 §7.8.9 to §7.8.11). Event bits have the same place
// in slot status as their enables in slot control.
const (
	sltCapABP      = 1 << 0 // attention button
	sltCapPCP      = 1 << 1 // power controller
	sltCapAIP      = 1 << 3
	sltCapPIP      = 1 << 4
	sltCapHPS      = 1 << 5
	sltCapHPC      = 1 << 6
	sltCapEIP      = 1 << 17
	sltCapPSNShift = 19

	sltCtlHPIE    = 1 << 5
	sltCtlAIC     = 3 << 6
	sltCtlAICOff  = 3 << 6
	sltCtlPIC     = 3 << 8
	sltCtlPICOn   = 1 << 8
	sltCtlPICBlnk = 2 << 8
	sltCtlPICOff  = 3 << 8
	sltCtlPCC     = 1 << 10
	sltCtlEIC     = 1 << 11

	sltStaABP  = 1 << 0
	sltStaPDC  = 1 << 3
	sltStaCC   = 1 << 4
	sltStaPDS  = 1 << 6
	sltStaEIS  = 1 << 7
	sltEvents  = sltStaABP | sltStaPDC | sltStaCC
	sltEnables = sltEvents | sltCtlHPIE
	sltAllW1C  = 0x1f
)

// addSlot turns the port into one with a slot.
func (p *RootPort) addSlot(off int) {
	p.set16(off+expFlags, p.get16(off+expFlags)|expFlagsSlot)
	sltcap := uint32(p.cfg.Slot)<<sltCapPSNShift | sltCapABP | sltCapPCP | sltCapAIP | sltCapPIP | sltCapEIP
	if p.cfg.Hotplug {
		sltcap |= sltCapHPS | sltCapHPC
	}
	p.set32(off+expSltCap, sltcap)
	p.set16(off+expSltCtl, sltCtlPICOff|sltCtlAICOff)
	p.allow16(off+expSltCtl, sltEnables|sltCtlAIC|sltCtlPIC|sltCtlPCC)
	binary.LittleEndian.PutUint16(p.w1c[off+expSltSta:], sltEvents)
	p.OnConfig(off+expSltCtl, 4, nil, p.slotWritten)
	p.OnReset(p.slotReset)
}

func (p *RootPort) slotCtl() uint16 { return p.load16(p.express + expSltCtl) }
func (p *RootPort) slotSta() uint16 { return p.load16(p.express + expSltSta) }

// setSta replaces bits of slot status; mu is held.
func (p *RootPort) setSta(mask, v uint16) { p.sta = p.change16(p.express+expSltSta, mask, v) }

// occupied reports whether function 0 of the slot exists.
func (p *RootPort) occupied() bool {
	for _, s := range p.secondary.Functions() {
		if s.Addr == (Addr{}) {
			return true
		}
	}
	return false
}

// present makes presence and link state say whether the slot is occupied; mu
// is held.
func (p *RootPort) present(here bool) {
	var pds, link uint16
	if here {
		pds, link = sltStaPDS, lnkStaDLLLA
	}
	p.setSta(sltStaPDS, pds)
	p.change16(p.express+expLnkSta, lnkStaDLLLA, link)
}

// slotReset puts the slot into the state that it has after a reset, and when
// its content changed other than by hot-plug: power on exactly when it is
// occupied, no events, no lock.
func (p *RootPort) slotReset() {
	here := p.occupied()
	ctl := uint16(sltCtlPICOff | sltCtlPCC)
	if here {
		ctl = sltCtlPICOn
	}
	p.mu.Lock()
	p.ctl = p.change16(p.express+expSltCtl, sltCtlPIC|sltCtlPCC, ctl)
	p.setSta(sltEvents|sltStaEIS, 0)
	p.present(here)
	p.power()
	p.notify()
	p.mu.Unlock()
}

// power gives the slot's functions power, or takes it, as the power controller
// says; mu is held. Functions without power are invisible.
func (p *RootPort) power() {
	off := p.slotCtl()&sltCtlPCC != 0
	for _, s := range p.secondary.Functions() {
		f := s.Function
		f.mu.Lock()
		f.off = off
		f.updateINTx()
		host := f.host
		f.mu.Unlock()
		if host != nil {
			host.remap(f)
		}
	}
}

// slotWritten acts on a guest's write to slot control and status.
func (p *RootPort) slotWritten(off int, data []byte) {
	var raw [4]byte
	copy(raw[off:], data)
	p.mu.Lock()
	if off+len(data) > 2 {
		p.statusWritten(binary.LittleEndian.Uint16(raw[2:]))
	}
	var gone []*Function
	if off < 2 {
		gone = p.controlWritten(off, raw[:2])
	}
	p.mu.Unlock()
	p.release(gone)
}

// statusWritten undoes a write that would clear events the guest had not seen:
// guests that clear all of them at start would lose some.
func (p *RootPort) statusWritten(raw uint16) {
	if raw&^p.sta&sltAllW1C != 0 {
		p.setSta(sltEvents, p.sta)
	}
	p.sta = p.slotSta()
	p.notify()
}

// controlWritten carries out a command: lock, power, unplug. It returns the
// functions that left because the guest took power and indicator away.
func (p *RootPort) controlWritten(off int, raw []byte) []*Function {
	if off <= 1 && raw[1]&(sltCtlEIC>>8) != 0 {
		p.setSta(sltStaEIS, ^p.sta)
	}
	old, ctl := p.ctl, p.slotCtl()
	p.ctl = ctl
	const offBits = sltCtlPIC | sltCtlPCC
	var gone []*Function
	if p.sta&sltStaPDS != 0 && ctl&offBits == sltCtlPICOff|sltCtlPCC && old&offBits != ctl&offBits {
		gone = p.eject()
	}
	p.power()
	p.setSta(sltStaCC, sltStaCC)
	p.notify()
	return gone
}

// eject empties the slot; mu is held. It goes past Bus.Detach, which calls
// slotReset, which would wait for mu.
func (p *RootPort) eject() []*Function {
	var gone []*Function
	host := p.secondary.host
	for _, s := range p.secondary.Functions() {
		if host.detach(p.secondary, s.Function) == nil {
			gone = append(gone, s.Function)
		}
	}
	p.present(false)
	p.setSta(sltStaPDC, sltStaPDC)
	return gone
}

func (p *RootPort) release(gone []*Function) {
	if len(gone) != 0 && p.cfg.Unplugged != nil {
		p.cfg.Unplugged(gone)
	}
}

// notify raises the port's interrupt when an enabled event appeared, and
// lowers the pin when none is left (PCIe 3.0 §6.7.3.4); mu is held.
func (p *RootPort) notify() {
	ctl := p.slotCtl()
	now := ctl&sltCtlHPIE != 0 && p.sta&ctl&sltEvents != 0
	if now == p.notified {
		return
	}
	p.notified = now
	if p.msix == nil || !p.msix.Enabled() {
		p.SetINTx(now)
	} else if now {
		p.msix.Signal(0)
	}
}

// Plug attaches f to the slot of a running machine at function 0, or where
// addr says, and tells the guest once function 0 is there: functions other
// than 0 are plugged first.
func (p *RootPort) Plug(addr *Addr, f *Function, multifunction bool) (Addr, error) {
	if !p.cfg.Hotplug {
		return Addr{}, fmt.Errorf("hot-plug failed: unsupported by the port device '%s'", p.cfg.ID)
	}
	if p.slotSta()&sltStaEIS != 0 {
		return Addr{}, fmt.Errorf("hot-plug into '%s' failed: slot is electromechanically locked", p.cfg.ID)
	}
	if p.occupied() {
		return Addr{}, fmt.Errorf("PCI: slot 0 function 0 already occupied, new func %s cannot be exposed to guest", f.name())
	}
	host := p.secondary.host
	if host == nil {
		return Addr{}, fmt.Errorf("hot-plug failed: the port device '%s' is not connected", p.cfg.ID)
	}
	a, err := host.attach(p.secondary, addr, f, multifunction)
	if err != nil {
		return a, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.power()
	if a.Func == 0 {
		p.present(true)
		p.setSta(sltStaPDC|sltStaABP, sltStaPDC|sltStaABP)
		p.notify()
	}
	return a, nil
}

// RequestUnplug asks the guest to release what is in the slot; Unplugged is
// called when it did. A slot that has no power, or no function 0, is emptied
// at once.
func (p *RootPort) RequestUnplug() error {
	if !p.cfg.Hotplug {
		return fmt.Errorf("hot-unplug failed: unsupported by the port device '%s'", p.cfg.ID)
	}
	visible := p.occupied()
	gone, err := p.requestUnplug(visible)
	p.release(gone)
	return err
}

func (p *RootPort) requestUnplug(visible bool) ([]*Function, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	ctl := p.slotCtl()
	switch {
	case p.sta&sltStaEIS != 0:
		return nil, fmt.Errorf("hot-unplug from '%s' failed: slot is electromechanically locked", p.cfg.ID)
	case ctl&sltCtlPIC == sltCtlPICBlnk:
		return nil, fmt.Errorf("hot-unplug from '%s' failed: guest is busy (power indicator blinking)", p.cfg.ID)
	case !visible:
		return p.eject(), nil
	case ctl&(sltCtlPIC|sltCtlPCC) == sltCtlPICOff|sltCtlPCC:
		gone := p.eject()
		p.notify()
		return gone, nil
	}
	p.setSta(sltStaABP, sltStaABP)
	p.notify()
	return nil, nil
}
