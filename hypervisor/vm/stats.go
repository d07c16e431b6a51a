package vm

import (
	"errors"
	"fmt"
	"slices"

	"hv/hypervisor/kvm"
	"hv/hypervisor/mem"
	"hv/qmp/qapi"
)

// statistics is what KVM counts, opened when it is first asked for. It belongs to the
// control goroutine.
type statistics struct {
	vm   *kvm.Stats
	cpus map[int]*kvm.Stats // by vCPU index
}

func (s *statistics) close() error {
	var errs []error
	if s.vm != nil {
		errs = append(errs, s.vm.Close())
	}
	for _, c := range s.cpus {
		errs = append(errs, c.Close())
	}
	return errors.Join(errs...)
}

// openStats opens the statistics of the VM and of vCPUs that have none open yet.
func (v *VM) openStats() error {
	s := &v.statistics
	if s.cpus == nil {
		s.cpus = map[int]*kvm.Stats{}
		v.undo.later(s.close)
	}
	if s.vm == nil {
		opened, err := v.hw.kvm.Stats()
		if err != nil {
			return err
		}
		s.vm = opened
	}
	for _, c := range v.hw.cpus.VCPUs() {
		if s.cpus[c.Index()] != nil {
			continue
		}
		err := onCPU(c, func(kv *kvm.VCPU) error {
			opened, err := kv.Stats()
			if err == nil {
				s.cpus[c.Index()] = opened
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// Stats returns the statistics that a filter chooses, in QEMU's order: the last first.
// Control goroutine only.
func (v *VM) Stats(f qapi.StatsFilter) (qapi.StatsResultList, error) {
	if v.hw.kvm == nil {
		return nil, nil
	}
	if err := v.openStats(); err != nil {
		return nil, err
	}
	requests := f.Providers
	if requests == nil {
		requests = qapi.StatsRequestList{{Provider: qapi.StatsProviderKvm}}
	}
	out := qapi.StatsResultList{}
	for _, r := range requests {
		found, err := v.statsOf(&f, r.Names)
		if err != nil {
			return nil, err
		}
		out = append(out, found...)
	}
	slices.Reverse(out)
	return out, nil
}

// statsOf returns the statistics with some names, of all objects that a filter chooses.
func (v *VM) statsOf(f *qapi.StatsFilter, names qapi.StrList) (out qapi.StatsResultList, err error) {
	add := func(s *kvm.Stats, path *string) {
		list, e := readStats(s, names)
		err = errors.Join(err, e)
		if len(list) > 0 {
			out = append(out, qapi.StatsResult{Provider: qapi.StatsProviderKvm, QomPath: path, Stats: list})
		}
	}
	if f.Target == qapi.StatsTargetVm {
		add(v.statistics.vm, nil)
		return out, err
	}
	for _, c := range v.CPUs() {
		if wanted(f.Vcpu.Vcpus, c.QomPath) {
			add(v.statistics.cpus[int(c.CpuIndex)], &c.QomPath)
		}
	}
	return out, err
}

// wanted reports whether a list that may be absent chooses a name.
func wanted(list qapi.StrList, name string) bool { return list == nil || slices.Contains(list, name) }

func readStats(s *kvm.Stats, names qapi.StrList) (qapi.StatsList, error) {
	var out qapi.StatsList
	for i := range s.All {
		d := &s.All[i]
		if !wanted(names, d.Name) {
			continue
		}
		values, err := s.Read(d)
		if err != nil {
			return nil, err
		}
		out = append(out, qapi.Stats{Name: d.Name, Value: statsValue(d, values)})
	}
	slices.Reverse(out)
	return out, nil
}

func statsValue(d *kvm.Stat, values []uint64) qapi.StatsValue {
	switch {
	case d.Unit == kvm.StatBoolean:
		on := values[0] != 0
		return qapi.StatsValue{Boolean: &on}
	case len(values) == 1:
		return qapi.StatsValue{Scalar: &values[0]}
	}
	list := qapi.Uint64List(values)
	return qapi.StatsValue{List: &list}
}

// StatsSchemas describes all statistics. Control goroutine only.
func (v *VM) StatsSchemas() (qapi.StatsSchemaList, error) {
	if v.hw.kvm == nil {
		return nil, nil
	}
	if err := v.openStats(); err != nil {
		return nil, err
	}
	var out qapi.StatsSchemaList
	if cpus := v.hw.cpus.VCPUs(); len(cpus) > 0 {
		out = append(out, statsSchema(qapi.StatsTargetVcpu, v.statistics.cpus[cpus[0].Index()]))
	}
	return append(out, statsSchema(qapi.StatsTargetVm, v.statistics.vm)), nil
}

// QEMU's names of what statistics are.
var (
	statTypes = map[kvm.StatKind]qapi.StatsType{
		kvm.StatCumulative: qapi.StatsTypeCumulative, kvm.StatInstant: qapi.StatsTypeInstant, kvm.StatPeak: qapi.StatsTypePeak,
		kvm.StatLinearHistogram: qapi.StatsTypeLinearHistogram, kvm.StatLog2Histogram: qapi.StatsTypeLog2Histogram,
	}
	statUnits = map[kvm.StatUnit]qapi.StatsUnit{
		kvm.StatBytes: qapi.StatsUnitBytes, kvm.StatSeconds: qapi.StatsUnitSeconds,
		kvm.StatCycles: qapi.StatsUnitCycles, kvm.StatBoolean: qapi.StatsUnitBoolean,
	}
)

func statsSchema(target qapi.StatsTarget, s *kvm.Stats) qapi.StatsSchema {
	list := qapi.StatsSchemaValueList{}
	for i := range s.All {
		d := &s.All[i]
		x := qapi.StatsSchemaValue{Name: d.Name, Type: statTypes[d.Kind], Exponent: d.Exponent}
		if unit, ok := statUnits[d.Unit]; ok {
			x.Unit = &unit
		}
		if d.Exponent != 0 {
			base := int8(d.Base)
			x.Base = &base
		}
		if d.Kind == kvm.StatLinearHistogram {
			x.BucketSize = &d.BucketSize
		}
		list = append(list, x)
	}
	slices.Reverse(list)
	return qapi.StatsSchema{Provider: qapi.StatsProviderKvm, Target: target, Stats: list}
}

// Interrupts names the interrupt controllers. KVM does not count what they deliver.
func (v *VM) Interrupts() string {
	if v.hw.chip == nil {
		return ""
	}
	return "IRQ statistics for kvm-ioapic:\nIRQ statistics for kvm-i8259:\n"
}

// RAMBlocks lists the pieces of RAM by their backends.
func (v *VM) RAMBlocks() string {
	out := fmt.Sprintf("%24s %8s  %18s %18s %18s\n", "Block Name", "PSize", "Offset", "Used", "Total")
	at := uint64(0)
	for _, m := range v.MemoryBackends() {
		out += fmt.Sprintf("%24s %8s  0x%016x 0x%016x 0x%016x\n", *m.Id, sizeText(v.pageSize(*m.Id)), at, m.Size, m.Size)
		at += m.Size
	}
	return out
}

// pageSize returns the size of the pages of a memory backend.
func (v *VM) pageSize(id string) uint64 {
	for _, o := range v.objects.all {
		if m := o.Memory; o.ID == id && m != nil && m.HugeTLB {
			return max(uint64(m.HugeTLBSize), 2<<20)
		}
	}
	return mem.PageSize
}

// sizeText returns a power of two in the largest unit.
func sizeText(n uint64) string {
	units := []string{"B", "KiB", "MiB", "GiB"}
	i := 0
	for ; n >= 1024 && i < len(units)-1; i++ {
		n /= 1024
	}
	return fmt.Sprintf("%d %s", n, units[i])
}
