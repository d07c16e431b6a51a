// Package irq declares how devices raise interrupts and have the guest's
// doorbells rung, without saying who delivers them: hypervisor/irqchip does it
// with irqfd and ioeventfd, tests and qtest do it in software.
//
// It depends on nothing of ours.
package irq

// Line is a level-triggered or edge-triggered interrupt input, such as a pin
// of the I/O APIC. Set is safe for concurrent use; setting the level that the
// line already has does nothing.
type Line interface {
	Set(level bool)
}

// Vector is one message-signalled interrupt of a device (PCI 3.0 §6.8). It is
// created masked, with no message.
type Vector interface {
	// SetMessage routes the vector to an address and data pair, or, masked,
	// holds interrupts back; one that arrives while masked is kept pending and
	// delivered when the mask goes.
	SetMessage(addr uint64, data uint32, masked bool) error
	// Signal raises the interrupt. It may be called from any goroutine, never
	// blocks and allocates nothing.
	Signal()
	// Pending reports whether an interrupt waits behind the mask.
	Pending() bool
	// FD is the event descriptor that raises the interrupt when written to,
	// for vhost; -1 when there is none.
	FD() int
	// Close releases the route. Signal does nothing afterwards.
	Close() error
}

// Controller hands out the machine's interrupts.
type Controller interface {
	// Line returns the input with a global system interrupt number.
	Line(gsi int) Line
	// NewVector allocates a message-signalled interrupt.
	NewVector() (Vector, error)
}

// Doorbells registers event descriptors that the guest rings by writing to an
// address, without a return to user space (KVM_IOEVENTFD, no datamatch). A nil
// Doorbells is legal everywhere: the write then arrives at the handler mapped
// in the bus.Space, which rings the bell itself.
type Doorbells interface {
	AddDoorbell(addr uint64, size int, fd int) error
	RemoveDoorbell(addr uint64, size int, fd int) error
}
