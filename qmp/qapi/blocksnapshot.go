//qapi:schema

package qapi

// NewImageMode is how an image comes into being.
type NewImageMode string

// The modes.
const (
	NewImageModeExisting      NewImageMode = "existing"       // it is there
	NewImageModeAbsolutePaths NewImageMode = "absolute-paths" // it is made, and knows its backing file by an absolute name
)

// BlockdevSnapshotSync is the arguments of blockdev-snapshot-sync.
type BlockdevSnapshotSync struct {
	Device           *string       `qapi:"device"`             // id of a -drive
	NodeName         *string       `qapi:"node-name"`          // or a node
	SnapshotFile     string        `qapi:"snapshot-file"`      // the new image
	SnapshotNodeName *string       `qapi:"snapshot-node-name"` // and its node
	Format           *string       `qapi:"format"`             // qcow2 by default
	Mode             *NewImageMode `qapi:"mode"`               // absolute-paths by default
}

// CmdBlockdevSnapshotSync has a disk write to a new image from now on.
var CmdBlockdevSnapshotSync = Command[BlockdevSnapshotSync, Empty]{Name: "blockdev-snapshot-sync", Preconfig: true}

// BlockdevSnapshot is the arguments of blockdev-snapshot.
type BlockdevSnapshot struct {
	Node    string `qapi:"node"`
	Overlay string `qapi:"overlay"` // without a backing node yet
}

// CmdBlockdevSnapshot puts a node over another one, in whose place it comes.
//
//qapi:features allow-write-only-overlay
var CmdBlockdevSnapshot = Command[BlockdevSnapshot, Empty]{Name: "blockdev-snapshot", Preconfig: true}

// BlockdevSnapshotInternal is the arguments of blockdev-snapshot-internal-sync.
type BlockdevSnapshotInternal struct {
	Device string `qapi:"device"`
	Name   string `qapi:"name"` // of the snapshot
}

// CmdBlockdevSnapshotInternalSync makes a snapshot within an image.
var CmdBlockdevSnapshotInternalSync = Command[BlockdevSnapshotInternal, Empty]{Name: "blockdev-snapshot-internal-sync", Preconfig: true}

// CmdBlockdevSnapshotDeleteInternalSync deletes a snapshot within an image.
var CmdBlockdevSnapshotDeleteInternalSync = Command[BlockdevSnapshotDeleteInternalSyncArgs, SnapshotInfo]{Name: "blockdev-snapshot-delete-internal-sync", Preconfig: true}

// BlockdevSnapshotDeleteInternalSyncArgs is the arguments of
// blockdev-snapshot-delete-internal-sync.
type BlockdevSnapshotDeleteInternalSyncArgs struct {
	Device string  `qapi:"device"`
	Id     *string `qapi:"id"`   // of the snapshot
	Name   *string `qapi:"name"` // of the snapshot
}

// CmdChangeBackingFile writes down in an image what its backing file is called.
var CmdChangeBackingFile = Command[ChangeBackingFileArgs, Empty]{Name: "change-backing-file", Preconfig: true}

// ChangeBackingFileArgs is the arguments of change-backing-file.
type ChangeBackingFileArgs struct {
	Device        string `qapi:"device"`          // the top of a chain
	ImageNodeName string `qapi:"image-node-name"` // the image, which is in that chain
	BackingFile   string `qapi:"backing-file"`
}

// SnapshotInfo describes a snapshot within an image.
type SnapshotInfo struct {
	Id          string `qapi:"id"`
	Name        string `qapi:"name"`
	VmStateSize int64  `qapi:"vm-state-size"` // bytes of the VM's state that belong to it
	DateSec     int64  `qapi:"date-sec"`      // when it was made, since 1970
	DateNsec    int64  `qapi:"date-nsec"`
	VmClockSec  int64  `qapi:"vm-clock-sec"` // how long the guest had run
	VmClockNsec int64  `qapi:"vm-clock-nsec"`
	Icount      *int64 `qapi:"icount"` // instructions that the guest had run, if they were counted
}
