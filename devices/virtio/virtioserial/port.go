package virtioserial

import (
	"fmt"
	"sync"

	"hv/devices/virtio/queue"
)

// Output takes what the guest writes to a port. Write does not wait; what is not taken is
// lost.
type Output interface {
	Write(p []byte) (int, error)
}

// PortConfig describes a port.
type PortConfig struct {
	// Nr is the port's number; Auto has the device choose.
	Nr      uint32
	Auto    bool
	Name    string
	Console bool
	Out     Output
	// OnOpen is told when the guest opens or closes the port; it may be nil.
	OnOpen func(open bool)
	// Space is called when there is room for input again; it may be nil.
	Space func()
}

// inputRoom bounds what waits for the guest at a port, in bytes.
const inputRoom = 16 << 10

// Port is one port of a device.
type Port struct {
	dev *Device
	cfg PortConfig

	mu        sync.Mutex
	input     []byte
	full      bool // CanReceive returned 0
	connected bool // somebody is there on the host
	open      bool // the guest has it open
}

// AddPort adds a port. Number 0 is for a console.
func (d *Device) AddPort(cfg PortConfig) (*Port, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if cfg.Auto {
		cfg.Nr = d.freePort(cfg.Console)
	}
	switch {
	case cfg.Nr >= d.cfg.MaxPorts:
		return nil, fmt.Errorf("port number %d: the device has ports 0 to %d", cfg.Nr, d.cfg.MaxPorts-1)
	case cfg.Nr == 0 && !cfg.Console:
		return nil, fmt.Errorf("port number 0 on virtio-serial devices is reserved for virtconsole devices")
	case d.ports[cfg.Nr] != nil:
		return nil, fmt.Errorf("port number %d is taken", cfg.Nr)
	}
	p := &Port{dev: d, cfg: cfg}
	d.ports[cfg.Nr] = p
	if d.ready {
		d.outbox = append(d.outbox, control{port: cfg.Nr, event: eventPortAdd, value: 1})
		d.WakeWorkers()
	}
	return p, nil
}

// Remove takes the port away from the guest.
func (p *Port) Remove() {
	p.guestOpened(false)
	d := p.dev
	d.mu.Lock()
	delete(d.ports, p.cfg.Nr)
	if d.ready {
		d.outbox = append(d.outbox, control{port: p.cfg.Nr, event: eventPortRemove, value: 1})
	}
	d.mu.Unlock()
	d.WakeWorkers()
}

// freePort returns the first number that is not taken.
func (d *Device) freePort(console bool) uint32 {
	nr := uint32(1)
	if console {
		nr = 0
	}
	for d.ports[nr] != nil {
		nr++
	}
	return nr
}

// CanReceive returns how many bytes Receive takes.
func (p *Port) CanReceive() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	room := inputRoom - len(p.input)
	p.full = room == 0
	return room
}

// Receive takes input for the guest. What the guest does not listen for is
// dropped, as on a line that nobody is at.
func (p *Port) Receive(b []byte) {
	p.mu.Lock()
	if p.open || p.cfg.Console {
		p.input = append(p.input, b[:min(len(b), inputRoom-len(p.input))]...)
	}
	p.mu.Unlock()
	p.dev.WakeWorkers()
}

// SetConnected tells the guest whether somebody is at the host's end.
func (p *Port) SetConnected(on bool) {
	p.mu.Lock()
	changed := p.connected != on
	p.connected = on
	p.mu.Unlock()
	if !changed {
		return
	}
	v := uint16(0)
	if on {
		v = 1
	}
	p.dev.mu.Lock()
	if p.dev.ready {
		p.dev.outbox = append(p.dev.outbox, control{port: p.cfg.Nr, event: eventOpen, value: v})
	}
	p.dev.mu.Unlock()
	p.dev.WakeWorkers()
}

func (p *Port) guestOpened(open bool) {
	p.mu.Lock()
	changed := p.open != open
	p.open = open
	if !open && !p.cfg.Console {
		p.input = p.input[:0]
	}
	p.mu.Unlock()
	if changed && p.cfg.OnOpen != nil {
		p.cfg.OnOpen(open)
	}
}

func (p *Port) pending() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.input) > 0
}

// fill moves input to the guest's buffers.
func (p *Port) fill(c *queue.Chain) uint32 {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := c.CopyIn(p.input, 0)
	p.input = p.input[:copy(p.input, p.input[n:])]
	return uint32(n)
}

// tellSpace calls Space if that was waited for.
func (p *Port) tellSpace() {
	p.mu.Lock()
	tell := p.full && len(p.input) < inputRoom
	if tell {
		p.full = false
	}
	p.mu.Unlock()
	if tell && p.cfg.Space != nil {
		p.cfg.Space()
	}
}
