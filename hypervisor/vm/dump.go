package vm

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"hv/hypervisor/coredump"
	"hv/hypervisor/kvm"
	"hv/hypervisor/paging"
	"hv/qmp/events"
	"hv/qmp/qapi"
)

// dumping is the last dump of the guest's memory. What is not atomic belongs to the control
// goroutine; a dump is written on a goroutine of its own, so that clients are answered
// however slow the file is.
type dumping struct {
	status  qapi.DumpStatus // "" for none
	total   uint64
	done    atomic.Int64
	resume  bool // the VM ran before it
	file    *os.File
	cancel  context.CancelFunc
	result  chan error // of the dump that is being written; takes one
	writing sync.WaitGroup
}

var errDumping = errors.New("There is a dump in process, please wait.")

// busy returns an error while a dump is being written.
func (d *dumping) busy() error {
	if d.status == qapi.DumpStatusActive {
		return errDumping
	}
	return nil
}

// close ends a dump that is being written. The control goroutine has ended.
func (d *dumping) close() {
	if d.busy() == nil {
		return
	}
	d.cancel()
	_ = d.file.SetWriteDeadline(time.Now()) // a pipe may be full for ever; others need it not
	d.writing.Wait()
	select {
	case d.result <- context.Canceled:
	default:
	}
}

// DumpStatus tells how far the last dump is.
func (v *VM) DumpStatus() qapi.DumpQueryResult {
	d := &v.dumping
	if d.status == "" {
		return qapi.DumpQueryResult{Status: qapi.DumpStatusNone}
	}
	return qapi.DumpQueryResult{Status: d.status, Completed: d.done.Load(), Total: int64(d.total)}
}

// Dump writes the guest's memory and registers to a file. The VM stands still meanwhile.
// It is called on a client's goroutine, and waits for the end unless that is not wanted.
func (v *VM) Dump(ctx context.Context, a qapi.DumpGuestMemoryArgs) error {
	var result <-chan error
	var err error
	if e := v.control.Do(ctx, func() { result, err = v.startDump(&a) }); e != nil {
		return e
	}
	if err != nil || a.Detach != nil && *a.Detach {
		return err
	}
	return <-result
}

// startDump begins a dump and returns where its result comes. Control goroutine only.
func (v *VM) startDump(a *qapi.DumpGuestMemoryArgs) (<-chan error, error) {
	d := &v.dumping
	if err := d.busy(); err != nil {
		return nil, err
	}
	if err := checkDump(a); err != nil {
		return nil, err
	}
	f, err := v.dumpFile(a.Protocol)
	if err != nil {
		return nil, err
	}
	d.status, d.total, d.resume = qapi.DumpStatusActive, 0, v.Running()
	d.done.Store(0)
	if d.resume {
		v.control.StopIn(qapi.RunStateSaveVm)
	}
	core, err := v.core(a)
	if err != nil {
		f.Close()
		d.status = qapi.DumpStatusFailed
		v.afterDump()
		return nil, err
	}
	d.total, d.file, d.result = coredump.Size(core.Blocks), f, make(chan error, 1)
	ctx, cancel := context.WithCancel(context.Background())
	d.cancel = cancel
	result := d.result
	d.writing.Go(func() {
		defer cancel()
		err := d.write(ctx, f, core)
		v.control.Post(func() {
			v.dumped(err)
			result <- err
		})
	})
	return result, nil
}

// checkDump finds arguments that do not go together.
func checkDump(a *qapi.DumpGuestMemoryArgs) error {
	switch {
	case a.Format != nil && *a.Format != qapi.DumpGuestMemoryFormatElf:
		return fmt.Errorf("%s is not available now", *a.Format)
	case a.Begin != nil && a.Length == nil:
		return errors.New("Parameter 'length' is missing")
	case a.Begin == nil && a.Length != nil:
		return errors.New("Parameter 'begin' is missing")
	case a.Begin != nil && *a.Begin < 0:
		return errors.New("Invalid parameter 'begin'")
	case a.Length != nil && *a.Length <= 0:
		return errors.New("Invalid parameter 'length'")
	}
	return nil
}

