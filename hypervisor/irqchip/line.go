package irqchip

import (
	"sync"

	"hv/hypervisor/kvm"
)

// line is an input of the PICs and the I/O APIC.
type line struct {
	vm  *kvm.VM
	gsi uint32

	mu    sync.Mutex // orders the changes of level
	level bool
}

// Set drives the line. The kernel refuses only interrupts that do not exist.
func (l *line) Set(level bool) {
	l.mu.Lock()
	if l.level != level {
		l.level = level
		_ = l.vm.IRQLine(l.gsi, level)
	}
	l.mu.Unlock()
}

// unconnected is an input that leads nowhere.
type unconnected struct{}

func (unconnected) Set(bool) {}
