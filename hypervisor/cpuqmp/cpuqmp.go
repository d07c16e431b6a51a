// Package cpuqmp handles the QMP commands about kinds of machine, processors and
// memory.
//
// Handlers run on the VM's control goroutine and call it through the interfaces
// here. What there is to say of models and boards comes from hypervisor/cpuid and
// hypervisor/machine. It depends on those, qmp/qapi and qmp/dispatch.
package cpuqmp

import (
	"context"

	"hv/hypervisor/cpuid"
	"hv/qmp/dispatch"
	"hv/qmp/qapi"
)

// Processors is a machine's vCPUs and what they can be.
type Processors interface {
	// CPUHost returns what KVM can give a vCPU.
	CPUHost() (cpuid.Host, error)
	// LatestCPUs tells whether a model's name without a version means the latest.
	LatestCPUs() bool
	// HotpluggableCPUs lists the places for vCPUs, an error where they are fixed.
	HotpluggableCPUs() (qapi.HotpluggableCPUList, error)
	// OSTInfo returns what the guest's system said last about each vCPU.
	OSTInfo() (qapi.ACPIOSTInfoList, error)
}

// Memory is a machine's RAM.
type Memory interface {
	MemoryBackends() qapi.MemdevList
	MemorySize() qapi.MemoryInfo
	MemoryDevices() qapi.MemoryDeviceInfoList
}

// Builder is a machine that may be yet to be built.
type Builder interface {
	// CanSuspend reports whether its guests can suspend themselves.
	CanSuspend() bool
	// ExitPreconfig builds it.
	ExitPreconfig(ctx context.Context) error
}

// VM is all that the handlers ask.
type VM interface {
	Processors
	Memory
	Builder
}

// Register adds the handlers for vm to a table.
func Register(t *dispatch.Table, vm VM) {
	registerMachine(t, vm)
	registerProcessors(t, vm)
	registerMemory(t, vm)
}

func registerMachine(t *dispatch.Table, vm Builder) {
	dispatch.Register(t, qapi.CmdXExitPreconfig, func(ctx context.Context, _ qapi.Empty) (qapi.Empty, error) {
		return qapi.Empty{}, vm.ExitPreconfig(context.WithoutCancel(ctx))
	})
	dispatch.Register(t, qapi.CmdQueryMachines, func(context.Context, qapi.Empty) (qapi.MachineInfoList, error) {
		return machines(), nil
	})
	dispatch.Register(t, qapi.CmdQueryCurrentMachine, func(context.Context, qapi.Empty) (qapi.CurrentMachineParams, error) {
		return qapi.CurrentMachineParams{WakeupSuspendSupport: vm.CanSuspend()}, nil
	})
}

func registerProcessors(t *dispatch.Table, vm Processors) {
	dispatch.Register(t, qapi.CmdQueryHotpluggableCpus, func(context.Context, qapi.Empty) (qapi.HotpluggableCPUList, error) {
		return vm.HotpluggableCPUs()
	})
	dispatch.Register(t, qapi.CmdQueryAcpiOspmStatus, func(context.Context, qapi.Empty) (qapi.ACPIOSTInfoList, error) {
		return vm.OSTInfo()
	})
	dispatch.Register(t, qapi.CmdQueryCpuDefinitions, func(context.Context, qapi.Empty) (qapi.CpuDefinitionInfoList, error) {
		host, err := vm.CPUHost()
		if err != nil {
			return nil, err
		}
		return definitions(host, vm.LatestCPUs())
	})
	dispatch.Register(t, qapi.CmdQueryCpuModelExpansion, func(_ context.Context, a qapi.CpuModelExpansionArgs) (qapi.CpuModelExpansionInfo, error) {
		host, err := vm.CPUHost()
		if err != nil {
			return qapi.CpuModelExpansionInfo{}, err
		}
		m, err := expand(host, vm.LatestCPUs(), a)
		return qapi.CpuModelExpansionInfo{Model: m}, err
	})
}

func registerMemory(t *dispatch.Table, vm Memory) {
	dispatch.Register(t, qapi.CmdQueryMemdev, func(context.Context, qapi.Empty) (qapi.MemdevList, error) {
		return vm.MemoryBackends(), nil
	})
	dispatch.Register(t, qapi.CmdQueryMemorySizeSummary, func(context.Context, qapi.Empty) (qapi.MemoryInfo, error) {
		return vm.MemorySize(), nil
	})
	dispatch.Register(t, qapi.CmdQueryMemoryDevices, func(context.Context, qapi.Empty) (qapi.MemoryDeviceInfoList, error) {
		return vm.MemoryDevices(), nil
	})
}
