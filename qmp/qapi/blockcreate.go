//qapi:schema

package qapi

// PreallocMode is how much of a new image takes space on the host.
type PreallocMode string

// The modes.
const (
	PreallocModeOff      PreallocMode = "off"      // nothing
	PreallocModeMetadata PreallocMode = "metadata" // only what says where data lies
	PreallocModeFalloc   PreallocMode = "falloc"   // all, without being written
	PreallocModeFull     PreallocMode = "full"     // all, written with zeroes
)

// BlockdevCreateOptions describes an image that is to be made.
type BlockdevCreateOptions struct {
	Driver BlockdevDriver              `qapi:"driver,discriminator"`
	File   *BlockdevCreateOptionsFile  `qapi:",branch=file"`
	Qcow2  *BlockdevCreateOptionsQcow2 `qapi:",branch=qcow2"`
}

// BlockdevCreateOptionsFile describes a file that is to be made, or emptied.
type BlockdevCreateOptionsFile struct {
	Filename      string        `qapi:"filename"`
	Size          uint64        `qapi:"size"`          // bytes
	Preallocation *PreallocMode `qapi:"preallocation"` // off, falloc or full; off by default
	Nocow         *bool         `qapi:"nocow"`         // written in place, on btrfs
}

// BlockdevQcow2Version is a version of the format qcow2.
type BlockdevQcow2Version string

// The versions.
const (
	BlockdevQcow2VersionV2 BlockdevQcow2Version = "v2" // compat=0.10
	BlockdevQcow2VersionV3 BlockdevQcow2Version = "v3" // compat=1.1
)

// Qcow2CompressionType is how compressed clusters are compressed.
type Qcow2CompressionType string

// The ways.
const (
	Qcow2CompressionTypeZlib Qcow2CompressionType = "zlib"
	Qcow2CompressionTypeZstd Qcow2CompressionType = "zstd"
)

// BlockdevCreateOptionsQcow2 describes a qcow2 image that is to be made.
type BlockdevCreateOptionsQcow2 struct {
	File            BlockdevRef           `qapi:"file"`             // where it will lie
	DataFile        *BlockdevRef          `qapi:"data-file"`        // where its data will, if elsewhere
	DataFileRaw     *bool                 `qapi:"data-file-raw"`    // the data file is a raw image, too
	ExtendedL2      *bool                 `qapi:"extended-l2"`      // clusters are allocated in parts
	Size            uint64                `qapi:"size"`             // bytes
	Version         *BlockdevQcow2Version `qapi:"version"`          // v3 by default
	BackingFile     *string               `qapi:"backing-file"`     // what the backing file is called
	BackingFmt      *BlockdevDriver       `qapi:"backing-fmt"`      // and its driver
	ClusterSize     *uint64               `qapi:"cluster-size"`     // bytes, 65536 by default
	Preallocation   *PreallocMode         `qapi:"preallocation"`    // off by default
	LazyRefcounts   *bool                 `qapi:"lazy-refcounts"`   // references are counted when the image is closed
	RefcountBits    *int64                `qapi:"refcount-bits"`    // 16 by default
	CompressionType *Qcow2CompressionType `qapi:"compression-type"` // zlib by default
}

// CmdBlockdevCreate starts a job that makes an image, and stays until it is dismissed.
var CmdBlockdevCreate = Command[BlockdevCreateArgs, Empty]{Name: "blockdev-create", Preconfig: true}

// BlockdevCreateArgs is the arguments of blockdev-create.
type BlockdevCreateArgs struct {
	JobId   string                `qapi:"job-id"`
	Options BlockdevCreateOptions `qapi:"options"`
}
