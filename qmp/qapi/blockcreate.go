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
	Driver BlockdevDriver             `qapi:"driver,discriminator"`
	File   *BlockdevCreateOptionsFile `qapi:",branch=file"`
}

// BlockdevCreateOptionsFile describes a file that is to be made, or emptied.
type BlockdevCreateOptionsFile struct {
	Filename      string        `qapi:"filename"`
	Size          uint64        `qapi:"size"`          // bytes
	Preallocation *PreallocMode `qapi:"preallocation"` // off, falloc or full; off by default
}

// CmdBlockdevCreate starts a job that makes an image, and stays until it is dismissed.
var CmdBlockdevCreate = Command[BlockdevCreateArgs, Empty]{Name: "blockdev-create", Preconfig: true}

// BlockdevCreateArgs is the arguments of blockdev-create.
type BlockdevCreateArgs struct {
	JobId   string                `qapi:"job-id"`
	Options BlockdevCreateOptions `qapi:"options"`
}
