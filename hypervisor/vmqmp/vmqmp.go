// Package vmqmp handles the QMP commands about the VM as a whole: its run state,
// identity, processors and balloon.
//
// Handlers run on the VM's control goroutine, and call it through the small
// interfaces here. It depends on qmp/qapi and qmp/dispatch.
package vmqmp

import (
	"context"

	"hv/qmp/dispatch"
	"hv/qmp/qapi"
)

// Runner starts, stops and ends the VM.
type Runner interface {
	Status() qapi.StatusInfo
	Stop() error
	Continue() error
	Ask(r Request)
}

// Request is what a client asks for that happens once the command is answered.
type Request int

// Requests.
const (
	Reset Request = iota
	Powerdown
	Quit
)

// Describer tells what the VM is.
type Describer interface {
	Name() string // "" for none
	UUID() string // "" for none
	CPUs() []qapi.CpuInfoFast
	KVM() bool // KVM runs the machine
}

// Actor changes what the VM does about its guest's doings.
type Actor interface {
	SetActions(a qapi.SetActionArgs) error
}

// Ballooner is a VM that may have a balloon.
type Ballooner interface {
	// Balloon returns the bytes that the guest has, an error without a balloon.
	Balloon() (int64, error)
	// SetBalloon sets what the guest is to have.
	SetBalloon(bytes int64) error
}

// VM is all of it.
type VM interface {
	Runner
	Describer
	Actor
	Ballooner
}

// Register adds the handlers for vm to a table.
func Register(t *dispatch.Table, vm VM) {
	registerRun(t, vm)
	registerIdentity(t, vm)
	dispatch.Register(t, qapi.CmdSetAction, func(_ context.Context, a qapi.SetActionArgs) (qapi.Empty, error) {
		return qapi.Empty{}, vm.SetActions(a)
	})
	dispatch.Register(t, qapi.CmdQueryBalloon, func(context.Context, qapi.Empty) (qapi.BalloonInfo, error) {
		n, err := vm.Balloon()
		return qapi.BalloonInfo{Actual: n}, err
	})
	dispatch.Register(t, qapi.CmdBalloon, func(_ context.Context, a qapi.BalloonArgs) (qapi.Empty, error) {
		return qapi.Empty{}, vm.SetBalloon(a.Value)
	})
}

func registerRun(t *dispatch.Table, vm Runner) {
	dispatch.Register(t, qapi.CmdQueryStatus, func(context.Context, qapi.Empty) (qapi.StatusInfo, error) {
		return vm.Status(), nil
	})
	dispatch.Register(t, qapi.CmdStop, func(context.Context, qapi.Empty) (qapi.Empty, error) {
		return qapi.Empty{}, vm.Stop()
	})
	dispatch.Register(t, qapi.CmdCont, func(context.Context, qapi.Empty) (qapi.Empty, error) {
		return qapi.Empty{}, vm.Continue()
	})
	for cmd, r := range map[*qapi.Command[qapi.Empty, qapi.Empty]]Request{
		&qapi.CmdSystemReset: Reset, &qapi.CmdSystemPowerdown: Powerdown, &qapi.CmdQuit: Quit,
	} {
		dispatch.Register(t, *cmd, func(context.Context, qapi.Empty) (qapi.Empty, error) {
			vm.Ask(r)
			return qapi.Empty{}, nil
		})
	}
}

// nullUUID is what a VM without a UUID has.
const nullUUID = "00000000-0000-0000-0000-000000000000"

func registerIdentity(t *dispatch.Table, vm Describer) {
	dispatch.Register(t, qapi.CmdQueryName, func(context.Context, qapi.Empty) (qapi.NameInfo, error) {
		if name := vm.Name(); name != "" {
			return qapi.NameInfo{Name: &name}, nil
		}
		return qapi.NameInfo{}, nil
	})
	dispatch.Register(t, qapi.CmdQueryUuid, func(context.Context, qapi.Empty) (qapi.UuidInfo, error) {
		if u := vm.UUID(); u != "" {
			return qapi.UuidInfo{UUID: u}, nil
		}
		return qapi.UuidInfo{UUID: nullUUID}, nil
	})
	dispatch.Register(t, qapi.CmdQueryTarget, func(context.Context, qapi.Empty) (qapi.TargetInfo, error) {
		return qapi.TargetInfo{Arch: qapi.SysEmuTargetX8664}, nil
	})
	dispatch.Register(t, qapi.CmdQueryKvm, func(context.Context, qapi.Empty) (qapi.KvmInfo, error) {
		return qapi.KvmInfo{Enabled: vm.KVM(), Present: true}, nil
	})
	dispatch.Register(t, qapi.CmdQueryCpusFast, func(context.Context, qapi.Empty) (qapi.CpuInfoFastList, error) {
		return vm.CPUs(), nil
	})
}
