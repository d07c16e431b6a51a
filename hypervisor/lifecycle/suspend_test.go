package lifecycle

import (
	"errors"
	"testing"

	"hv/hypervisor/runstate"
	"hv/qmp/qapi"
)

func TestSuspendAndWake(t *testing.T) {
	b := start(t, runstate.DefaultActions())
	refused := errors.New("cannot restart")
	b.do(t, func() {
		if b.control.Suspend() {
			t.Error("a VM that does not run was suspended")
		}
		if err := b.control.Wake(nil); !errors.Is(err, ErrNotSuspended) {
			t.Errorf("wake before suspension: %v", err)
		}
		if err := b.control.Continue(); err != nil {
			t.Error(err)
		}
		if !b.control.Suspend() || b.control.State() != qapi.RunStateSuspended {
			t.Errorf("state %s", b.control.State())
		}
		if err := b.control.Continue(); err != nil || b.control.State() != qapi.RunStateSuspended {
			t.Errorf("cont woke the guest: %s, %v", b.control.State(), err)
		}
		if err := b.control.Wake(func() error { return refused }); !errors.Is(err, refused) || b.control.State() != qapi.RunStateSuspended {
			t.Errorf("state %s after %v", b.control.State(), err)
		}
		if err := b.control.Wake(func() error { b.say("restart"); return nil }); err != nil || b.control.State() != qapi.RunStateRunning {
			t.Errorf("state %s after %v", b.control.State(), err)
		}
	})
	b.expect(t, "RESUME", "resume", "pause", "restart", "resume")
}
