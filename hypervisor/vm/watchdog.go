package vm

import (
	"hv/devices/qdev"
	"hv/devices/watchdog"
	"hv/qmp/events"
	"hv/qmp/qapi"
)

// watchdogConfig is the properties of i6300esb: none but where it goes.
type watchdogConfig struct{}

func makeWatchdog(v *VM, in *qdev.Instance, _ *watchdogConfig) error {
	cfg := watchdog.Config{Expired: func() { v.control.Post(v.watchdogExpired) }}
	if v.clock != nil {
		cfg.Clock = v.clock
	}
	d, err := watchdog.New(cfg)
	if err != nil {
		return err
	}
	in.Later(d.Close)
	if err := v.attach(in, d.Function()); err != nil {
		return err
	}
	v.places[in].work = d
	v.hw.devices = append(v.hw.devices, d)
	in.Later(func() error { v.hw.devices = without(v.hw.devices, quiet(d)); return nil })
	in.Device = d
	return nil
}

// watchdogExpired does what the watchdog action says. Control goroutine only.
func (v *VM) watchdogExpired() {
	action := v.control.Actions().Watchdog
	v.opt.Log.WithField("action", action).Warn("the guest's watchdog expired")
	events.Emit(v.events, qapi.EventWatchdog, qapi.WatchdogEvent{Action: action})
	switch action {
	case qapi.WatchdogActionReset:
		v.control.RequestReset(qapi.ShutdownCauseGuestReset)
	case qapi.WatchdogActionShutdown:
		v.control.RequestPowerdown()
	case qapi.WatchdogActionPoweroff:
		v.control.RequestExit(0)
	case qapi.WatchdogActionPause:
		v.control.StopIn(qapi.RunStateWatchdog)
	case qapi.WatchdogActionInjectNmi:
		if err := v.NMI(); err != nil {
			v.failed("inject an NMI", err)
		}
	}
}
