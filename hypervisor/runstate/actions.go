package runstate

import "hv/qmp/qapi"

// Actions says what a VM does when its guest reboots, shuts down or panics, or
// its watchdog fires (-action, -no-reboot, -no-shutdown, set-action).
type Actions struct {
	Reboot   qapi.RebootAction
	Shutdown qapi.ShutdownAction
	Panic    qapi.PanicAction
	Watchdog qapi.WatchdogAction
}

// DefaultActions returns QEMU's defaults.
func DefaultActions() Actions {
	return Actions{
		Reboot:   qapi.RebootActionReset,
		Shutdown: qapi.ShutdownActionPoweroff,
		Panic:    qapi.PanicActionShutdown,
		Watchdog: qapi.WatchdogActionReset,
	}
}

// Decision is what follows from a guest's request.
type Decision int

// Decisions.
const (
	Reset    Decision = iota // reset the machine and go on
	PowerOff                 // end the process
	Pause                    // stop in state shutdown or guest-panicked
	Ignore                   // run on
)

// OnReset decides about a reset, whoever asked for it.
func (a Actions) OnReset() Decision {
	if a.Reboot == qapi.RebootActionShutdown {
		return a.OnShutdown()
	}
	return Reset
}

// OnShutdown decides about a shutdown.
func (a Actions) OnShutdown() Decision {
	if a.Shutdown == qapi.ShutdownActionPause {
		return Pause
	}
	return PowerOff
}

// OnPanic decides about a guest's panic and gives the action that the
// GUEST_PANICKED event reports.
func (a Actions) OnPanic() (Decision, qapi.GuestPanicAction) {
	switch {
	case a.Panic == qapi.PanicActionPause,
		a.Panic == qapi.PanicActionShutdown && a.Shutdown == qapi.ShutdownActionPause:
		return Pause, qapi.GuestPanicActionPause
	case a.Panic == qapi.PanicActionNone:
		return Ignore, qapi.GuestPanicActionRun
	}
	return PowerOff, qapi.GuestPanicActionPoweroff
}

// ExitCode returns the process's exit status after a shutdown for cause.
func (a Actions) ExitCode(cause qapi.ShutdownCause) int {
	if cause == qapi.ShutdownCauseGuestPanic && a.Panic == qapi.PanicActionExitFailure {
		return 1
	}
	return 0
}

// ByGuest reports whether a cause is the guest's doing.
func ByGuest(cause qapi.ShutdownCause) bool {
	switch cause {
	case qapi.ShutdownCauseGuestShutdown, qapi.ShutdownCauseGuestReset, qapi.ShutdownCauseGuestPanic:
		return true
	}
	return false
}
