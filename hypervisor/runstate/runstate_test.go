package runstate

import (
	"slices"
	"testing"

	"hv/qmp/qapi"
)

var states = []qapi.RunState{
	qapi.RunStateDebug, qapi.RunStateInmigrate, qapi.RunStateInternalError, qapi.RunStateIoError, qapi.RunStatePaused, qapi.RunStatePostmigrate,
	qapi.RunStatePrelaunch, qapi.RunStateFinishMigrate, qapi.RunStateRestoreVm, qapi.RunStateRunning, qapi.RunStateSaveVm, qapi.RunStateShutdown,
	qapi.RunStateSuspended, qapi.RunStateWatchdog, qapi.RunStateGuestPanicked,
}

// TestEveryTransition tries every pair of states against the table.
func TestEveryTransition(t *testing.T) {
	for _, from := range states {
		if len(transitions[from]) == 0 {
			t.Errorf("nothing follows %s", from)
		}
		for _, to := range states {
			m := New()
			m.state.Store(&from)
			err := m.Set(to)
			if ok := from == to || slices.Contains(transitions[from], to); (err == nil) != ok {
				t.Errorf("%s to %s: %v", from, to, err)
			}
			if want := map[bool]qapi.RunState{true: to, false: from}[err == nil]; m.State() != want {
				t.Errorf("%s to %s left %s", from, to, m.State())
			}
		}
	}
}

// TestAfterReset checks that the state after a reset may follow the one before.
func TestAfterReset(t *testing.T) {
	for _, s := range states {
		m := New()
		m.state.Store(&s)
		if s == qapi.RunStateRestoreVm || s == qapi.RunStateSaveVm || s == qapi.RunStateFinishMigrate {
			continue
		}
		if err := m.Set(AfterReset(s)); err != nil {
			t.Error(err)
		}
	}
	if AfterReset(qapi.RunStateRunning) != qapi.RunStateRunning || AfterReset(qapi.RunStatePaused) != qapi.RunStatePrelaunch {
		t.Error("a reset must leave a running VM running, and a stopped one before its start")
	}
}

func TestNeedsReset(t *testing.T) {
	for _, s := range states {
		m := New()
		m.state.Store(&s)
		if want := s == qapi.RunStateInternalError || s == qapi.RunStateShutdown; m.NeedsReset() != want {
			t.Errorf("%s needs a reset: %v", s, !want)
		}
		if m.Running() != (s == qapi.RunStateRunning) {
			t.Errorf("%s counts as running", s)
		}
	}
}

func TestDefaults(t *testing.T) {
	a := DefaultActions()
	if a.OnReset() != Reset || a.OnShutdown() != PowerOff {
		t.Errorf("%+v", a)
	}
	if d, e := a.OnPanic(); d != PowerOff || e != qapi.GuestPanicActionPoweroff {
		t.Errorf("panic: %v, %v", d, e)
	}
}

func TestActions(t *testing.T) {
	for _, shutdown := range []qapi.ShutdownAction{qapi.ShutdownActionPoweroff, qapi.ShutdownActionPause} {
		want := PowerOff
		if shutdown == qapi.ShutdownActionPause {
			want = Pause
		}
		a := Actions{Reboot: qapi.RebootActionShutdown, Shutdown: shutdown, Panic: qapi.PanicActionShutdown}
		if a.OnReset() != want || a.OnShutdown() != want {
			t.Errorf("%+v", a)
		}
		if d, _ := a.OnPanic(); d != want {
			t.Errorf("%+v: panic %v", a, d)
		}
	}
	for action, want := range map[qapi.PanicAction]Decision{
		qapi.PanicActionNone: Ignore, qapi.PanicActionPause: Pause, qapi.PanicActionExitFailure: PowerOff,
	} {
		if d, _ := (Actions{Panic: action}).OnPanic(); d != want {
			t.Errorf("%s: %v", action, d)
		}
	}
}

func TestExitCode(t *testing.T) {
	a := Actions{Panic: qapi.PanicActionExitFailure}
	if a.ExitCode(qapi.ShutdownCauseGuestPanic) != 1 || a.ExitCode(qapi.ShutdownCauseGuestShutdown) != 0 {
		t.Error("exit status after a panic")
	}
	if DefaultActions().ExitCode(qapi.ShutdownCauseGuestPanic) != 0 {
		t.Error("a panic that only shuts down ends with 0")
	}
}

func TestByGuest(t *testing.T) {
	for cause, want := range map[qapi.ShutdownCause]bool{
		qapi.ShutdownCauseHostQmpQuit: false, qapi.ShutdownCauseHostSignal: false, qapi.ShutdownCauseHostUi: false,
		qapi.ShutdownCauseHostQmpSystemReset: false, qapi.ShutdownCauseGuestShutdown: true, qapi.ShutdownCauseGuestReset: true,
		qapi.ShutdownCauseGuestPanic: true,
	} {
		if ByGuest(cause) != want {
			t.Errorf("%s", cause)
		}
	}
}
