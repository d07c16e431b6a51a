package vm

import (
	"context"
	"fmt"

	"hv/qmp/hmp"
)

var _ hmp.Drives = human{}

// AddDrive implements hmp.Drives.
func (h human) AddDrive(ctx context.Context, options string) error {
	d, err := h.v.cfg.NewDrive(options)
	if err != nil {
		return err
	}
	return h.do(ctx, func() error {
		if h.v.blocks.find(d.ID) != nil {
			return fmt.Errorf("Duplicate ID '%s' for drive", d.ID)
		}
		return h.v.openDrive(d)
	})
}

// RemoveDrive implements hmp.Drives. A SCSI unit that has the drive goes on without a medium.
func (h human) RemoveDrive(ctx context.Context, id string) (there bool, err error) {
	err = h.do(ctx, func() error {
		d := h.v.blocks.find(id)
		if there = d != nil; !there {
			return nil
		}
		switch {
		case d.user != nil && d.slot == nil:
			return fmt.Errorf("Device '%s' is in use", id)
		case d.user != nil:
			return h.v.disown(d)
		}
		return h.v.blocks.remove(d)
	})
	return there, err
}

// disown takes a unit's medium out for good: nothing finds the drive by its id any more.
func (v *VM) disown(d *drive) (err error) {
	if d.node() != nil {
		err = tray{v, d, d.id}.Remove()
	}
	d.id = ""
	return err
}
