package blockqmp

import (
	"time"

	"hv/block/account"
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
		s := qapi.BlockStats{Stats: qapi.BlockDeviceStats{TimedStats: qapi.BlockDeviceTimedStatsList{}}}
		if d.Node != nil {
			s = nodeStats(d.Node)
		}
		s.Device = &d.ID
		if d.Qdev != "" {
			s.Qdev = &d.Qdev
		}
		frontStats(d.Front.Stats, &s.Stats)
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

// frontStats tells what was counted of a drive.
func frontStats(c *account.Stats, s *qapi.BlockDeviceStats) {
	for _, x := range []struct {
		kind                             account.Kind
		bytes, ops, time, fails, invalid *int64
	}{
		{account.Read, &s.RdBytes, &s.RdOperations, &s.RdTotalTimeNs, &s.FailedRdOperations, &s.InvalidRdOperations},
		{account.Write, &s.WrBytes, &s.WrOperations, &s.WrTotalTimeNs, &s.FailedWrOperations, &s.InvalidWrOperations},
		{account.Flush, new(int64), &s.FlushOperations, &s.FlushTotalTimeNs, &s.FailedFlushOperations, &s.InvalidFlushOperations},
		{account.Unmap, &s.UnmapBytes, &s.UnmapOperations, &s.UnmapTotalTimeNs, &s.FailedUnmapOperations, &s.InvalidUnmapOperations},
	} {
		k := c.Total(x.kind)
		*x.bytes, *x.ops, *x.time, *x.fails, *x.invalid = k.Bytes, k.Operations, k.Time, k.Failed, k.Invalid
	}
	if idle, ok := c.Idle(); ok {
		ns := int64(idle)
		s.IdleTimeNs = &ns
	}
	invalid, failed := c.Skips()
	s.AccountInvalid, s.AccountFailed = !invalid, !failed
	for _, v := range c.Intervals() {
		s.TimedStats = append(s.TimedStats, timedStats(&v))
	}
	s.RdLatencyHistogram, s.WrLatencyHistogram = histogram(c, account.Read), histogram(c, account.Write)
	s.FlushLatencyHistogram = histogram(c, account.Flush)
}

func timedStats(v *account.Interval) qapi.BlockDeviceTimedStats {
	rd, wr, fl := v.Kinds[account.Read], v.Kinds[account.Write], v.Kinds[account.Flush]
	return qapi.BlockDeviceTimedStats{
		IntervalLength: int64(v.Length / time.Second), AvgRdQueueDepth: rd.Depth, AvgWrQueueDepth: wr.Depth,
		MinRdLatencyNs: int64(rd.Min), MaxRdLatencyNs: int64(rd.Max), AvgRdLatencyNs: int64(rd.Mean),
		MinWrLatencyNs: int64(wr.Min), MaxWrLatencyNs: int64(wr.Max), AvgWrLatencyNs: int64(wr.Mean),
		MinFlushLatencyNs: int64(fl.Min), MaxFlushLatencyNs: int64(fl.Max), AvgFlushLatencyNs: int64(fl.Mean),
	}
}

// histogram returns what there is of a kind, nil for nothing.
func histogram(c *account.Stats, k account.Kind) *qapi.BlockLatencyHistogramInfo {
	h, ok := c.Histogram(k)
	if !ok {
		return nil
	}
	return &qapi.BlockLatencyHistogramInfo{Boundaries: h.Boundaries, Bins: h.Bins}
}
