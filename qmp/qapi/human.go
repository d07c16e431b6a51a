//qapi:schema

package qapi

// CmdHumanMonitorCommand runs a line of the human monitor and returns what that prints.
// It runs beside other commands, as the QMP commands behind the line are what touches
// the VM.
var CmdHumanMonitorCommand = Command[HumanMonitorCommandArgs, Text]{Name: "human-monitor-command", Concurrent: true}

// HumanMonitorCommandArgs is the arguments of human-monitor-command.
type HumanMonitorCommandArgs struct {
	CommandLine string `qapi:"command-line"`
	CpuIndex    *int64 `qapi:"cpu-index"` // of the vCPU that the line is about, the first if absent
}
