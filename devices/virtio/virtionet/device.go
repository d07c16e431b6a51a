// Package virtionet is the virtio network device on a Link of the host, such as a tap.
//
// Each queue pair has a worker, which moves packets between the link's descriptor and the guest's
// buffers without allocating; only small ones on their way to the guest are copied. The control queue has one more. The receive filter is
// replaced as a whole when the guest changes it, so that receivers read it without a lock.
//
// Implements virtio 1.2 §5.1. It depends on devices/virtio, devices/virtio/{queue,pump,spin,vhost} and
// block/uring.
package virtionet

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"hv/devices/virtio"
	"hv/devices/virtio/pump"
	"hv/devices/virtio/queue"
)

const (
	headerSize   = 12
	wideHeader   = 20 // with a hash
	ctlQueueSize = 64
)

// Device is a network device.
type Device struct {
	cfg      Config
	host     Host
	pairs    int
	able     abilities // of the link that the device was made on
	tallies  []tally   // of queues, the control queue's last
	filter   atomic.Pointer[filter]
	steering atomic.Pointer[steering] // nil is none
	observer atomic.Pointer[Observer]
	parcels  pool

	rxLimit, txLimit *bucket // nil is none
	txDelay          time.Duration
	txBurst          int
	linkUp           atomic.Bool
	goneOnce         atomic.Bool

	virtio.Listener

	// life is held by who starts and ends workers, until they have ended.
	life    sync.Mutex
	paused  bool
	data    pump.Crew // of queue pairs
	ctl     pump.Crew // of the control queue
	workers []*worker // of queue pairs; none while the device is idle
	byPair  []*worker // the same by queue pair, nil where the guest uses none
	engine  engine
	control *virtio.Queue

	// linkMu is held for single calls of the link.
	linkMu      sync.Mutex
	link        Link // nil is none
	carrier     carrier
	announces   bool // the guest can announce itself
	curPairs    int
	curOffloads uint64

	// Of the control worker.
	ctlChain  queue.Chain
	ctlBroken bool
	tell      virtio.Transport
	features  uint64
}

// New returns a device on a link, or on none if that is nil.
func New(cfg Config, link Link, host Host) (*Device, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	d := &Device{cfg: cfg, link: link, pairs: 1, host: host, able: abilitiesOf(link), curPairs: 1}
	if (cfg.MQ || cfg.RSS) && link != nil {
		d.pairs = link.Queues()
	}
	if d.pairs > maxPairs {
		return nil, fmt.Errorf("Invalid number of queue pairs (= %d), must be a positive integer less than %d.", d.pairs, maxPairs+1)
	}
	d.limit()
	d.tallies = make([]tally, 2*d.pairs+1)
	d.filter.Store(newFilter(MAC(cfg.MAC)))
	d.setStatus(func(s *carrier) { s.cable, s.attached = true, link != nil })
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

// Activate starts the workers.
func (d *Device) Activate(r virtio.Resources) error {
	d.life.Lock()
	defer d.life.Unlock()
	d.features, d.tell, d.ctlBroken = r.Features, r.Transport, false
	if !d.setOffloads(r.Features & offloads) {
		return errors.New("the link refuses the guest's offloads")
	}
	d.setPairs(1)
	if err := d.start(&r); err != nil {
		d.workers, d.control, d.engine.res = nil, nil, nil
		return err
	}
	return nil
}

func (d *Device) start(r *virtio.Resources) error {
	if err := d.makeWorkers(r); err != nil {
		return err
	}
	ctl, err := d.controlPump(r)
	if err != nil {
		return err
	}
	d.linkMu.Lock()
	l := d.link
	d.announces = r.Has(featureAnnounce) && r.Has(featureCtrlVQ)
	d.linkMu.Unlock()
	d.engine.res, d.engine.refused = r, nil
	if err := d.begin(l); err != nil {
		ctl.Close()
		return err
	}
	d.filter.Store(d.filter.Load().started(r.Has(featureCtrlVLAN)))
	d.Listen(r.Transport)
	if ctl != nil {
		d.ctl.StartWorkers(ctl)
	}
	return nil
}

// controlPairs returns how many pairs the control queue follows: all when the guest
// knows of more than one.
func (d *Device) controlPairs() int {
	if d.features&(featureMQ|featureRSS) != 0 {
		return d.pairs
	}
	return 1
}

// makeWorkers makes the workers of the queues that the guest enabled, without their threads. Of the
// pairs the first is used from the start, the others when it asks for them.
func (d *Device) makeWorkers(r *virtio.Resources) error {
	d.dismiss()
	d.byPair = make([]*worker, d.controlPairs())
	for i := range d.byPair {
		rx, tx := r.Queues[2*i], r.Queues[2*i+1]
		switch {
		case rx != nil && tx != nil:
			w := d.newWorker(i, rx, tx)
			d.workers, d.byPair[i] = append(d.workers, w), w
		case i == 0:
			return errors.New("queue pair 0 is not enabled")
		}
	}
	return nil
}

// worker returns that of a queue pair, nil if the guest does not use the pair.
func (d *Device) worker(pair int) *worker {
	if pair < len(d.byPair) {
		return d.byPair[pair]
	}
	return nil
}

// header returns the size of the header that the guest uses.
func (d *Device) header() uint32 {
	if d.features&featureHash != 0 {
		return wideHeader
	}
	return headerSize
}

// dismiss forgets the workers, which have ended.
func (d *Device) dismiss() {
	for _, w := range d.workers {
		w.release()
	}
	d.workers, d.byPair = nil, nil
}

// controlPump makes the worker of the control queue, nil if the guest does not use that.
func (d *Device) controlPump(r *virtio.Resources) (*pump.Pump, error) {
	d.control = nil
	if i := 2 * d.controlPairs(); i < len(r.Queues) {
		d.control = r.Queues[i]
	}
	if d.control == nil {
		return nil, nil
	}
	kicks := &d.tallies[2*d.pairs].kicks
	return pump.New([]pump.Source{{FD: d.control.Kick, Kick: true, Ready: func(int16) {
		kicks.add(1)
		d.serveControl()
	}}}, d.serveControl, d.tell.NeedsReset)
}

// Pause makes the workers stand still.
func (d *Device) Pause() {
	d.life.Lock()
	defer d.life.Unlock()
	d.paused = true
	if d.engine.running != nil {
		d.stop()
	}
	d.data.Pause()
	d.ctl.Pause()
}

// Resume undoes Pause.
func (d *Device) Resume() {
	d.life.Lock()
	defer d.life.Unlock()
	d.paused = false
	if err := d.follow(d.currentLink()); err != nil {
		d.tell.NeedsReset(err)
	}
	d.data.Resume()
	d.ctl.Resume()
}

// Reset ends the workers and puts the filter into its first state.
func (d *Device) Reset() {
	d.life.Lock()
	defer d.life.Unlock()
	d.Listen(nil)
	d.stop()
	d.ctl.EndWorkers()
	d.dismiss()
	d.control, d.paused, d.engine.res = nil, false, nil
	d.filter.Store(newFilter(MAC(d.cfg.MAC)))
	d.steering.Store(nil)
	d.linkMu.Lock()
	d.announces, d.carrier.announce = false, false
	d.linkMu.Unlock()
}

// Close ends the device; the link is its owner's.
func (d *Device) Close() error {
	d.Reset()
	return nil
}
