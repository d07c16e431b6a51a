package acpi

import (
	"encoding/binary"
	"sync"
	"time"

	"hv/devices/bus"
	"hv/devices/irq"
)

// Registers of the power management block, as ICH9 lays them out.
const (
	pmStatus  = 0x00 // PM1a_EVT: status and enable
	pmEnable  = 0x02
	pmControl = 0x04 // PM1a_CNT
	pmTimer   = 0x08
	gpe0      = 0x20 // status and enable, 8 bytes each
	pmSize    = 0x30

	gpeBytes = 8

	bitTimer  = 1 << 0
	bitPower  = 1 << 8
	bitRTC    = 1 << 10
	bitWake   = 1 << 15
	bitSCI    = 1 << 0
	bitSlpEn  = 1 << 13
	slpTypPos = 10

	// TimerHz is the frequency of the power management timer.
	TimerHz = 3579545
)

// PMConfig describes the power management registers.
type PMConfig struct {
	SCI      irq.Line
	PowerOff func() // the guest enters S5
	Suspend  func() // the guest enters S3
	// Now is the clock of the timer; nil is the host's.
	Now func() time.Duration
}

// PM is the power management block: power button, sleep control, timer, general
// purpose events. SCI_EN is always set: there is no SMM to take over from.
type PM struct {
	cfg PMConfig

	mu             sync.Mutex
	status, enable uint16
	control        uint16
	gpeStatus      [gpeBytes]byte
	gpeEnable      [gpeBytes]byte
}

// NewPM returns the block in its reset state.
func NewPM(cfg PMConfig) *PM {
	if cfg.Now == nil {
		start := time.Now()
		cfg.Now = func() time.Duration { return time.Since(start) }
	}
	p := &PM{cfg: cfg}
	p.Reset()
	return p
}

// Map maps the block at a port.
func (p *PM) Map(ports *bus.Space, base uint64) error { return ports.Map(base, pmSize, "acpi-pm", p) }

// Reset puts the registers into their state at power-on.
func (p *PM) Reset() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.status, p.enable, p.control = 0, 0, bitSCI
	p.gpeStatus, p.gpeEnable = [gpeBytes]byte{}, [gpeBytes]byte{}
	p.update()
}

// PowerButton presses the button.
func (p *PM) PowerButton() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.status |= bitPower
	p.update()
}

// update sets the interrupt to what the registers ask for.
func (p *PM) update() {
	level := p.status&p.enable&(bitTimer|bitPower|bitRTC) != 0
	for i := range p.gpeStatus {
		level = level || p.gpeStatus[i]&p.gpeEnable[i] != 0
	}
	p.cfg.SCI.Set(level)
}

// timer returns the 24 bits of the power management timer.
func (p *PM) timer() uint32 {
	d := p.cfg.Now()
	ticks := uint64(d/time.Second)*TimerHz + uint64(d%time.Second)*TimerHz/uint64(time.Second)
	return uint32(ticks) & 0xffffff
}

// Read reads registers of any size at any place in the block.
func (p *PM) Read(off uint64, data []byte) {
	p.mu.Lock()
	image := p.image()
	p.mu.Unlock()
	clear(data)
	copy(data, image[min(off, pmSize):])
}

// image returns the block as a guest reads it.
func (p *PM) image() [pmSize]byte {
	var b [pmSize]byte
	le := binary.LittleEndian
	le.PutUint16(b[pmStatus:], p.status)
	le.PutUint16(b[pmEnable:], p.enable)
	le.PutUint16(b[pmControl:], p.control)
	le.PutUint32(b[pmTimer:], p.timer())
	copy(b[gpe0:], p.gpeStatus[:])
	copy(b[gpe0+gpeBytes:], p.gpeEnable[:])
	return b
}

// Write writes registers byte by byte: status bits go where ones are written.
func (p *PM) Write(off uint64, data []byte) {
	p.mu.Lock()
	for i, v := range data {
		p.writeByte(off+uint64(i), v)
	}
	sleep := p.control&bitSlpEn != 0
	typ := p.control >> slpTypPos & 7
	p.control &^= bitSlpEn
	p.update()
	p.mu.Unlock()
	switch {
	case sleep && typ == S5:
		p.cfg.PowerOff()
	case sleep && typ == S3:
		p.cfg.Suspend()
	}
}

// S3 and S5 are the SLP_TYP of suspension and of the soft-off state, in the packages of
// these names.
const (
	S3 = 1
	S5 = 0
)

// Wake notes that the guest was woken, for that to see.
func (p *PM) Wake() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.status |= bitWake
}

func (p *PM) writeByte(off uint64, v byte) {
	set := func(r *uint16, at uint64) {
		shift := 8 * (off - at)
		*r = *r&^(0xff<<shift) | uint16(v)<<shift
	}
	switch {
	case off < pmEnable:
		p.status &^= uint16(v) << (8 * off)
	case off < pmControl:
		set(&p.enable, pmEnable)
	case off < pmControl+2:
		set(&p.control, pmControl)
		p.control |= bitSCI
	case off >= gpe0 && off < gpe0+gpeBytes:
		p.gpeStatus[off-gpe0] &^= v
	case off >= gpe0+gpeBytes && off < gpe0+2*gpeBytes:
		p.gpeEnable[off-gpe0-gpeBytes] = v
	}
}
