package vm

import (
	"context"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"hv/hypervisor/cpuid"
	"hv/hypervisor/kvm"
	"hv/hypervisor/machine"
	"hv/hypervisor/machine/tables"
	"hv/hypervisor/smbios"
	"hv/hypervisor/vcpu"
	"hv/qmp/qapi"
)

func lock(b []byte) error { return unix.Mlock(b) }

// maxMCEBanks and the flags that QEMU gives guests of IA32_MCG_CAP.
const (
	mceBanks = 10
	mceFlags = 1<<8 | 1<<24
)

// makeCPUs makes the vCPUs, paused.
func (v *VM) makeCPUs(context.Context) error {
	h := v.hw
	if h.chip == nil {
		return nil // a machine without processors
	}
	smp := v.cfg.SMP
	if h.kvm != nil {
		if err := v.prepareCPUs(); err != nil {
			return err
		}
	} else {
		h.undo.later(h.dummy.close)
	}
	for i := range smp.MaxCPUs {
		present := i < smp.CPUs || v.cpuDevices[i] != nil
		h.bootParams.CPUs = append(h.bootParams.CPUs, tables.CPU{APICID: v.topology().APICID(i), Present: present})
		if !present {
			continue
		}
		if err := v.firstCPU(i); err != nil {
			return err
		}
	}
	h.bootParams.SMBIOS = smbios.Config{
		UUID: v.cfg.UUID, Product: "Standard PC (Q35 + ICH9, 2009)", Version: "pc-q35-7.2", Memory: v.cfg.Memory.Size,
		Sockets: smp.Sockets, Cores: smp.Dies * smp.Cores, Threads: smp.Threads, Options: v.cfg.SMBIOS,
	}
	return h.board.AddCPUs(h.bootParams.CPUs, machine.CPUHooks{Eject: v.cpuEjected, OST: v.cpuSaid})
}

// prepareCPUs finds out what vCPUs are to be.
func (v *VM) prepareCPUs() error {
	h, smp := v.hw, v.cfg.SMP
	if limit := h.kvm.MaxVCPUs(); smp.CPUs > limit || smp.MaxCPUs > limit {
		return fmt.Errorf("-smp %d: KVM supports %d vCPUs", smp.MaxCPUs, limit)
	}
	if err := v.resolveCPU(v.topology()); err != nil {
		return err
	}
	var err error
	if h.mce, err = h.sys.MCECap(); err != nil {
		return err
	}
	if h.cpus, err = vcpu.NewGroup(h.kvm); err != nil {
		return err
	}
	h.undo.later(h.cpus.Close)
	reserveThreads(smp.CPUs + len(v.cpuDevices))
	return nil
}

// firstCPU makes a vCPU that is there from the start.
func (v *VM) firstCPU(index int) error {
	if v.hw.cpus == nil {
		v.hw.dummy.add(index)
		return nil
	}
	c, err := v.newCPU(index)
	if err == nil {
		v.hw.cpus.Add(c)
	}
	return err
}

// newCPU makes the vCPU with an index.
func (v *VM) newCPU(index int) (*vcpu.VCPU, error) {
	h := v.hw
	name := ""
	if v.cfg.DebugThreads {
		name = fmt.Sprintf("CPU %d/KVM", index)
	}
	c, err := vcpu.New(h.kvm, vcpu.Config{
		Thread: name, Index: index, APICID: int(v.topology().APICID(index)), CPUID: kvmLeaves(h.cpuid.Leaves(index)), TSCKHz: h.cpuid.TSCKHz(),
		MCECap: h.mce&mceFlags | mceBanks, Features: kvmMSRs(h.cpuid.MSRs()),
	}, vcpu.Spaces{Ports: &h.board.Ports, MMIO: &h.board.MMIO, RAM: h.mem}, sink{v})
	if err != nil {
		return nil, fmt.Errorf("vCPU %d: %w", index, err)
	}
	return c, nil
}

