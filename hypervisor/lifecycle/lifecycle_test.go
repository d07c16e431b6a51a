package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"hv/hypervisor/runstate"
	"hv/qmp/qapi"
)

// bench records what a Control does to its machine and tells its clients.
type bench struct {
	log      []string
	resetErr error
	flushErr error
	control  *Control
	status   chan int
	cancel   context.CancelFunc
}

func (b *bench) say(format string, a ...any) { b.log = append(b.log, fmt.Sprintf(format, a...)) }

func (b *bench) Pause()       { b.say("pause") }
func (b *bench) Resume()      { b.say("resume") }
func (b *bench) Reset() error { b.say("reset"); return b.resetErr }
func (b *bench) Flush() error { b.say("flush"); return b.flushErr }

func (b *bench) Stopped()     { b.say("STOP") }
func (b *bench) Resumed()     { b.say("RESUME") }
func (b *bench) PoweredDown() { b.say("POWERDOWN") }
func (b *bench) CrashLoaded() { b.say("CRASHLOADED") }
func (b *bench) Shutdown(guest bool, cause qapi.ShutdownCause) {
	b.say("SHUTDOWN %v %s", guest, cause)
}
func (b *bench) Reset2(guest bool, cause qapi.ShutdownCause) { b.say("RESET %v %s", guest, cause) }
func (b *bench) Panicked(a qapi.GuestPanicAction)            { b.say("PANICKED %s", a) }
func (b *bench) Failed(what string, err error)               { b.say("failed %s: %v", what, err) }

// notices gives bench's event named Reset a name of its own.
type notices struct{ *bench }

func (n notices) Reset(guest bool, cause qapi.ShutdownCause) { n.Reset2(guest, cause) }

func start(t *testing.T, a runstate.Actions) *bench {
	t.Helper()
	b := &bench{status: make(chan int, 1)}
	b.control = New(b, notices{b}, a, func() { b.say("button") })
	ctx, cancel := context.WithCancel(context.Background())
	b.cancel = cancel
	go func() { b.status <- b.control.Run(ctx) }()
	t.Cleanup(cancel)
	return b
}

