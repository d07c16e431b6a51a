package vm

import (
	"errors"

	"hv/block/disk"
	"hv/devices/qdev"
	"hv/hypervisor/config"
	"hv/qmp/events"
	"hv/qmp/qapi"
	"hv/qmp/strerror"
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
	if d.root == nil {
		return nil, errors.New("Device needs media, but drive is empty")
	}
	if err := v.holdDisk(d, cfg); err != nil {
		return nil, err
	}
	in.Later(func() error { return v.dropDisk(d) })
	return d.disk, nil
}

// holdDisk is openDisk of a drive with a medium, until dropDisk.
func (v *VM) holdDisk(d *drive, cfg disk.Config) error {
	cfg.Name, cfg.Front, cfg.Policy = d.name, d.front, cfg.Policy.Or(d.policy)
	if perm, shared := d.root.Perms(); perm != 0 { // commands wrote to it
		if err := d.root.SetPerm(0, shared); err != nil {
			return err
		}
	}
	var opened *disk.Disk
	cfg.Failed = func(f disk.Failure) { v.diskFailed(d.id, opened.Node().Name(), f) }
	opened, err := disk.Open(d.node(), cfg)
	if err != nil {
		return err
	}
	d.disk = opened
	v.hw.disks = append(v.hw.disks, opened)
	return nil
}

// dropDisk takes holdDisk back, if there was one.
func (v *VM) dropDisk(d *drive) error {
	held := d.disk
	if held == nil {
		return nil
	}
	d.disk = nil
	v.hw.disks = without(v.hw.disks, store(held))
	return held.Close()
}

// errorPolicy is what a device's properties say of errors.
func errorPolicy(read, write qdev.OnError) disk.Policy {
	return disk.Policy{Read: qapi.BlockdevOnError(read), Write: qapi.BlockdevOnError(write)}
}

// drivePolicy is what a -drive says of errors.
func drivePolicy(c *config.Drive) disk.Policy {
	return disk.Policy{Read: qapi.BlockdevOnError(c.ReadError), Write: qapi.BlockdevOnError(c.WriteError)}
}

// diskFailed tells of a request that failed, on a queue's thread, and has the VM stop if that is
// what is done about it.
func (v *VM) diskFailed(device, node string, f disk.Failure) {
	op := qapi.IoOperationTypeWrite
	if f.Read {
		op = qapi.IoOperationTypeRead
	}
	nospace := f.Full()
	events.Emit(v.events, qapi.EventBlockIoError, qapi.BlockIoErrorEvent{
		Device: device, NodeName: &node, Operation: op, Action: f.Action, Nospace: &nospace, Reason: strerror.Text(f.Errno),
	})
	if f.Action == qapi.BlockErrorActionStop {
		v.control.RequestStop(qapi.RunStateIoError)
	}
}
