package virtionet

import (
	"time"

	"golang.org/x/sys/unix"

	"hv/block/uring"
	"hv/devices/virtio"
	"hv/devices/virtio/pump"
	"hv/devices/virtio/spin"
)

const (
	// batch is how many packets go one way before the other way gets its turn.
	batch = 64
	// muchData is from how many bytes one way on the guest is shown what there is, so that it can work
	// on some while others are on their way.
	muchData = 128 << 10
	// maxVecs is how many buffers one packet may have.
	maxVecs = 256

	sourceLink = 2 // of the pump

	// linkEvery is how many looks at the transmit queue, which cost nothing, come with one at
	// the link.
	linkEvery = 8

	// lightBytes is how much moves between two sleeps, in the mean, when packets are waited for one by one.
	// Where more does, the processor is of more use to those who make and take the packets.
	lightBytes = 2048
)

// worker moves the packets of a queue pair, both ways: an answer to what was received is seen without
// waking anybody.
type worker struct {
	d    *Device
	pair int
	fd   int // -1 without a link
	pump *pump.Pump
	rx   receiver
	tx   sender

	ring     *uring.Ring // nil if it has not been needed
	ringless bool        // there cannot be one
	// events are those that poll saw at the link and that no read has explained yet.
	events int16
	spin   spin.Spin
	ready  func() bool // look, as a value that is made once
	looks  int
	moved  uint64 // bytes, when they were last looked at
	mean   int64  // bytes between two looks
}

func (d *Device) newWorker(i int, rx, tx *virtio.Queue) *worker {
	w := &worker{d: d, pair: i, fd: -1}
	w.ready = w.look
	w.rx.init(w, rx)
	w.tx.init(w, tx)
	w.moved = w.bytes()
	w.spin.SetRule(spin.Rule{Max: time.Duration(d.cfg.PollUS) * time.Microsecond})
	return w
}

func (w *worker) makePump(fd int) (*pump.Pump, error) {
	p, err := pump.New([]pump.Source{
		{FD: w.rx.q.Kick, Kick: true, Ready: func(int16) { w.rx.tally.kicks.add(1) }},
		{FD: w.tx.q.Kick, Kick: true, Ready: func(int16) { w.tx.tally.kicks.add(1) }},
		{FD: fd, Idle: true, Ready: w.linkReady},
	}, nil, w.d.tell.NeedsReset)
	if err == nil {
		p.Finally(w.work)
	}
	return p, err
}

func (w *worker) linkReady(events int16) {
	w.events |= events
	if events&^unix.POLLIN != 0 {
		w.tx.full = false
	}
}

// adopt has the worker use a pump and a link, when it has none.
func (w *worker) adopt(p *pump.Pump, fd int) {
	w.release()
	w.pump, w.fd, w.events = p, fd, 0
	w.rx.dead, w.tx.full, w.tx.single = false, false, !isDevice(fd)
}

// release gives back what the worker made, whose pump has ended.
func (w *worker) release() {
	if w.ring != nil {
		_ = w.ring.Close()
		w.ring = nil
	}
}

// giveBack gives the queues the chains that no packet has used. A packet that was read is lost.
func (w *worker) giveBack() {
	for ; w.rx.count > 0; w.rx.count-- {
		w.rx.q.Unpop(&w.rx.stash[(w.rx.first+w.rx.count-1)%maxStash])
	}
	for ; w.tx.count > 0; w.tx.count-- {
		w.tx.q.Unpop(&w.tx.chains[w.tx.count-1])
	}
	w.rx.room, w.rx.got = 0, 0
}

// isDevice reports whether a descriptor is a tap's, and so takes every packet at once.
func isDevice(fd int) bool {
	var st unix.Stat_t
	return fd >= 0 && unix.Fstat(fd, &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFCHR
}

// steered reports whether received packets are looked at before they are in the guest's buffers.
func (w *worker) steered() bool { return w.d.features&featureHash != 0 || w.d.steering.Load() != nil }

// fail breaks the device because of what the guest put into a ring.
func (w *worker) fail(err error) { w.d.tell.NeedsReset(err) }

// work moves packets until there are none, or somebody wants the worker to stop.
func (w *worker) work() {
	w.spin.Woke()
	dry := false // the link, and poll will tell of more
	for !w.pump.Stopping() {
		w.pump.Pass()
		sent := w.tx.send()
		if sent || !dry {
			dry = !w.rx.receive()
		}
		switch {
		case sent || !dry:
		case w.light() && w.spin.For(w.ready):
			dry = false
		case !w.tx.arm():
			w.sleep()
			return
		}
	}
	w.pump.Wake()
}

// light reports whether little moves at a time.
func (w *worker) light() bool {
	before := w.moved
	w.moved = w.bytes()
	w.mean += (int64(w.moved-before) - w.mean) / 8
	return w.mean < lightBytes
}

func (w *worker) bytes() uint64 { return w.rx.tally.bytes.n.Load() + w.tx.tally.bytes.n.Load() }

// look reports whether there is something to move.
func (w *worker) look() bool {
	if w.tx.pending() {
		return true
	}
	w.looks++
	return w.looks%linkEvery == 0 && w.rx.fetch()
}

// sleep says what of the link ends the sleep.
func (w *worker) sleep() {
	var events int16
	if w.fd >= 0 {
		if w.rx.open() {
			events |= unix.POLLIN
		}
		if w.tx.full {
			events |= unix.POLLOUT
		}
	}
	w.pump.Watch(sourceLink, events)
	w.pump.After(w.alarm())
}

// alarm returns when a wait ends, of which there may be several, and what is to be done then.
func (w *worker) alarm() (time.Duration, func()) {
	next := w.tx.hold.until
	if other := w.rx.hold.until; next.IsZero() || !other.IsZero() && other.Before(next) {
		next = other
	}
	if next.IsZero() {
		return 0, nil
	}
	return time.Until(next), func() {}
}
