package qcow2drv

import (
	"errors"
	"math"

	"hv/block/graph"
	"hv/block/qcow2"
)

// SetBacking implements graph.Backer.
func (d *Driver) SetBacking(c *graph.Child) {
	d.opt.Backing = nil
	if c != nil {
		d.opt.Backing = below{c}
	}
	d.image.SetBacking(d.opt.Backing)
}

// BackingName implements graph.BackingNamer.
func (d *Driver) BackingName() (name, format string) {
	h := d.image.Header()
	return h.BackingFile, h.BackingFormat
}

// SetBackingName implements graph.BackingNamer.
func (d *Driver) SetBackingName(name, format string) error {
	if err := d.image.SetBackingFile(name, format); err != nil {
		return wrap(err)
	}
	d.found = "" // by another name
	return nil
}

// Snapshots implements graph.Snapshotter.
func (d *Driver) Snapshots() []graph.Snapshot {
	var list []graph.Snapshot
	for _, s := range d.image.Snapshots() {
		x := graph.Snapshot{ID: s.ID, Name: s.Name, Date: s.Date, VMClock: s.VMClock, VMStateSize: s.VMStateSize}
		if s.ICount != math.MaxUint64 {
			n := int64(s.ICount)
			x.ICount = &n
		}
		list = append(list, x)
	}
	return list
}

// CreateSnapshot implements graph.Snapshotter.
func (d *Driver) CreateSnapshot(s graph.Snapshot) (string, error) {
	made, err := d.image.CreateSnapshot(qcow2.Snapshot{
		Name: s.Name, Date: s.Date, VMClock: s.VMClock, VMStateSize: s.VMStateSize, ICount: math.MaxUint64,
	})
	return made.ID, wrap(err)
}

// DeleteSnapshot implements graph.Snapshotter.
func (d *Driver) DeleteSnapshot(id string) error { return wrap(d.image.DeleteSnapshot(id)) }

// Reopen implements graph.Reopener; own is a qcow2.Options. The image is closed, and looked
// at with the new options; only commit opens it for writing, when that may be.
func (d *Driver) Reopen(node graph.Options, own any) (commit func() error, undo func(), err error) {
	old, opt := d.opt, d.opt
	if o, ok := own.(qcow2.Options); ok {
		opt = o
		opt.Backing, opt.DataFile, opt.OnCorruption = old.Backing, old.DataFile, old.OnCorruption
	}
	opt.ReadOnly = node.ReadOnly
	if err := d.Close(); err != nil {
		return nil, nil, errors.Join(err, d.open(old))
	}
	look := opt
	look.ReadOnly = true
	if err := d.open(look); err != nil {
		return nil, nil, errors.Join(err, d.open(old))
	}
	commit = func() error {
		opt.Backing = d.opt.Backing
		d.opt = opt
		if opt.ReadOnly {
			return nil
		}
		return errors.Join(d.Close(), d.open(opt))
	}
	undo = func() {
		// It was open so a moment ago; otherwise it can be read at least.
		_ = errors.Join(d.Close(), d.open(old))
	}
	return commit, undo, nil
}

// open opens the image. If that fails the one that there is stays, which is closed.
func (d *Driver) open(opt qcow2.Options) error {
	opt.Event = func(e qcow2.Event) { d.file.Event(events[e]) }
	image, err := qcow2.Open(Storage{d.file}, opt)
	if err != nil {
		return wrap(err)
	}
	d.image, d.opt, d.closed = image, opt, false
	return nil
}
