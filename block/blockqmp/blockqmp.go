// Package blockqmp handles the QMP commands about block nodes and disks.
//
// Handlers run on the VM's control goroutine. It depends on block/graph, block/disk,
// qmp/qapi and qmp/dispatch.
package blockqmp

import (
	"context"
	"errors"

	"hv/block/disk"
	"hv/block/graph"
	"hv/block/throttle"
	"hv/qmp/dispatch"
	"hv/qmp/qapi"
)

// VM has nodes, and disks on them.
type VM interface {
	AddBlockdev(o *qapi.BlockdevOptions) error
	Graph() *graph.Graph
	// FindNode returns the node that a drive's id or a node's name means.
	FindNode(name string) (*graph.Node, error)
	Drives() []Drive
	ThrottleGroups() *throttle.Groups
}

// Drive is a -drive, or what a disk has.
type Drive struct {
	ID           string
	Qdev         string      // id or QOM path of the device, empty for none
	Device       string      // its id
	Node         *graph.Node // nil without a medium
	Front        *disk.Front
	Disk         *disk.Disk // nil without a device or a medium
	WriteThrough bool
	// Removable says that the medium can be exchanged, TrayOpen is nil for a drive
	// without a tray.
	Removable, Locked bool
	TrayOpen          *bool
}

// Register adds the commands to a table.
func Register(t *dispatch.Table, vm VM) {
	dispatch.Register(t, qapi.CmdBlockdevAdd, func(_ context.Context, o qapi.BlockdevOptions) (qapi.Empty, error) {
		if o.NodeName == nil {
			return qapi.Empty{}, errors.New("'node-name' must be specified for the root node")
		}
		return qapi.Empty{}, vm.AddBlockdev(&o)
	})
	dispatch.Register(t, qapi.CmdBlockdevDel, func(_ context.Context, a qapi.BlockdevDelArgs) (qapi.Empty, error) {
		return qapi.Empty{}, vm.Graph().Remove(a.NodeName)
	})
	dispatch.Register(t, qapi.CmdBlockResize, func(_ context.Context, a qapi.BlockResizeArgs) (qapi.Empty, error) {
		return qapi.Empty{}, resize(vm, a)
	})
	dispatch.Register(t, qapi.CmdQueryNamedBlockNodes, func(_ context.Context, a qapi.QueryNamedBlockNodesArgs) (qapi.BlockDeviceInfoList, error) {
		list := qapi.BlockDeviceInfoList{}
		for _, n := range vm.Graph().Nodes() {
			list = append(list, *nodeInfo(n, a.Flat != nil && *a.Flat))
		}
		return list, nil
	})
	dispatch.Register(t, qapi.CmdQueryBlock, func(context.Context, qapi.Empty) (qapi.BlockInfoList, error) {
		list := qapi.BlockInfoList{}
		for _, d := range vm.Drives() {
			list = append(list, driveInfo(&d))
		}
		return list, nil
	})
	registerBitmaps(t, vm)
	dispatch.Register(t, qapi.CmdQueryBlockstats, func(_ context.Context, a qapi.QueryBlockstatsArgs) (qapi.BlockStatsList, error) {
		return stats(vm, a.QueryNodes != nil && *a.QueryNodes), nil
	})
	registerLimits(t, vm)
}

func resize(vm VM, a qapi.BlockResizeArgs) error {
	n, err := lookup(vm, a.Device, a.NodeName)
	switch {
	case err != nil:
		return err
	case a.Size < 0:
		return errors.New("Parameter 'size' expects a >0 size")
	case n.Blocked() != nil:
		return n.Blocked()
	}
	return n.Resize(a.Size)
}

func driveInfo(d *Drive) qapi.BlockInfo {
	info := qapi.BlockInfo{Device: d.ID, Type: "unknown", Removable: d.Removable, Locked: d.Locked, TrayOpen: d.TrayOpen}
	if d.Node != nil {
		info.Inserted = nodeInfo(d.Node, false)
		info.Inserted.Cache.Writeback = !d.WriteThrough
		tellLimits(d.Front.Limits.Group(), info.Inserted)
	}
	if d.Qdev != "" {
		info.Qdev = &d.Qdev
	}
	if d.Disk != nil {
		if status, ok := d.Disk.Status(); ok {
			info.IoStatus = &status
		}
	} else if d.TrayOpen != nil {
		ok := qapi.BlockDeviceIoStatusOk
		info.IoStatus = &ok
	}
	return info
}
