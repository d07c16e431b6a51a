// Package virtiovsock is the virtio socket device, whose data path is the host
// kernel's vhost-vsock.
//
// The receive and transmit queues are handed to the kernel while the driver is active; the
// event queue stays here and has nothing to say but after a migration. Pausing takes the
// queues away from the kernel and giving them back resumes where they were.
//
// Implements virtio 1.2 §5.10 with Linux's vhost.h interface. It depends on
// devices/virtio and devices/virtio/vhost.
package virtiovsock

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"sync"

	"golang.org/x/sys/unix"

	"hv/devices/virtio"
	"hv/devices/virtio/vhost"
)

// Config is the device's properties.
type Config struct {
	GuestCID uint64 `prop:"guest-cid" desc:"context identifier of the guest, from 3 on"`
	VhostFD  string `prop:"vhostfd" desc:"descriptor of an open vhost-vsock device"`
}

const (
	devicePath = "/dev/vhost-vsock"
	queueSize  = 128
	// kernelQueues are receive and transmit; the event queue follows.
	kernelQueues = 2
	minCID       = 3
	maxCID       = 1<<32 - 1

	// ringFeatures are what the kernel and a ring have to agree about.
	ringFeatures = virtio.FeatureIndirectDesc | virtio.FeatureEventIdx | virtio.FeatureVersion1
)

// Device is a socket device.
type Device struct {
	cfg   Config
	vhost *vhost.Kernel

	mu     sync.Mutex
	active *virtio.Resources
	bases  [kernelQueues]uint32
}

// New returns a device on the host's vhost-vsock, or on the open descriptor fd if
// that is not negative.
func New(cfg Config, fd int) (*Device, error) {
	if cfg.GuestCID < minCID || cfg.GuestCID >= maxCID {
		return nil, fmt.Errorf("guest-cid must be from %d to %d", minCID, uint64(maxCID-1))
	}
	k, err := open(fd)
	if err != nil {
		return nil, err
	}
	if err := k.SetCID(cfg.GuestCID); err != nil {
		_ = k.Close()
		if errors.Is(err, unix.EADDRINUSE) {
			return nil, fmt.Errorf("guest-cid %d is taken by another guest", cfg.GuestCID)
		}
		return nil, fmt.Errorf("vhost-vsock: %w", err)
	}
	return &Device{cfg: cfg, vhost: k}, nil
}

// open opens the host's device, or takes over fd.
func open(fd int) (*vhost.Kernel, error) {
	if fd >= 0 {
		return vhost.Adopt(fd)
	}
	k, err := vhost.Open(devicePath)
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("%s is missing on this host: modprobe vhost_vsock", devicePath)
	}
	return k, err
}

// Type returns the device type.
func (d *Device) Type() virtio.DeviceID { return virtio.IDVsock }

// Features returns no features of its own.
func (d *Device) Features() uint64 { return 0 }

// QueueSizes returns the size of the receive, transmit and event queues.
func (d *Device) QueueSizes() []uint16 { return []uint16{queueSize, queueSize, queueSize} }

// ReadConfig reads the guest's context identifier.
func (d *Device) ReadConfig(off uint64, data []byte) {
	var b [8]byte
	binary.LittleEndian.PutUint64(b[:], d.cfg.GuestCID)
	clear(data)
	if off < uint64(len(b)) {
		copy(data, b[off:])
	}
}

// WriteConfig does nothing.
func (d *Device) WriteConfig(uint64, []byte) {}

// Activate hands the queues to the kernel.
func (d *Device) Activate(r virtio.Resources) error {
	for i := range kernelQueues {
		if i >= len(r.Queues) || r.Queues[i] == nil {
			return fmt.Errorf("queue %d is not enabled", i)
		}
		if r.Queues[i].Config().Packed {
			return errors.New("the kernel's vsock has no packed rings")
		}
	}
	if err := d.vhost.SetFeatures(r.Features & ringFeatures); err != nil {
		return fmt.Errorf("vhost features: %w", err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.bases = [kernelQueues]uint32{}
	d.active = &r
	return d.start()
}

// start gives the queues to the kernel where they were, with the memory that there is by
// now: it may have grown in a pause. The lock is held.
func (d *Device) start() error {
	if err := d.vhost.SetMemory(d.active.Shared()); err != nil {
		return fmt.Errorf("vhost memory: %w", err)
	}
	for i := range kernelQueues {
		r, err := d.active.Ring(i, d.bases[i])
		if err == nil {
			err = d.vhost.SetRing(i, r)
		}
		if err != nil {
			return err
		}
	}
	return d.vhost.SetVsockRunning(true)
}

// stop takes the queues away from the kernel and notes where they are.
func (d *Device) stop() {
	_ = d.vhost.SetVsockRunning(false)
	for i := range kernelQueues {
		if base, err := d.vhost.Base(i); err == nil {
			d.bases[i] = base
		}
	}
}

// Reset takes the queues away.
func (d *Device) Reset() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.active != nil {
		d.stop()
		d.active = nil
	}
}

// Pause stops the kernel's work on the queues.
func (d *Device) Pause() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.active != nil {
		d.stop()
	}
}

// Resume lets it go on.
func (d *Device) Resume() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.active == nil {
		return
	}
	if err := d.start(); err != nil {
		d.active.Transport.NeedsReset(err)
	}
}

// Close closes the vhost device.
func (d *Device) Close() error {
	d.Reset()
	return d.vhost.Close()
}