// dumpFile opens what a protocol names.
func (v *VM) dumpFile(protocol string) (*os.File, error) {
	if path, ok := strings.CutPrefix(protocol, "file:"); ok {
		return create(v.fds.Open, path, 0o400)
	}
	if name, ok := strings.CutPrefix(protocol, "fd:"); ok {
		fd, err := v.fds.Take(name)
		if err != nil {
			return nil, err
		}
		// So that the end of the VM need not wait for a pipe's reader.
		if err := unix.SetNonblock(fd, true); err != nil {
			unix.Close(fd)
			return nil, fmt.Errorf("fd:%s: %w", name, err)
		}
		return os.NewFile(uintptr(fd), protocol), nil
	}
	return nil, errors.New("Invalid parameter 'protocol'")
}

// write writes the dump and closes its file.
func (d *dumping) write(ctx context.Context, f *os.File, core *coredump.Dump) error {
	err := coredump.Write(ctx, f, core, &d.done)
	if e := f.Close(); err == nil {
		err = e
	}
	if err != nil {
		return fmt.Errorf("dump: failed to save memory: %w", err)
	}
	return nil
}

// dumped tells of the end of a dump and lets the VM go on.
func (v *VM) dumped(err error) {
	d := &v.dumping
	e := qapi.DumpCompletedEvent{}
	d.status = qapi.DumpStatusCompleted
	if err != nil {
		text := err.Error()
		d.status, e.Error = qapi.DumpStatusFailed, &text
	}
	e.Result = v.DumpStatus()
	events.Emit(v.events, qapi.EventDumpCompleted, e)
	v.afterDump()
}

// afterDump lets a VM go on that a dump stopped, unless something else stopped it meanwhile.
func (v *VM) afterDump() {
	if !v.dumping.resume || v.control.State() != qapi.RunStateSaveVm {
		return
	}
	if err := v.control.Continue(); err != nil {
		v.failed("go on after a dump", err)
	}
}

// core gathers what is to be dumped. The VM is paused.
func (v *VM) core(a *qapi.DumpGuestMemoryArgs) (*coredump.Dump, error) {
	d := &coredump.Dump{}
	for _, r := range v.hw.plugged(v.RAM().Regions()) {
		d.Blocks = append(d.Blocks, coredump.Block{Base: r.Base, Data: r.Data})
	}
	if a.Begin != nil {
		d.Blocks = coredump.Clip(d.Blocks, uint64(*a.Begin), uint64(*a.Length))
	}
	if len(d.Blocks) == 0 {
		return nil, errors.New("dump: no guest memory to dump")
	}
	if v.hw.cpus == nil {
		return d, nil
	}
	for _, c := range v.hw.cpus.VCPUs() {
		var cpu coredump.CPU
		if err := onCPU(c, func(kv *kvm.VCPU) error { return registers(kv, &cpu) }); err != nil {
			return nil, fmt.Errorf("dump: %w", err)
		}
		d.CPUs = append(d.CPUs, cpu)
	}
	if !a.Paging {
		return d, nil
	}
	return d, v.segments(d)
}

// registers reads what a dump has of a vCPU.
func registers(kv *kvm.VCPU, c *coredump.CPU) error {
	const kernelGSBase = 0xc0000102
	regs, err := kv.Regs()
	if err != nil {
		return err
	}
	sregs, err := kv.Sregs()
	if err != nil {
		return err
	}
	msr := []kvm.MSREntry{{Index: kernelGSBase}}
	if _, err := kv.MSRs(msr); err != nil {
		return err
	}
	*c = coredump.CPU{Regs: *regs, Sregs: *sregs, KernelGSBase: msr[0].Data}
	return nil
}

// segments makes a dump's segments of what the page tables of all vCPUs map; without any
// that pages they stay the blocks of memory.
func (v *VM) segments(d *coredump.Dump) error {
	seen := map[coredump.Segment]bool{}
	for _, c := range d.CPUs {
		s := paging.State{CR0: c.Sregs.CR0, CR3: c.Sregs.CR3, CR4: c.Sregs.CR4, EFER: c.Sregs.EFER}
		found, err := paging.Mappings(v.RAM(), s)
		if err != nil {
			return fmt.Errorf("dump: %w", err)
		}
		if s.Enabled() && d.Segments == nil {
			d.Segments = []coredump.Segment{}
		}
		for _, m := range found {
			if seg := (coredump.Segment{Linear: m.Linear, Phys: m.Phys, Size: m.Size}); !seen[seg] {
				seen[seg] = true
				d.Segments = append(d.Segments, seg)
			}
		}
	}
	return nil
}
