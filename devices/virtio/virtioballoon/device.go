// Package virtioballoon is the virtio memory balloon.
//
// One worker serves all queues: pages that the guest gives up go back to the host
// through a Discarder, and statistics are asked for at an interval. Implements virtio 1.2
// §5.5, less free page hinting. It depends on devices/virtio, devices/virtio/queue,
// devices/virtio/pump and devices/qom.
package virtioballoon

import (
	"encoding/binary"
	"fmt"
	"sync"
	"sync/atomic"

	"hv/devices/virtio"
	"hv/devices/virtio/pump"
	"hv/devices/virtio/queue"
)

// Config is the device's properties.
type Config struct {
	DeflateOnOOM      bool   `prop:"deflate-on-oom" default:"off" desc:"let the guest take pages back when it runs out"`
	FreePageReporting bool   `prop:"free-page-reporting" default:"off" desc:"the guest reports pages that it does not use"`
	Interval          uint32 `prop:"guest-stats-polling-interval" default:"0" desc:"seconds between questions for the guest's statistics, 0 for none"`
}

// Discarder gives guest memory back to the host; the guest reads zeroes, or what was
// there, afterwards.
type Discarder interface {
	// Discard names the memory by address; it may be no RAM at all.
	Discard(gpa, n uint64) error
	// Release is given a view of it.
	Release(view []byte) error
}

// Features (§5.5.3).
const (
	featureStats     = 1 << 1
	featureOOM       = 1 << 2
	featureReporting = 1 << 5

	pageSize  = 4096
	queueSize = 128

	queueInflate   = 0
	queueDeflate   = 1
	queueStats     = 2
	queueReporting = 3
)

// Device is a balloon.
type Device struct {
	cfg      Config
	ram      uint64
	discard  Discarder
	onChange func(actual uint64)

	numPages, actual atomic.Uint32
	interval         atomic.Uint32 // of questions for statistics, in seconds

	mu    sync.Mutex
	stats Stats

	virtio.Listener
	pump.Crew

	// The worker's own.
	pump      *pump.Pump
	queues    []*virtio.Queue
	tell      virtio.Transport
	chain     queue.Chain
	statChain queue.Chain
	holding   bool // statChain is waiting to be sent back
}

// New returns a balloon in a guest with ram bytes. onChange is told how much the
// guest has when that changes; it must not wait.
func New(cfg Config, ram uint64, d Discarder, onChange func(actual uint64)) *Device {
	b := &Device{cfg: cfg, ram: ram, discard: d, onChange: onChange}
	b.interval.Store(cfg.Interval)
	return b
}

// Type returns the device type.
func (d *Device) Type() virtio.DeviceID { return virtio.IDBalloon }

// Features returns what the device offers.
func (d *Device) Features() uint64 {
	f := uint64(featureStats)
	if d.cfg.DeflateOnOOM {
		f |= featureOOM
	}
	if d.cfg.FreePageReporting {
		f |= featureReporting
	}
	return f
}

// QueueSizes returns the size of each queue.
func (d *Device) QueueSizes() []uint16 {
	sizes := []uint16{queueSize, queueSize, queueSize}
	if d.cfg.FreePageReporting {
		sizes = append(sizes, queueSize)
	}
	return sizes
}

// ReadConfig reads num_pages and actual.
func (d *Device) ReadConfig(off uint64, data []byte) {
	var b [8]byte
	binary.LittleEndian.PutUint32(b[:], d.numPages.Load())
	binary.LittleEndian.PutUint32(b[4:], d.actual.Load())
	clear(data)
	if off < uint64(len(b)) {
		copy(data, b[off:])
	}
}

// WriteConfig takes the guest's word for how many pages it gave up.
func (d *Device) WriteConfig(off uint64, data []byte) {
	if off != 4 || len(data) != 4 {
		return
	}
	v := min(binary.LittleEndian.Uint32(data), uint32(d.ram/pageSize))
	if d.actual.Swap(v) != v {
		d.onChange(d.Actual())
	}
}

// Actual returns the bytes that the guest has.
func (d *Device) Actual() uint64 { return d.ram - uint64(d.actual.Load())*pageSize }

// SetTarget asks the guest to get along with so many bytes.
func (d *Device) SetTarget(bytes uint64) {
	d.numPages.Store(uint32((d.ram - min(bytes, d.ram)) / pageSize))
	d.ConfigChanged()
}

// Activate starts the worker.
func (d *Device) Activate(r virtio.Resources) error {
	d.queues, d.tell, d.holding = r.Queues, r.Transport, false
	handlers := []func(){func() { d.pages(queueInflate) }, func() { d.pages(queueDeflate) }, d.takeStats, d.report}
	var sources []pump.Source
	for i, q := range r.Queues {
		if q == nil {
			if i <= queueDeflate {
				return fmt.Errorf("queue %d is not enabled", i)
			}
			continue
		}
		sources = append(sources, pump.Source{FD: q.Kick, Kick: true, Ready: func(int16) { handlers[i]() }})
	}
	p, err := pump.New(sources, d.woken, r.Transport.NeedsReset)
	if err != nil {
		return err
	}
	d.Listen(r.Transport)
	d.pump = p
	d.StartWorkers(p)
	return nil
}

// woken looks at everything once, at the start and when the interval was set.
func (d *Device) woken() {
	d.schedule()
	d.pages(queueInflate)
	d.pages(queueDeflate)
	d.takeStats()
	d.report()
}

// each calls f for every chain of queue i.
func (d *Device) each(i int, f func(c *queue.Chain) error) {
	if i >= len(d.queues) || d.queues[i] == nil {
		return
	}
	if err := d.queues[i].Each(&d.chain, func() (uint32, error) { return 0, f(&d.chain) }); err != nil {
		d.tell.NeedsReset(err)
	}
}

// Reset ends the worker and lets the air out.
func (d *Device) Reset() {
	d.Listen(nil)
	d.EndWorkers()
	d.mu.Lock()
	d.stats = Stats{}
	d.mu.Unlock()
	d.actual.Store(0)
}

// Close ends the device.
func (d *Device) Close() error {
	d.Reset()
	return nil
}
