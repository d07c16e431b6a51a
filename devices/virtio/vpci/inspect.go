package vpci

import (
	"hv/devices/virtio"
	"hv/devices/virtio/queue"
)

// State is what a transport and its device are doing.
type State struct {
	Status, ISR       uint8
	QueueSel          uint16
	Offered, Accepted uint64 // feature bits
	Active            bool
	Broken            error // what the guest did wrong, nil if nothing
	Queues            []QueueState
	Host              *virtio.HostState // nil unless the kernel serves queues
}

// QueueState is the state of one queue.
type QueueState struct {
	Config  queue.Config
	Largest uint16           // the size before the driver chose one
	At      *queue.Positions // nil if the queue is not in use
}

// Inspect returns the state. A device that works stands still for that moment.
func (t *Transport) Inspect() State {
	t.life.Lock()
	defer t.life.Unlock()
	if p, ok := t.dev.(virtio.Pauser); ok && t.active && !t.paused {
		p.Pause()
		defer p.Resume()
	}
	s := State{Active: t.active, Offered: t.offered(), ISR: uint8(t.isr.Load())}
	if h, ok := t.dev.(virtio.Hosted); ok {
		s.Host = h.Host()
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	s.Status, s.Accepted, s.QueueSel, s.Broken = t.status, t.features, t.queueSel, t.broken
	for i, size := range t.dev.QueueSizes() {
		q := QueueState{Config: t.queues[i].cfg, Largest: size}
		if t.live != nil && t.live[i] != nil {
			at := t.live[i].Positions()
			q.At = &at
		}
		s.Queues = append(s.Queues, q)
	}
	return s
}
