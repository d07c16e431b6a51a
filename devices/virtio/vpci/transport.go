// Package vpci shows a virtio device to a guest as a PCI function, by the modern
// interface: no transitional devices.
//
// Registers are written by vCPU threads; one lock guards them. What changes the
// device's life (activation, reset, pause) has a lock of its own, under which the device's
// calls are made; a device may call its Transport while that is held. Doorbells have
// a third, because the PCI host tells of BAR mappings under its own lock.
//
// Implements virtio 1.2 §4.1 (PCI), §3.1 (initialisation), §2.6.1 (queue reset).
// Addresses and identities are QEMU's. It depends on devices/pci, devices/irq,
// devices/virtio and hypervisor/mem.
package vpci

import (
	"fmt"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"hv/devices/irq"
	"hv/devices/pci"
	"hv/devices/virtio"
	"hv/devices/virtio/queue"
	"hv/hypervisor/mem"
)

// Options are the transport's properties.
type Options struct {
	Vectors       uint32 `prop:"vectors" default:"0" desc:"number of MSI-X vectors; 0 is one a queue and one more"`
	Packed        bool   `prop:"packed" default:"off" desc:"offer packed virtqueues"`
	EventIdx      bool   `prop:"event_idx" default:"on" desc:"offer notification by index"`
	Indirect      bool   `prop:"indirect_desc" default:"on" desc:"offer indirect descriptors"`
	QueueReset    bool   `prop:"queue_reset" default:"on" desc:"offer the reset of single queues"`
	DisableLegacy string `prop:"disable-legacy" default:"on" desc:"accepted; devices are always modern"`
	DisableModern bool   `prop:"disable-modern" default:"off" desc:"must be off"`
	BootIndex     int32  `prop:"bootindex" default:"-1" desc:"accepted; kernels are started directly"`
	ROMFile       string `prop:"romfile" desc:"accepted; there is no firmware to run it"`
	ROMBar        uint32 `prop:"rombar" default:"0" desc:"accepted; there is no ROM"`
}

// Config is what a transport is made from.
type Config struct {
	Device  virtio.Device
	Mem     *mem.Memory
	IRQ     irq.Controller
	Bells   irq.Doorbells // nil where there are none
	Options Options
	Express bool // the function sits on a PCI Express bus
}

const noVector = 0xffff

// vq is what the driver set up for one queue.
type vq struct {
	cfg     queue.Config
	enabled bool
	kick    int // eventfd
	vector  atomic.Uint32
	bell    bool // the doorbell is registered
	wired   int  // the interrupt's descriptor that the device was last told; life guards it
}

// Transport is a virtio device as a PCI function.
type Transport struct {
	cfg  Config
	dev  virtio.Device
	fn   *pci.Function
	msix *pci.MSIX

	life   sync.Mutex
	active bool
	paused bool
	live   []*virtio.Queue // of the active device, by index; nil where there is none

	mu         sync.Mutex
	status     uint8
	features   uint64 // what the driver accepted
	featureSel [2]uint32
	queueSel   uint16
	queues     []*vq
	broken     error
	confVector atomic.Uint32
	generation atomic.Uint32
	isr        atomic.Uint32

	bells   sync.Mutex
	bar     uint64
	decoded bool
}

// identity returns the PCI identity of a device type, as QEMU has it.
func identity(t virtio.DeviceID) pci.Identity {
	class := map[virtio.DeviceID]uint32{
		virtio.IDNet: 0x020000, virtio.IDBlock: 0x010000, virtio.IDConsole: 0x078000, virtio.IDSCSI: 0x010000, virtio.IDVsock: 0x028000,
	}[t]
	if class == 0 {
		class = 0x00ff00
	}
	return pci.Identity{Vendor: 0x1af4, Device: 0x1040 + uint16(t), SubVendor: 0x1af4, SubDevice: 0x1100, Class: class, Revision: 1}
}

