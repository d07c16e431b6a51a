// Package devqmp handles the QMP commands about devices: making and removing them in a
// running machine, and the object tree.
//
// Handlers run on the VM's control goroutine. It depends on qmp/qapi and qmp/dispatch.
package devqmp

import (
	"context"

	"hv/qmp/dispatch"
	"hv/qmp/qapi"
)

// Plugger is a VM whose devices come and go.
type Plugger interface {
	// PlugDevice makes the device that args describe.
	PlugDevice(args qapi.DeviceAddArgs) error
	// RemoveDevice has the device with an id, or at a QOM path, let go.
	RemoveDevice(id string) error
}

// RegisterPlug adds device_add and device_del to a table.
func RegisterPlug(t *dispatch.Table, vm Plugger) {
	dispatch.Register(t, qapi.CmdDeviceAdd, func(_ context.Context, a qapi.DeviceAddArgs) (qapi.Empty, error) {
		return qapi.Empty{}, vm.PlugDevice(a)
	})
	dispatch.Register(t, qapi.CmdDeviceDel, func(_ context.Context, a qapi.DeviceDelArgs) (qapi.Empty, error) {
		return qapi.Empty{}, vm.RemoveDevice(a.Id)
	})
}
