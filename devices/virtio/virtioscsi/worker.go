package virtioscsi

import (
	"sync"
	"sync/atomic"

	"hv/devices/virtio"
)

// requestQueue is a request queue of an active device. Its worker takes from it; the units'
// give back.
type requestQueue struct {
	dev  *Device
	tell virtio.Transport
	wake func()

	dirty atomic.Bool

	mu      sync.Mutex
	q       *virtio.Queue // nil once the device was reset
	free    []*slot
	starved bool // there was no slot for a request
}

func newRequestQueue(d *Device, q *virtio.Queue, tell virtio.Transport) *requestQueue {
	rq := &requestQueue{dev: d, q: q, tell: tell}
	for range q.Queue.Config().Size {
		s := &slot{queue: rq}
		s.task.Owner = s
		rq.free = append(rq.free, s)
	}
	return rq
}

func (rq *requestQueue) kicked(int16) { rq.serve() }

// serve takes what the driver made available.
func (rq *requestQueue) serve() {
	for {
		s, err := rq.pop()
		if err != nil {
			rq.tell.NeedsReset(err)
			return
		}
		if s == nil {
			break
		}
		response, ok, err := s.parse(rq.dev.cdbSize.Load(), rq.dev.senseSize.Load())
		switch {
		case err != nil:
			rq.tell.NeedsReset(err)
			return
		case ok:
			rq.dev.bus.Submit(s.target, &s.task)
		default:
			rq.finish(s, response)
		}
	}
	rq.settle()
}

// pop takes the next request; without one it has the driver notify.
func (rq *requestQueue) pop() (*slot, error) {
	rq.mu.Lock()
	defer rq.mu.Unlock()
	for rq.q != nil {
		if rq.starved = len(rq.free) == 0; rq.starved {
			return nil, nil
		}
		s := rq.free[len(rq.free)-1]
		ok, err := rq.q.Pop(&s.chain)
		if err != nil {
			return nil, err
		}
		if ok {
			rq.free = rq.free[:len(rq.free)-1]
			return s, nil
		}
		if !rq.q.EnableKicks() {
			break
		}
	}
	return nil, nil
}

// done completes a request as its task ended.
func (rq *requestQueue) done(s *slot) { rq.finish(s, outcomes[s.task.Outcome]) }

func (rq *requestQueue) finish(s *slot, response uint8) {
	rq.mu.Lock()
	defer rq.mu.Unlock()
	if rq.q == nil {
		return
	}
	rq.q.Push(&s.chain, s.respond(response))
	rq.free = append(rq.free, s)
	rq.dirty.Store(true)
	if rq.starved {
		rq.starved = false
		rq.wake()
	}
}

// settle shows the driver what was completed.
func (rq *requestQueue) settle() {
	if !rq.dirty.Load() {
		return
	}
	rq.mu.Lock()
	defer rq.mu.Unlock()
	if rq.q != nil && rq.dirty.Swap(false) {
		rq.q.Show()
	}
}

// close touches the ring no more.
func (rq *requestQueue) close() {
	rq.mu.Lock()
	defer rq.mu.Unlock()
	rq.q = nil
}
