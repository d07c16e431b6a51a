// Package vhostnet has the host's kernel move the packets of a tap: it serves the rings of a
// guest's NIC itself, without a step through this process.
//
// An Engine has a vhost device for each of the tap's queues. Serve hands the rings of a
// device over, Halt takes them back and tells how far they were served; between the two, the
// tap's descriptors are the kernel's. The methods of an Engine may be called by any goroutine, as
// they take one lock; none of them waits for the guest or the network.
//
// Follows linux/vhost.h. It depends on devices/virtio/vhost.
package vhostnet

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"sync"

	"golang.org/x/sys/unix"

	"hv/devices/virtio/vhost"
)

// DevicePath is the host's vhost-net device.
const DevicePath = "/dev/vhost-net"

// Tap is whose packets are moved.
type Tap interface {
	Queues() int
	QueueFD(i int) int
}

// Config says what to open.
type Config struct {
	Path string // of the vhost device, DevicePath if ""
	// FDs are open vhost devices instead, one for each queue of the tap. They are the Engine's,
	// even if there is an error.
	FDs []int
	// BusyPoll is for how many microseconds the kernel looks for work before it sleeps.
	BusyPoll uint32
}

// Features of virtio 1.2 §5.1.3 and §6 that depend on the kernel; of those that are not
// here the device takes care with the tap.
const (
	featureMrgRxBuf      = 1 << 15
	featureNotifyOnEmpty = 1 << 24
	featureIndirect      = 1 << 28
	featureEventIdx      = 1 << 29
	featureVersion1      = 1 << 32
	featureAccessPlat    = 1 << 33
	featurePacked        = 1 << 34
	featureRingReset     = 1 << 40
	featureHashReport    = 1 << 57
	featureRSS           = 1 << 60

	kernelFeatures = featureMrgRxBuf | featureNotifyOnEmpty | featureIndirect | featureEventIdx | featureVersion1 | featureAccessPlat |
		featurePacked | featureRingReset | featureHashReport | featureRSS
)

// kernel is an open vhost device.
type kernel interface {
	Features() (uint64, error)
	SetFeatures(f uint64) error
	SetMemory(regions []vhost.Region) error
	SetRing(i int, r vhost.Ring) error
	Base(i int) (uint32, error)
	SetBusyLoop(i int, us uint32) error
	SetNetBackend(i, fd int) error
	Close() error
}

// ringsPerPair are receive and transmit.
const ringsPerPair = 2

// Engine is the kernel as the one who moves a tap's packets.
type Engine struct {
	tap      Tap
	busy     uint32
	features uint64

	mu      sync.Mutex
	kernels []kernel // one for each queue of the tap
	serving int      // rings
}

// ErrInit says that there is a vhost device, but not one that can be used.
var ErrInit = errors.New("vhost-net requested but could not be initialized")

// Open opens the vhost devices for a tap, which stays its owner's. Without a device the error is QEMU's
// text for that.
func Open(t Tap, c Config) (*Engine, error) {
	l := &Engine{tap: t, busy: c.BusyPoll}
	if n := len(c.FDs); n > 0 && n != t.Queues() {
		closeAll(c.FDs)
		return nil, errors.New("The number of fds passed does not match the number of vhostfds passed")
	}
	for i := range t.Queues() {
		k, err := c.open(i)
		if err != nil {
			closeAll(c.FDs[min(i+1, len(c.FDs)):])
			return nil, errors.Join(err, l.Close())
		}
		l.kernels = append(l.kernels, k)
	}
	if err := l.learn(); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

func closeAll(fds []int) {
	for _, fd := range fds {
		_ = unix.Close(fd)
	}
}

// open opens the vhost device of queue i.
func (c *Config) open(i int) (*vhost.Kernel, error) {
	if len(c.FDs) > 0 {
		return vhost.Adopt(c.FDs[i])
	}
	k, err := vhost.Open(cmp.Or(c.Path, DevicePath))
	var at *os.PathError
	if errors.As(err, &at) {
		return nil, fmt.Errorf("tap: open vhost char device failed: %w", describe{at.Err})
	}
	return k, err
}

// describe is an errno with the C library's text, which begins with a capital letter.
type describe struct{ error }

func (d describe) Unwrap() error { return d.error }

func (d describe) Error() string {
	switch {
	case errors.Is(d.error, unix.ENOENT):
		return "No such file or directory"
	case errors.Is(d.error, unix.EACCES):
		return "Permission denied"
	case errors.Is(d.error, unix.ENODEV):
		return "No such device"
	}
	return d.error.Error()
}

// learn asks what the kernel can do.
func (l *Engine) learn() error {
	f, err := l.kernels[0].Features()
	if err != nil || f&featureVersion1 == 0 {
		return errors.Join(ErrInit, err)
	}
	l.features = f
	return nil
}

// Limit returns those of the features that the kernel can do.
func (l *Engine) Limit(features uint64) uint64 {
	return features &^ (kernelFeatures &^ l.features)
}

// Serve hands rings over, receive and transmit of each queue pair in turn. After an error
// none is.
func (l *Engine) Serve(s vhost.Setup) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	pairs := len(s.Rings) / ringsPerPair
	if pairs > len(l.kernels) {
		return fmt.Errorf("%d queue pairs for %d vhost devices", pairs, len(l.kernels))
	}
	l.serving = 0
	for i := range pairs {
		if err := l.servePair(i, &s); err != nil {
			return errors.Join(err, l.detach())
		}
	}
	return nil
}

func (l *Engine) servePair(pair int, s *vhost.Setup) error {
	k := l.kernels[pair]
	if err := k.SetFeatures(s.Features & kernelFeatures); err != nil {
		return fmt.Errorf("vhost features: %w", err)
	}
	if err := k.SetMemory(s.Memory); err != nil {
		return fmt.Errorf("vhost memory: %w", err)
	}
	for i := range ringsPerPair {
		if err := k.SetRing(i, s.Rings[ringsPerPair*pair+i]); err != nil {
			return err
		}
		if l.busy > 0 {
			if err := k.SetBusyLoop(i, l.busy); err != nil {
				return fmt.Errorf("vhost busy polling: %w", err)
			}
		}
	}
	for i := range ringsPerPair {
		if err := k.SetNetBackend(i, l.tap.QueueFD(pair)); err != nil {
			return fmt.Errorf("vhost queue %d: %w", pair, err)
		}
		l.serving++
	}
	return nil
}

// detach takes the rings from the kernel.
func (l *Engine) detach() error {
	var errs []error
	for i := range l.serving {
		errs = append(errs, l.kernels[i/ringsPerPair].SetNetBackend(i%ringsPerPair, -1))
	}
	l.serving = 0
	return errors.Join(errs...)
}

// Halt takes the rings back. When it returns, the kernel touches neither them nor guest memory.
func (l *Engine) Halt() (bases []uint32, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := l.serving
	err = l.detach()
	for i := range n {
		base, fault := l.kernels[i/ringsPerPair].Base(i % ringsPerPair)
		err = errors.Join(err, fault)
		bases = append(bases, base)
	}
	return bases, err
}

// Close closes the vhost devices, and not the tap. What is served is so no more.
func (l *Engine) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	var errs []error
	for _, k := range l.kernels {
		errs = append(errs, k.Close())
	}
	l.kernels, l.serving = nil, 0
	return errors.Join(errs...)
}
