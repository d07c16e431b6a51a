// Package virtiotest is the driver's side of a virtio device, for tests, benchmarks
// and fuzzing: it lays out rings in guest memory as a guest would, and runs a device
// without PCI.
//
// A Driver is used by one goroutine. What the device tells its transport is kept for the
// test to look at. Implements virtio 1.2 §2.7 and §2.8 from the driver's side, apart
// from devices/virtio/queue. It depends on devices/virtio and hypervisor/mem.
package virtiotest

import (
	"cmp"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"hv/devices/virtio"
	"hv/devices/virtio/queue"
	"hv/hypervisor/mem"
)

// Options say what the driver accepts and how its rings look.
type Options struct {
	// Features are accepted of those that the device offers; 0 is all.
	Features uint64
	Packed   bool
	EventIdx bool
	Indirect bool // chains of more than one buffer go into a table
	// QueueSize is that of all queues, if the device allows it; 0 is the largest.
	QueueSize uint16
	// RAM is the guest's memory in bytes; 0 is 4 MiB.
	RAM uint64
	// Shared has the guest's memory in a file, for devices that others serve.
	Shared bool
	// Wired has interrupts raised by a descriptor that the device is told.
	Wired bool
}

// Buf is one buffer of a chain, at a guest-physical address.
type Buf struct {
	Addr  uint64
	Len   uint32
	Write bool // the device writes it
}

// Driver drives a device.
type Driver struct {
	t      testing.TB
	dev    virtio.Device
	opt    Options
	mem    *mem.Memory
	ram    *mem.Backend
	next   uint64 // of what is not allocated
	queues []*vq
	port   *transport
}

// patience is how long a device may take before a test fails.
const patience = 20 * time.Second

// NewDriver negotiates with a device and activates it. It ends with the test.
func NewDriver(t testing.TB, dev virtio.Device, opt Options) *Driver {
	t.Helper()
	d := &Driver{t: t, dev: dev, opt: opt, next: mem.PageSize}
	d.ram, d.mem = memory(t, opt)
	t.Cleanup(func() {
		if err := dev.Close(); err != nil {
			t.Errorf("close the device: %v", err)
		}
		d.release()
		if err := d.ram.Close(); err != nil {
			t.Error(err)
		}
	})
	d.Activate()
	return d
}

// memory makes guest memory.
func memory(t testing.TB, opt Options) (*mem.Backend, *mem.Memory) {
	t.Helper()
	c := mem.BackendConfig{ID: "ram", Kind: mem.Anonymous, Size: cmp.Or(opt.RAM, 4<<20)}
	if opt.Shared {
		c.Kind, c.Share = mem.Memfd, true
	}
	b, err := mem.Allocate(c)
	if err != nil {
		t.Fatal(err)
	}
	m, err := mem.New(mem.Region{Base: 0, Data: b.Data, FD: b.FD})
	if err != nil {
		t.Fatal(err)
	}
	return b, m
}

// Activate sets up the rings anew and starts the device, as a driver does after a
// reset.
func (d *Driver) Activate() {
	d.t.Helper()
	if err := d.TryActivate(); err != nil {
		d.t.Fatalf("activate: %v", err)
	}
}

// TryActivate is Activate, with the device's error.
func (d *Driver) TryActivate() error {
	d.release()
	d.port = &transport{changed: make(chan struct{}, 1)}
	features := d.dev.Features()
	if d.opt.Features != 0 {
		features &= d.opt.Features
	}
	features |= virtio.FeatureVersion1
	for _, f := range []struct {
		on  bool
		bit uint64
	}{{d.opt.Packed, virtio.FeatureRingPacked}, {d.opt.EventIdx, virtio.FeatureEventIdx}, {d.opt.Indirect, virtio.FeatureIndirectDesc}} {
		if f.on {
			features |= f.bit
		}
	}
	if l, ok := d.dev.(virtio.Limiter); ok {
		features = l.Limit(features)
	}
	r := virtio.Resources{Mem: d.mem, Features: features, Transport: d.port}
	for i, size := range d.dev.QueueSizes() {
		if d.opt.QueueSize != 0 && d.opt.QueueSize < size {
			size = d.opt.QueueSize
		}
		q, vq := d.makeQueue(i, size)
		d.queues = append(d.queues, q)
		r.Queues = append(r.Queues, vq)
	}
	return d.dev.Activate(r)
}

func (d *Driver) release() {
	for _, q := range d.queues {
		unix.Close(q.kick)
		unix.Close(q.call)
	}
	d.queues = nil
}

