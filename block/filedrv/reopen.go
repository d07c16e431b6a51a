package filedrv

import (
	"errors"

	"hv/block/graph"
)

// AutoReadOnly is the option of that name, for Reopen.
type AutoReadOnly bool

// Reopen implements graph.Reopener; own is an AutoReadOnly.
func (d *Driver) Reopen(node graph.Options, own any) (commit func() error, undo func(), err error) {
	old, oldFile := d.cfg, d.file
	d.cfg.Options = node
	if auto, ok := own.(AutoReadOnly); ok {
		d.cfg.AutoReadOnly = bool(auto)
	}
	readOnly := node.ReadOnly || d.cfg.AutoReadOnly && oldFile.ReadOnly()
	file, err := d.open(readOnly)
	if err != nil {
		d.cfg = old
		return nil, nil, err
	}
	held, notShared := oldFile.Locks()
	if err := d.lock(file, graph.Perm(held), graph.AllPerms&^graph.Perm(notShared)); err != nil {
		d.cfg = old
		return nil, nil, errors.Join(err, file.Close())
	}
	d.file = file
	commit = oldFile.Close
	undo = func() {
		// Permit may have exchanged the file since. The locks that were there before nobody
		// else can have.
		file := d.file
		_ = errors.Join(d.lock(oldFile, graph.Perm(held), graph.AllPerms&^graph.Perm(notShared)), file.Close())
		d.cfg, d.file = old, oldFile
	}
	return commit, undo, nil
}
