// Package scsi is SCSI targets: disks and CD drives on a bus, and the commands that they
// carry out.
//
// A host adapter gives a Bus its tasks from any goroutine, and is told on another one when
// they are done. Each unit has a worker on a thread of its own, which carries out its
// commands one after the other and has many requests to its medium under way at a time.
// Data moves between the driver's buffers and the medium without a copy, and nothing is
// allocated per task. Trays and media are changed by one goroutine, the control goroutine.
//
// Implements parts of SAM-5, SPC-4, SBC-3 and MMC-5, as far as QEMU's scsi-hd and scsi-cd
// do. It depends on devices/qdev, devices/virtio/pump and devices/virtio/spin.
package scsi

import (
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"hv/devices/virtio/pump"
	"hv/devices/virtio/spin"
)

// Operations of IO.Submit.
const (
	opRead uint8 = iota
	opWrite
	opFlush
	opDiscard
	opWriteZeroes
	opWriteZeroesUnmap
)

// Medium is what is in a drive.
type Medium interface {
	Size() uint64
	ReadOnly() bool
	// NewIO makes a way to the medium for the calling thread: for up to depth
	// requests at once, which also watches the kick descriptor.
	NewIO(kick int, depth uint32) (IO, error)
}

// IO is a unit's way to its medium, used by one thread but for Wake.
type IO interface {
	// Submit queues a request of n bytes at off with its data. tag, below depth,
	// comes back at its completion.
	Submit(op uint8, tag uint32, off, n int64, bufs [][]byte) error
	// Wait starts what was submitted and calls done for each completion with a
	// negative error number or what was moved. If it is to block it sleeps until
	// there is one, a kick, or a Wake.
	Wait(block bool, done func(tag uint32, res int32)) error
	Wake()
	// Parked returns how many requests wait since they failed. They count as being under
	// way until the machine goes on, or Drop gives one up.
	Parked() int
	// Drop gives up a request that is parked, and reports whether it was.
	Drop(tag uint32) bool
	Close() error
}

// Host is the adapter of a bus. Its methods are called from any goroutine.
type Host interface {
	// Done gives a task back. It does not call the unit.
	Done(t *Task)
	// Settle comes after one or more Done.
	Settle()
	// Changed says that a unit's attention condition concerns all users of it.
	Changed(u *Unit, s Sense)
}

// Hooks are what a unit tells its owner. They may be nil, and are called on its worker.
type Hooks struct {
	// Moved says that the guest opened or closed the tray.
	Moved func(open bool)
}

// depth is how many requests a unit has under way at once.
const depth = 256

// Unit is a logical unit.
type Unit struct {
	cfg       Config
	hooks     Hooks
	kind      byte
	removable bool
	dpofua    bool
	rotation  uint16
	block     uint64
	maxIO     uint64
	maxUnmap  uint64
	cache     bool // the write cache at the beginning

	host Host

	writeCache atomic.Bool
	size       atomic.Uint64
	asleep     atomic.Bool
	kick       int
	gate       *pump.Gate
	worker     sync.WaitGroup

	life   sync.Mutex // of pauses and exchanges of the medium, and of want
	want   pump.State
	closed bool

	mu        sync.Mutex
	tasks     []*Task
	inbox     []*Task
	gone      bool   // off its bus
	medium    Medium // changes only while the worker stands still
	attention Sense
	open      bool
	locked    bool
	changed   bool // the new medium is still to be told of
	arrived   bool // as an event
	ejecting  bool

	// The worker's own.
	io       IO
	fault    error
	inflight int
	taken    []*Task
	byTag    [depth]*Task
	free     []uint32
	scratch  []byte
	spin     spin.Spin
	ready    func() bool
	complete func(tag uint32, res int32)
}

// Address returns where the unit is.
func (d *Unit) Address() Address { return d.cfg.Address }

// take moves tasks from the inbox to the worker's hands and reports whether there were
// any.
func (d *Unit) take() bool {
	d.mu.Lock()
	n := min(len(d.inbox), len(d.free))
	d.taken = append(d.taken[:0], d.inbox[:n]...)
	d.inbox = append(d.inbox[:0], d.inbox[n:]...)
	for _, t := range d.taken {
		t.state, t.tag = running, d.free[len(d.free)-1]
		d.free = d.free[:len(d.free)-1]
		d.byTag[t.tag] = t
	}
	d.mu.Unlock()
	for _, t := range d.taken {
		d.execute(t)
	}
	return n > 0
}

// pending reports whether there is something to take.
func (d *Unit) pending() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.inbox) > 0 && len(d.free) > 0
}

// execute begins a command, unless there is something else to say first.
func (d *Unit) execute(t *Task) {
	if t.cmd == nil {
		d.fail(t, senseBadOpcode)
		return
	}
	if t.cmd.flags&quiet == 0 {
		if s, ok := d.takeAttention(); ok {
			d.fail(t, s)
			return
		}
	}
	if t.cmd.flags&needsNothing == 0 && !d.available() {
		d.fail(t, senseNoMedium)
		return
	}
	t.cmd.run(d, t)
}

// room returns n zero bytes for an answer.
func (d *Unit) room(n int) []byte {
	clear(d.scratch[:cap(d.scratch)])
	return d.scratch[:n]
}

// reply ends a task with data, as much as the driver wants.
func (d *Unit) reply(t *Task, b []byte) {
	b = b[:min(uint64(len(b)), t.xfer)]
	for _, to := range t.In {
		n := copy(to, b)
		b = b[n:]
		t.Moved += uint32(n)
	}
	d.good(t)
}

// good ends a task.
func (d *Unit) good(t *Task) { d.end(t, Good, senseNone) }

// fail ends a task that was not carried out.
func (d *Unit) fail(t *Task, s Sense) { d.end(t, CheckCondition, s) }

func (d *Unit) end(t *Task, status uint8, s Sense) {
	t.Outcome, t.Status, t.Sense = Done, status, s
	d.mu.Lock()
	d.giveBack(t)
	d.mu.Unlock()
}

// giveBack takes a task that has ended off the lists; what was to be aborted is. The caller
// holds mu, so that who waits for tasks knows that the adapter has them.
func (d *Unit) giveBack(t *Task) {
	if t.stop {
		t.Outcome, t.Moved = t.why, 0
	}
	if t.state != queued {
		d.byTag[t.tag] = nil
		d.free = append(d.free, t.tag)
	}
	last := d.tasks[len(d.tasks)-1]
	d.tasks[t.at], last.at = last, t.at
	d.tasks[len(d.tasks)-1] = nil
	d.tasks = d.tasks[:len(d.tasks)-1]
	d.host.Done(t)
}

// submit makes a request to the medium; next comes once it is complete.
func (d *Unit) submit(t *Task, op uint8, off, n int64, next func(d *Unit, t *Task)) {
	t.op, t.off, t.n, t.next = op, off, n, next
	d.start(t)
}

func (d *Unit) start(t *Task) {
	if d.io == nil || d.fault != nil {
		d.fail(t, senseTargetFailure)
		return
	}
	if err := d.io.Submit(t.op, t.tag, t.off, t.n, t.bufs); err != nil {
		d.fail(t, senseTargetFailure)
		return
	}
	d.inflight++
}

// completed is called for each completion of the medium's.
func (d *Unit) completed(tag uint32, res int32) {
	t := d.byTag[tag]
	d.inflight--
	switch {
	case d.aborted(t):
		d.good(t) // which it is not: its outcome says so
	case res < 0:
		d.fail(t, senseOf(unix.Errno(-res)))
	default:
		t.next(d, t)
	}
}

func (d *Unit) aborted(t *Task) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return t.stop
}
