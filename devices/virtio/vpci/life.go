package vpci

import (
	"fmt"
	"slices"

	"golang.org/x/sys/unix"

	"hv/devices/virtio"
	"hv/devices/virtio/queue"
)

// reset is a reset by the driver or the machine. It returns when the device is
// quiet.
func (t *Transport) reset() {
	t.life.Lock()
	defer t.life.Unlock()
	t.dev.Reset()
	t.active, t.live = false, nil
	for i := range t.queues {
		t.setBell(i, false)
	}
	t.clear()
	t.fn.SetINTx(false)
	for _, q := range t.queues {
		drain(q.kick)
	}
}

// drain forgets notifications.
func drain(fd int) {
	var b [8]byte
	_, _ = unix.Read(fd, b[:])
}

// setStatus is a write of the device status (§3.1.1, §2.1).
func (t *Transport) setStatus(v uint8) {
	if v == 0 {
		t.reset()
		return
	}
	t.life.Lock()
	defer t.life.Unlock()
	t.mu.Lock()
	old := t.status
	if v&virtio.StatusFeaturesOK != 0 && old&virtio.StatusFeaturesOK == 0 && !t.acceptable() {
		v &^= virtio.StatusFeaturesOK
	}
	t.status = v | old&virtio.StatusNeedsReset
	begin := v&virtio.StatusDriverOK != 0 && old&virtio.StatusDriverOK == 0
	t.mu.Unlock()
	if begin && !t.active {
		t.activate()
	}
}

// acceptable reports whether the device can work with the driver's features.
func (t *Transport) acceptable() bool {
	if c, ok := t.dev.(virtio.Chooser); ok && !c.Accepts(t.features) {
		return false
	}
	return t.features&virtio.FeatureVersion1 != 0 && t.features&^t.offered() == 0
}

// activate starts the device with the queues that the driver enabled.
func (t *Transport) activate() {
	r := virtio.Resources{Mem: t.cfg.Mem, Features: t.features, Transport: t, Queues: make([]*virtio.Queue, len(t.queues))}
	for i, q := range t.queues {
		if !q.enabled {
			continue
		}
		vq, err := t.makeQueue(i)
		if err != nil {
			t.NeedsReset(err)
			return
		}
		r.Queues[i] = vq
	}
	if err := t.dev.Activate(r); err != nil {
		t.NeedsReset(fmt.Errorf("activate: %w", err))
		return
	}
	t.active, t.live = true, slices.Clone(r.Queues)
	if p, ok := t.dev.(virtio.Pauser); ok && t.paused {
		p.Pause()
	}
}

// makeQueue makes queue i of what the driver wrote.
func (t *Transport) makeQueue(i int) (*virtio.Queue, error) {
	q := t.queues[i]
	t.mu.Lock()
	cfg := q.cfg
	cfg.Packed = t.features&virtio.FeatureRingPacked != 0
	cfg.EventIdx = t.features&virtio.FeatureEventIdx != 0
	cfg.Indirect = t.features&virtio.FeatureIndirectDesc != 0
	t.mu.Unlock()
	made, err := queue.New(t.cfg.Mem, cfg)
	if err != nil {
		return nil, err
	}
	q.wired = t.interruptFD(q)
	return &virtio.Queue{Queue: made, Kick: q.kick, InterruptFD: q.wired, Interrupt: func() { t.interrupt(q.vector.Load(), 1) }}, nil
}

// interruptFD returns what raises a queue's interrupt, -1 if that takes more than a
// descriptor.
func (t *Transport) interruptFD(q *vq) int {
	if v := q.vector.Load(); t.msix.Enabled() && v != noVector {
		return t.msix.FD(int(v))
	}
	return -1
}

// rewire tells an active device that somebody else is to raise the interrupts of queues from
// now on: of queue i, or of all if that is negative.
func (t *Transport) rewire(i int) {
	r, ok := t.dev.(virtio.Rewired)
	if !ok {
		return
	}
	t.life.Lock()
	defer t.life.Unlock()
	for j, q := range t.live {
		if q == nil || i >= 0 && i != j {
			continue
		}
		if fd := t.interruptFD(t.queues[j]); fd != t.queues[j].wired {
			t.queues[j].wired = fd
			r.Rewire(j, fd)
		}
	}
}

// enable is a write of 1 to queue_enable.
func (t *Transport) enable(i int) {
	t.life.Lock()
	defer t.life.Unlock()
	q := t.queues[i]
	t.mu.Lock()
	q.enabled = true
	t.mu.Unlock()
	t.setBell(i, true)
	if !t.active {
		return
	}
	// Of an active device only a queue that was reset can be enabled.
	r, ok := t.dev.(virtio.QueueResetter)
	if !ok || t.features&virtio.FeatureRingReset == 0 {
		return
	}
	made, err := t.makeQueue(i)
	if err == nil {
		err = r.StartQueue(i, made)
	}
	if err != nil {
		t.NeedsReset(err)
		return
	}
	t.live[i] = made
}

// resetQueue is a write of 1 to queue_reset (§2.6.1).
func (t *Transport) resetQueue(i int) {
	t.life.Lock()
	defer t.life.Unlock()
	r, ok := t.dev.(virtio.QueueResetter)
	if !ok || t.features&virtio.FeatureRingReset == 0 {
		return
	}
	if t.active {
		r.ResetQueue(i)
		t.live[i] = nil
	}
	t.setBell(i, false)
	t.mu.Lock()
	t.clearQueue(i, t.queues[i])
	t.mu.Unlock()
	drain(t.queues[i].kick)
}

// setBell registers the doorbell of queue i while the BAR is decoded and the
// queue enabled. Without one the write arrives at notify.
func (t *Transport) setBell(i int, on bool) {
	if t.cfg.Bells == nil {
		return
	}
	t.bells.Lock()
	defer t.bells.Unlock()
	t.ring(i, on && t.decoded)
}

func (t *Transport) ring(i int, on bool) {
	q := t.queues[i]
	if q.bell == on {
		return
	}
	addr := t.bar + notifyOff + notifyMultiplier*uint64(i)
	if on {
		q.bell = t.cfg.Bells.AddDoorbell(addr, 2, q.kick) == nil
		return
	}
	_ = t.cfg.Bells.RemoveDoorbell(addr, 2, q.kick)
	q.bell = false
}

// mapped follows the BAR to where the guest put it.
func (t *Transport) mapped(base uint64, on bool) {
	if t.cfg.Bells == nil {
		return
	}
	t.bells.Lock()
	defer t.bells.Unlock()
	if !on {
		for i := range t.queues {
			t.ring(i, false)
		}
		t.decoded = false
		return
	}
	t.bar, t.decoded = base, true
	t.mu.Lock()
	enabled := make([]bool, len(t.queues))
	for i, q := range t.queues {
		enabled[i] = q.enabled
	}
	t.mu.Unlock()
	for i := range t.queues {
		t.ring(i, enabled[i])
	}
}

// notify is a notification that came as a write.
func (t *Transport) notify(i uint64) {
	if i >= uint64(len(t.queues)) {
		return
	}
	_, _ = unix.Write(t.queues[i].kick, []byte{1, 0, 0, 0, 0, 0, 0, 0})
}
