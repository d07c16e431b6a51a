package lifecycle

import (
	"errors"

	"hv/hypervisor/runstate"
	"hv/qmp/qapi"
)

// serve carries out what has been asked for, and reports the exit status when
// the VM is to end.
func (c *Control) serve() (status int, end bool) {
	c.mu.Lock()
	r := c.want
	c.want = requests{}
	c.mu.Unlock()

	for _, f := range r.posts {
		f()
	}
	if r.exit != nil {
		return *r.exit, c.finish()
	}
	if r.panicked {
		r = c.panicked(r)
	}
	if r.crashLoaded {
		c.notices.CrashLoaded()
	}
	if r.reset != "" && c.actions.OnReset() != runstate.Reset {
		r.shutdown, r.reset = r.reset, ""
	}
	if r.shutdown != "" && c.shutdown(r.shutdown) {
		return c.actions.ExitCode(r.shutdown), c.finish()
	}
	if r.reset != "" {
		c.reset(r.reset)
	}
	if r.powerdown {
		c.notices.PoweredDown()
		c.button()
	}
	if r.stop != "" {
		c.StopIn(r.stop)
	}
	return 0, false
}

// finish leaves the machine quiet and its disks durable. It returns true.
func (c *Control) finish() bool {
	c.hw.Pause()
	c.flush()
	return true
}

func (c *Control) flush() {
	if err := c.hw.Flush(); err != nil {
		c.notices.Failed("flush disks", err)
	}
}

// panicked does what the panic action says; a power-off is left in r.
func (c *Control) panicked(r requests) requests {
	decision, action := c.actions.OnPanic()
	c.notices.Panicked(action)
	if decision != runstate.Ignore {
		c.StopIn(qapi.RunStateGuestPanicked)
	}
	if decision == runstate.PowerOff {
		r.shutdown = qapi.ShutdownCauseGuestPanic
	}
	return r
}

// shutdown raises the event and reports whether the process is to end.
func (c *Control) shutdown(cause qapi.ShutdownCause) bool {
	c.notices.Shutdown(runstate.ByGuest(cause), cause)
	if c.actions.OnShutdown() == runstate.PowerOff {
		return true
	}
	c.StopIn(qapi.RunStateShutdown)
	return false
}

func (c *Control) reset(cause qapi.ShutdownCause) {
	c.hw.Pause()
	if err := c.hw.Reset(); err != nil {
		c.notices.Failed("reset", err)
		c.set(qapi.RunStateInternalError)
		c.notices.Stopped()
		return
	}
	c.notices.Reset(runstate.ByGuest(cause), cause)
	c.set(runstate.AfterReset(c.state.State()))
	if c.state.Running() {
		c.hw.Resume()
	}
}

// set moves the run state. The transitions made here are in the table by
// construction; one that is not is a mistake of ours and is reported.
func (c *Control) set(s qapi.RunState) {
	if err := c.state.Set(s); err != nil {
		c.notices.Failed("change of run state", err)
	}
}

// StopIn stops the VM in state s, raises STOP if it ran, and flushes its
// disks. Control goroutine only.
func (c *Control) StopIn(s qapi.RunState) {
	if c.state.Running() {
		c.set(s)
		c.hw.Pause()
		c.notices.Stopped()
	}
	c.flush()
}

// ErrNeedsReset is returned by Continue when only a reset can bring the VM back.
var ErrNeedsReset = errors.New("Resetting the Virtual Machine is required")

// Continue lets a stopped VM run. One that was asked to stop and has not yet stops first: who
// saw why it would does not have to wait for it. Control goroutine only.
func (c *Control) Continue() error {
	c.mu.Lock()
	stop := c.want.stop
	c.want.stop = ""
	c.mu.Unlock()
	if stop != "" {
		c.StopIn(stop)
	}
	switch {
	case c.state.NeedsReset():
		return ErrNeedsReset
	case c.state.State() == qapi.RunStateSuspended:
		return nil
	case c.state.Running():
		return nil
	}
	c.notices.Resumed()
	c.set(qapi.RunStateRunning)
	c.hw.Resume()
	return nil
}

// PowerOffOnShutdown makes the next shutdown end the process whatever -no-shutdown
// said, as quit and signals do. Control goroutine only.
func (c *Control) PowerOffOnShutdown() { c.actions.Shutdown = qapi.ShutdownActionPoweroff }

// SetActions replaces the actions. Control goroutine only.
func (c *Control) SetActions(a runstate.Actions) { c.actions = a }

// Actions returns the actions. Control goroutine only.
func (c *Control) Actions() runstate.Actions { return c.actions }
