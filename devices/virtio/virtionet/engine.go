package virtionet

import (
	"fmt"

	"golang.org/x/sys/unix"

	"hv/devices/virtio"
	"hv/devices/virtio/pump"
	"hv/devices/virtio/vhost"
)

// Engine is a Link whose far end serves the rings of queue pairs itself: the kernel, or another process.
// The control queue stays with the device, and so does what the guest sets with it; but what the
// receive filter does not let through passes, as nobody here sees it.
//
// From Serve to Halt nobody else touches the rings. After an error of Serve none of them is served,
// and after one of Halt none is any more.
type Engine interface {
	// Limit returns those of the features that the engine can do.
	Limit(features uint64) uint64
	// Serve takes rings over, receive and transmit of each queue pair in turn.
	Serve(s vhost.Setup) error
	// Halt gives them back, with the index of the chain that is next in each; fewer, or none,
	// where that cannot be told.
	Halt() (bases []uint32, err error)
}

// announcer is an Engine that can tell the network where the NIC of a guest is that cannot do so itself.
type announcer interface {
	Announce(mac [6]byte) error
}

// doubter is a Host that wants to know of an engine that would not serve the rings, so that the
// device's workers do.
type doubter interface {
	EngineRefused(err error)
}

// engine is who serves an active device's rings. The device's life lock guards it.
type engine struct {
	res     *virtio.Resources // nil while the device is idle
	running Engine            // nil while the device's own workers are at it, or nobody is
	moving  bool              // the workers are
	rings   int               // that an engine serves
	refused Link              // the link whose engine would not
	// calls raise interrupts that take more than a descriptor.
	calls   pump.Crew
	callFDs []int
}

// notHanded are features without which rings are handed over: places in packed rings are not those of
// Engine, and nobody else hashes packets as the guest wants.
const notHanded = virtio.FeatureRingPacked | featureRSS | featureHash

func (d *Device) currentLink() Link {
	d.linkMu.Lock()
	defer d.linkMu.Unlock()
	return d.link
}

// Limit returns those of the features that the link can do.
func (d *Device) Limit(features uint64) uint64 { return limit(d.currentLink(), features) }

func limit(l Link, features uint64) uint64 {
	if e, ok := l.(Engine); ok {
		return e.Limit(features) &^ notHanded
	}
	return features
}

// wanted returns the engine that is to serve the rings: that of a link that is up.
func (d *Device) wanted(l Link) Engine {
	e, ok := l.(Engine)
	if !ok || d.engine.res == nil || d.engine.refused == l || !d.linkUp.Load() {
		return nil
	}
	return e
}

// begin has the rings served, which nobody serves, by who is to do that now. While the device
// is paused, an engine waits for the end of that.
func (d *Device) begin(l Link) error {
	if e := d.wanted(l); e != nil {
		if d.paused {
			return nil
		}
		err := d.hand(e)
		if err == nil {
			return nil
		}
		d.engine.refused = l
		if h, ok := d.host.(doubter); ok {
			h.EngineRefused(fmt.Errorf("unable to start vhost net: %w: falling back on userspace virtio", err))
		}
	}
	pumps, err := d.pumps(l)
	if err != nil {
		return err
	}
	d.startData(l, pumps)
	return nil
}

// stop has nobody serve the rings, and the workers know where they are.
func (d *Device) stop() {
	d.data.EndWorkers()
	d.engine.moving = false
	e := d.engine.running
	if e == nil {
		return
	}
	bases, err := e.Halt()
	if err != nil {
		bases = nil
	}
	d.endCalls()
	d.engine.running = nil
	for i := range d.engine.rings {
		q := d.engine.res.Queues[i]
		at := q.Used() // what was under way is lost, or done again
		if i < len(bases) {
			at = uint16(bases[i])
		}
		q.Seek(at)
	}
	if err := d.makeWorkers(d.engine.res); err != nil {
		d.tell.NeedsReset(err)
	}
}

// follow has the rings served by who is to do that, after something changed.
func (d *Device) follow(l Link) error {
	e := d.wanted(l)
	if d.engine.res == nil || e == d.engine.running && (e != nil || d.engine.moving) {
		return nil
	}
	d.stop()
	return d.begin(l)
}

