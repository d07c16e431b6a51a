//qapi:schema

package qapi

// ACPISlotType is a kind of place for hardware that ACPI tells of.
type ACPISlotType string

// The kinds.
const (
	ACPISlotTypeDIMM ACPISlotType = "DIMM"
	ACPISlotTypeCPU  ACPISlotType = "CPU"
)

// ACPIOSTInfo is what the guest's system said last about a place for hardware, by the
// numbers of ACPI's _OST.
type ACPIOSTInfo struct {
	Device   *string      `qapi:"device"` // id of what is there
	Slot     string       `qapi:"slot"`
	SlotType ACPISlotType `qapi:"slot-type"`
	Source   int64        `qapi:"source"` // event
	Status   int64        `qapi:"status"` // what came of it
}

// ACPIOSTInfoList is a list of what was said about places.
type ACPIOSTInfoList []ACPIOSTInfo

// CmdQueryAcpiOspmStatus returns what the guest's system said about each place.
var CmdQueryAcpiOspmStatus = Command[Empty, ACPIOSTInfoList]{Name: "query-acpi-ospm-status"}

// EventAcpiDeviceOst says that the guest's system dealt with an event, or could not.
var EventAcpiDeviceOst = Event[AcpiDeviceOstEvent]{Name: "ACPI_DEVICE_OST"}

// AcpiDeviceOstEvent is the data of ACPI_DEVICE_OST.
type AcpiDeviceOstEvent struct {
	Info ACPIOSTInfo `qapi:"info"`
}
