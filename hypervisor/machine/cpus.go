package machine

import (
	"errors"

	"hv/devices/acpi"
	"hv/hypervisor/machine/tables"
)

// ErrFixedCPUs is returned where processors cannot come and go.
var ErrFixedCPUs = errors.New("the machine's processors are fixed")

// CPUHooks is told what the guest does about processors. They are called on vCPU threads
// and must not block.
type CPUHooks struct {
	Eject func(index int)                       // it lets one go
	OST   func(index int, event, status uint32) // its system says what came of an event
}

// AddCPUs adds the registers by which processors come and go, on boards that have them.
func (b *Board) AddCPUs(cpus []tables.CPU, hooks CPUHooks) error {
	pm, ok := b.power.(*acpi.PM)
	if !ok {
		return nil
	}
	cfg := acpi.CPUHotplugConfig{Event: func() { pm.RaiseGPE(tables.CPUEvent) }, Eject: hooks.Eject, OST: hooks.OST}
	for _, c := range cpus {
		cfg.APICIDs, cfg.Present = append(cfg.APICIDs, c.APICID), append(cfg.Present, c.Present)
	}
	h := acpi.NewCPUHotplug(cfg)
	if err := h.Map(&b.Ports, cpuBlock); err != nil {
		return err
	}
	b.cpus = h
	b.devices = append(b.devices, h)
	return nil
}

// PlugCPU tells the guest that a processor is there now.
func (b *Board) PlugCPU(index int) error {
	if b.cpus == nil {
		return ErrFixedCPUs
	}
	return b.cpus.Plug(index)
}

// RequestUnplugCPU asks the guest to let a processor go.
func (b *Board) RequestUnplugCPU(index int) error {
	if b.cpus == nil {
		return ErrFixedCPUs
	}
	return b.cpus.RequestUnplug(index)
}

// CPUsSaid returns what the guest's system said last about each processor, by the numbers
// of ACPI's _OST.
func (b *Board) CPUsSaid() (events, statuses []uint32) {
	if b.cpus == nil {
		return nil, nil
	}
	return b.cpus.Said()
}
