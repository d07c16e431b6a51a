package vm

import (
	"fmt"

	"hv/hypervisor/cpuid"
	"hv/hypervisor/cpuqmp"
	"hv/hypervisor/kvm"
	"hv/hypervisor/machine"
	"hv/qmp/qapi"
)

// What cpuqmp needs. All run on the control goroutine.
var _ cpuqmp.VM = (*VM)(nil)

// CPUHost returns what KVM can give a vCPU, on machines without vCPUs too.
func (v *VM) CPUHost() (cpuid.Host, error) {
	if v.hw.sys != nil {
		return cpuHost(v.hw.sys)
	}
	sys, err := kvm.Open(kvm.DevicePath)
	if err != nil {
		return cpuid.Host{}, err
	}
	defer sys.Close()
	return cpuHost(sys)
}

// LatestCPUs tells whether a model's name without a version means the latest.
func (v *VM) LatestCPUs() bool { return v.board().Latest }

// board returns the type of machine that there is, or is to be.
func (v *VM) board() *machine.Type {
	t, err := machine.Lookup(v.cfg.Machine.Type)
	if err != nil {
		panic(err) // the command line was checked
	}
	return t
}

func (v *VM) topology() cpuid.Topology {
	smp := v.cfg.SMP
	return cpuid.Topology{Sockets: smp.Sockets, Dies: smp.Dies, Cores: smp.Cores, Threads: smp.Threads}
}

// place returns where the vCPU with an index is, as device_add wants it.
func (v *VM) place(index int) qapi.CpuInstanceProperties {
	thread, core, die, socket := v.topology().Place(index)
	at := [4]int64{int64(thread), int64(core), int64(die), int64(socket)}
	p := qapi.CpuInstanceProperties{ThreadId: &at[0], CoreId: &at[1], SocketId: &at[3]}
	if v.cfg.SMP.Dies > 1 {
		p.DieId = &at[2]
	}
	if v.hasNode() {
		p.NodeId = new(int64)
	}
	return p
}

// cpuPath returns the QOM path of the vCPU with an index.
func (v *VM) cpuPath(index int) string {
	if in := v.cpuDevices[index]; in != nil {
		return in.Path()
	}
	return fmt.Sprintf("/machine/unattached/device[%d]", index)
}

// CPUs describes the vCPUs.
func (v *VM) CPUs() []qapi.CpuInfoFast {
	var out []qapi.CpuInfoFast
	for _, t := range v.hw.threads() {
		props := v.place(t.index)
		out = append(out, qapi.CpuInfoFast{
			CpuIndex: int64(t.index), QomPath: v.cpuPath(t.index), ThreadId: int64(t.tid), Target: qapi.SysEmuTargetX8664, Props: &props,
		})
	}
	return out
}

// cpuType returns the driver of the machine's vCPUs.
func (v *VM) cpuType() (string, error) {
	spec, err := cpuid.Parse(v.cfg.CPU)
	return cpuid.TypeName(spec.Model), err
}

// HotpluggableCPUs lists the places for vCPUs, the last first as QEMU does.
func (v *VM) HotpluggableCPUs() (qapi.HotpluggableCPUList, error) {
	if v.board().Kind != machine.Q35 {
		return nil, fmt.Errorf("The feature 'query-hotpluggable-cpus' is not enabled")
	}
	typ, err := v.cpuType()
	if err != nil {
		return nil, err
	}
	there := map[int]bool{}
	for _, c := range v.CPUs() {
		there[int(c.CpuIndex)] = true
	}
	var out qapi.HotpluggableCPUList
	for i := v.cfg.SMP.MaxCPUs - 1; i >= 0; i-- {
		c := qapi.HotpluggableCPU{Type: typ, VcpusCount: 1, Props: v.place(i)}
		if there[i] {
			path := v.cpuPath(i)
			c.QomPath = &path
		}
		out = append(out, c)
	}
	return out, nil
}

// MemoryBackends lists the objects that are memory, and what the machine made
// itself.
func (v *VM) MemoryBackends() qapi.MemdevList {
	out := qapi.MemdevList{}
	for _, o := range v.objects.all {
		if m := o.Memory; m != nil {
			out = append(out, qapi.Memdev{
				Id: &o.ID, Size: uint64(m.Size), Merge: m.Merge, Dump: m.Dump, Prealloc: m.Prealloc, Share: m.Share, Reserve: &m.Reserve,
				HostNodes: qapi.NodeList{}, Policy: qapi.HostMemPolicyDefault,
			})
		}
	}
	if v.hw.mem != nil && v.cfg.Machine.MemoryBackend == "" {
		reserve := true
		out = append(out, qapi.Memdev{
			Id: &v.board().RAM, Size: v.cfg.Memory.Size, Merge: true, Reserve: &reserve,
			HostNodes: qapi.NodeList{}, Policy: qapi.HostMemPolicyDefault,
		})
	}
	return out
}

// MemorySize returns how much memory the machine has.
func (v *VM) MemorySize() qapi.MemoryInfo {
	plugged := uint64(0)
	info := qapi.MemoryInfo{PluggedMemory: &plugged}
	if v.hw.mem != nil {
		info.BaseMemory = v.cfg.Memory.Size
	}
	for _, d := range v.hw.memories {
		plugged += d.PluggedSize()
	}
	return info
}