// follows is follow after the link went up or down.
func (d *Device) follows() {
	d.life.Lock()
	defer d.life.Unlock()
	l := d.currentLink()
	if d.engine.refused == l {
		d.engine.refused = nil // it may have another engine now
	}
	if err := d.follow(l); err != nil {
		d.tell.NeedsReset(err)
	}
}

// hand hands the rings over to an engine. No worker uses them.
func (d *Device) hand(e Engine) error {
	r := d.engine.res
	s := vhost.Setup{Features: r.Features, Memory: r.Shared()}
	if r.Has(featureMTU) {
		s.MTU = d.cfg.HostMTU
	}
	for _, w := range d.workers {
		w.giveBack()
	}
	for i := range 2 * d.controlPairs() {
		if i >= len(r.Queues) || r.Queues[i] == nil {
			s.Rings = s.Rings[:i&^1]
			break
		}
		r.Queues[i].EnableKicks() // who takes over may rely on that
		ring, err := r.Ring(i, uint32(r.Queues[i].Positions().Avail))
		if err != nil {
			return err
		}
		s.Rings = append(s.Rings, ring)
	}
	if err := d.startCalls(s.Rings); err != nil {
		return err
	}
	if err := e.Serve(s); err != nil {
		d.endCalls()
		return err
	}
	d.engine.running, d.engine.rings = e, len(s.Rings)
	for _, ring := range s.Rings {
		// A kick that a worker has had may be one that the engine has to have.
		_, _ = unix.Write(ring.Kick, []byte{1, 0, 0, 0, 0, 0, 0, 0})
	}
	return nil
}

// startCalls gives rings without a descriptor for interrupts one, and a worker that raises them.
func (d *Device) startCalls(rings []vhost.Ring) error {
	var sources []pump.Source
	for i := range rings {
		if rings[i].Call >= 0 {
			continue
		}
		fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
		if err != nil {
			d.endCalls()
			return fmt.Errorf("eventfd: %w", err)
		}
		d.engine.callFDs = append(d.engine.callFDs, fd)
		rings[i].Call = fd
		raise := d.engine.res.Queues[i].Interrupt
		sources = append(sources, pump.Source{FD: fd, Kick: true, Ready: func(int16) { raise() }})
	}
	if sources == nil {
		return nil
	}
	p, err := pump.New(sources, nil, d.tell.NeedsReset)
	if err != nil {
		d.endCalls()
		return err
	}
	d.engine.calls.StartWorkers(p)
	return nil
}

// endCalls undoes startCalls. What was called and not raised yet is raised.
func (d *Device) endCalls() {
	d.engine.calls.EndWorkers()
	for _, fd := range d.engine.callFDs {
		unix.Close(fd)
	}
	if len(d.engine.callFDs) > 0 {
		d.raise()
	}
	d.engine.callFDs = nil
}

// raise interrupts for all rings that have no descriptor for that.
func (d *Device) raise() {
	for _, q := range d.engine.res.Queues {
		if q != nil && q.InterruptFD < 0 {
			q.Interrupt()
		}
	}
}

// Rewire follows the interrupt of queue i to another descriptor.
func (d *Device) Rewire(i, fd int) {
	d.life.Lock()
	defer d.life.Unlock()
	r := d.engine.res
	if r == nil || i >= len(r.Queues) || r.Queues[i] == nil {
		return
	}
	served := d.engine.running != nil && i < d.engine.rings
	if served {
		d.stop()
	}
	r.Queues[i].InterruptFD = fd
	if served {
		if err := d.begin(d.currentLink()); err != nil {
			d.tell.NeedsReset(err)
		}
	}
}

// Host returns what an engine serves, nil if there is none.
func (d *Device) Host() *virtio.HostState {
	d.life.Lock()
	defer d.life.Unlock()
	e := d.wanted(d.currentLink())
	if e == nil {
		return nil
	}
	r := d.engine.res
	s := &virtio.HostState{Features: e.Limit(^uint64(0)), Accepted: r.Features, Regions: len(r.Mem.Regions())}
	for i := range d.engine.rings {
		h := r.HostQueue(i)
		h.Base = r.Queues[i].Positions().Avail
		s.Queues = append(s.Queues, h)
	}
	return s
}
