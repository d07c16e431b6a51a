package lifecycle

import (
	"errors"

	"hv/qmp/qapi"
)

// Suspend stops a running VM until Wake, as its guest asked. It reports whether it did.
// Control goroutine only.
func (c *Control) Suspend() bool {
	if !c.state.Running() {
		return false
	}
	c.hw.Pause()
	c.set(qapi.RunStateSuspended)
	return true
}

// ErrNotSuspended is returned by Wake for a guest that is not suspended.
var ErrNotSuspended = errors.New("Unable to wake up: guest is not in suspended state")

// Wake lets a suspended VM run again, after restart has put its processors where the guest
// wants to go on. Control goroutine only.
func (c *Control) Wake(restart func() error) error {
	if c.state.State() != qapi.RunStateSuspended {
		return ErrNotSuspended
	}
	if err := restart(); err != nil {
		return err
	}
	c.set(qapi.RunStateRunning)
	c.hw.Resume()
	return nil
}
