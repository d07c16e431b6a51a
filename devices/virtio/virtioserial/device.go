// Package virtioserial is the virtio console device with many ports.
//
// One worker serves all queues. What the host sends to a port waits in the port until the
// guest has buffers, within a bound that the port's CanReceive tells of. Implements
// virtio 1.2 §5.3. It depends on devices/virtio, devices/virtio/queue and
// devices/virtio/pump.
package virtioserial

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync"

	"hv/devices/virtio"
	"hv/devices/virtio/pump"
	"hv/devices/virtio/queue"
)

// Config is the device's properties.
type Config struct {
	MaxPorts uint32 `prop:"max_ports" default:"31" desc:"number of ports that the device can have"`
}

// Features (§5.3.3).
const (
	featureMultiport = 1 << 1
	featureEmergency = 1 << 2

	queueSize   = 128
	maxPorts    = 31
	queueCtlIn  = 2 // to the guest
	queueCtlOut = 3
)

// Device is a console device.
type Device struct {
	cfg Config

	mu     sync.Mutex
	ports  map[uint32]*Port
	ready  bool // the driver has said that it is there
	outbox []control

	pump.Crew

	// The worker's own.
	queues []*virtio.Queue
	tell   virtio.Transport
	chain  queue.Chain
	answer queue.Chain // of the control queue to the guest
}

// New returns a device without ports.
func New(cfg Config) (*Device, error) {
	if cfg.MaxPorts == 0 || cfg.MaxPorts > maxPorts {
		return nil, fmt.Errorf("max_ports must be from 1 to %d, not %d", maxPorts, cfg.MaxPorts)
	}
	return &Device{cfg: cfg, ports: map[uint32]*Port{}}, nil
}

// Type returns the device type.
func (d *Device) Type() virtio.DeviceID { return virtio.IDConsole }

// Features returns what the device offers.
func (d *Device) Features() uint64 { return featureMultiport | featureEmergency }

// QueueSizes returns the size of each queue: two for each port and for control.
func (d *Device) QueueSizes() []uint16 {
	sizes := make([]uint16, 2*(d.cfg.MaxPorts+1))
	for i := range sizes {
		sizes[i] = queueSize
	}
	return sizes
}

// portOf returns the port of a queue that is not for control.
func portOf(q int) uint32 {
	if q < queueCtlIn {
		return 0
	}
	return uint32(q/2 - 1)
}

// ReadConfig reads the number of ports.
func (d *Device) ReadConfig(off uint64, data []byte) {
	var b [12]byte
	binary.LittleEndian.PutUint32(b[4:], d.cfg.MaxPorts)
	clear(data)
	if off < uint64(len(b)) {
		copy(data, b[off:])
	}
}

// WriteConfig takes a character that the guest writes before its driver is there.
func (d *Device) WriteConfig(off uint64, data []byte) {
	if off != 8 || len(data) == 0 {
		return
	}
	d.mu.Lock()
	p := d.ports[0]
	d.mu.Unlock()
	if p != nil {
		_, _ = p.cfg.Out.Write(data[:1])
	}
}

// Activate starts the worker.
func (d *Device) Activate(r virtio.Resources) error {
	d.queues, d.tell = r.Queues, r.Transport
	var sources []pump.Source
	for i, q := range r.Queues {
		if q != nil {
			sources = append(sources, pump.Source{FD: q.Kick, Kick: true, Ready: func(int16) { d.kicked(i) }})
		}
	}
	p, err := pump.New(sources, d.all, r.Transport.NeedsReset)
	if err != nil {
		return err
	}
	d.StartWorkers(p)
	return nil
}

// all looks at every queue.
func (d *Device) all() {
	for i, q := range d.queues {
		if q != nil {
			d.kicked(i)
		}
	}
}

// kicked serves a queue.
func (d *Device) kicked(i int) {
	switch {
	case i == queueCtlIn:
		d.sendControl()
	case i == queueCtlOut:
		d.each(i, d.takeControl)
	case i%2 == 1:
		p := d.port(portOf(i))
		d.each(i, func(c *queue.Chain) error {
			for _, b := range c.Out {
				if p != nil {
					_, _ = p.cfg.Out.Write(b)
				}
			}
			return nil
		})
	default:
		if p := d.port(portOf(i)); p != nil {
			d.deliver(i, p)
		}
	}
}

func (d *Device) port(nr uint32) *Port {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.ports[nr]
}

// each takes all chains of a queue.
func (d *Device) each(i int, f func(c *queue.Chain) error) {
	if err := d.queues[i].Each(&d.chain, func() (uint32, error) { return 0, f(&d.chain) }); err != nil {
		d.tell.NeedsReset(err)
	}
}

// deliver gives the guest what waits for it at a port.
func (d *Device) deliver(i int, p *Port) {
	q := d.queues[i]
	for p.pending() {
		ok, err := q.Pop(&d.chain)
		if err != nil {
			d.tell.NeedsReset(err)
			return
		}
		if ok {
			q.Push(&d.chain, p.fill(&d.chain))
		} else if !q.EnableKicks() {
			break
		}
	}
	q.Show()
	p.tellSpace()
}

// Reset ends the worker; to the host the guest closed all ports.
func (d *Device) Reset() {
	d.EndWorkers()
	d.mu.Lock()
	d.ready, d.outbox = false, nil
	ports := make([]*Port, 0, len(d.ports))
	for _, p := range d.ports {
		ports = append(ports, p)
	}
	d.mu.Unlock()
	for _, p := range ports {
		p.guestOpened(false)
	}
}

// Close ends the device.
func (d *Device) Close() error {
	d.Reset()
	return nil
}

// Errors of control messages.
var (
	errControl = errors.New("control message that is too short")
	errFlood   = errors.New("control messages without buffers for the answers")
)

// maxOutbox bounds the control messages that wait for buffers of the guest's.
const maxOutbox = 1024
