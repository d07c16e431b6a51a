// Package virtioblk is the virtio block device.
//
// Each queue has a worker, on a thread of its own or on one that it shares (devices/ioloop), which
// parses requests, hands them to its IO of the back end and completes them in batches. Data moves between the
// guest's buffers and the back end without a copy, and nothing is allocated per
// request. Reset and Pause return when nothing is under way.
//
// Implements virtio 1.2 §5.2. It depends on devices/qdev, devices/ioloop, devices/virtio,
// devices/virtio/queue, devices/virtio/pump and devices/virtio/spin.
package virtioblk

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"hv/devices/ioloop"
	"hv/devices/virtio"
	"hv/devices/virtio/pump"
)

// Operations of IO.Submit.
const (
	OpRead uint8 = iota
	OpWrite
	OpFlush
	OpDiscard
	OpWriteZeroes
	OpWriteZeroesUnmap
)

// Backend is the disk's medium.
type Backend interface {
	// Size returns the size in bytes.
	Size() uint64
	ReadOnly() bool
	// NewIO makes a way to the medium for the calling thread: for up to depth
	// requests at once, which also watches the kick descriptor.
	NewIO(kick int, depth uint32) (IO, error)
}

// Lifter is a Backend that may hold requests back for a time. Between Lift and Drop it
// does not.
type Lifter interface {
	Lift()
	Drop()
}

// Refuser is an IO that counts what it never sees.
type Refuser interface {
	// Refused counts a request of a kind that cannot be carried out.
	Refused(op uint8)
}

// IO is one queue's way to the medium, used by one thread but for Wake.
type IO interface {
	// Submit queues a request of n bytes at off with its data. tag, below depth,
	// comes back at its completion.
	Submit(op uint8, tag uint32, off, n int64, bufs [][]byte) error
	// Wait starts what was submitted and calls done for each completion with a
	// negative error number or what was moved. If it is to block it sleeps until
	// there is one, a kick, or a Wake.
	Wait(block bool, done func(tag uint32, res int32)) error
	Wake()
	// Parked returns how many requests failed and wait until the VM goes on. They count as
	// submitted; Close drops them.
	Parked() int
	// Descriptors returns what becomes readable when Wait has something to do, and a number
	// that changes when they are others.
	Descriptors() (fds []int, version int, err error)
	Close() error
}

// Features (§5.2.3).
const (
	featureSegMax      = 1 << 2
	featureGeometry    = 1 << 4
	featureReadOnly    = 1 << 5
	featureBlkSize     = 1 << 6
	featureFlush       = 1 << 9
	featureTopology    = 1 << 10
	featureConfigWCE   = 1 << 11
	featureMQ          = 1 << 12
	featureDiscard     = 1 << 13
	featureWriteZeroes = 1 << 14
)

// Device is a disk.
type Device struct {
	cfg     Config
	backend Backend

	capacity  atomic.Uint64 // sectors
	writeback atomic.Bool

	virtio.Listener

	loop *ioloop.Loop // nil for a thread for each queue

	mu      sync.Mutex
	workers []*worker
	tell    virtio.Transport // while active
}

// New returns a disk on a back end, in a machine with some vCPUs.
func New(cfg Config, b Backend, cpus int) (*Device, error) {
	if err := cfg.check(b.Size()/sectorSize, cpus); err != nil {
		return nil, err
	}
	d := &Device{cfg: cfg, backend: b}
	d.capacity.Store(b.Size() / sectorSize)
	d.writeback.Store(cfg.WriteCache != "off")
	return d, nil
}

// Config returns the disk's properties, with what was left open filled in.
func (d *Device) Config() Config { return d.cfg }

// ServeOn has all queues be served by a loop, which outlives the device.
func (d *Device) ServeOn(l *ioloop.Loop) { d.loop = l }

// Type returns the device type.
func (d *Device) Type() virtio.DeviceID { return virtio.IDBlock }

// Features returns what the device offers.
func (d *Device) Features() uint64 {
	f := uint64(featureSegMax | featureGeometry | featureBlkSize | featureFlush | featureTopology)
	if d.cfg.ConfigWCE {
		f |= featureConfigWCE
	}
	if d.backend.ReadOnly() {
		f |= featureReadOnly
	} else {
		if d.cfg.Discard {
			f |= featureDiscard
		}
		if d.cfg.WriteZeroes {
			f |= featureWriteZeroes
		}
	}
	if d.cfg.NumQueues > 1 {
		f |= featureMQ
	}
	return f
}

// QueueSizes returns the size of each queue.
func (d *Device) QueueSizes() []uint16 {
	sizes := make([]uint16, d.cfg.NumQueues)
	for i := range sizes {
		sizes[i] = d.cfg.QueueSize
	}
	return sizes
}

// Resized tells the guest that the medium has a new size.
func (d *Device) Resized() {
	d.capacity.Store(d.backend.Size() / sectorSize)
	d.ConfigChanged()
}

// Activate starts the workers.
func (d *Device) Activate(r virtio.Resources) error {
	workers := make([]*worker, len(r.Queues))
	for i, q := range r.Queues {
		if q == nil {
			continue
		}
		w, err := d.startWorker(q, &r)
		if err != nil {
			err = fmt.Errorf("queue %d: %w", i, err)
			for _, w := range workers {
				err = errors.Join(err, w.end())
			}
			return err
		}
		workers[i] = w
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.workers, d.tell = workers, r.Transport
	d.Listen(r.Transport)
	return nil
}

// Reset stops the workers.
func (d *Device) Reset() {
	d.Listen(nil)
	d.mu.Lock()
	workers := d.workers
	d.workers = nil
	d.mu.Unlock()
	defer d.hurry()()
	for _, w := range workers {
		_ = w.end()
	}
	d.writeback.Store(d.cfg.WriteCache != "off")
}

// Pause drains the queues.
func (d *Device) Pause() {
	defer d.hurry()()
	for _, w := range d.running() {
		w.ask(pump.Paused)
	}
	for _, w := range d.running() {
		w.gate.Await(pump.Paused)
	}
}

// Resume undoes Pause.
func (d *Device) Resume() {
	for _, w := range d.running() {
		w.ask(pump.Running)
	}
}

// hurry has the back end not hold requests back, until the function returned is called.
func (d *Device) hurry() (done func()) {
	l, ok := d.backend.(Lifter)
	if !ok {
		return func() {}
	}
	l.Lift()
	return l.Drop
}

// running returns the workers there are.
func (d *Device) running() []*worker {
	d.mu.Lock()
	defer d.mu.Unlock()
	var out []*worker
	for _, w := range d.workers {
		if w != nil {
			out = append(out, w)
		}
	}
	return out
}

// ResetQueue stops one queue.
func (d *Device) ResetQueue(i int) {
	d.mu.Lock()
	w := d.workers[i]
	d.workers[i] = nil
	d.mu.Unlock()
	defer d.hurry()()
	_ = w.end()
}

// StartQueue starts one that was reset.
func (d *Device) StartQueue(i int, q *virtio.Queue) error {
	d.mu.Lock()
	r := virtio.Resources{Transport: d.tell}
	d.mu.Unlock()
	w, err := d.startWorker(q, &r)
	if err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.workers[i] = w
	return nil
}

// Close ends the device; the back end is its owner's.
func (d *Device) Close() error {
	d.Reset()
	return nil
}
