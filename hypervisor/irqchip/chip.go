package irqchip

import (
	"fmt"

	"hv/devices/irq"
	"hv/hypervisor/kvm"
)

// Chip is a VM's interrupt controllers.
type Chip struct {
	vm        *kvm.VM
	routes    table
	lines     []line
	anyLength bool // doorbells may be of any length

	// State after RESET#, which is what KVM creates.
	initial    []*kvm.IRQChip
	initialPIT *kvm.PITState2
}

var (
	_ irq.Controller = (*Chip)(nil)
	_ irq.Doorbells  = (*Chip)(nil)
)

// firstVector is the first global system interrupt that is not a pin.
const firstVector = kvm.IOAPICPins

// New creates the in-kernel interrupt controllers of vm, before its vCPUs, and
// with pit its timer.
func New(vm *kvm.VM, pit bool) (*Chip, error) {
	if err := vm.CreateIRQChip(); err != nil {
		return nil, err
	}
	c := &Chip{vm: vm, anyLength: vm.Check(kvm.CapIOEventFDAnyLen) > 0}
	if pit {
		if err := vm.CreatePIT(); err != nil {
			return nil, err
		}
	}
	c.lines = make([]line, kvm.IOAPICPins)
	for gsi := range c.lines {
		c.lines[gsi] = line{vm: vm, gsi: uint32(gsi)}
	}
	c.routes.init(vm)
	if err := c.routes.commit(); err != nil {
		return nil, err
	}
	return c, c.remember(pit)
}

func (c *Chip) remember(pit bool) (err error) {
	for _, id := range [...]uint32{kvm.ChipPICMaster, kvm.ChipPICSlave, kvm.ChipIOAPIC} {
		state, err := c.vm.IRQChip(id)
		if err != nil {
			return err
		}
		c.initial = append(c.initial, state)
	}
	if pit {
		c.initialPIT, err = c.vm.PIT()
	}
	return err
}

// Reset puts the interrupt controllers and the timer into their state after
// RESET#. vCPUs are paused; devices are reset afterwards and lower their lines.
func (c *Chip) Reset() error {
	for _, state := range c.initial {
		if err := c.vm.SetIRQChip(state); err != nil {
			return err
		}
	}
	if c.initialPIT != nil {
		return c.vm.SetPIT(c.initialPIT)
	}
	return nil
}

// Line returns the input with a global system interrupt number below
// kvm.IOAPICPins; any other is not connected.
func (c *Chip) Line(gsi int) irq.Line {
	if gsi < 0 || gsi >= len(c.lines) {
		return unconnected{}
	}
	return &c.lines[gsi]
}

// AddDoorbell makes writes of size bytes at the MMIO address addr signal fd,
// where KVM can, writes of any size.
func (c *Chip) AddDoorbell(addr uint64, size int, fd int) error {
	return c.vm.AssignIOEventFD(addr, c.bellSize(size), fd)
}

// RemoveDoorbell undoes AddDoorbell with the same arguments.
func (c *Chip) RemoveDoorbell(addr uint64, size int, fd int) error {
	return c.vm.DeassignIOEventFD(addr, c.bellSize(size), fd)
}

// bellSize is the length to register: without one KVM need not decode the
// instruction on Intel processors (KVM_FAST_MMIO_BUS).
func (c *Chip) bellSize(size int) int {
	if c.anyLength {
		return 0
	}
	return size
}

// NewVector allocates a message-signalled interrupt. It fails when all routes of
// the VM are taken.
func (c *Chip) NewVector() (irq.Vector, error) {
	gsi, err := c.routes.take()
	if err != nil {
		return nil, fmt.Errorf("allocate an interrupt vector: %w", err)
	}
	v, err := newVector(c, gsi)
	if err != nil {
		c.routes.release(gsi)
		return nil, fmt.Errorf("allocate an interrupt vector: %w", err)
	}
	return v, nil
}
