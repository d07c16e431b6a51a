package blockqmp

import (
	"hv/block/graph"
	"hv/qmp/qapi"
)

// describer knows more of its image than all nodes have.
type describer interface{ DescribeImage(info *qapi.ImageInfo) }

// nodeInfo describes a node, and what lies below it unless it is to be flat.
func nodeInfo(n *graph.Node, flat bool) *qapi.BlockDeviceInfo {
	o, name := n.Options(), n.Name()
	info := &qapi.BlockDeviceInfo{
		File: n.Filename(), NodeName: &name, Ro: o.ReadOnly, Drv: n.Driver(), DetectZeroes: qapi.BlockdevDetectZeroesOptionsOff,
		Cache:          qapi.BlockdevCacheInfo{Writeback: true, Direct: o.Direct, NoFlush: o.NoFlush},
		WriteThreshold: int64(n.Threshold()),
		Image:          *imageInfo(n),
		DirtyBitmaps:   bitmapInfos(n),
	}
	switch {
	case o.UnmapZeroes:
		info.DetectZeroes = qapi.BlockdevDetectZeroesOptionsUnmap
	case o.DetectZeroes:
		info.DetectZeroes = qapi.BlockdevDetectZeroesOptionsOn
	}
	for _, c := range n.Children() {
		if c.Role() == graph.Backing {
			file := c.Node().Filename()
			info.BackingFile = &file
		}
	}
	image := &info.Image
	for x := n.Below(); x != nil && !flat; x = x.Below() {
		info.BackingFileDepth++
		image.BackingImage = imageInfo(x)
		image = image.BackingImage
	}
	return info
}

// imageInfo describes a node's image alone.
func imageInfo(n *graph.Node) *qapi.ImageInfo {
	info := &qapi.ImageInfo{Filename: n.Filename(), Format: n.Driver(), VirtualSize: (n.Size() + 511) &^ 511}
	if size, ok := n.Allocated(); ok {
		info.ActualSize = &size
	}
	info.ClusterSize, info.DirtyFlag = base(n)
	if d, ok := graph.As[describer](n); ok {
		d.DescribeImage(info)
	}
	if k := n.Snapshotter(); k != nil {
		for _, s := range k.Snapshots() {
			info.Snapshots = append(info.Snapshots, snapshotInfo(&s))
		}
	}
	if name := info.BackingFilename; name != nil {
		if full, err := n.Resolve(*name); err == nil {
			info.FullBackingFilename = &full
		}
	}
	return info
}

// base returns what a node has whose data is another one's: what that has. Files have no
// clusters, and are never dirty.
func base(n *graph.Node) (clusterSize *int64, dirty *bool) {
	if d, ok := graph.As[describer](n); ok {
		var info qapi.ImageInfo
		d.DescribeImage(&info)
		return info.ClusterSize, info.DirtyFlag
	}
	switch n.Driver() {
	case "file", "host_device":
		return nil, new(bool)
	}
	for _, c := range n.Children() {
		if c.Role() == graph.Filtered || c.Role() == graph.Part && n.Driver() == "raw" {
			return base(c.Node())
		}
	}
	return nil, nil
}
