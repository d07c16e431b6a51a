// Package virtioscsi is the virtio SCSI host adapter.
//
// Each request queue has a worker, which parses requests and gives them to the bus of
// units; those complete them on threads of their own. Control requests and events have one
// more worker. Nothing is allocated per request. Reset and Pause return when nothing is
// under way.
//
// Implements virtio 1.2 §5.6, without protection information. It depends on devices/scsi,
// devices/virtio, devices/virtio/queue and devices/virtio/pump.
package virtioscsi

import (
	"sync"
	"sync/atomic"

	"hv/devices/scsi"
	"hv/devices/virtio"
	"hv/devices/virtio/pump"
)

// Features (§5.6.3).
const (
	featureHotplug = 1 << 1
	featureChange  = 1 << 2
)

// Queues (§5.6.2).
const (
	queueControl = iota
	queueEvent
	queueRequest
)

// Device is a host adapter.
type Device struct {
	cfg Config
	bus *scsi.Bus

	senseSize, cdbSize atomic.Uint32

	pump.Crew

	mu       sync.Mutex
	tell     virtio.Transport // while active
	features uint64
	events   events

	queues atomic.Pointer[[]*requestQueue] // nil while idle

	control *control
}

// New returns an adapter without units, for a machine with so many vCPUs.
func New(cfg Config, cpus int) (*Device, error) {
	if err := cfg.check(cpus); err != nil {
		return nil, err
	}
	d := &Device{cfg: cfg}
	d.bus = scsi.NewBus(d)
	d.senseSize.Store(defaultSense)
	d.cdbSize.Store(defaultCDB)
	return d, nil
}

// Type returns the device type.
func (d *Device) Type() virtio.DeviceID { return virtio.IDSCSI }

// Features returns what the device offers.
func (d *Device) Features() uint64 {
	f := uint64(0)
	if d.cfg.Hotplug {
		f |= featureHotplug
	}
	if d.cfg.ParamChange {
		f |= featureChange
	}
	return f
}

// QueueSizes returns the size of each queue.
func (d *Device) QueueSizes() []uint16 {
	sizes := make([]uint16, queueRequest+d.cfg.NumQueues)
	for i := range sizes {
		sizes[i] = uint16(d.cfg.QueueSize)
	}
	return sizes
}

// NumQueues returns how many request queues there are.
func (d *Device) NumQueues() uint32 { return d.cfg.NumQueues }

// Bus returns the units.
func (d *Device) Bus() *scsi.Bus { return d.bus }

// Activate starts the workers.
func (d *Device) Activate(r virtio.Resources) error {
	var pumps []*pump.Pump
	fail := func(err error) error {
		for _, p := range pumps {
			p.Start()
			p.Close()
		}
		return err
	}
	var queues []*requestQueue
	for _, q := range r.Queues[queueRequest:] {
		if q == nil {
			continue
		}
		rq := newRequestQueue(d, q, r.Transport)
		p, err := pump.New([]pump.Source{{FD: q.Kick, Kick: true, Ready: rq.kicked}}, rq.serve, r.Transport.NeedsReset)
		if err != nil {
			return fail(err)
		}
		rq.wake = p.Wake
		queues, pumps = append(queues, rq), append(pumps, p)
	}
	d.control = &control{dev: d, requests: r.Queues[queueControl], events: r.Queues[queueEvent], tell: r.Transport}
	p, err := d.control.pump()
	if err != nil {
		return fail(err)
	}
	d.mu.Lock()
	d.tell, d.features, d.events = r.Transport, r.Features, events{}
	d.mu.Unlock()
	d.queues.Store(&queues)
	d.StartWorkers(append(pumps, p)...)
	return nil
}

// Reset ends the workers and all tasks.
func (d *Device) Reset() {
	d.EndWorkers()
	d.bus.Reset()
	d.mu.Lock()
	d.tell, d.events = nil, events{}
	d.mu.Unlock()
	if queues := d.queues.Swap(nil); queues != nil {
		for _, q := range *queues {
			q.close()
		}
	}
	d.senseSize.Store(defaultSense)
	d.cdbSize.Store(defaultCDB)
}

// Pause makes workers and units stand still.
func (d *Device) Pause() {
	d.Crew.Pause()
	d.bus.Pause()
}

// Resume undoes Pause.
func (d *Device) Resume() {
	d.bus.Resume()
	d.Crew.Resume()
}

// Close ends the device; its units are their owner's.
func (d *Device) Close() error {
	d.Reset()
	return nil
}

// broken marks the device as needing reset.
func (d *Device) broken(err error) {
	d.mu.Lock()
	t := d.tell
	d.mu.Unlock()
	if t != nil {
		t.NeedsReset(err)
	}
}

// Done gives a request back to its queue.
func (d *Device) Done(t *scsi.Task) {
	s := t.Owner.(*slot)
	s.queue.done(s)
}

// Settle shows the driver what is done.
func (d *Device) Settle() {
	if queues := d.queues.Load(); queues != nil {
		for _, q := range *queues {
			q.settle()
		}
	}
}
