package cpuqmp

import (
	"hv/hypervisor/cpuid"
	"hv/hypervisor/machine"
	"hv/qmp/qapi"
)

// machines lists the types of machine, the versions of q35 each for itself.
func machines() qapi.MachineInfoList {
	var out qapi.MachineInfoList
	for _, t := range machine.Types() {
		m := qapi.MachineInfo{
			Name: t.Name, CpuMax: int64(t.MaxCPUs), HotpluggableCpus: t.Kind == machine.Q35, DefaultRamId: &t.RAM,
		}
		if t.Kind != machine.None {
			typ := cpuid.TypeName(cpuid.DefaultModel)
			m.DefaultCpuType = &typ
		}
		for _, v := range t.Versions {
			older := m
			older.Name = v
			out = append(out, older)
		}
		if t.Alias != "" {
			m.Alias = &t.Alias
		}
		if t.Default {
			m.IsDefault = &t.Default
		}
		out = append(out, m)
	}
	return out
}
