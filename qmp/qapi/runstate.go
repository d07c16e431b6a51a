//qapi:schema

package qapi

// RunState is the state of a VM.
type RunState string

// The run states.
const (
	RunStateDebug         RunState = "debug"          // stopped by a debugger
	RunStateInmigrate     RunState = "inmigrate"      // waiting for an incoming migration
	RunStateInternalError RunState = "internal-error" // cannot go on for an internal error
	RunStateIoError       RunState = "io-error"       // stopped by an I/O error, as its device is configured
	RunStatePaused        RunState = "paused"         // stopped by the command stop
	RunStatePostmigrate   RunState = "postmigrate"    // stopped after it was migrated away
	RunStatePrelaunch     RunState = "prelaunch"      // not started yet, for -S
	RunStateFinishMigrate RunState = "finish-migrate" // stopped to finish migration
	RunStateRestoreVm     RunState = "restore-vm"     // stopped to restore its state
	RunStateRunning       RunState = "running"        // running
	RunStateSaveVm        RunState = "save-vm"        // stopped to save its state
	RunStateShutdown      RunState = "shutdown"       // shut down, for -no-shutdown
	RunStateSuspended     RunState = "suspended"      // suspended by its guest (ACPI S3)
	RunStateWatchdog      RunState = "watchdog"       // stopped by its watchdog
	RunStateGuestPanicked RunState = "guest-panicked" // stopped by a panic of its guest
	RunStateColo          RunState = "colo"           // stopped for a COLO checkpoint
)

// ShutdownCause says why a VM shuts down or is reset.
type ShutdownCause string

// The causes; those from guest-shutdown to guest-panic are the guest's.
const (
	ShutdownCauseNone               ShutdownCause = "none"                  // none is pending
	ShutdownCauseHostError          ShutdownCause = "host-error"            // an error prevents use of the guest
	ShutdownCauseHostQmpQuit        ShutdownCause = "host-qmp-quit"         // command quit
	ShutdownCauseHostQmpSystemReset ShutdownCause = "host-qmp-system-reset" // command system_reset
	ShutdownCauseHostSignal         ShutdownCause = "host-signal"           // a signal, such as SIGINT
	ShutdownCauseHostUi             ShutdownCause = "host-ui"               // a user interface was closed
	ShutdownCauseGuestShutdown      ShutdownCause = "guest-shutdown"        // ACPI or other means of the guest
	ShutdownCauseGuestReset         ShutdownCause = "guest-reset"           // the guest resets itself
	ShutdownCauseGuestPanic         ShutdownCause = "guest-panic"           // the guest panicked
	ShutdownCauseSubsystemReset     ShutdownCause = "subsystem-reset"       // a reset without event
	ShutdownCauseSnapshotLoad       ShutdownCause = "snapshot-load"         // replay loads a snapshot
)

// StatusInfo is what query-status returns.
type StatusInfo struct {
	Running    bool     `qapi:"running"`    // all vCPUs may run
	Singlestep bool     `qapi:"singlestep"` // a debugger steps them
	Status     RunState `qapi:"status"`
}

// CmdQueryStatus returns the run state.
var CmdQueryStatus = Command[Empty, StatusInfo]{Name: "query-status", Preconfig: true}

// EventShutdown says that the VM shut down. The process ends, unless
// -no-shutdown keeps it; then STOP follows.
var EventShutdown = Event[ShutdownEvent]{Name: "SHUTDOWN"}

// ShutdownEvent is the data of SHUTDOWN.
type ShutdownEvent struct {
	Guest  bool          `qapi:"guest"` // asked for by the guest
	Reason ShutdownCause `qapi:"reason"`
}

// EventPowerdown says that the power button was pressed.
var EventPowerdown = Event[Empty]{Name: "POWERDOWN"}

// EventReset says that the VM was reset.
var EventReset = Event[ResetEvent]{Name: "RESET"}

// ResetEvent is the data of RESET.
type ResetEvent struct {
	Guest  bool          `qapi:"guest"` // asked for by the guest
	Reason ShutdownCause `qapi:"reason"`
}

// EventStop says that the VM was stopped.
var EventStop = Event[Empty]{Name: "STOP"}

// EventResume says that the VM runs again.
var EventResume = Event[Empty]{Name: "RESUME"}

// EventSuspend says that the guest suspended itself.
var EventSuspend = Event[Empty]{Name: "SUSPEND"}

// EventWakeup says that the guest woke up and runs.
var EventWakeup = Event[Empty]{Name: "WAKEUP"}

// WatchdogAction is what happens when a watchdog's time is over.
type WatchdogAction string

// The watchdog actions.
const (
	WatchdogActionReset     WatchdogAction = "reset"      // reset the VM
	WatchdogActionShutdown  WatchdogAction = "shutdown"   // ask the guest to power down
	WatchdogActionPoweroff  WatchdogAction = "poweroff"   // end the process
	WatchdogActionPause     WatchdogAction = "pause"      // stop the VM
	WatchdogActionDebug     WatchdogAction = "debug"      // log it
	WatchdogActionNone      WatchdogAction = "none"       // nothing
	WatchdogActionInjectNmi WatchdogAction = "inject-nmi" // an NMI to all vCPUs
)

