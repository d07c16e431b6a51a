package virtioblk

import (
	"errors"
	"fmt"
	"runtime"
	"sync"

	"hv/devices/ioloop"
	"hv/devices/turn"
	"hv/devices/virtio"
	"hv/devices/virtio/pump"
	"hv/devices/virtio/spin"
)

// worker serves one queue.
type worker struct {
	dev  *Device
	q    *virtio.Queue
	tell virtio.Transport
	io   IO

	spin     spin.Spin
	work     func() bool // ready, as a value that is made once
	requests []request
	free     []uint32
	batch    int // how many are taken before they are started; 0 for all
	inflight int
	pushed   bool
	complete func(tag uint32, res int32)
	fault    error // of the back end; the worker can do nothing more

	gate *pump.Gate
	done sync.WaitGroup

	// On a loop:
	loop   *ioloop.Loop
	obeyed pump.State
	still  bool // paused or ended
	slept  bool // descriptors tell of what is new
}

// startWorker starts a worker and returns when it is ready.
func (d *Device) startWorker(q *virtio.Queue, r *virtio.Resources) (*worker, error) {
	size := uint32(q.Queue.Config().Size)
	w := &worker{dev: d, q: q, tell: r.Transport, requests: make([]request, size), gate: pump.NewGate()}
	w.complete, w.work = w.completed, w.ready
	for tag := range size {
		w.free = append(w.free, size-1-tag)
	}
	if d.loop != nil {
		return w, w.join(d.loop)
	}
	ready := make(chan error, 1)
	w.done.Go(func() { w.run(ready) })
	if err := <-ready; err != nil {
		w.done.Wait()
		return nil, err
	}
	return w, nil
}

// ask tells the worker what to do.
func (w *worker) ask(s pump.State) {
	w.gate.Ask(s)
	w.io.Wake()
}

// end stops the worker. A nil worker has ended.
func (w *worker) end() error {
	if w == nil {
		return nil
	}
	w.ask(pump.Ended)
	if w.loop != nil {
		return w.leave()
	}
	w.done.Wait()
	return w.io.Close()
}

// run is the worker's thread.
func (w *worker) run(ready chan<- error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	io, err := w.dev.backend.NewIO(w.q.Kick, uint32(len(w.requests)))
	w.io = io
	ready <- err
	if err != nil {
		return
	}
	defer w.gate.Leave()
	defer w.recovered()
	w.q.DisableKicks()
	var t turn.Turn
	for w.obey() {
		t.Pass()
		w.serve()
	}
}

// recovered turns a panic of ours into a broken device.
func (w *worker) recovered() {
	if p := recover(); p != nil {
		w.tell.NeedsReset(fmt.Errorf("worker: %v", p))
	}
}

// obey does what the worker was asked to and reports whether it goes on.
func (w *worker) obey() bool {
	if w.gate.Asked() == pump.Running {
		return true
	}
	w.drain()
	return w.gate.Obey()
}

// drain completes what is under way, but for what waits until the VM goes on.
func (w *worker) drain() {
	for w.inflight > w.io.Parked() {
		w.wait(true)
	}
	w.publish()
}

// serve takes what the driver made available. What is much is started at once; the rest is
// once there is nothing more, and the worker sleeps when nothing came of that at once.
func (w *worker) serve() {
	popped, much := w.take()
	if much {
		w.wait(false)
	}
	w.publish()
	if popped && len(w.free) > 0 {
		return
	}
	if w.moves() {
		return
	}
	// Have the driver notify, unless something came meanwhile.
	w.wait(w.fault != nil || len(w.free) == 0 || !w.q.EnableKicks())
	w.q.DisableKicks()
	w.spin.Woke()
}

// moves starts what was taken and reports whether some of it is complete already, or more
// has come.
func (w *worker) moves() bool {
	if before := w.inflight; before > 0 {
		w.wait(false)
		return w.inflight < before
	}
	return w.fault == nil && w.spin.For(w.work)
}

// ready reports whether the driver has made something available.
func (w *worker) ready() bool { return w.q.Pending() }

// wait starts and completes requests. A back end that fails breaks the device: it
// cannot say what became of the requests.
func (w *worker) wait(block bool) {
	if err := w.io.Wait(block, w.complete); err != nil {
		w.broke(fmt.Errorf("back end: %w", err))
		w.inflight = 0
	}
}

