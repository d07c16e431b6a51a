//qapi:schema

package qapi

// NameInfo is what query-name returns.
type NameInfo struct {
	Name *string `qapi:"name"` // absent if the VM has none
}

// CmdQueryName returns the VM's name.
var CmdQueryName = Command[Empty, NameInfo]{Name: "query-name", Preconfig: true}

// CmdStop stops the VM. It succeeds if that is stopped already.
var CmdStop = Command[Empty, Empty]{Name: "stop"}

// CmdCont lets the VM run. It succeeds if that runs already.
var CmdCont = Command[Empty, Empty]{Name: "cont"}

// EventRtcChange says that the guest set its clock.
var EventRtcChange = Event[RtcChangeEvent]{Name: "RTC_CHANGE", RateLimited: true}

// RtcChangeEvent is the data of RTC_CHANGE.
type RtcChangeEvent struct {
	Offset  int64  `qapi:"offset"` // seconds that the clock is ahead of its base
	QomPath string `qapi:"qom-path"`
}