// RebootAction is what happens when the guest reboots.
type RebootAction string

// The reboot actions.
const (
	RebootActionReset    RebootAction = "reset"    // reset the VM
	RebootActionShutdown RebootAction = "shutdown" // shut down, as the shutdown action says
)

// ShutdownAction is what happens when the guest shuts down.
type ShutdownAction string

// The shutdown actions.
const (
	ShutdownActionPoweroff ShutdownAction = "poweroff" // end the process
	ShutdownActionPause    ShutdownAction = "pause"    // stop the VM
)

// PanicAction is what happens when the guest panics.
type PanicAction string

// The panic actions.
const (
	PanicActionPause       PanicAction = "pause"        // stop the VM
	PanicActionShutdown    PanicAction = "shutdown"     // shut down, as the shutdown action says
	PanicActionExitFailure PanicAction = "exit-failure" // shut down, and exit with a failure
	PanicActionNone        PanicAction = "none"         // go on
)

// CmdSetAction sets what happens when the guest does something; what is absent
// stays as it is.
var CmdSetAction = Command[SetActionArgs, Empty]{Name: "set-action", Preconfig: true}

// SetActionArgs is the arguments of set-action.
type SetActionArgs struct {
	Reboot   *RebootAction   `qapi:"reboot"`
	Shutdown *ShutdownAction `qapi:"shutdown"`
	Panic    *PanicAction    `qapi:"panic"`
	Watchdog *WatchdogAction `qapi:"watchdog"`
}

// GuestPanicAction is what was done about a panic.
type GuestPanicAction string

// The actions.
const (
	GuestPanicActionPause    GuestPanicAction = "pause"    // the VM was stopped
	GuestPanicActionPoweroff GuestPanicAction = "poweroff" // it shuts down
	GuestPanicActionRun      GuestPanicAction = "run"      // it goes on
)

// EventGuestPanicked says that the guest panicked.
var EventGuestPanicked = Event[GuestPanickedEvent]{Name: "GUEST_PANICKED"}

// GuestPanickedEvent is the data of GUEST_PANICKED.
type GuestPanickedEvent struct {
	Action GuestPanicAction       `qapi:"action"`
	Info   *GuestPanicInformation `qapi:"info"` // what the guest told, if anything
}

// EventGuestCrashloaded says that the guest panicked and runs its crash kernel.
var EventGuestCrashloaded = Event[GuestCrashloadedEvent]{Name: "GUEST_CRASHLOADED"}

// GuestCrashloadedEvent is the data of GUEST_CRASHLOADED.
type GuestCrashloadedEvent struct {
	Action GuestPanicAction       `qapi:"action"` // always run
	Info   *GuestPanicInformation `qapi:"info"`
}

// GuestPanicInformationType is the kind of what a guest tells of its panic.
type GuestPanicInformationType string

// The kinds.
const (
	GuestPanicInformationTypeHyperV GuestPanicInformationType = "hyper-v" // Hyper-V's crash MSRs
	GuestPanicInformationTypeS390   GuestPanicInformationType = "s390"    // an s390 PSW
)

// GuestPanicInformation is what a guest told of its panic.
type GuestPanicInformation struct {
	Type   GuestPanicInformationType    `qapi:"type,discriminator"`
	HyperV *GuestPanicInformationHyperV `qapi:",branch=hyper-v"`
	S390   *GuestPanicInformationS390   `qapi:",branch=s390"`
}

// GuestPanicInformationHyperV is Hyper-V's crash MSRs P0 to P4.
type GuestPanicInformationHyperV struct {
	Arg1 uint64 `qapi:"arg1"`
	Arg2 uint64 `qapi:"arg2"`
	Arg3 uint64 `qapi:"arg3"`
	Arg4 uint64 `qapi:"arg4"`
	Arg5 uint64 `qapi:"arg5"`
}

// S390CrashReason is why an s390 CPU stopped.
type S390CrashReason string

// The reasons.
const (
	S390CrashReasonUnknown      S390CrashReason = "unknown"       // none was given
	S390CrashReasonDisabledWait S390CrashReason = "disabled-wait" // waits with interrupts off
	S390CrashReasonExtintLoop   S390CrashReason = "extint-loop"   // external interrupt loop
	S390CrashReasonPgmintLoop   S390CrashReason = "pgmint-loop"   // program interrupt loop
	S390CrashReasonOpintLoop    S390CrashReason = "opint-loop"    // operation exception loop
)

// GuestPanicInformationS390 is the PSW of the CPU that crashed.
type GuestPanicInformationS390 struct {
	Core    uint32          `qapi:"core"`
	PswMask uint64          `qapi:"psw-mask"`
	PswAddr uint64          `qapi:"psw-addr"`
	Reason  S390CrashReason `qapi:"reason"`
}