// New makes a PCI function of a device. Closing it closes the device.
func New(cfg Config) (*Transport, error) {
	if cfg.Options.DisableModern {
		return nil, fmt.Errorf("disable-modern=on: there are no transitional devices here")
	}
	t := &Transport{cfg: cfg, dev: cfg.Device, fn: pci.NewFunction(identity(cfg.Device.Type()))}
	for i, size := range t.dev.QueueSizes() {
		fd, err := unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC)
		if err != nil {
			t.closeKicks()
			return nil, fmt.Errorf("eventfd of queue %d: %w", i, err)
		}
		t.queues = append(t.queues, &vq{kick: fd, cfg: queue.Config{Index: i, Size: size}})
	}
	if err := t.build(); err != nil {
		t.closeKicks()
		return nil, err
	}
	t.clear()
	return t, nil
}

func (t *Transport) closeKicks() {
	for _, q := range t.queues {
		unix.Close(q.kick)
	}
}

// Function returns the PCI function.
func (t *Transport) Function() *pci.Function { return t.fn }

// Broken returns what the guest did wrong last, nil if nothing since the last
// reset.
func (t *Transport) Broken() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.broken
}

// Pause makes the device stand still; Resume lets it go on. One that is activated in
// between stands still from its start.
func (t *Transport) Pause() {
	t.life.Lock()
	defer t.life.Unlock()
	t.paused = true
	if p, ok := t.dev.(virtio.Pauser); ok && t.active {
		p.Pause()
	}
}

// Resume undoes Pause.
func (t *Transport) Resume() {
	t.life.Lock()
	defer t.life.Unlock()
	t.paused = false
	if p, ok := t.dev.(virtio.Pauser); ok && t.active {
		p.Resume()
	}
}

// Close ends the device. The function must be off its bus.
func (t *Transport) Close() error {
	t.reset()
	err := t.dev.Close()
	if ferr := t.fn.Close(); err == nil {
		err = ferr
	}
	t.closeKicks()
	return err
}

// offered returns the feature bits that the driver may choose from.
func (t *Transport) offered() uint64 {
	f := t.dev.Features() | virtio.FeatureVersion1
	o := &t.cfg.Options
	for _, c := range []struct {
		on  bool
		bit uint64
	}{
		{o.Packed, virtio.FeatureRingPacked}, {o.EventIdx, virtio.FeatureEventIdx},
		{o.Indirect, virtio.FeatureIndirectDesc}, {o.QueueReset && t.canResetQueues(), virtio.FeatureRingReset},
	} {
		if c.on {
			f |= c.bit
		}
	}
	if l, ok := t.dev.(virtio.Limiter); ok {
		f = l.Limit(f)
	}
	return f
}

func (t *Transport) canResetQueues() bool {
	_, ok := t.dev.(virtio.QueueResetter)
	return ok
}

// ConfigChanged tells the driver to read the configuration again.
func (t *Transport) ConfigChanged() {
	t.generation.Add(1)
	t.interrupt(t.confVector.Load(), 2)
}

// NeedsReset marks the device as broken.
func (t *Transport) NeedsReset(err error) {
	t.mu.Lock()
	t.status |= virtio.StatusNeedsReset
	t.broken = err
	tell := t.status&virtio.StatusDriverOK != 0
	t.mu.Unlock()
	if tell {
		t.ConfigChanged()
	}
}

// interrupt raises a vector, or the line with a bit in the ISR.
func (t *Transport) interrupt(vector, bit uint32) {
	if t.msix.Enabled() {
		if vector != noVector {
			t.msix.Signal(int(vector))
		}
		return
	}
	t.isr.Or(bit)
	t.fn.SetINTx(true)
}

// readISR returns what happened and lowers the line (§4.1.4.5).
func (t *Transport) readISR() uint8 {
	v := t.isr.Swap(0)
	t.fn.SetINTx(false)
	return uint8(v)
}

// clear puts the registers into their reset state.
func (t *Transport) clear() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.status, t.features, t.featureSel, t.queueSel, t.broken = 0, 0, [2]uint32{}, 0, nil
	t.confVector.Store(noVector)
	t.isr.Store(0)
	for i, q := range t.queues {
		t.clearQueue(i, q)
	}
}

func (t *Transport) clearQueue(i int, q *vq) {
	q.enabled = false
	q.cfg = queue.Config{Index: i, Size: t.dev.QueueSizes()[i]}
	q.vector.Store(noVector)
}
