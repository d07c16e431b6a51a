// Package virtionet is the virtio network device on a Link of the host, such as a tap.
//
// Each direction of each queue pair has a worker of its own, which moves packets between the
// link's descriptor and the guest's buffers without a copy and without allocating. The
// control queue has one more. The receive filter is replaced as a whole when the guest
// changes it, so that receivers read it without a lock.
//
// Implements virtio 1.2 §5.1. It depends on devices/virtio, devices/virtio/queue and
// devices/virtio/pump.
package virtionet

import (
	"errors"
	"sync"
	"sync/atomic"

	"hv/devices/virtio"
	"hv/devices/virtio/pump"
	"hv/devices/virtio/queue"
)

// Link is the host's end: queues of packets that begin with a virtio-net header
// of 12 bytes.
type Link interface {
	Queues() int
	// QueueFD returns a queue's non-blocking descriptor.
	QueueFD(i int) int
	// SetOffload says what the guest takes.
	SetOffload(csum, tso4, tso6, ecn, ufo bool) error
	EnableQueue(i int, on bool) error
}

const (
	headerSize   = 12
	ctlQueueSize = 64
)

// Device is a network device.
type Device struct {
	cfg   Config
	link  Link
	pairs int
	// gone is told once that the link is broken.
	gone     func(error)
	goneOnce sync.Once

	filter atomic.Pointer[Filter]
	linkUp atomic.Bool

	virtio.Listener
	pump.Crew

	// Of the control worker.
	control  *virtio.Queue
	ctlChain queue.Chain
	tell     virtio.Transport
	features uint64
}

// New returns a device on a link. gone is told when that breaks.
func New(cfg Config, link Link, gone func(error)) (*Device, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	d := &Device{cfg: cfg, link: link, pairs: 1, gone: gone}
	if cfg.MQ {
		d.pairs = link.Queues()
	}
	d.linkUp.Store(true)
	d.filter.Store(newFilter(MAC(cfg.MAC), false))
	return d, nil
}

// Type returns the device type.
func (d *Device) Type() virtio.DeviceID { return virtio.IDNet }

// QueueSizes returns the size of each queue: receive and transmit of each pair, then
// control.
func (d *Device) QueueSizes() []uint16 {
	var sizes []uint16
	for range d.pairs {
		sizes = append(sizes, d.cfg.RxQueueSize, d.cfg.TxQueueSize)
	}
	if d.cfg.CtrlVQ {
		sizes = append(sizes, ctlQueueSize)
	}
	return sizes
}

// SetLink connects or disconnects the cable.
func (d *Device) SetLink(up bool) {
	if d.linkUp.Swap(up) == up {
		return
	}
	d.ConfigChanged()
}

// Activate starts the workers.
func (d *Device) Activate(r virtio.Resources) error {
	d.features, d.tell = r.Features, r.Transport
	d.filter.Store(newFilter(d.filter.Load().MAC, r.Has(featureCtrlVLAN)))
	if !d.setOffloads(r.Features & offloads) {
		return errors.New("the link refuses the guest's offloads")
	}
	pumps, err := d.workers(&r)
	if err != nil {
		for _, p := range pumps {
			p.Close()
		}
		return err
	}
	d.setPairs(1)
	d.Listen(r.Transport)
	d.StartWorkers(pumps...)
	return nil
}

// controlPairs returns how many pairs the control queue follows: all when the guest
// knows of more than one.
func (d *Device) controlPairs() int {
	if d.features&featureMQ != 0 {
		return d.pairs
	}
	return 1
}

// workers makes the workers of the queues that the guest enabled. Of the pairs the first
// is used from the start, the others when it asks for them.
func (d *Device) workers(r *virtio.Resources) (pumps []*pump.Pump, err error) {
	add := func(p *pump.Pump, fault error) {
		if p != nil {
			pumps = append(pumps, p)
		}
		err = errors.Join(err, fault)
	}
	for i := range d.controlPairs() {
		rx, tx := r.Queues[2*i], r.Queues[2*i+1]
		switch {
		case rx != nil && tx != nil:
			add(d.newReceiver(i, rx))
			add(d.newSender(i, tx))
		case i == 0:
			return nil, errors.New("queue pair 0 is not enabled")
		}
	}
	if ctl := 2 * d.controlPairs(); ctl < len(r.Queues) && r.Queues[ctl] != nil {
		d.control = r.Queues[ctl]
		add(pump.New([]pump.Source{{FD: d.control.Kick, Kick: true, Ready: func(int16) { d.serveControl() }}}, d.serveControl, d.tell.NeedsReset))
	}
	return pumps, err
}

// setPairs has the host use n queue pairs.
func (d *Device) setPairs(n int) bool {
	if n < 1 || n > d.pairs {
		return false
	}
	for i := range d.link.Queues() {
		if d.link.EnableQueue(i, i < n) != nil {
			return false
		}
	}
	return true
}

// setOffloads tells the link what the guest takes.
func (d *Device) setOffloads(f uint64) bool {
	if f&^(d.features&offloads) != 0 {
		return false
	}
	return d.link.SetOffload(f&featureGuestCSum != 0, f&featureGuestTSO4 != 0, f&featureGuestTSO6 != 0, f&featureGuestECN != 0, false) == nil
}

// lost tells once that the link is gone.
func (d *Device) lost(err error) { d.goneOnce.Do(func() { d.gone(err) }) }

// Reset ends the workers and puts the filter into its first state.
func (d *Device) Reset() {
	d.Listen(nil)
	d.EndWorkers()
	d.filter.Store(newFilter(MAC(d.cfg.MAC), false))
}

// Close ends the device; the link is its owner's.
func (d *Device) Close() error {
	d.Reset()
	return nil
}
