package kvm

import (
	"fmt"

	gokvm "github.com/bobuhiro11/gokvm/kvm"
)

// CreateIRQChip makes the in-kernel PICs, I/O APIC and a LAPIC for each vCPU. It
// comes before the first vCPU.
func (vm *VM) CreateIRQChip() error {
	if err := gokvm.CreateIRQChip(uintptr(vm.fd)); err != nil {
		return fmt.Errorf("create the in-kernel interrupt controllers: %w", err)
	}
	return nil
}

// CreatePIT makes the in-kernel timer, with port 0x61 (KVM_PIT_SPEAKER_DUMMY).
func (vm *VM) CreatePIT() error {
	if err := set(vm.fd, nrCreatePIT2, &pitConfig{flags: pitSpeakerDummy}); err != nil {
		return fmt.Errorf("create the in-kernel timer: %w", err)
	}
	return nil
}

// IRQChip returns the state of an in-kernel interrupt controller, one of Chip*.
func (vm *VM) IRQChip(chip uint32) (*IRQChip, error) {
	c := &IRQChip{ChipID: chip}
	if err := update(vm.fd, nrGetIRQChip, c); err != nil {
		return nil, fmt.Errorf("get interrupt controller %d: %w", chip, err)
	}
	return c, nil
}

// SetIRQChip sets the state of the in-kernel interrupt controller c.ChipID.
func (vm *VM) SetIRQChip(c *IRQChip) error {
	if err := setIRQChip(vm.fd, c); err != nil {
		return fmt.Errorf("set interrupt controller %d: %w", c.ChipID, err)
	}
	return nil
}

// PIT returns the state of the in-kernel timer.
func (vm *VM) PIT() (*PITState2, error) {
	p, err := get[PITState2](vm.fd, nrGetPIT2)
	if err != nil {
		return nil, fmt.Errorf("get the in-kernel timer: %w", err)
	}
	return p, nil
}

// SetPIT sets the state of the in-kernel timer.
func (vm *VM) SetPIT(p *PITState2) error {
	if err := set(vm.fd, nrSetPIT2, p); err != nil {
		return fmt.Errorf("set the in-kernel timer: %w", err)
	}
	return nil
}

// IRQLine sets the level of a global system interrupt. It allocates nothing.
func (vm *VM) IRQLine(gsi uint32, level bool) error {
	l := irqLevel{irq: gsi}
	if level {
		l.level = 1
	}
	return setIRQLine(vm.fd, &l)
}

// MaxRoutes returns how many global system interrupts there are, and the most
// entries of the routing table.
func (vm *VM) MaxRoutes() int {
	if n := vm.Check(CapIRQRouting); n >= firstRealRouteNumber {
		return n
	}
	return defaultMaxMSIRoutes
}

// SetRoutes replaces the interrupt routing table (KVM_SET_GSI_ROUTING).
func (vm *VM) SetRoutes(routes []Route) error {
	a := newArray[Route](len(routes))
	copy(a.entries, routes)
	if _, err := a.ioctl(vm.fd, gokvm.IIOW, nrSetGSIRouting); err != nil {
		return fmt.Errorf("set %d interrupt routes: %w", len(routes), err)
	}
	return nil
}

// SignalMSI delivers a message-signalled interrupt and reports whether a vCPU
// took it (KVM_SIGNAL_MSI).
func (vm *VM) SignalMSI(addr uint64, data uint32) (bool, error) {
	n, err := signalMSI(vm.fd, &msi{addressLo: uint32(addr), addressHi: uint32(addr >> 32), data: data})
	if err != nil {
		return false, fmt.Errorf("signal MSI %#x at %#x: %w", data, addr, err)
	}
	return n > 0, nil
}

// AssignIRQFD makes a write to the eventfd fd raise gsi. With a resample
// eventfd, -1 for none, the interrupt is a level: it stays raised until the
// guest acknowledges it, which resample then tells.
func (vm *VM) AssignIRQFD(gsi uint32, fd, resample int) error {
	f := irqfd{fd: uint32(fd), gsi: gsi}
	if resample >= 0 {
		f.flags, f.resamplefd = irqfdResample, uint32(resample)
	}
	if err := set(vm.fd, nrIRQFD, &f); err != nil {
		return fmt.Errorf("assign eventfd %d to interrupt %d: %w", fd, gsi, err)
	}
	return nil
}

// DeassignIRQFD undoes AssignIRQFD: later writes to fd stay in it.
func (vm *VM) DeassignIRQFD(gsi uint32, fd int) error {
	if err := set(vm.fd, nrIRQFD, &irqfd{fd: uint32(fd), gsi: gsi, flags: irqfdDeassign}); err != nil {
		return fmt.Errorf("deassign eventfd %d from interrupt %d: %w", fd, gsi, err)
	}
	return nil
}

// AssignIOEventFD makes a guest's write of size bytes, whatever their value, to
// the MMIO address addr signal the eventfd fd. Size 0 is any size, and the
// cheapest (check CapIOEventFDAnyLen).
func (vm *VM) AssignIOEventFD(addr uint64, size, fd int) error {
	if err := set(vm.fd, nrIOEventFD, &ioeventfd{addr: addr, len: uint32(size), fd: int32(fd)}); err != nil {
		return fmt.Errorf("assign eventfd %d to writes at %#x: %w", fd, addr, err)
	}
	return nil
}

// DeassignIOEventFD undoes AssignIOEventFD with the same arguments.
func (vm *VM) DeassignIOEventFD(addr uint64, size, fd int) error {
	f := ioeventfd{addr: addr, len: uint32(size), fd: int32(fd), flags: ioeventfdDeassign}
	if err := set(vm.fd, nrIOEventFD, &f); err != nil {
		return fmt.Errorf("deassign eventfd %d from writes at %#x: %w", fd, addr, err)
	}
	return nil
}