func (w *worker) broke(err error) {
	if w.fault == nil {
		w.fault = err
		w.tell.NeedsReset(err)
	}
}

// publish shows completions to the driver.
func (w *worker) publish() {
	if w.pushed {
		w.pushed = false
		w.q.Show()
	}
}

// muchData is how many bytes are moved at once: the driver is to have the first of some large
// requests, and to make new ones, while the next are under way.
const muchData = 512 << 10

// take takes available requests, until they are many or much, and reports whether there were
// any.
func (w *worker) take() (any, much bool) {
	var bytes int64
	for n := 0; len(w.free) > 0 && w.fault == nil && (w.batch == 0 || n < w.batch); n++ {
		tag := w.free[len(w.free)-1]
		r := &w.requests[tag]
		ok, err := w.q.Pop(&r.chain)
		if err != nil {
			w.broke(err)
			return any, false
		}
		if !ok {
			return any, false
		}
		any = true
		w.free = w.free[:len(w.free)-1]
		w.start(tag, r)
		if bytes += r.n; bytes >= muchData {
			return true, true
		}
	}
	return any, false
}

// start parses a request and submits it, or completes it at once.
func (w *worker) start(tag uint32, r *request) {
	err := r.parse(w.dev)
	if errors.Is(err, errShape) {
		w.broke(err)
		w.free = append(w.free, tag)
		return
	}
	op, ok := w.op(r)
	if !ok && err == nil {
		err = errUnsupp
	}
	switch {
	case errors.Is(err, errUnsupp):
		w.finish(tag, statusUnsupp, 1)
	case err != nil:
		if c, ok := w.io.(Refuser); ok {
			c.Refused(op)
		}
		w.finish(tag, statusIOErr, 1)
	case r.typ == typeGetID:
		w.identify(tag, r)
	case r.n == 0 && op != OpFlush:
		w.finish(tag, statusOK, 1)
	default:
		if err := w.io.Submit(op, tag, r.off, r.n, r.data); err != nil {
			w.finish(tag, statusIOErr, 1)
			return
		}
		w.inflight++
	}
}

// op returns the operation for a request; false if the disk cannot do it.
func (w *worker) op(r *request) (uint8, bool) {
	readOnly := w.dev.backend.ReadOnly()
	switch r.typ {
	case typeIn:
		return OpRead, true
	case typeOut:
		return OpWrite, !readOnly
	case typeFlush:
		return OpFlush, true
	case typeDiscard:
		return OpDiscard, !readOnly && w.dev.cfg.Discard
	case typeWriteZeroes:
		if r.unmap {
			return OpWriteZeroesUnmap, !readOnly && w.dev.cfg.WriteZeroes
		}
		return OpWriteZeroes, !readOnly && w.dev.cfg.WriteZeroes
	}
	return OpRead, true
}

// identify answers GET_ID: the serial number, padded with zeroes.
func (w *worker) identify(tag uint32, r *request) {
	var id [serialSize]byte
	copy(id[:], w.dev.cfg.Serial)
	n := min(uint32(len(id)), r.chain.InLen()-1)
	r.chain.CopyIn(id[:n], 0)
	w.finish(tag, statusOK, n+1)
}

// completed is called for each completion of the back end.
func (w *worker) completed(tag uint32, res int32) {
	r := &w.requests[tag]
	w.inflight--
	// Without a write cache a write is complete only once it is durable.
	if res >= 0 && r.typ == typeOut && !w.dev.writeback.Load() && r.n >= 0 {
		r.n = -1
		if w.io.Submit(OpFlush, tag, 0, 0, nil) == nil {
			w.inflight++
			return
		}
		res = -1
	}
	switch {
	case res < 0:
		w.finish(tag, statusIOErr, 1)
	case r.typ == typeIn:
		w.finish(tag, statusOK, uint32(r.n)+1)
	default:
		w.finish(tag, statusOK, 1)
	}
}

// finish completes a request towards the driver.
func (w *worker) finish(tag uint32, status byte, written uint32) {
	r := &w.requests[tag]
	r.status[0] = status
	w.q.Push(&r.chain, written)
	w.pushed = true
	w.free = append(w.free, tag)
}
