package platform

import (
	"sync"

	"hv/devices/bus"
)

// ResetControl is the reset control register at port 0xCF9 (ICH9 §13.7.5).
type ResetControl struct {
	reset func()

	mu  sync.Mutex
	reg byte
}

const (
	// ResetControlPort is where ResetControl is. It lies within PCI
	// configuration mechanism #1, whose owner passes accesses on.
	ResetControlPort = 0xcf9

	rstCPU  = 1 << 2 // the guest resets the machine by setting it
	rstKept = 0x0a   // FULL_RST, SYS_RST
)

// NewResetControl returns the register; reset is called for each reset that
// the guest asks for.
func NewResetControl(reset func()) *ResetControl { return &ResetControl{reset: reset} }

// Map maps the register by itself, for machines without PCI.
func (r *ResetControl) Map(ports *bus.Space) error {
	return ports.Map(ResetControlPort, 1, "reset-control", r)
}

// Reset clears the register.
func (r *ResetControl) Reset() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.reg = 0
}

// Read returns the kind of reset that was chosen.
func (r *ResetControl) Read(_ uint64, data []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	clear(data)
	data[0] = r.reg
}

// Write resets the machine or chooses the kind of reset.
func (r *ResetControl) Write(_ uint64, data []byte) {
	if data[0]&rstCPU != 0 {
		r.reset()
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.reg = data[0] & rstKept
}

// Port92 is system control port A: fast A20 (always enabled, only remembered)
// and fast reset.
type Port92 struct {
	reset func()

	mu  sync.Mutex
	reg byte
}

// NewPort92 returns the port; reset is called when the guest sets bit 0.
func NewPort92(reset func()) *Port92 { return &Port92{reset: reset} }

// Map maps port 0x92.
func (p *Port92) Map(ports *bus.Space) error { return ports.Map(0x92, 1, "port92", p) }

// Reset clears the port's register.
func (p *Port92) Reset() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.reg = 0
}

// Read returns what was written.
func (p *Port92) Read(_ uint64, data []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	clear(data)
	data[0] = p.reg
}

// Write resets the machine when bit 0 goes from 0 to 1.
func (p *Port92) Write(_ uint64, data []byte) {
	p.mu.Lock()
	rose := data[0]&^p.reg&1 != 0
	p.reg = data[0]
	p.mu.Unlock()
	if rose {
		p.reset()
	}
}
