//qapi:schema

package qapi

// MachineInfo describes a type of machine.
type MachineInfo struct {
	Name             string  `qapi:"name"`
	Alias            *string `qapi:"alias"`              // another name of it
	IsDefault        *bool   `qapi:"is-default"`         // it is taken when none is asked for
	CpuMax           int64   `qapi:"cpu-max"`            // the most vCPUs
	HotpluggableCpus bool    `qapi:"hotpluggable-cpus"`  // vCPUs can be added while it runs
	NumaMemSupported bool    `qapi:"numa-mem-supported"` // -numa node,mem= works
	Deprecated       bool    `qapi:"deprecated"`
	DefaultCpuType   *string `qapi:"default-cpu-type"`
	DefaultRamId     *string `qapi:"default-ram-id"` // of the memory that it makes without -machine memory-backend=
}

// MachineInfoList is a list of machine types.
type MachineInfoList []MachineInfo

// CmdQueryMachines lists the machine types that there are.
var CmdQueryMachines = Command[Empty, MachineInfoList]{Name: "query-machines"}

// CurrentMachineParams is what query-current-machine returns.
type CurrentMachineParams struct {
	WakeupSuspendSupport bool `qapi:"wakeup-suspend-support"` // the guest can be woken from suspension
}

// CmdQueryCurrentMachine tells what the machine that there is can do.
var CmdQueryCurrentMachine = Command[Empty, CurrentMachineParams]{Name: "query-current-machine"}

// HotpluggableCPU is a place for vCPUs, empty or not.
type HotpluggableCPU struct {
	Type       string                `qapi:"type"`        // driver to add one with
	VcpusCount int64                 `qapi:"vcpus-count"` // how many come at once
	Props      CpuInstanceProperties `qapi:"props"`       // to be given to device_add
	QomPath    *string               `qapi:"qom-path"`    // of the vCPU that is there
}

// HotpluggableCPUList is a list of places for vCPUs.
type HotpluggableCPUList []HotpluggableCPU

// CmdQueryHotpluggableCpus lists the places for vCPUs.
var CmdQueryHotpluggableCpus = Command[Empty, HotpluggableCPUList]{Name: "query-hotpluggable-cpus", Preconfig: true}

// CpuDefinitionInfo describes a CPU model.
type CpuDefinitionInfo struct {
	Name                string                 `qapi:"name"`
	MigrationSafe       *bool                  `qapi:"migration-safe"`                // it means the same on every host
	Static              bool                   `qapi:"static"`                        // it never changes
	UnavailableFeatures CpuUnavailableFeatures `qapi:"unavailable-features,optional"` // what of it this host lacks
	Typename            string                 `qapi:"typename"`
	AliasOf             *string                `qapi:"alias-of"` // the version that it stands for on this machine
	Deprecated          bool                   `qapi:"deprecated"`
}

// CpuUnavailableFeatures is a list of features by name.
type CpuUnavailableFeatures []string

// CpuDefinitionInfoList is a list of CPU models.
type CpuDefinitionInfoList []CpuDefinitionInfo

// CmdQueryCpuDefinitions lists the CPU models, and what this host lacks of them.
var CmdQueryCpuDefinitions = Command[Empty, CpuDefinitionInfoList]{Name: "query-cpu-definitions"}

// CpuModelInfo is a CPU model with properties that differ from it.
type CpuModelInfo struct {
	Name  string `qapi:"name"`
	Props Value  `qapi:"props,optional"`
}

// CpuModelExpansionType is a way to spell a CPU model out.
type CpuModelExpansionType string

// The ways.
const (
	CpuModelExpansionTypeStatic CpuModelExpansionType = "static" // as a static model with all that a model consists of
	CpuModelExpansionTypeFull   CpuModelExpansionType = "full"   // with everything that can be set
)

// CpuModelExpansionArgs is the arguments of query-cpu-model-expansion.
type CpuModelExpansionArgs struct {
	Type  CpuModelExpansionType `qapi:"type"`
	Model CpuModelInfo          `qapi:"model"`
}

// CpuModelExpansionInfo is what query-cpu-model-expansion returns.
type CpuModelExpansionInfo struct {
	Model CpuModelInfo `qapi:"model"`
}

// CmdQueryCpuModelExpansion spells a CPU model out.
var CmdQueryCpuModelExpansion = Command[CpuModelExpansionArgs, CpuModelExpansionInfo]{Name: "query-cpu-model-expansion"}

// CmdXExitPreconfig ends the state in which -preconfig holds the machine, and builds it.
//
//qapi:features unstable
var CmdXExitPreconfig = Command[Empty, Empty]{Name: "x-exit-preconfig", Preconfig: true}
