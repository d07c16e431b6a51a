// Package virtiomem is the virtio memory device: guest memory that comes and goes in
// blocks while the guest runs.
//
// The device has a region of guest-physical memory, all of it unplugged at first. The host
// says how much of it the guest is to use, and the guest plugs and unplugs blocks until
// that is so. What is unplugged is given back to the host. One worker serves the guest's
// requests; the numbers that the guest and QMP read have a lock of their own, so that
// nobody waits for memory to come or go.
//
// Implements virtio 1.2 §5.15. It depends on devices/virtio, devices/virtio/queue,
// devices/virtio/pump and devices/qom.
package virtiomem

import (
	"errors"
	"fmt"
	"sync"

	"hv/devices/virtio"
	"hv/devices/virtio/pump"
	"hv/devices/virtio/queue"
)

// Memory is the host's memory behind the region; offsets are from its start.
type Memory interface {
	// Populate takes whole blocks from the host, which fails when it has none.
	Populate(off, n uint64) error
	// Discard gives whole blocks back; they read as zeroes, or not at all, later.
	Discard(off, n uint64) error
}

// Config describes a device.
type Config struct {
	Memory    Memory
	Addr      uint64 // of the region in guest-physical memory
	Region    uint64 // its bytes
	Block     uint64 // bytes of a block, a power of two
	Requested uint64 // bytes that the guest is to use at first
	// Node is the proximity domain of the memory, which the guest is told if there
	// are any.
	Node     uint16
	HasNodes bool
	// Inaccessible says that the guest must not touch what is unplugged. A driver
	// that does not promise that is refused.
	Inaccessible bool
	// Prealloc takes memory from the host when it is plugged, not when it is used.
	Prealloc bool
	// Changed is told how many bytes are plugged when that changed. It must not wait.
	Changed func(size uint64)
}

// Features (§5.15.3).
const (
	featurePXM          = 1 << 0
	featureInaccessible = 1 << 1

	queueSize = 128
	queueReq  = 0

	// MinBlock is the smallest size of a block.
	MinBlock = 1 << 20
	// hugePage is what the host's transparent huge pages have.
	hugePage = 2 << 20
	pageSize = 4096
)

// DefaultBlock returns the size of blocks that suits memory made of pages of a size.
func DefaultBlock(page uint64) uint64 {
	if page == pageSize {
		return hugePage
	}
	return max(page, MinBlock)
}

// Device is a memory device.
type Device struct {
	cfg Config

	virtio.Listener
	pump.Crew

	// work is held while blocks change, and guards plugged.
	work    sync.Mutex
	plugged []bool // by block

	mu                      sync.Mutex
	requested, usable, size uint64

	// The worker's own.
	queue *virtio.Queue
	tell  virtio.Transport
	chain queue.Chain
}

// New returns a device with nothing plugged.
func New(cfg Config) (*Device, error) {
	if err := cfg.Check(); err != nil {
		return nil, err
	}
	if err := cfg.Memory.Discard(0, cfg.Region); err != nil {
		return nil, fmt.Errorf("Unexpected error discarding RAM: %w", err)
	}
	d := &Device{cfg: cfg, plugged: make([]bool, cfg.Region/cfg.Block), requested: cfg.Requested}
	d.usable = d.extent(cfg.Requested)
	return d, nil
}

// Check refuses what makes no device.
func (c *Config) Check() error {
	multiple := func(what string, v uint64) error {
		if v%c.Block == 0 {
			return nil
		}
		return fmt.Errorf("'%s' property has to be multiples of 'block-size' (0x%x)", what, c.Block)
	}
	switch {
	case c.Block < MinBlock:
		return fmt.Errorf("'block-size' property has to be at least 0x%x", MinBlock)
	case c.Block&(c.Block-1) != 0:
		return errors.New("'block-size' property has to be a power of two")
	}
	if err := multiple("requested-size", c.Requested); err != nil {
		return err
	}
	if err := multiple("memaddr", c.Addr); err != nil {
		return err
	}
	if err := multiple("memdev", c.Region); err != nil {
		return err
	}
	return c.fits(c.Requested)
}

// fits refuses a size that is larger than the region.
func (c *Config) fits(size uint64) error {
	if size > c.Region {
		return fmt.Errorf("'requested-size' cannot exceed the memory backend size(0x%x)", c.Region)
	}
	return nil
}

// Type returns the device type.
func (d *Device) Type() virtio.DeviceID { return virtio.IDMem }

// Features returns what the device offers.
func (d *Device) Features() (f uint64) {
	if d.cfg.HasNodes {
		f |= featurePXM
	}
	if d.cfg.Inaccessible {
		f |= featureInaccessible
	}
	return f
}

// Accepts refuses a driver that may touch what it must not.
func (d *Device) Accepts(features uint64) bool {
	return !d.cfg.Inaccessible || features&featureInaccessible != 0
}

// QueueSizes returns the size of the one queue.
func (d *Device) QueueSizes() []uint16 { return []uint16{queueSize} }

// Activate starts the worker.
func (d *Device) Activate(r virtio.Resources) error {
	if len(r.Queues) <= queueReq || r.Queues[queueReq] == nil {
		return fmt.Errorf("queue %d is not enabled", queueReq)
	}
	d.queue, d.tell = r.Queues[queueReq], r.Transport
	p, err := pump.New([]pump.Source{{FD: d.queue.Kick, Kick: true, Ready: func(int16) { d.serve() }}}, d.serve, r.Transport.NeedsReset)
	if err != nil {
		return err
	}
	d.Listen(r.Transport)
	d.StartWorkers(p)
	return nil
}

// Reset ends the worker. What is plugged stays so: a driver that comes back finds it
// (§5.15.5). UnplugAll is what a reset of the machine does besides.
func (d *Device) Reset() {
	d.Listen(nil)
	d.EndWorkers()
}

// Close ends the device.
func (d *Device) Close() error {
	d.Reset()
	return nil
}
