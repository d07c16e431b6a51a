package qcow2drv

import (
	"hv/block/qcow2"
	"hv/qmp/qapi"
)

// FoundBacking notes what the backing node is known by that was found by what the image
// says of it; empty for none.
func (d *Driver) FoundBacking(name string) { d.found, d.said = name, d.image.Header().BackingFile }

// AutoBacking returns what the node is known by that the image's backing file is, empty if
// it has none.
func (d *Driver) AutoBacking() string {
	h := d.image.Header()
	if d.found != "" && h.BackingFile == d.said {
		return d.found
	}
	return h.BackingFile
}

// DescribeImage adds what is known of the image.
func (d *Driver) DescribeImage(info *qapi.ImageInfo) {
	h := d.image.Header()
	clusterSize, dirty := int64(1)<<h.ClusterBits, h.Incompatible&qcow2.IncompatDirty != 0
	info.ClusterSize, info.DirtyFlag = &clusterSize, &dirty
	info.FormatSpecific = d.specific(&h)
	if h.BackingFile != "" {
		info.BackingFilename = &h.BackingFile
		if h.BackingFormat != "" {
			info.BackingFilenameFormat = &h.BackingFormat
		}
	}
}

func (d *Driver) specific(h *qcow2.Header) *qapi.ImageInfoSpecific {
	data := qapi.ImageInfoSpecificQCow2{Compat: "0.10", RefcountBits: 1 << h.RefcountOrder, CompressionType: qapi.Qcow2CompressionType(h.Compression.String())}
	if h.Version >= 3 {
		lazy, corrupt := h.Compatible&qcow2.CompatLazyRefcounts != 0, h.Incompatible&qcow2.IncompatCorrupt != 0
		extended := h.Incompatible&qcow2.IncompatExtendedL2 != 0
		data.Compat, data.LazyRefcounts, data.Corrupt, data.ExtendedL2 = "1.1", &lazy, &corrupt, &extended
		if h.Incompatible&qcow2.IncompatDataFile != 0 {
			raw := h.Autoclear&qcow2.AutoclearRawData != 0
			data.DataFileRaw = &raw
		}
		if h.DataFile != "" {
			data.DataFile = &h.DataFile
		}
		data.Bitmaps = d.bitmaps()
	}
	return &qapi.ImageInfoSpecific{Type: qapi.ImageInfoSpecificKindQcow2, Qcow2: &qapi.ImageInfoSpecificQCow2Wrapper{Data: data}}
}

// bitmaps describes the bitmaps that the image keeps, none if they cannot be read.
func (d *Driver) bitmaps() qapi.Qcow2BitmapInfoList {
	stored, err := d.image.StoredBitmaps()
	if err != nil {
		return nil
	}
	var list qapi.Qcow2BitmapInfoList
	for _, b := range stored {
		flags := qapi.Qcow2BitmapInfoFlagList{}
		if b.Inconsistent {
			flags = append(flags, qapi.Qcow2BitmapInfoFlagsInUse)
		}
		if b.Enabled {
			flags = append(flags, qapi.Qcow2BitmapInfoFlagsAuto)
		}
		list = append(list, qapi.Qcow2BitmapInfo{Name: b.Name, Granularity: uint32(b.Granularity), Flags: flags})
	}
	return list
}
