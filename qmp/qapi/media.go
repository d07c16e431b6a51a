//qapi:schema

package qapi

// CmdEject opens a drive's tray and takes the medium out.
var CmdEject = Command[EjectArgs, Empty]{Name: "eject"}

// EjectArgs is the arguments of eject.
type EjectArgs struct {
	Device *string `qapi:"device,feature=deprecated"` // a -drive
	Id     *string `qapi:"id"`                        // a device, by id or QOM path
	Force  *bool   `qapi:"force"`                     // even if the guest locked it
}

// CmdBlockdevOpenTray opens a drive's tray, or asks the guest to if that locked it.
var CmdBlockdevOpenTray = Command[BlockdevOpenTrayArgs, Empty]{Name: "blockdev-open-tray"}

// BlockdevOpenTrayArgs is the arguments of blockdev-open-tray.
type BlockdevOpenTrayArgs struct {
	Device *string `qapi:"device,feature=deprecated"` // a -drive
	Id     *string `qapi:"id"`                        // a device, by id or QOM path
	Force  *bool   `qapi:"force"`                     // even if the guest locked it
}

// CmdBlockdevCloseTray closes a drive's tray.
var CmdBlockdevCloseTray = Command[BlockdevCloseTrayArgs, Empty]{Name: "blockdev-close-tray"}

// BlockdevCloseTrayArgs is the arguments of blockdev-close-tray.
type BlockdevCloseTrayArgs struct {
	Device *string `qapi:"device,feature=deprecated"` // a -drive
	Id     *string `qapi:"id"`                        // a device, by id or QOM path
}

// CmdBlockdevRemoveMedium takes the medium out of a drive whose tray is open.
var CmdBlockdevRemoveMedium = Command[BlockdevRemoveMediumArgs, Empty]{Name: "blockdev-remove-medium"}

// BlockdevRemoveMediumArgs is the arguments of blockdev-remove-medium.
type BlockdevRemoveMediumArgs struct {
	Id string `qapi:"id"` // a device, by id or QOM path
}

// CmdBlockdevInsertMedium puts a node into an empty drive whose tray is open.
var CmdBlockdevInsertMedium = Command[BlockdevInsertMediumArgs, Empty]{Name: "blockdev-insert-medium"}

// BlockdevInsertMediumArgs is the arguments of blockdev-insert-medium.
type BlockdevInsertMediumArgs struct {
	Id       string `qapi:"id"` // a device, by id or QOM path
	NodeName string `qapi:"node-name"`
}

// CmdBlockdevChangeMedium puts an image into a drive in place of what is there.
var CmdBlockdevChangeMedium = Command[BlockdevChangeMediumArgs, Empty]{Name: "blockdev-change-medium"}

// BlockdevChangeMediumArgs is the arguments of blockdev-change-medium.
type BlockdevChangeMediumArgs struct {
	Device       *string                     `qapi:"device,feature=deprecated"` // a -drive
	Id           *string                     `qapi:"id"`                        // a device, by id or QOM path
	Filename     string                      `qapi:"filename"`
	Format       *string                     `qapi:"format"`         // found by the contents if it is not given
	Force        *bool                       `qapi:"force"`          // even if the guest locked the tray
	ReadOnlyMode *BlockdevChangeReadOnlyMode `qapi:"read-only-mode"` // retain by default
}

// BlockdevChangeReadOnlyMode is whether a new medium can be written to.
type BlockdevChangeReadOnlyMode string

// The modes.
const (
	BlockdevChangeReadOnlyModeRetain    BlockdevChangeReadOnlyMode = "retain"     // as the old one
	BlockdevChangeReadOnlyModeReadOnly  BlockdevChangeReadOnlyMode = "read-only"  // it cannot
	BlockdevChangeReadOnlyModeReadWrite BlockdevChangeReadOnlyMode = "read-write" // it can
)

// EventDeviceTrayMoved tells that a tray was opened or closed, by the guest or a command.
var EventDeviceTrayMoved = Event[DeviceTrayMovedEvent]{Name: "DEVICE_TRAY_MOVED"}

// DeviceTrayMovedEvent is the data of DEVICE_TRAY_MOVED.
type DeviceTrayMovedEvent struct {
	Device   string `qapi:"device"` // id of the -drive, or empty
	Id       string `qapi:"id"`     // id or QOM path of the device
	TrayOpen bool   `qapi:"tray-open"`
}
