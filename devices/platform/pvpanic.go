package platform

import "hv/devices/bus"

// PanicEvent is what a guest tells by pvpanic.
type PanicEvent uint8

// Events of pvpanic; as bits they are also what the device announces.
const (
	Panicked    PanicEvent = 1 << 0 // the guest's kernel panicked
	CrashLoaded PanicEvent = 1 << 1 // it panicked and boots its crash kernel
)

// PVPanicPort is the port where guests look for pvpanic.
const PVPanicPort = 0x505

// PVPanicConfig describes the device.
type PVPanicConfig struct {
	// Events are the bits announced to the guest; 0 means both.
	Events PanicEvent
	// Event is told of Panicked or CrashLoaded, the former when both are set.
	Event func(PanicEvent)
}

// PVPanic tells the host that the guest's kernel crashed.
type PVPanic struct{ cfg PVPanicConfig }

// NewPVPanic returns the device. It has no state to reset.
func NewPVPanic(cfg PVPanicConfig) *PVPanic {
	if cfg.Events == 0 {
		cfg.Events = Panicked | CrashLoaded
	}
	return &PVPanic{cfg}
}

// Map maps the device at a port.
func (p *PVPanic) Map(ports *bus.Space, port uint64) error {
	return ports.Map(port, 1, "pvpanic", p)
}

// Read returns the events that the device understands.
func (p *PVPanic) Read(_ uint64, data []byte) {
	clear(data)
	data[0] = byte(p.cfg.Events)
}

// Write reports an event. Bits without a meaning are ignored.
func (p *PVPanic) Write(_ uint64, data []byte) {
	for _, e := range []PanicEvent{Panicked, CrashLoaded} {
		if PanicEvent(data[0])&e != 0 {
			p.cfg.Event(e)
			return
		}
	}
}
