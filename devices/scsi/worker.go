package scsi

import (
	"errors"
	"fmt"
	"runtime"
	"slices"

	"golang.org/x/sys/unix"

	"hv/devices/qdev"
	"hv/devices/turn"
	"hv/devices/virtio/pump"
)

// NewDisk returns a disk on a medium.
func NewDisk(cfg DiskConfig, m Medium, h Hooks) (*Unit, error) {
	d := &Unit{cfg: cfg.Config, kind: typeDisk, removable: cfg.Removable, dpofua: cfg.DPOFUA, rotation: cfg.Rotation, maxUnmap: cfg.MaxUnmap}
	if m == nil && !cfg.Removable {
		return nil, errors.New("Device needs media, but drive is empty")
	}
	return d.init(m, h, "QEMU HARDDISK")
}

// NewCD returns a CD drive, which is empty if m is nil.
func NewCD(cfg CDConfig, m Medium, h Hooks) (*Unit, error) {
	d := &Unit{cfg: cfg.Config, kind: typeCD, removable: true}
	if d.cfg.PhysicalBlock == 0 {
		d.block = cdBlock
	}
	return d.init(m, h, "QEMU CD-ROM")
}

// init completes a unit. Close is due afterwards.
func (d *Unit) init(m Medium, h Hooks, product string) (*Unit, error) {
	if err := d.cfg.complete(); err != nil {
		return nil, err
	}
	if d.cfg.Product == "" {
		d.cfg.Product = product
	}
	switch {
	case d.block != 0:
	case d.kind == typeCD:
		d.block = uint64(d.cfg.PhysicalBlock)
	default:
		d.block = uint64(d.cfg.LogicalBlock)
	}
	d.maxIO = min(d.cfg.MaxIO, maxRequest) / d.block * d.block
	d.hooks, d.medium = h, m
	d.cache = d.cfg.WriteCache != qdev.OnOffAuto("off")
	d.writeCache.Store(d.cache)
	d.gate, d.want = pump.NewGate(), pump.Running
	d.complete, d.ready = d.completed, d.pending
	d.scratch = make([]byte, 0, scratchSize)
	for tag := range uint32(depth) {
		d.free = append(d.free, depth-1-tag)
	}
	d.attention = senseReset
	d.measure()
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("eventfd: %w", err)
	}
	d.kick = fd
	return d, nil
}

const (
	// maxRequest bounds the bytes of a read or a write.
	maxRequest = 1<<31 - 1
	// scratchSize is room for each answer.
	scratchSize = 4096
)

// begin starts the worker for an adapter.
func (d *Unit) begin(h Host, paused bool) {
	d.host = h
	if paused {
		d.want = pump.Paused
		d.gate.Ask(pump.Paused)
	}
	d.worker.Go(d.run)
}

// wake has the worker look around.
func (d *Unit) wake() {
	if d.asleep.Swap(false) {
		_, _ = unix.Write(d.kick, []byte{1, 0, 0, 0, 0, 0, 0, 0})
	}
}

// ask says what the worker is to do and returns once it does that.
func (d *Unit) ask(s pump.State) {
	d.gate.Ask(s)
	_, _ = unix.Write(d.kick, []byte{1, 0, 0, 0, 0, 0, 0, 0})
	if s != pump.Running {
		d.gate.Await(s)
	}
}

// Pause returns once no request is under way.
func (d *Unit) Pause() { d.set(pump.Paused) }

// Resume undoes Pause.
func (d *Unit) Resume() { d.set(pump.Running) }

func (d *Unit) set(s pump.State) {
	d.life.Lock()
	defer d.life.Unlock()
	defer d.lift()()
	d.want = s
	d.ask(s)
}

// lifter is a medium whose requests may have to wait for limits: for none until Drop.
type lifter interface {
	Lift()
	Drop()
}

// lift has no request wait for limits until the function is called that it returns. The
// caller holds life.
func (d *Unit) lift() (drop func()) {
	l, ok := d.medium.(lifter)
	if !ok {
		return func() {}
	}
	l.Lift()
	return l.Drop
}

// still runs f while the worker stands still, with no request under way that is not parked.
func (d *Unit) still(f func()) {
	d.life.Lock()
	defer d.life.Unlock()
	defer d.lift()()
	if d.host != nil && !d.closed {
		d.ask(pump.Paused)
		defer d.ask(d.want)
	}
	f()
}

// Close ends the unit, which is on no bus any more.
func (d *Unit) Close() error {
	d.life.Lock()
	defer d.life.Unlock()
	if d.closed {
		return nil
	}
	d.closed = true
	if d.host != nil {
		d.ask(pump.Ended)
		d.worker.Wait()
	}
	return errors.Join(d.closeIO(), unix.Close(d.kick))
}

// closeIO gives up the way to the medium. The worker stands still or has ended.
func (d *Unit) closeIO() error {
	io := d.io
	if io == nil {
		return nil
	}
	d.dropAll(senseNoMedium)
	d.io, d.fault = nil, nil
	return io.Close()
}

