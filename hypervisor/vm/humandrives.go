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

// RemoveDrive implements hmp.Drives.
func (h human) RemoveDrive(ctx context.Context, id string) (there bool, err error) {
	err = h.do(ctx, func() error {
		d := h.v.blocks.find(id)
		if there = d != nil; !there {
			return nil
		}
		if d.user != nil {
			return fmt.Errorf("Device '%s' is in use", id)
		}
		return h.v.blocks.remove(d)
	})
	return there, err
}
