//qapi:schema

package qapi

// CmdDeviceAdd makes a device in the running machine. Where its bus wants that, the guest
// is told; it has the device when its driver found it.
//
//qapi:features json-cli json-cli-hotplug
var CmdDeviceAdd = Command[DeviceAddArgs, Empty]{Name: "device_add"}

// DeviceAddArgs is the arguments of device_add.
type DeviceAddArgs struct {
	Driver string  `qapi:"driver"`
	Bus    *string `qapi:"bus"` // ID of the bus; the machine chooses if it is absent
	Id     *string `qapi:"id"`  // of the device
	Props  Value   `qapi:",rest"`
}

// CmdDeviceDel asks the guest to let a device go. The device is there until DEVICE_DELETED
// says otherwise.
var CmdDeviceDel = Command[DeviceDelArgs, Empty]{Name: "device_del"}

// DeviceDelArgs is the arguments of device_del.
type DeviceDelArgs struct {
	Id string `qapi:"id"` // the device's id or its QOM path
}

// EventDeviceDeleted says that a device is gone, and its id is free again.
var EventDeviceDeleted = Event[DeviceDeletedEvent]{Name: "DEVICE_DELETED"}

// DeviceDeletedEvent is the data of DEVICE_DELETED.
type DeviceDeletedEvent struct {
	Device *string `qapi:"device"` // its id, if it had one
	Path   string  `qapi:"path"`   // where it was in the QOM tree
}
