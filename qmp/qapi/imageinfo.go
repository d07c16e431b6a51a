//qapi:schema

package qapi

// ImageInfo describes an image.
type ImageInfo struct {
	Filename              string             `qapi:"filename"`
	Format                string             `qapi:"format"`
	DirtyFlag             *bool              `qapi:"dirty-flag"`  // it was not closed
	ActualSize            *int64             `qapi:"actual-size"` // bytes that it takes on the host
	VirtualSize           int64              `qapi:"virtual-size"`
	ClusterSize           *int64             `qapi:"cluster-size"`
	BackingFilename       *string            `qapi:"backing-filename"`      // as the image says
	FullBackingFilename   *string            `qapi:"full-backing-filename"` // as it is found
	BackingFilenameFormat *string            `qapi:"backing-filename-format"`
	Snapshots             SnapshotInfoList   `qapi:"snapshots,optional"`
	BackingImage          *ImageInfo         `qapi:"backing-image"` // what is below
	FormatSpecific        *ImageInfoSpecific `qapi:"format-specific"`
}

// SnapshotInfoList is a list of snapshots.
type SnapshotInfoList []SnapshotInfo

// ImageInfoSpecificKind is which format what is said belongs to.
type ImageInfoSpecificKind string

// The formats.
const (
	ImageInfoSpecificKindQcow2 ImageInfoSpecificKind = "qcow2" // version 2 or 3
)

// ImageInfoSpecific is what images of one format have.
type ImageInfoSpecific struct {
	Type  ImageInfoSpecificKind          `qapi:"type,discriminator"`
	Qcow2 *ImageInfoSpecificQCow2Wrapper `qapi:",branch=qcow2"`
}

// ImageInfoSpecificQCow2Wrapper holds what qcow2 images have.
type ImageInfoSpecificQCow2Wrapper struct {
	Data ImageInfoSpecificQCow2 `qapi:"data"`
}

// ImageInfoSpecificQCow2 is what qcow2 images have.
type ImageInfoSpecificQCow2 struct {
	Compat          string               `qapi:"compat"`    // 0.10 for version 2, 1.1 for version 3
	DataFile        *string              `qapi:"data-file"` // where the data is, if not in the image
	DataFileRaw     *bool                `qapi:"data-file-raw"`
	ExtendedL2      *bool                `qapi:"extended-l2"` // clusters have parts of their own
	LazyRefcounts   *bool                `qapi:"lazy-refcounts"`
	Corrupt         *bool                `qapi:"corrupt"` // damage was found
	RefcountBits    int64                `qapi:"refcount-bits"`
	Bitmaps         Qcow2BitmapInfoList  `qapi:"bitmaps,optional"`
	CompressionType Qcow2CompressionType `qapi:"compression-type"`
}

// Qcow2BitmapInfo describes a dirty bitmap that an image keeps.
type Qcow2BitmapInfo struct {
	Name        string                  `qapi:"name"`
	Granularity uint32                  `qapi:"granularity"` // bytes that a bit stands for
	Flags       Qcow2BitmapInfoFlagList `qapi:"flags"`
}

// Qcow2BitmapInfoList is a list of bitmaps.
type Qcow2BitmapInfoList []Qcow2BitmapInfo

// Qcow2BitmapInfoFlags is a property of a bitmap.
type Qcow2BitmapInfoFlags string

// The properties.
const (
	Qcow2BitmapInfoFlagsInUse Qcow2BitmapInfoFlags = "in-use" // it was not stored when the image was last closed
	Qcow2BitmapInfoFlagsAuto  Qcow2BitmapInfoFlags = "auto"   // it follows writes
)

// Qcow2BitmapInfoFlagList is a list of properties.
type Qcow2BitmapInfoFlagList []Qcow2BitmapInfoFlags
