package blockqmp

import (
	"hv/block/disk"
	"hv/block/graph"
	"hv/qmp/qapi"
)

// stats returns the statistics of all nodes, or of all disks and drives.
func stats(vm VM, nodes bool) qapi.BlockStatsList {
	list := qapi.BlockStatsList{}
	if nodes {
		for _, n := range vm.Graph().Nodes() {
			list = append(list, nodeStats(n))
		}
		return list
	}
	for _, d := range vm.Drives() {
		s := nodeStats(d.Node)
		s.Device = &d.ID
		if d.Qdev != "" {
			s.Qdev = &d.Qdev
		}
		s.Stats.AccountFailed, s.Stats.AccountInvalid = true, true
		if d.Disk != nil {
			diskStats(d.Disk, &s.Stats)
		}
		list = append(list, s)
	}
	return list
}

// nodeStats returns what is counted of a node: where the furthest write ended.
func nodeStats(n *graph.Node) qapi.BlockStats {
	name := n.Name()
	s := qapi.BlockStats{NodeName: &name, Stats: qapi.BlockDeviceStats{WrHighestOffset: n.Highest(), TimedStats: qapi.BlockDeviceTimedStatsList{}}}
	for _, c := range n.Children() {
		below := nodeStats(c.Node())
		if c.Role() == graph.Backing {
			s.Backing = &below
		} else if c.Name() == "file" {
			s.Parent = &below
		}
	}
	return s
}

func diskStats(d *disk.Disk, s *qapi.BlockDeviceStats) {
	c := d.Counts()
	for _, x := range []struct {
		kind                    disk.Kind
		bytes, ops, time, fails *int64
	}{
		{disk.Read, &s.RdBytes, &s.RdOperations, &s.RdTotalTimeNs, &s.FailedRdOperations},
		{disk.Write, &s.WrBytes, &s.WrOperations, &s.WrTotalTimeNs, &s.FailedWrOperations},
		{disk.Flush, nil, &s.FlushOperations, &s.FlushTotalTimeNs, &s.FailedFlushOperations},
		{disk.Unmap, &s.UnmapBytes, &s.UnmapOperations, &s.UnmapTotalTimeNs, &s.FailedUnmapOperations},
	} {
		k := &c.Kinds[x.kind]
		if x.bytes != nil {
			*x.bytes = k.Bytes.Load()
		}
		*x.ops, *x.time, *x.fails = k.Operations.Load(), k.Time.Load(), k.Failed.Load()
	}
	if idle, ok := d.Idle(); ok {
		ns := int64(idle)
		s.IdleTimeNs = &ns
	}
}
