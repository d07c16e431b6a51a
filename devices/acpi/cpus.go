package acpi

import (
	"encoding/binary"
	"fmt"
	"sync"

	"hv/devices/bus"
)

// Registers of the processors' block, as QEMU lays them out
// (docs/specs/acpi_cpu_hotplug.rst of QEMU 7.2): what is read at an offset is not what is
// written there.
const (
	CPUBlockSize = 12

	cpuSelector = 0 // written; read: command data 2
	cpuFlags    = 4
	cpuCommand  = 5 // written
	cpuData     = 8
)

// Bits of the flags register. Ones written clear events.
const (
	cpuEnabled   = 1 << 0
	cpuInserting = 1 << 1
	cpuRemoving  = 1 << 2
	cpuEject     = 1 << 3 // written
)

// Commands.
const (
	cpuFindEvent = 0 // select a processor with an event
	cpuOSTEvent  = 1
	cpuOSTStatus = 2
	cpuArchID    = 3
)

// CPUHotplugConfig describes a block of processors.
type CPUHotplugConfig struct {
	// APICIDs are those of all processors that there can be; Present says which are
	// there.
	APICIDs []uint32
	Present []bool
	// Event tells the guest to look at the block.
	Event func()
	// Eject is called when the guest lets a processor go. It must not block.
	Eject func(index int)
	// OST is called with what the guest's system says about a processor (ACPI 6.4
	// §6.3.5): what happened, and what came of it. It must not block.
	OST func(index int, event, status uint32)
}

// CPUHotplug is the registers by which processors are added and removed.
type CPUHotplug struct {
	cfg CPUHotplugConfig

	mu       sync.Mutex
	cpus     []cpuSlot
	selected uint32
	command  byte
}

// cpuSlot is a place for a processor.
type cpuSlot struct {
	present, inserting, removing bool
	event, status                uint32
}

// NewCPUHotplug returns the block.
func NewCPUHotplug(cfg CPUHotplugConfig) *CPUHotplug {
	h := &CPUHotplug{cfg: cfg, cpus: make([]cpuSlot, len(cfg.APICIDs))}
	for i := range h.cpus {
		h.cpus[i].present = i < len(cfg.Present) && cfg.Present[i]
	}
	return h
}

// Map maps the block at a port.
func (h *CPUHotplug) Map(ports *bus.Space, base uint64) error {
	return ports.Map(base, CPUBlockSize, "acpi-cpu-hotplug", h)
}

// Reset forgets what the guest has been told: it will find out by itself. The selector
// stays as it is.
func (h *CPUHotplug) Reset() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for i := range h.cpus {
		h.cpus[i].inserting, h.cpus[i].removing = false, false
	}
	h.command = cpuFindEvent
}

// Plug tells the guest that a processor is there now.
func (h *CPUHotplug) Plug(index int) error {
	return h.change(index, func(c *cpuSlot) error {
		if c.present {
			return fmt.Errorf("processor %d is there", index)
		}
		c.present, c.inserting, c.removing = true, true, false
		return nil
	})
}

// RequestUnplug asks the guest to let a processor go.
func (h *CPUHotplug) RequestUnplug(index int) error {
	return h.change(index, func(c *cpuSlot) error {
		if !c.present {
			return fmt.Errorf("processor %d is not there", index)
		}
		c.removing = true
		return nil
	})
}

// Said returns what the guest's system said last about each processor.
func (h *CPUHotplug) Said() (events, statuses []uint32) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, c := range h.cpus {
		events, statuses = append(events, c.event), append(statuses, c.status)
	}
	return events, statuses
}

// change changes a slot and raises the event.
func (h *CPUHotplug) change(index int, f func(*cpuSlot) error) error {
	if index < 0 || index >= len(h.cpus) {
		return fmt.Errorf("processor %d of %d", index, len(h.cpus))
	}
	h.mu.Lock()
	err := f(&h.cpus[index])
	h.mu.Unlock()
	if err == nil {
		h.cfg.Event()
	}
	return err
}

// Read reads a register; a selector that means nothing reads as zeros.
func (h *CPUHotplug) Read(off uint64, data []byte) {
	clear(data)
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.selected >= uint32(len(h.cpus)) {
		return
	}
	switch off {
	case cpuFlags:
		data[0] = h.cpus[h.selected].flags()
	case cpuData:
		var v [4]byte
		switch h.command {
		case cpuFindEvent:
			binary.LittleEndian.PutUint32(v[:], h.selected)
		case cpuArchID:
			binary.LittleEndian.PutUint32(v[:], h.cfg.APICIDs[h.selected])
		}
		copy(data, v[:])
	}
}

func (c *cpuSlot) flags() (f byte) {
	for _, b := range []struct {
		on  bool
		bit byte
	}{{c.present, cpuEnabled}, {c.inserting, cpuInserting}, {c.removing, cpuRemoving}} {
		if b.on {
			f |= b.bit
		}
	}
	return f
}

// Write writes a register.
func (h *CPUHotplug) Write(off uint64, data []byte) {
	var wide [8]byte
	copy(wide[:], data)
	v := binary.LittleEndian.Uint32(wide[:])
	if f := h.write(off, v); f != nil {
		f()
	}
}

// write changes a register and returns what is to be done without the lock, nil for
// nothing.
func (h *CPUHotplug) write(off uint64, v uint32) func() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if off == cpuSelector {
		h.selected = v
		return nil
	}
	if h.selected >= uint32(len(h.cpus)) {
		return nil
	}
	index := int(h.selected)
	c := &h.cpus[index]
	switch off {
	case cpuFlags:
		return h.control(index, byte(v))
	case cpuCommand:
		h.command = byte(v)
		if h.command == cpuFindEvent {
			h.find()
		}
	case cpuData:
		switch h.command {
		case cpuOSTEvent:
			c.event = v
		case cpuOSTStatus:
			event := c.event
			c.status = v
			return func() { h.cfg.OST(index, event, v) }
		}
	}
	return nil
}

// control clears events and ejects.
func (h *CPUHotplug) control(index int, v byte) func() {
	c := &h.cpus[index]
	switch {
	case v&cpuInserting != 0:
		c.inserting = false
	case v&cpuRemoving != 0:
		c.removing = false
	case v&cpuEject != 0 && c.present && index != 0:
		*c = cpuSlot{event: c.event, status: c.status}
		return func() { h.cfg.Eject(index) }
	}
	return nil
}

// find selects the next processor with an event, the selected one included.
func (h *CPUHotplug) find() {
	n := uint32(len(h.cpus))
	for i := range n {
		at := (h.selected + i) % n
		if c := &h.cpus[at]; c.inserting || c.removing {
			h.selected = at
			return
		}
	}
}

// RaiseGPE raises a general purpose event.
func (p *PM) RaiseGPE(n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.gpeStatus[n/8] |= 1 << (n % 8)
	p.update()
}