// do runs f on the control goroutine, with all earlier requests served.
func (b *bench) do(t *testing.T, f func()) {
	t.Helper()
	for range 2 {
		if err := b.control.Do(context.Background(), func() {}); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.control.Do(context.Background(), f); err != nil {
		t.Fatal(err)
	}
}

func (b *bench) cont(t *testing.T) {
	t.Helper()
	b.do(t, func() {
		if err := b.control.Continue(); err != nil {
			t.Errorf("continue: %v", err)
		}
		b.log = nil
	})
}

// expect compares the log once everything asked for is done.
func (b *bench) expect(t *testing.T, want ...string) {
	t.Helper()
	b.do(t, func() {
		if !slices.Equal(b.log, want) {
			t.Errorf("did %q, wanted %q", b.log, want)
		}
		b.log = nil
	})
}

func (b *bench) ends(t *testing.T, status int, want ...string) {
	t.Helper()
	select {
	case got := <-b.status:
		if got != status || !slices.Equal(b.log, want) {
			t.Errorf("ended with %d after %q, wanted %d after %q", got, b.log, status, want)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("does not end")
	}
	if err := b.control.Do(context.Background(), func() {}); !errors.Is(err, ErrClosed) {
		t.Errorf("Do after the end: %v", err)
	}
}

// TestContinueBeforeStop lets the VM go on while it was only asked to stop: it does both.
func TestContinueBeforeStop(t *testing.T) {
	b := start(t, runstate.DefaultActions())
	b.cont(t)
	for state, want := range map[qapi.RunState]error{qapi.RunStateIoError: nil, qapi.RunStateInternalError: ErrNeedsReset} {
		b.do(t, func() {
			b.control.RequestStop(state)
			if err := b.control.Continue(); !errors.Is(err, want) {
				t.Errorf("%s: %v, want %v", state, err, want)
			}
		})
		if want != nil {
			b.expect(t, "pause", "STOP", "flush")
			b.do(t, func() { b.control.RequestReset(qapi.ShutdownCauseHostQmpSystemReset) })
			b.do(t, func() { b.log = nil })
			b.cont(t)
			continue
		}
		b.expect(t, "pause", "STOP", "flush", "RESUME", "resume")
		if s := b.control.State(); s != qapi.RunStateRunning {
			t.Errorf("%s is left", s)
		}
	}
}

func TestStopAndContinue(t *testing.T) {
	b := start(t, runstate.DefaultActions())
	b.do(t, func() { _ = b.control.Continue() })
	b.expect(t, "RESUME", "resume")
	b.do(t, func() { b.control.StopIn(qapi.RunStatePaused) })
	b.expect(t, "pause", "STOP", "flush")
	if s := b.control.State(); s != qapi.RunStatePaused {
		t.Errorf("state %s", s)
	}
	b.do(t, func() { b.control.StopIn(qapi.RunStatePaused) })
	b.expect(t, "flush")
}

// TestPosted has what was posted done before what is asked for later.
func TestPosted(t *testing.T) {
	b := start(t, runstate.Actions{})
	for i := range 100 {
		var order []string
		b.control.Post(func() { order = append(order, "posted") })
		if err := b.control.Do(t.Context(), func() { order = append(order, "done") }); err != nil || fmt.Sprint(order) != "[posted done]" {
			t.Fatalf("%d: %v, %v", i, order, err)
		}
	}
}

func TestReset(t *testing.T) {
	b := start(t, runstate.DefaultActions())
	b.cont(t)
	b.control.RequestReset(qapi.ShutdownCauseGuestReset)
	b.expect(t, "pause", "reset", "RESET true guest-reset", "resume")
	b.do(t, func() { b.control.StopIn(qapi.RunStatePaused) })
	b.expect(t, "pause", "STOP", "flush")
	b.control.RequestReset(qapi.ShutdownCauseHostQmpSystemReset)
	b.expect(t, "pause", "reset", "RESET false host-qmp-system-reset")
	if s := b.control.State(); s != qapi.RunStatePrelaunch {
		t.Errorf("a stopped VM is in state %s after a reset", s)
	}
}

func TestFailedResetStopsTheVM(t *testing.T) {
	b := start(t, runstate.DefaultActions())
	b.cont(t)
	b.resetErr = errors.New("no kernel")
	b.control.RequestReset(qapi.ShutdownCauseGuestReset)
	b.expect(t, "pause", "reset", "failed reset: no kernel", "STOP")
	if s := b.control.State(); s != qapi.RunStateInternalError {
		t.Errorf("state %s", s)
	}
}

func TestShutdownPowersOff(t *testing.T) {
	b := start(t, runstate.DefaultActions())
	b.cont(t)
	b.control.RequestShutdown(qapi.ShutdownCauseGuestShutdown)
	b.ends(t, 0, "SHUTDOWN true guest-shutdown", "pause", "flush")
}

func TestNoShutdown(t *testing.T) {
	a := runstate.DefaultActions()
	a.Shutdown = qapi.ShutdownActionPause
	b := start(t, a)
	b.cont(t)
	b.control.RequestShutdown(qapi.ShutdownCauseGuestShutdown)
	b.expect(t, "SHUTDOWN true guest-shutdown", "pause", "STOP", "flush")
	b.do(t, func() {
		if err := b.control.Continue(); !errors.Is(err, ErrNeedsReset) {
			t.Errorf("continue after a shutdown: %v", err)
		}
		b.control.PowerOffOnShutdown()
	})
	b.control.RequestShutdown(qapi.ShutdownCauseHostQmpQuit)
	b.ends(t, 0, "SHUTDOWN false host-qmp-quit", "pause", "flush")
}

func TestNoReboot(t *testing.T) {
	a := runstate.DefaultActions()
	a.Reboot = qapi.RebootActionShutdown
	b := start(t, a)
	b.cont(t)
	b.control.RequestReset(qapi.ShutdownCauseGuestReset)
	b.ends(t, 0, "SHUTDOWN true guest-reset", "pause", "flush")
}

func TestPanicActions(t *testing.T) {
	for _, c := range []struct {
		action qapi.PanicAction
		ends   bool
		status int
		want   []string
	}{
		{qapi.PanicActionNone, false, 0, []string{"PANICKED run"}},
		{qapi.PanicActionPause, false, 0, []string{"PANICKED pause", "pause", "STOP", "flush"}},
		{qapi.PanicActionShutdown, true, 0, []string{"PANICKED poweroff", "pause", "STOP", "flush", "SHUTDOWN true guest-panic", "pause", "flush"}},
		{qapi.PanicActionExitFailure, true, 1, []string{"PANICKED poweroff", "pause", "STOP", "flush", "SHUTDOWN true guest-panic", "pause", "flush"}},
	} {
		a := runstate.DefaultActions()
		a.Panic = c.action
		b := start(t, a)
		b.cont(t)
		b.control.GuestPanicked()
		if c.ends {
			b.ends(t, c.status, c.want...)
		} else {
			b.expect(t, c.want...)
		}
	}
}

func TestPowerButtonAndCrashLoaded(t *testing.T) {
	b := start(t, runstate.DefaultActions())
	b.cont(t)
	b.control.RequestPowerdown()
	b.expect(t, "POWERDOWN", "button")
	b.control.GuestCrashLoaded()
	b.expect(t, "CRASHLOADED")
}

func TestInternalErrorThenReset(t *testing.T) {
	b := start(t, runstate.DefaultActions())
	b.cont(t)
	b.control.RequestStop(qapi.RunStateInternalError)
	b.expect(t, "pause", "STOP", "flush")
	b.control.RequestReset(qapi.ShutdownCauseHostQmpSystemReset)
	b.expect(t, "pause", "reset", "RESET false host-qmp-system-reset")
	b.do(t, func() {
		if err := b.control.Continue(); err != nil {
			t.Error(err)
		}
	})
}

func TestExitRequest(t *testing.T) {
	b := start(t, runstate.DefaultActions())
	b.cont(t)
	b.flushErr = errors.New("disk gone")
	b.control.RequestExit(7)
	b.ends(t, 7, "pause", "flush", "failed flush disks: disk gone")
}

func TestContextEndsTheVM(t *testing.T) {
	b := start(t, runstate.DefaultActions())
	b.cont(t)
	b.cancel()
	b.ends(t, 0, "pause")
}

// TestDoAllocatesNothing in the steady state.
func TestDoAllocatesNothing(t *testing.T) {
	b := start(t, runstate.DefaultActions())
	f := func() {}
	if n := testing.AllocsPerRun(1000, func() {
		if err := b.control.Do(context.Background(), f); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations a call", n)
	}
}
