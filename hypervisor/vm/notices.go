package vm

import (
	"time"

	"hv/devices/platform"
	"hv/hypervisor/machine"
	"hv/qmp/events"
	"hv/qmp/qapi"
)

// notices turns what happens to the VM into events.
type notices struct{ v *VM }

func (n notices) Stopped()     { events.Emit(n.v.events, qapi.EventStop, qapi.Empty{}) }
func (n notices) PoweredDown() { events.Emit(n.v.events, qapi.EventPowerdown, qapi.Empty{}) }

func (n notices) Resumed() {
	if !n.v.starting {
		events.Emit(n.v.events, qapi.EventResume, qapi.Empty{})
	}
}

func (n notices) Shutdown(guest bool, cause qapi.ShutdownCause) {
	n.v.opt.Log.WithField("cause", cause).Info("shutting down")
	events.Emit(n.v.events, qapi.EventShutdown, qapi.ShutdownEvent{Guest: guest, Reason: cause})
}

func (n notices) Reset(guest bool, cause qapi.ShutdownCause) {
	n.v.opt.Log.WithField("cause", cause).Info("reset")
	n.v.finishUnplugs()
	events.Emit(n.v.events, qapi.EventReset, qapi.ResetEvent{Guest: guest, Reason: cause})
}

func (n notices) Panicked(action qapi.GuestPanicAction) {
	n.v.opt.Log.WithField("action", action).Warn("the guest panicked")
	events.Emit(n.v.events, qapi.EventGuestPanicked, qapi.GuestPanickedEvent{Action: action})
}

func (n notices) CrashLoaded() {
	events.Emit(n.v.events, qapi.EventGuestCrashloaded, qapi.GuestCrashloadedEvent{Action: qapi.GuestPanicActionRun})
}

func (n notices) Failed(what string, err error) { n.v.failed(what, err) }

// hooks is what the board's devices ask of the machine.
func (v *VM) hooks() machine.Hooks {
	return machine.Hooks{
		Reset: func() { v.request(qapi.ShutdownCauseGuestReset) },
		PowerOff: func() {
			v.hw.kick()
			v.control.RequestShutdown(qapi.ShutdownCauseGuestShutdown)
		},
		Suspend: v.suspended,
		Panic: func(e platform.PanicEvent) {
			if e&platform.Panicked != 0 {
				v.control.GuestPanicked()
			} else if e&platform.CrashLoaded != 0 {
				v.control.GuestCrashLoaded()
			}
		},
		ClockSet: func(seconds int64) {
			events.Emit(v.events, qapi.EventRtcChange, qapi.RtcChangeEvent{Offset: seconds, QomPath: "/machine/unattached/rtc"})
		},
	}
}

// clockOffset returns what the guest's clock is ahead of UTC, by -rtc.
func (v *VM) clockOffset(now time.Time) time.Duration {
	switch rtc := v.cfg.RTC; {
	case rtc.Local:
		return platform.LocalOffset(now)
	case !rtc.Start.IsZero():
		return rtc.Start.Sub(now)
	}
	return 0
}
