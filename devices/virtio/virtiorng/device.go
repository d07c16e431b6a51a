// Package virtiorng is the virtio entropy device.
//
// One worker fills the guest's buffers from a Source, within a rate if one was set. Implements virtio 1.2 §5.4. It depends on devices/virtio,
// devices/virtio/queue and devices/virtio/pump.
package virtiorng

import (
	"fmt"
	"time"

	"hv/devices/virtio"
	"hv/devices/virtio/pump"
	"hv/devices/virtio/queue"
)

// Config is the device's properties.
type Config struct {
	RNG      string `prop:"rng" link:"rng-backend" desc:"ID of the object that entropy comes from"`
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

	pump.Crew

	// The worker's own.
	pump  *pump.Pump
	q     *virtio.Queue
	tell  virtio.Transport
	chain queue.Chain
	quota uint64
	spent bool // something of the quota is used, and the period runs
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
	d.q, d.tell, d.quota, d.spent = r.Queues[0], r.Transport, d.cfg.MaxBytes, false
	p, err := pump.New([]pump.Source{{FD: d.q.Kick, Kick: true, Ready: func(int16) { d.fill() }}}, d.fill, d.tell.NeedsReset)
	if err != nil {
		return err
	}
	d.pump = p
	d.StartWorkers(p)
	return nil
}

// renew begins a new period.
func (d *Device) renew() {
	d.quota, d.spent = d.cfg.MaxBytes, false
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
	d.q.Show()
	if d.quota < d.cfg.MaxBytes && !d.spent {
		d.spent = true
		d.pump.After(time.Duration(d.cfg.Period)*time.Millisecond, d.renew)
	}
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

// Reset ends the worker.
func (d *Device) Reset() { d.EndWorkers() }

// Close ends the device.
func (d *Device) Close() error {
	d.Reset()
	return nil
}
