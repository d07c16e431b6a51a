package acpi

import (
	"encoding/binary"
	"sync"

	"hv/devices/bus"
	"hv/devices/irq"
)

// Registers of the event device, as QEMU lays them out.
const (
	// GEDSelector reads what happened, and clears it.
	GEDSelector = 0
	// GEDSleep, GEDSleepStatus and GEDReset are the sleep control, sleep status and reset
	// registers that the FADT names.
	GEDSleep       = 0x10
	GEDSleepStatus = 0x11
	GEDReset       = 0x12
	// GEDSize is the size of the block, in bytes.
	GEDSize = 0x1000

	// GEDPowerButton is the power button's bit in the selector.
	GEDPowerButton = 1 << 1
	// GEDResetValue resets when written to the reset register.
	GEDResetValue = 0x42

	// GEDS5 is the SLP_TYP of the soft-off state in the \_S5 package.
	GEDS5      = 5
	gedSlpEn   = 1 << 5
	gedSlpTypN = 2
)

// GEDConfig describes the event device.
type GEDConfig struct {
	IRQ      irq.Line
	PowerOff func()
	Reset    func()
}

// GED is the generic event device of a hardware-reduced machine.
type GED struct {
	cfg GEDConfig

	mu       sync.Mutex
	selector uint32
}

// NewGED returns the device in its reset state.
func NewGED(cfg GEDConfig) *GED { return &GED{cfg: cfg} }

// Map maps the device at an address.
func (g *GED) Map(mmio *bus.Space, base uint64) error { return mmio.Map(base, GEDSize, "acpi-ged", g) }

// Reset forgets what happened.
func (g *GED) Reset() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.selector = 0
	g.cfg.IRQ.Set(false)
}

// PowerButton presses the button. The interrupt is level-triggered until the guest
// reads the selector.
func (g *GED) PowerButton() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.selector |= GEDPowerButton
	g.cfg.IRQ.Set(true)
}

// Read reads the selector; other registers read as zero.
func (g *GED) Read(off uint64, data []byte) {
	clear(data)
	if off != GEDSelector || len(data) != 4 {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	binary.LittleEndian.PutUint32(data, g.selector)
	g.selector = 0
	g.cfg.IRQ.Set(false)
}

// Write writes the sleep and reset registers.
func (g *GED) Write(off uint64, data []byte) {
	switch {
	case off == GEDSleep && data[0]&gedSlpEn != 0 && data[0]>>gedSlpTypN&7 == GEDS5:
		g.cfg.PowerOff()
	case off == GEDReset && data[0] == GEDResetValue:
		g.cfg.Reset()
	}
}