// resolveCPU matches the model that was asked for with what KVM can do.
func (v *VM) resolveCPU(topo cpuid.Topology) error {
	host, err := cpuHost(v.hw.sys)
	if err != nil {
		return err
	}
	spec, err := cpuid.Parse(v.cfg.CPU)
	if err != nil {
		return err
	}
	spec.Latest = v.LatestCPUs()
	if v.hw.cpuid, err = cpuid.New(host, spec, topo); err != nil {
		return fmt.Errorf("-cpu %s: %w", v.cfg.CPU, err)
	}
	if spec.Check {
		for _, m := range v.hw.cpuid.Missing {
			v.opt.Log.Warnf("host doesn't support requested feature: %s", m)
		}
	}
	return nil
}

// cpuHost asks KVM what processors it can give.
func cpuHost(sys *kvm.System) (cpuid.Host, error) {
	supported, err := sys.SupportedCPUID()
	if err != nil {
		return cpuid.Host{}, err
	}
	leaves := make([]cpuid.Entry, len(supported))
	for i, e := range supported {
		leaves[i] = cpuid.Entry{Function: e.Function, Index: e.Index, Flags: e.Flags, EAX: e.Eax, EBX: e.Ebx, ECX: e.Ecx, EDX: e.Edx}
	}
	msrs, err := sys.FeatureMSRs()
	return cpuid.Host{Leaves: leaves, MSRs: msrs, Brand: hostBrand()}, err
}

// hostBrand returns what the kernel calls the host's processor, "" if it does not say.
func hostBrand() string {
	text, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return ""
	}
	_, rest, _ := strings.Cut(string(text), "\nmodel name")
	line, _, _ := strings.Cut(rest, "\n")
	return strings.Trim(line, "\t :")
}

func kvmMSRs(list []cpuid.MSR) []kvm.MSREntry {
	out := make([]kvm.MSREntry, len(list))
	for i, m := range list {
		out[i] = kvm.MSREntry{Index: m.Index, Data: m.Value}
	}
	return out
}

func kvmLeaves(leaves []cpuid.Entry) []kvm.CPUIDEntry2 {
	out := make([]kvm.CPUIDEntry2, len(leaves))
	for i, e := range leaves {
		out[i] = kvm.CPUIDEntry2{Function: e.Function, Index: e.Index, Flags: e.Flags, Eax: e.EAX, Ebx: e.EBX, Ecx: e.ECX, Edx: e.EDX}
	}
	return out
}

// firstReset puts the machine into its state at power-on.
func (v *VM) firstReset(context.Context) error {
	if v.hw.cpus == nil {
		return nil
	}
	return v.hw.start()
}

// sink turns the ends of vCPUs into requests.
type sink struct{ v *VM }

// Shutdown is a triple fault: the machine is reset.
func (s sink) Shutdown(int) { s.v.request(qapi.ShutdownCauseGuestReset) }

// SystemEvent is the guest's word for it.
func (s sink) SystemEvent(_ int, typ uint32) {
	switch typ {
	case kvm.SystemEventShutdown:
		s.v.hw.cpus.RequestPause()
		s.v.control.RequestShutdown(qapi.ShutdownCauseGuestShutdown)
	case kvm.SystemEventCrash:
		s.v.control.GuestPanicked()
	default:
		s.v.request(qapi.ShutdownCauseGuestReset)
	}
}

// Failed is an internal error of KVM: the VM stops for good until it is reset.
func (s sink) Failed(cpu int, err *vcpu.InternalError) {
	s.v.opt.Log.WithField("cpu", cpu).Errorf("KVM internal error: %v\n%s", err, err.Dump())
	s.v.control.RequestStop(qapi.RunStateInternalError)
}

// request asks for a reset, with no guest instruction in between.
func (v *VM) request(cause qapi.ShutdownCause) {
	v.hw.kick()
	v.control.RequestReset(cause)
}