// run is the worker's thread.
func (d *Unit) run() {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	defer d.gate.Leave()
	var t turn.Turn
	for d.obey() {
		t.Pass()
		d.serve()
	}
}

// obey does what the worker was asked to and reports whether it goes on.
func (d *Unit) obey() bool {
	if d.gate.Asked() != pump.Running {
		for d.io != nil && d.inflight > d.io.Parked() {
			d.wait(true)
		}
		d.host.Settle()
		if !d.gate.Obey() {
			return false
		}
	}
	if d.io == nil && d.fault == nil {
		d.openIO()
	}
	return true
}

// openIO makes a way to the medium, if there is one.
func (d *Unit) openIO() {
	if d.medium == nil {
		d.io = idle{d.kick}
		return
	}
	io, err := d.medium.NewIO(d.kick, depth)
	if err != nil {
		d.fault, io = err, idle{d.kick}
	}
	d.io = io
}

// serve takes what there is. Once there is nothing more it starts all of it, and sleeps
// when nothing came of that at once.
func (d *Unit) serve() {
	took := d.take()
	if before := d.inflight; before > 0 {
		d.wait(false)
		took = took || d.inflight < before
	} else if !took {
		took = d.spin.For(d.ready)
	}
	d.host.Settle()
	if took {
		return
	}
	d.asleep.Store(true)
	d.wait(!d.pending())
	d.asleep.Store(false)
	d.spin.Woke()
	d.host.Settle()
}

// wait starts and completes requests. If the medium fails as a whole, nobody can say what
// became of them.
func (d *Unit) wait(block bool) {
	err := d.io.Wait(block, d.complete)
	if err == nil {
		return
	}
	d.fault = err
	_ = d.io.Close()
	d.io = idle{d.kick}
	d.dropAll(senseTargetFailure)
}

// idle is the IO of an empty drive.
type idle struct{ fd int }

// Submit is for a drive that is not empty.
func (idle) Submit(uint8, uint32, int64, int64, [][]byte) error { return unix.ENOMEDIUM }

// Wait sleeps.
func (i idle) Wait(block bool, _ func(uint32, int32)) error {
	timeout := 0
	if block {
		timeout = -1
	}
	fds := [1]unix.PollFd{{Fd: int32(i.fd), Events: unix.POLLIN}}
	if _, err := unix.Poll(fds[:], timeout); err != nil && !errors.Is(err, unix.EINTR) {
		return err
	}
	var b [8]byte
	_, _ = unix.Read(i.fd, b[:])
	return nil
}

// Wake is done by the descriptor.
func (idle) Wake() {}

// Parked requests are of media.
func (idle) Parked() int { return 0 }

// Drop has nothing to give up.
func (idle) Drop(uint32) bool { return false }

// Close has nothing to give up.
func (idle) Close() error { return nil }

// submitTask takes a task, unless the unit has left its bus.
func (d *Unit) submitTask(t *Task) bool {
	d.mu.Lock()
	if d.gone {
		d.mu.Unlock()
		return false
	}
	t.state, t.stop, t.Moved = queued, false, 0
	t.at = len(d.tasks)
	d.tasks = append(d.tasks, t)
	d.inbox = append(d.inbox, t)
	d.mu.Unlock()
	d.wake()
	return true
}

// leave takes no more tasks, and ends those that there are.
func (d *Unit) leave() {
	d.mu.Lock()
	d.gone = true
	d.mu.Unlock()
	d.abort(Aborted, func(*Task) bool { return true })
}

// abort ends tasks with an outcome, those that which picks, and returns once they have
// ended. What is under way comes to its own end before.
func (d *Unit) abort(why Outcome, which func(t *Task) bool) {
	d.mu.Lock()
	for _, t := range d.tasks {
		if which(t) {
			t.stop, t.why = true, why
		}
	}
	d.mu.Unlock()
	d.still(d.giveUp)
	d.host.Settle()
}

// giveUp ends the tasks that are to be aborted, while the worker stands still: those that
// it had no hand in yet, and those whose request is parked.
func (d *Unit) giveUp() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, t := range slices.Clone(d.tasks) {
		switch {
		case !t.stop:
		case t.state == queued:
			d.inbox = slices.DeleteFunc(d.inbox, func(x *Task) bool { return x == t })
			d.giveBack(t)
		case d.io.Drop(t.tag):
			d.inflight--
			d.giveBack(t)
		}
	}
}

// dropAll ends all tasks whose requests went with the way to the medium.
func (d *Unit) dropAll(s Sense) {
	d.inflight = 0
	for _, t := range slices.Clone(d.byTag[:]) {
		if t != nil {
			d.fail(t, s)
		}
	}
}

// reset aborts all tasks and brings the unit to its state at power-on.
func (d *Unit) reset() {
	d.abort(WasReset, func(*Task) bool { return true })
	d.mu.Lock()
	defer d.mu.Unlock()
	d.open, d.locked = false, false
	d.writeCache.Store(d.cache)
	d.attend(senseReset)
}
