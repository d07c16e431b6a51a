package blockqmp

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"hv/block/graph"
	"hv/qmp/qapi"
)

// snapshotInternal is blockdev-snapshot-internal-sync.
func snapshotInternal(vm Changer, a *qapi.BlockdevSnapshotInternal) *Action {
	var undrain func()
	var keeper graph.Snapshotter
	id := ""
	return &Action{
		Prepare: func() error {
			n, err := rootNode(vm, a.Device)
			if err != nil {
				return err
			}
			undrain = n.Drain()
			if keeper, err = keeperOf(n, a.Device, a.Name); err != nil {
				return err
			}
			id, err = keeper.CreateSnapshot(graph.Snapshot{Name: a.Name, Date: time.Now(), VMClock: vm.GuestTime()})
			if err != nil {
				return fmt.Errorf("Failed to create snapshot '%s' on device '%s': %w", a.Name, a.Device, err)
			}
			return nil
		},
		Abort: func() {
			if id != "" {
				// What stays behind is a snapshot more.
				_ = keeper.DeleteSnapshot(id)
			}
		},
		Clean: func() {
			if undrain != nil {
				undrain()
			}
		},
	}
}

// keeperOf returns what keeps snapshots of a node, if it can keep a new one.
func keeperOf(n *graph.Node, device, name string) (graph.Snapshotter, error) {
	if err := n.Blocked(); err != nil {
		return nil, err
	}
	keeper := n.Snapshotter()
	switch {
	case n.Options().ReadOnly:
		return nil, fmt.Errorf("Device '%s' is read only", device)
	case keeper == nil:
		return nil, fmt.Errorf("Block format '%s' used by device '%s' does not support internal snapshots", n.Driver(), device)
	case name == "":
		return nil, errors.New("Name is empty")
	case slices.ContainsFunc(keeper.Snapshots(), func(s graph.Snapshot) bool { return s.Name == name }):
		return nil, fmt.Errorf("Snapshot with name '%s' already exists on device '%s'", name, device)
	}
	return keeper, nil
}

// deleteInternal is blockdev-snapshot-delete-internal-sync.
func deleteInternal(vm Changer) func(context.Context, qapi.BlockdevSnapshotDeleteInternalSyncArgs) (qapi.SnapshotInfo, error) {
	return func(_ context.Context, a qapi.BlockdevSnapshotDeleteInternalSyncArgs) (info qapi.SnapshotInfo, err error) {
		n, err := rootNode(vm, a.Device)
		switch {
		case err != nil:
			return info, err
		case a.Id == nil && a.Name == nil:
			return info, errors.New("Name or id must be provided")
		}
		if err := n.Blocked(); err != nil {
			return info, err
		}
		defer n.Drain()()
		keeper := n.Snapshotter()
		if keeper == nil {
			return info, errors.New("Failed to get a snapshot list: Operation not supported")
		}
		all := keeper.Snapshots()
		i := slices.IndexFunc(all, func(s graph.Snapshot) bool { return is(a.Id, s.ID) && is(a.Name, s.Name) })
		if i < 0 {
			return info, noSnapshot(&a)
		}
		return snapshotInfo(&all[i]), keeper.DeleteSnapshot(all[i].ID)
	}
}

// is reports whether what may be said of a text is true.
func is(want *string, got string) bool { return want == nil || *want == got }

func noSnapshot(a *qapi.BlockdevSnapshotDeleteInternalSyncArgs) error {
	said := func(s *string) string {
		if s == nil {
			return "(null)"
		}
		return *s
	}
	return fmt.Errorf("Snapshot with id '%s' and name '%s' does not exist on device '%s'", said(a.Id), said(a.Name), a.Device)
}

// snapshotInfo describes a snapshot.
func snapshotInfo(s *graph.Snapshot) qapi.SnapshotInfo {
	return qapi.SnapshotInfo{
		Id: s.ID, Name: s.Name, VmStateSize: s.VMStateSize, DateSec: s.Date.Unix(), DateNsec: int64(s.Date.Nanosecond()),
		VmClockSec: int64(s.VMClock / time.Second), VmClockNsec: int64(s.VMClock % time.Second), Icount: s.ICount,
	}
}

// changeBackingFile is change-backing-file.
func changeBackingFile(vm Changer) func(context.Context, qapi.ChangeBackingFileArgs) (qapi.Empty, error) {
	return func(_ context.Context, a qapi.ChangeBackingFileArgs) (qapi.Empty, error) {
		top, err := rootNode(vm, a.Device)
		if err != nil {
			return qapi.Empty{}, err
		}
		n, err := lookup(vm, nil, &a.ImageNodeName)
		switch {
		case err != nil:
			return qapi.Empty{}, err
		case n.Backing() == nil:
			return qapi.Empty{}, errors.New("not allowing backing file change on an image without a backing file")
		case top.Blocked() != nil:
			return qapi.Empty{}, top.Blocked()
		case !inChain(top, n):
			return qapi.Empty{}, fmt.Errorf("'%s' and image file are not in the same chain", a.Device)
		}
		return qapi.Empty{}, renameBacking(vm, n, a.BackingFile)
	}
}

// inChain reports whether a node is in the backing chain of another one, or behind the
// filters of that.
func inChain(top, n *graph.Node) bool {
	for ; top != nil && top != n; top = top.Below() {
	}
	return top == n
}

// renameBacking writes a backing file's name down, for which a node may become writable
// for a moment.
func renameBacking(vm Changer, n *graph.Node, name string) error {
	defer n.Drain()()
	ro := n.Options().ReadOnly
	if ro {
		if err := vm.SetReadOnly(n, false); err != nil {
			return err
		}
	}
	err := errors.New("Operation not supported")
	if b := n.BackingNamer(); b != nil {
		err = b.SetBackingName(name, n.Driver())
	}
	if err != nil {
		err = fmt.Errorf("Could not change backing file to '%s': %w", name, err)
	}
	if ro {
		err = errors.Join(err, vm.SetReadOnly(n, true))
	}
	return err
}
