package vm

import (
	"strings"

	"hv/block/disk"
	"hv/devices/qdev"
	"hv/qmp/events"
	"hv/qmp/qapi"
)

// store is a disk's hold on its medium, as the machine drives it.
type store interface {
	// Flush makes writes durable.
	Flush() error
	// Retry has requests be made again that stopped the VM.
	Retry()
	// ResetStatus forgets that there were such.
	ResetStatus()
}

// openDisk takes a drive's node for a device's use, for as long as that is there. Policy is
// the device's; the drive's goes for what that leaves open.
func (v *VM) openDisk(d *drive, in *qdev.Instance, cfg disk.Config) (*disk.Disk, error) {
	cfg.Name, cfg.Front, cfg.Policy = d.name, d.front, cfg.Policy.Or(d.policy)
	var opened *disk.Disk
	cfg.Failed = func(f disk.Failure) { v.diskFailed(d.id, opened.Node().Name(), f) }
	opened, err := disk.Open(d.root.Node(), cfg)
	if err != nil {
		return nil, err
	}
	d.disk = opened
	in.Later(func() error { d.disk = nil; return opened.Close() })
	v.hw.disks = append(v.hw.disks, opened)
	in.Later(func() error { v.hw.disks = without(v.hw.disks, store(opened)); return nil })
	return opened, nil
}

// errorPolicy is what a device's properties say of errors.
func errorPolicy(read, write qdev.OnError) disk.Policy {
	return disk.Policy{Read: qapi.BlockdevOnError(read), Write: qapi.BlockdevOnError(write)}
}

// diskFailed tells of a request that failed, on a queue's thread, and has the VM stop if that is
// what is done about it.
func (v *VM) diskFailed(device, node string, f disk.Failure) {
	op := qapi.IoOperationTypeWrite
	if f.Read {
		op = qapi.IoOperationTypeRead
	}
	nospace := f.Full()
	reason := f.Errno.Error()
	events.Emit(v.events, qapi.EventBlockIoError, qapi.BlockIoErrorEvent{
		Device: device, NodeName: &node, Operation: op, Action: f.Action, Nospace: &nospace, Reason: strings.ToUpper(reason[:1]) + reason[1:],
	})
	if f.Action == qapi.BlockErrorActionStop {
		v.control.RequestStop(qapi.RunStateIoError)
	}
}
