package virtioserial

import (
	"encoding/binary"

	"hv/devices/virtio/queue"
)

// Control events (§5.3.6.2).
const (
	eventDeviceReady = 0
	eventPortAdd     = 1
	eventPortRemove  = 2
	eventPortReady   = 3
	eventConsole     = 4
	eventOpen        = 6
	eventName        = 7

	controlSize = 8
)

// control is a message of the control queues; name follows eventName.
type control struct {
	port  uint32
	event uint16
	value uint16
	name  string
}

func parseControl(b []byte) control {
	le := binary.LittleEndian
	return control{port: le.Uint32(b), event: le.Uint16(b[4:]), value: le.Uint16(b[6:])}
}

func (c control) encode() []byte {
	b := binary.LittleEndian.AppendUint32(nil, c.port)
	b = binary.LittleEndian.AppendUint16(b, c.event)
	b = binary.LittleEndian.AppendUint16(b, c.value)
	return append(b, c.name...)
}

// takeControl handles a message from the driver.
func (d *Device) takeControl(c *queue.Chain) error {
	var b [controlSize]byte
	if c.CopyOut(b[:], 0) < controlSize {
		return errControl
	}
	d.handle(parseControl(b[:]))
	d.sendControl()
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.outbox) > maxOutbox {
		return errFlood
	}
	return nil
}

func (d *Device) handle(m control) {
	if m.event == eventDeviceReady {
		d.announce(m.value == 1)
		return
	}
	p := d.port(m.port)
	if p == nil {
		return
	}
	switch m.event {
	case eventPortReady:
		if m.value == 1 {
			d.introduce(p)
		}
	case eventOpen:
		p.guestOpened(m.value == 1)
	}
}

// announce tells the driver of all ports.
func (d *Device) announce(ready bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.ready = ready
	if !ready {
		return
	}
	for nr := range d.cfg.MaxPorts {
		if d.ports[nr] != nil {
			d.outbox = append(d.outbox, control{port: nr, event: eventPortAdd, value: 1})
		}
	}
}

// introduce tells the driver what a port is.
func (d *Device) introduce(p *Port) {
	p.mu.Lock()
	connected := p.connected
	p.mu.Unlock()
	d.mu.Lock()
	defer d.mu.Unlock()
	if p.cfg.Console {
		d.outbox = append(d.outbox, control{port: p.cfg.Nr, event: eventConsole, value: 1})
	}
	if p.cfg.Name != "" {
		d.outbox = append(d.outbox, control{port: p.cfg.Nr, event: eventName, value: 1, name: p.cfg.Name})
	}
	if connected || p.cfg.Console {
		d.outbox = append(d.outbox, control{port: p.cfg.Nr, event: eventOpen, value: 1})
	}
}

// sendControl sends what the guest has buffers for.
func (d *Device) sendControl() {
	if queueCtlIn >= len(d.queues) || d.queues[queueCtlIn] == nil {
		return
	}
	q := d.queues[queueCtlIn]
	for d.waiting() {
		ok, err := q.Pop(&d.answer)
		if err != nil {
			d.tell.NeedsReset(err)
			return
		}
		if !ok {
			if !q.EnableKicks() {
				break
			}
			continue
		}
		d.mu.Lock()
		m := d.outbox[0]
		d.outbox = d.outbox[1:]
		d.mu.Unlock()
		q.Push(&d.answer, uint32(d.answer.CopyIn(m.encode(), 0)))
	}
	q.Show()
}

func (d *Device) waiting() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.outbox) > 0
}
