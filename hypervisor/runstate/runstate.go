// Package runstate is the state machine of a VM as a whole: QEMU's RunState,
// the transitions it allows, and what follows from the requests that guests,
// clients and signals make.
//
// It is pure: hypervisor/vm owns a Machine on its control goroutine, carries
// out what it decides and raises the events. The state itself may be read from
// any goroutine.
//
// Implements RunState, ShutdownCause and the actions of QEMU's run-state.json.
// It depends on qmp/qapi for the names.
package runstate

import (
	"fmt"
	"sync/atomic"

	"hv/qmp/qapi"
)

// transitions lists, for each state, the states that may follow it. It is
// QEMU's table less the states that belong to features hv does not have.
var transitions = map[qapi.RunState][]qapi.RunState{
	qapi.RunStatePrelaunch: {qapi.RunStateRunning, qapi.RunStateFinishMigrate, qapi.RunStateInmigrate},
	qapi.RunStateInmigrate: {
		qapi.RunStateInternalError, qapi.RunStateIoError, qapi.RunStatePaused, qapi.RunStateRunning,
		qapi.RunStateShutdown, qapi.RunStateSuspended, qapi.RunStateWatchdog, qapi.RunStateGuestPanicked,
		qapi.RunStateFinishMigrate, qapi.RunStatePrelaunch, qapi.RunStatePostmigrate,
	},
	qapi.RunStateInternalError: {qapi.RunStatePaused, qapi.RunStateFinishMigrate, qapi.RunStatePrelaunch},
	qapi.RunStateIoError:       {qapi.RunStateRunning, qapi.RunStateFinishMigrate, qapi.RunStatePrelaunch},
	qapi.RunStatePaused:        {qapi.RunStateRunning, qapi.RunStateFinishMigrate, qapi.RunStatePostmigrate, qapi.RunStatePrelaunch},
	qapi.RunStatePostmigrate:   {qapi.RunStateRunning, qapi.RunStateFinishMigrate, qapi.RunStatePrelaunch},
	qapi.RunStateFinishMigrate: {qapi.RunStateRunning, qapi.RunStatePaused, qapi.RunStatePostmigrate, qapi.RunStatePrelaunch},
	qapi.RunStateRunning: {
		qapi.RunStateDebug, qapi.RunStateInternalError, qapi.RunStateIoError, qapi.RunStatePaused,
		qapi.RunStateFinishMigrate, qapi.RunStateRestoreVm, qapi.RunStateSaveVm, qapi.RunStateShutdown,
		qapi.RunStateWatchdog, qapi.RunStateGuestPanicked, qapi.RunStateSuspended,
	},
	qapi.RunStateSaveVm:        {qapi.RunStateRunning},
	qapi.RunStateRestoreVm:     {qapi.RunStateRunning, qapi.RunStatePrelaunch},
	qapi.RunStateShutdown:      {qapi.RunStatePaused, qapi.RunStateFinishMigrate, qapi.RunStatePrelaunch},
	qapi.RunStateDebug:         {qapi.RunStateRunning, qapi.RunStateFinishMigrate, qapi.RunStatePrelaunch, qapi.RunStateSuspended},
	qapi.RunStateSuspended:     {qapi.RunStateRunning, qapi.RunStateFinishMigrate, qapi.RunStatePrelaunch},
	qapi.RunStateWatchdog:      {qapi.RunStateRunning, qapi.RunStateFinishMigrate, qapi.RunStatePrelaunch},
	qapi.RunStateGuestPanicked: {qapi.RunStateRunning, qapi.RunStateFinishMigrate, qapi.RunStatePrelaunch},
}

// Machine holds a VM's run state. Set is for its owner alone.
type Machine struct {
	state atomic.Pointer[qapi.RunState]
}

// New returns a Machine in state prelaunch.
func New() *Machine {
	m := &Machine{}
	first := qapi.RunStatePrelaunch
	m.state.Store(&first)
	return m
}

// State returns the current state.
func (m *Machine) State() qapi.RunState { return *m.state.Load() }

// Running reports whether the VM runs.
func (m *Machine) Running() bool { return m.State() == qapi.RunStateRunning }

// NeedsReset reports whether the VM can only go on after a reset, as after an
// internal error or a shutdown.
func (m *Machine) NeedsReset() bool {
	s := m.State()
	return s == qapi.RunStateInternalError || s == qapi.RunStateShutdown
}

// Set moves to state to. Staying is always allowed; a transition that the
// table lacks is an error and changes nothing.
func (m *Machine) Set(to qapi.RunState) error {
	from := m.State()
	if from != to && !Allowed(from, to) {
		return fmt.Errorf("run state %s cannot become %s", from, to)
	}
	m.state.Store(&to)
	return nil
}

// Allowed reports whether the table has a transition between two states.
func Allowed(from, to qapi.RunState) bool {
	for _, s := range transitions[from] {
		if s == to {
			return true
		}
	}
	return false
}

// AfterReset returns the state in which a reset leaves a VM that was in state
// s: one that does not run waits as if it had just been created.
func AfterReset(s qapi.RunState) qapi.RunState {
	switch s {
	case qapi.RunStateRunning, qapi.RunStateInmigrate, qapi.RunStateFinishMigrate:
		return s
	}
	return qapi.RunStatePrelaunch
}
