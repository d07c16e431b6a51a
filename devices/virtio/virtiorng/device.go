// Package virtiorng is the virtio entropy device.
//
// One worker fills the guest's buffers from a Source, within a rate if one was set; a
// timer starts each period. Implements virtio 1.2 §5.4. It depends on devices/virtio,
// devices/virtio/queue and devices/virtio/pump.
package virtiorng

import (
	"fmt"
	"sync"
	"time"

	"hv/devices/virtio"
	"hv/devices/virtio/pump"
	"hv/devices/virtio/queue"
)

// Config is the device's properties.
type Config struct {
	RNG      string `prop:"rng" desc:"ID of the object that entropy comes from"`
	MaxBytes uint64 `prop:"max-bytes" default:"0x7fffffffffffffff" desc:"bytes that the guest gets in each period"`
	Period   uint32 `prop:"period" default:"65536" desc:"length of a period in milliseconds"`
}

// Source is where entropy comes from. Read may block for a while.
type Source interface {
	Read(p []byte) (int, error)
}

const queueSize = 8

// Device is an entropy device.
type Device struct {
	cfg    Config
	source Source

	mu   sync.Mutex
	pump *pump.Pump

	// The worker's own.
	q     *virtio.Queue
	tell  virtio.Transport
	chain queue.Chain
	quota uint64
	timer *time.Timer
	due   bool // a new period has begun
}

// New returns a device that gives out what source has.
func New(cfg Config, source Source) (*Device, error) {
	if cfg.Period == 0 || cfg.MaxBytes == 0 {
		return nil, fmt.Errorf("'period' and 'max-bytes' must be positive")
	}
	return &Device{cfg: cfg, source: source}, nil
}

// Type returns the device type.
func (d *Device) Type() virtio.DeviceID { return virtio.IDRNG }

// Features returns no features: the device has none.
func (d *Device) Features() uint64 { return 0 }

// QueueSizes returns the size of the one queue.
func (d *Device) QueueSizes() []uint16 { return []uint16{queueSize} }

// ReadConfig reads zeroes: there is no configuration space.
func (d *Device) ReadConfig(_ uint64, data []byte) { clear(data) }

// WriteConfig does nothing.
func (d *Device) WriteConfig(uint64, []byte) {}

// Activate starts the worker.
func (d *Device) Activate(r virtio.Resources) error {
	if r.Queues[0] == nil {
		return fmt.Errorf("queue 0 is not enabled")
	}
	d.q, d.tell, d.quota = r.Queues[0], r.Transport, d.cfg.MaxBytes
	d.mu.Lock()
	defer d.mu.Unlock()
	p, err := pump.Start([]pump.Source{{FD: d.q.Kick, Kick: true, Ready: func(int16) { d.fill() }}}, d.renew, d.tell.NeedsReset)
	if err != nil {
		return err
	}
	d.pump = p
	p.Wake()
	return nil
}

// renew begins a new period if one is due, and looks at the queue.
func (d *Device) renew() {
	d.mu.Lock()
	if d.due {
		d.due, d.timer, d.quota = false, nil, d.cfg.MaxBytes
	}
	d.mu.Unlock()
	d.fill()
}

// fill gives entropy to the buffers that there are, as far as the rate allows.
func (d *Device) fill() {
	for d.quota > 0 {
		ok, err := d.q.Pop(&d.chain)
		if err != nil {
			d.tell.NeedsReset(err)
			return
		}
		if !ok && !d.q.EnableKicks() {
			break
		}
		if ok {
			d.q.Push(&d.chain, d.give())
		}
	}
	if d.q.Publish() {
		d.q.Interrupt()
	}
	d.schedule()
}

// give fills one chain and returns how much it got.
func (d *Device) give() uint32 {
	total := uint32(0)
	for _, b := range d.chain.In {
		b = b[:min(uint64(len(b)), d.quota)]
		n, err := d.source.Read(b)
		total += uint32(n)
		d.quota -= uint64(n)
		if err != nil || n < len(b) || d.quota == 0 {
			break
		}
	}
	return total
}

// schedule starts the timer of the period, once something of the quota is used.
func (d *Device) schedule() {
	d.mu.Lock()
	defer d.mu.Unlock()
	p := d.pump
	// A worker that is about to be ended starts no timer.
	if p == nil || d.timer != nil || d.quota == d.cfg.MaxBytes {
		return
	}
	d.timer = time.AfterFunc(time.Duration(d.cfg.Period)*time.Millisecond, func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		if d.pump == p {
			d.due = true
			p.Wake()
		}
	})
}

// Reset ends the worker.
func (d *Device) Reset() {
	d.mu.Lock()
	p := d.pump
	d.pump = nil
	if d.timer != nil {
		d.timer.Stop()
		d.timer, d.due = nil, false
	}
	d.mu.Unlock()
	p.Close()
}

// Pause makes the worker stand still.
func (d *Device) Pause() {
	if p := d.running(); p != nil {
		p.Pause()
	}
}

// Resume lets it go on.
func (d *Device) Resume() {
	if p := d.running(); p != nil {
		p.Resume()
	}
}

func (d *Device) running() *pump.Pump {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.pump
}

// Close ends the device.
func (d *Device) Close() error {
	d.Reset()
	return nil
}
