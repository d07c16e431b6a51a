package virtioblk

import (
	"fmt"

	"hv/devices/ioloop"
	"hv/devices/virtio/pump"
)

// join has a loop serve the worker's queue.
func (w *worker) join(l *ioloop.Loop) (err error) {
	w.loop, w.slept = l, true
	l.Do(func() {
		if w.io, err = w.dev.backend.NewIO(w.q.Kick, uint32(len(w.requests))); err != nil {
			return
		}
		err = l.Add(w)
	})
	return err
}

// leave ends a worker that was asked to.
func (w *worker) leave() (err error) {
	w.gate.Await(pump.Ended)
	w.loop.Do(func() {
		w.loop.Remove(w)
		err = w.io.Close()
	})
	return err
}

// Serve does what there is to do on the queue. It is for the loop, as all below.
func (w *worker) Serve() (o ioloop.Outcome) {
	defer func() {
		if p := recover(); p != nil {
			w.tell.NeedsReset(fmt.Errorf("worker: %v", p))
			w.still, w.obeyed, o = true, w.gate.Asked(), ioloop.Quiet
			w.gate.Leave()
		}
	}()
	if !w.follows() {
		return ioloop.Quiet
	}
	before := w.inflight
	if w.slept {
		w.slept = false
		w.q.DisableKicks()
		w.wait(false)
	}
	w.batch = w.loop.Batch()
	popped, _ := w.take()
	if w.inflight > 0 {
		w.wait(false)
	}
	w.publish()
	switch {
	case popped || w.inflight < before:
		return ioloop.Worked
	case w.inflight > 0:
		return ioloop.Waiting
	}
	return ioloop.Quiet
}

// follows does what the worker was asked to and reports whether it serves its queue.
func (w *worker) follows() bool {
	asked := w.gate.Asked()
	if asked == pump.Running && !w.still {
		return true
	}
	if !w.still {
		w.drain()
	}
	was := w.still
	w.obeyed = w.gate.Follow()
	switch w.obeyed {
	case pump.Running:
		w.still, w.slept = false, was
	case pump.Ended:
		w.still = true
		w.gate.Leave()
	default:
		w.still = true
	}
	return !w.still
}

// Ready reports whether the driver has made something available.
func (w *worker) Ready() bool { return !w.still && w.q.Pending() }

// Sleep has the driver notify, and reports whether nothing came up to then.
func (w *worker) Sleep() bool {
	// A wake may have been heard before it was known what for.
	if asked := w.gate.Asked(); asked != w.obeyed {
		return false
	}
	if w.still {
		return true
	}
	w.slept = true
	return w.fault != nil || len(w.free) == 0 || !w.q.EnableKicks()
}

// Descriptors returns what tells of kicks and completions.
func (w *worker) Descriptors() (fds []int, version int, err error) { return w.io.Descriptors() }