// makeQueue lays out a ring and makes the device's view of it.
func (d *Driver) makeQueue(i int, size uint16) (*vq, *virtio.Queue) {
	d.t.Helper()
	q := &vq{d: d, size: size, packed: d.opt.Packed, eventIdx: d.opt.EventIdx, indirect: d.opt.Indirect}
	q.layout()
	var err error
	for _, fd := range []*int{&q.kick, &q.call} {
		if *fd, err = unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC); err != nil {
			d.t.Fatal(err)
		}
	}
	made, err := queue.New(d.mem, q.config(i))
	if err != nil {
		d.t.Fatalf("queue %d: %v", i, err)
	}
	call, wired := q.call, -1
	if d.opt.Wired {
		wired = call
	}
	return q, &virtio.Queue{Queue: made, Kick: q.kick, InterruptFD: wired, Interrupt: func() { signal(call) }}
}

// RestartQueue resets one queue and starts it anew (VIRTIO_F_RING_RESET).
func (d *Driver) RestartQueue(i int) {
	d.t.Helper()
	r := d.dev.(virtio.QueueResetter)
	r.ResetQueue(i)
	size := d.queues[i].size
	unix.Close(d.queues[i].kick)
	unix.Close(d.queues[i].call)
	q, vq := d.makeQueue(i, size)
	d.queues[i] = q
	if err := r.StartQueue(i, vq); err != nil {
		d.t.Fatalf("start queue %d: %v", i, err)
	}
}

// Reset resets the device.
func (d *Driver) Reset() { d.dev.Reset() }

// Mem returns guest memory.
func (d *Driver) Mem() *mem.Memory { return d.mem }

// Alloc returns the address of n new zero bytes of guest memory.
func (d *Driver) Alloc(n int) uint64 {
	d.t.Helper()
	at := d.alloc(uint64(n), 16)
	clear(d.Bytes(at, n))
	return at
}

func (d *Driver) alloc(n, align uint64) uint64 {
	at := (d.next + align - 1) &^ (align - 1)
	if at+n > uint64(len(d.ram.Data)) {
		d.t.Fatalf("the driver is out of memory: %d bytes at %#x", n, at)
	}
	d.next = at + n
	return at
}

// Mark returns the place up to which memory is allocated, Release gives back what came
// after one.
func (d *Driver) Mark() uint64 { return d.next }

// Release gives back memory; see Mark.
func (d *Driver) Release(mark uint64) { d.next = mark }

// Bytes returns a view of guest memory.
func (d *Driver) Bytes(addr uint64, n int) []byte {
	d.t.Helper()
	b, err := d.mem.Slice(addr, uint64(n))
	if err != nil {
		d.t.Fatal(err)
	}
	return b
}

// NeedsReset returns why the device is broken, nil if it is not.
func (d *Driver) NeedsReset() error {
	d.port.mu.Lock()
	defer d.port.mu.Unlock()
	return d.port.broken
}

// AwaitBroken waits until the device is broken and returns why.
func (d *Driver) AwaitBroken() error {
	d.t.Helper()
	d.await("broken device", func() bool { return d.NeedsReset() != nil })
	return d.NeedsReset()
}

// AwaitConfigChange waits for n configuration interrupts since the activation.
func (d *Driver) AwaitConfigChange(n int) {
	d.t.Helper()
	d.await("configuration interrupt", func() bool {
		d.port.mu.Lock()
		defer d.port.mu.Unlock()
		return d.port.changes >= n
	})
}

// await waits for something that the transport is told of.
func (d *Driver) await(what string, done func() bool) {
	d.t.Helper()
	limit := time.After(patience)
	for !done() {
		select {
		case <-d.port.changed:
		case <-limit:
			d.t.Fatalf("no %s", what)
		}
	}
}

// transport keeps what a device says.
type transport struct {
	mu      sync.Mutex
	changes int
	broken  error
	changed chan struct{}
}

// ConfigChanged counts.
func (p *transport) ConfigChanged() { p.note(func() { p.changes++ }) }

// NeedsReset keeps the first error.
func (p *transport) NeedsReset(err error) {
	p.note(func() {
		if p.broken == nil {
			p.broken = err
		}
	})
}

func (p *transport) note(f func()) {
	p.mu.Lock()
	f()
	p.mu.Unlock()
	select {
	case p.changed <- struct{}{}:
	default:
	}
}

func signal(fd int) { _, _ = unix.Write(fd, []byte{1, 0, 0, 0, 0, 0, 0, 0}) }
