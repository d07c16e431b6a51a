// Package lifecycle runs a VM's control goroutine: it carries out what clients,
// guests and signals ask of the machine as a whole, one thing at a time, in
// QEMU's order of steps and events.
//
// Anything may be asked from any goroutine. Requests (a reset, a power-off, a
// stop) are noted and never wait; Do runs a function on the control goroutine
// and waits for it. Methods whose comment says so are for that goroutine only.
//
// It depends on hypervisor/runstate and qmp/qapi.
package lifecycle

import (
	"context"
	"errors"
	"sync"

	"hv/hypervisor/runstate"
	"hv/qmp/qapi"
)

// Hardware is the machine, as the control goroutine drives it.
type Hardware interface {
	// Pause returns when no vCPU runs and no device has a request under way.
	Pause()
	// Resume lets devices and vCPUs go on.
	Resume()
	// Reset brings a paused machine to its state at power-on.
	Reset() error
	// Flush makes all disks durable.
	Flush() error
}

// Notices is told what happened, for events.
type Notices interface {
	Stopped()
	Resumed()
	Shutdown(guest bool, cause qapi.ShutdownCause)
	Reset(guest bool, cause qapi.ShutdownCause)
	PoweredDown()
	Panicked(action qapi.GuestPanicAction)
	CrashLoaded()
	Failed(what string, err error)
}

// ErrClosed is returned by Do when the control goroutine has ended.
var ErrClosed = errors.New("the VM has ended")

// Control is a VM's control goroutine.
type Control struct {
	hw      Hardware
	notices Notices
	button  func() // power button
	state   *runstate.Machine
	actions runstate.Actions

	calls chan call
	dones sync.Pool // of chan struct{} that calls have used
	wake  chan struct{}
	ended chan struct{}

	mu   sync.Mutex
	want requests
}

// requests are what has been asked for and not carried out yet.
type requests struct {
	shutdown, reset qapi.ShutdownCause // "" for none
	powerdown       bool
	panicked        bool
	crashLoaded     bool
	stop            qapi.RunState // "" for none
	exit            *int          // status to end with, for debug exit devices
	posts           []func()
}

// New returns a Control for hw. button presses the guest's power button.
func New(hw Hardware, notices Notices, actions runstate.Actions, button func()) *Control {
	return &Control{
		hw: hw, notices: notices, button: button, actions: actions,
		state: runstate.New(),
		calls: make(chan call),
		dones: sync.Pool{New: func() any { return make(chan struct{}, 1) }},
		wake:  make(chan struct{}, 1),
		ended: make(chan struct{}),
	}
}

// State returns the run state; any goroutine may ask.
func (c *Control) State() qapi.RunState { return c.state.State() }

// Run is the control goroutine. It returns the process's exit status when the
// VM ends: on a shutdown that powers off, an exit request, or ctx's end.
func (c *Control) Run(ctx context.Context) int {
	defer close(c.ended)
	for {
		if status, end := c.serve(); end {
			return status
		}
		select {
		case x := <-c.calls:
			c.posted() // what its caller posted before comes first
			x.run()
		case <-c.wake:
		case <-ctx.Done():
			c.hw.Pause()
			return 0
		}
	}
}

// posted runs what was posted.
func (c *Control) posted() {
	c.mu.Lock()
	posts := c.want.posts
	c.want.posts = nil
	c.mu.Unlock()
	for _, f := range posts {
		f()
	}
}

// call is a function that somebody waits for.
type call struct {
	f    func()
	done chan struct{} // of room for one
}

func (x call) run() {
	defer func() { x.done <- struct{}{} }()
	x.f()
}

// Do runs f on the control goroutine and returns when it is done.
func (c *Control) Do(ctx context.Context, f func()) error {
	done := c.dones.Get().(chan struct{})
	defer c.dones.Put(done)
	select {
	case c.calls <- call{f, done}:
		<-done
		return nil
	case <-c.ended:
		return ErrClosed
	case <-ctx.Done():
		return ctx.Err()
	}
}

// ask notes a request and wakes the control goroutine.
func (c *Control) ask(f func(r *requests)) {
	c.mu.Lock()
	f(&c.want)
	c.mu.Unlock()
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// Post has f run on the control goroutine, without waiting for it. What is posted when
// the VM ends may never run.
func (c *Control) Post(f func()) { c.ask(func(r *requests) { r.posts = append(r.posts, f) }) }

// RequestShutdown asks for the end of the VM.
func (c *Control) RequestShutdown(cause qapi.ShutdownCause) {
	c.ask(func(r *requests) { r.shutdown = cause })
}

// RequestReset asks for a reset.
func (c *Control) RequestReset(cause qapi.ShutdownCause) {
	c.ask(func(r *requests) { r.reset = cause })
}

// RequestPowerdown asks for the power button to be pressed.
func (c *Control) RequestPowerdown() { c.ask(func(r *requests) { r.powerdown = true }) }

// RequestStop asks for the VM to be stopped in a state, as a device does that
// cannot go on.
func (c *Control) RequestStop(s qapi.RunState) { c.ask(func(r *requests) { r.stop = s }) }

// RequestExit asks for the process to end with a status.
func (c *Control) RequestExit(status int) { c.ask(func(r *requests) { r.exit = &status }) }

// GuestPanicked notes that the guest says it panicked; GuestCrashLoaded that
// its crash kernel took over.
func (c *Control) GuestPanicked()    { c.ask(func(r *requests) { r.panicked = true }) }
func (c *Control) GuestCrashLoaded() { c.ask(func(r *requests) { r.crashLoaded = true }) }
