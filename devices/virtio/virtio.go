// Package virtio is the contract between virtio devices and the transport that
// shows them to a guest: features, status, and the life of a device.
//
// A device package implements Device and knows nothing of PCI; devices/virtio/vpci
// drives it. The life of a device: constructed, Activate when the driver sets
// DRIVER_OK, Reset when the driver (or the machine) resets it, Close at the end.
// The transport makes these calls one at a time; ReadConfig and WriteConfig may
// come at any time, from any vCPU thread.
//
// Implements virtio 1.2 §2.1 (status), §2.2 and §6 (features), §5 (device types).
// It depends on hypervisor/mem and devices/virtio/queue.
package virtio

import (
	"sync"

	"hv/devices/virtio/queue"
	"hv/hypervisor/mem"
)

// DeviceID is a virtio device type (virtio 1.2 §5).
type DeviceID uint16

// Device types.
const (
	IDNet     DeviceID = 1
	IDBlock   DeviceID = 2
	IDConsole DeviceID = 3
	IDRNG     DeviceID = 4
	IDBalloon DeviceID = 5
	IDSCSI    DeviceID = 8
	IDVsock   DeviceID = 19
	IDMem     DeviceID = 24
)

// Device status bits (virtio 1.2 §2.1).
const (
	StatusAcknowledge uint8 = 1
	StatusDriver      uint8 = 2
	StatusDriverOK    uint8 = 4
	StatusFeaturesOK  uint8 = 8
	StatusNeedsReset  uint8 = 64
	StatusFailed      uint8 = 128
)

// Feature bits that belong to the ring or the transport (virtio 1.2 §6). The
// transport offers and checks them; devices offer only their own.
const (
	FeatureIndirectDesc  = 1 << 28
	FeatureEventIdx      = 1 << 29
	FeatureVersion1      = 1 << 32
	FeatureAccessPlat    = 1 << 33
	FeatureRingPacked    = 1 << 34
	FeatureInOrder       = 1 << 35
	FeatureOrderPlatform = 1 << 36
	FeatureNotifConfig   = 1 << 38
	FeatureRingReset     = 1 << 40
)

// Device is a virtio device without its transport.
type Device interface {
	// Type returns the device type; it never changes.
	Type() DeviceID
	// Features returns the device-specific feature bits that are offered.
	Features() uint64
	// QueueSizes returns the largest size of each queue, powers of two.
	QueueSizes() []uint16
	// ReadConfig fills data from the device configuration space at off; bytes
	// past its end read as zero. WriteConfig ignores what is not writable.
	ReadConfig(off uint64, data []byte)
	WriteConfig(off uint64, data []byte)
	// Activate starts the device with what the driver negotiated. An error
	// leaves it as it was and marks it as needing reset.
	Activate(r Resources) error
	// Reset stops the device and returns when it touches neither rings nor
	// guest memory any more; it may be activated again. Harmless when idle.
	Reset()
	// Close resets the device and gives back what it holds. It is called once.
	Close() error
}

// Pauser is a Device whose own workers must stand still while the VM is
// stopped. Pause returns when no request is under way; Resume undoes it. They
// are called one at a time, on a device that is active or not.
type Pauser interface {
	Pause()
	Resume()
}

// Chooser is a Device that does not work with every choice of the driver's among
// the features that it offers.
type Chooser interface {
	// Accepts reports whether the device works with these of its features.
	Accepts(features uint64) bool
}

// QueueResetter is a Device that can stop and restart single queues while
// active (VIRTIO_F_RING_RESET, virtio 1.2 §2.6.1).
type QueueResetter interface {
	// ResetQueue returns when queue i is no longer used.
	ResetQueue(i int)
	// StartQueue hands over queue i, set up anew by the driver.
	StartQueue(i int, q *Queue) error
}

// Transport is what an active device tells its transport. Its methods may be
// called from any goroutine and do not wait for the device.
type Transport interface {
	// ConfigChanged raises a configuration change interrupt and moves the
	// configuration generation on.
	ConfigChanged()
	// NeedsReset marks the device broken because of what the guest did: sets
	// DEVICE_NEEDS_RESET, raises a configuration interrupt and counts err.
	NeedsReset(err error)
}

// Listener is the transport of a device while the device is active. A device embeds it
// to tell of changes at any time. The zero value is of an idle device.
type Listener struct {
	mu        sync.Mutex
	transport Transport
}

// Listen says to whom changes are told from now on; nil is nobody.
func (l *Listener) Listen(t Transport) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.transport = t
}

// ConfigChanged tells the driver, if there is one, that the configuration changed.
func (l *Listener) ConfigChanged() {
	l.mu.Lock()
	t := l.transport
	l.mu.Unlock()
	if t != nil {
		t.ConfigChanged()
	}
}

// Resources is what a device may use between Activate and Reset.
type Resources struct {
	Mem       *mem.Memory
	Features  uint64   // all negotiated bits, device-specific and ring
	Queues    []*Queue // by index; nil where the driver enabled none
	Transport Transport
}

// Has reports whether a feature bit was negotiated.
func (r *Resources) Has(feature uint64) bool { return r.Features&feature != 0 }

// Queue is one active virtqueue with its two notifications. One worker at a
// time uses it.
type Queue struct {
	*queue.Queue
	// Kick is a non-blocking eventfd that becomes readable when the driver
	// notifies the queue. The transport owns it.
	Kick int
	// Interrupt raises the queue's interrupt unconditionally, without blocking
	// or allocating. Call it when Queue.NeedInterrupt says so.
	Interrupt func()
	// InterruptFD is the eventfd that raises the interrupt, for vhost; -1 when
	// there is none.
	InterruptFD int
}

// Each has f handle every chain that the driver made available, gives it back with the
// bytes that f says it wrote, and interrupts the driver if it wants that. It ends when the
// driver is going to notify, or at the first error, of the ring or of f's. c is the
// chain to use.
func (q *Queue) Each(c *queue.Chain, f func() (written uint32, err error)) error {
	defer q.Show()
	for {
		ok, err := q.Pop(c)
		if err != nil {
			return err
		}
		if ok {
			n, err := f()
			if err != nil {
				return err
			}
			q.Push(c, n)
		} else if !q.EnableKicks() {
			return nil
		}
	}
}

// Show shows the driver what was pushed, with an interrupt if it wants one.
func (q *Queue) Show() {
	if q.Publish() {
		q.Interrupt()
	}
}
