//qapi:schema

package qapi

// EventWatchdog says that a watchdog's time is over.
var EventWatchdog = Event[WatchdogEvent]{Name: "WATCHDOG", RateLimited: true}

// WatchdogEvent is the data of WATCHDOG.
type WatchdogEvent struct {
	Action WatchdogAction `qapi:"action"` // what was done about it
}

// WatchdogSetActionArgs is the arguments of watchdog-set-action.
type WatchdogSetActionArgs struct {
	Action WatchdogAction `qapi:"action"`
}

// CmdWatchdogSetAction sets what happens when a watchdog's time is over.
var CmdWatchdogSetAction = Command[WatchdogSetActionArgs, Empty]{Name: "watchdog-set-action"}
