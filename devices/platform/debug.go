package platform

import (
	"fmt"

	"hv/devices/bus"
)

// DebugExitConfig describes isa-debug-exit.
type DebugExitConfig struct {
	// Base and Size are the ports: iobase (0 means 0x501) and iosize (0 means
	// 2, up to 4).
	Base, Size uint64
	// Exit is given the exit status: the value written, doubled, plus one.
	Exit func(status int)
}

// DebugExit lets a guest end the process that runs it.
type DebugExit struct{ cfg DebugExitConfig }

// NewDebugExit returns the device. It has no state to reset.
func NewDebugExit(cfg DebugExitConfig) (*DebugExit, error) {
	if cfg.Base == 0 {
		cfg.Base = 0x501
	}
	if cfg.Size == 0 {
		cfg.Size = 2
	}
	if cfg.Size > 4 || cfg.Base+cfg.Size > 0x10000 {
		return nil, fmt.Errorf("isa-debug-exit at %#x: iosize %d is not 1 to 4 ports", cfg.Base, cfg.Size)
	}
	return &DebugExit{cfg}, nil
}

// Map maps the device's ports.
func (d *DebugExit) Map(ports *bus.Space) error {
	return ports.Map(d.cfg.Base, d.cfg.Size, "isa-debug-exit", d)
}

// Read returns zero.
func (d *DebugExit) Read(_ uint64, data []byte) { clear(data) }

// Write ends the run with the value written.
func (d *DebugExit) Write(_ uint64, data []byte) {
	var v uint32
	for i, b := range data[:min(len(data), 4)] {
		v |= uint32(b) << (8 * i)
	}
	d.cfg.Exit(int(v<<1 | 1))
}

// DebugConsole is isa-debugcon: a port that prints what is written to it.
type DebugConsole struct {
	out  Output
	mark byte
}

// NewDebugConsole returns the device. Reading it gives mark, by which guests
// recognise it: 0xe9 unless the user says otherwise.
func NewDebugConsole(out Output, mark byte) *DebugConsole { return &DebugConsole{out, mark} }

// Map maps the device at a port.
func (d *DebugConsole) Map(ports *bus.Space, port uint64) error {
	return ports.Map(port, 1, "isa-debugcon", d)
}

// Read returns the mark.
func (d *DebugConsole) Read(_ uint64, data []byte) {
	for i := range data {
		data[i] = d.mark
	}
}

// Write prints.
func (d *DebugConsole) Write(_ uint64, data []byte) { _, _ = d.out.Write(data) }

// PostCodes swallows the codes that firmware and boot loaders write to ports
// 0x80 and 0xed, the latter also to wait a moment. They read as ones.
type PostCodes struct{}

// Map maps both ports.
func (p PostCodes) Map(ports *bus.Space) error {
	return mapAll(ports, portRange{0x80, 1, "post-codes", p}, portRange{0xed, 1, "io-delay", p})
}

// Read returns ones.
func (PostCodes) Read(_ uint64, data []byte) {
	for i := range data {
		data[i] = 0xff
	}
}

// Write does nothing.
func (PostCodes) Write(uint64, []byte) {}
