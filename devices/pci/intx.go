package pci

import (
	"sync"

	"hv/devices/irq"
)

// SetINTx sets the level of the function's interrupt pin. The interrupt status
// bit follows; the line does so unless the guest set INTx disable (PCI 3.0
// §6.2.2, §6.2.3).
func (f *Function) SetINTx(level bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.intx = level
	f.updateINTx()
}

// updateINTx brings the status bit and the line up to date; mu is held.
func (f *Function) updateINTx() {
	f.cfg[regStatus] &^= statusINTx
	if f.intx {
		f.cfg[regStatus] |= statusINTx
	}
	on := f.intx && !f.off && f.get16(regCommand)&cmdINTxDisable == 0
	if f.line != nil && on != f.lineOn {
		f.lineOn = on
		f.line.set(on)
	}
}

// sharedLine is an interrupt input that several functions pull: it is up while
// one of them wants it so.
type sharedLine struct {
	mu    sync.Mutex
	line  irq.Line
	count int
}

func (s *sharedLine) set(on bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if on {
		s.count++
	} else {
		s.count--
	}
	s.line.Set(s.count > 0)
}
