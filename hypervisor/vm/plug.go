package vm

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"hv/devices/pci"
	"hv/devices/qdev"
	"hv/devices/scsi"
	"hv/devices/virtio/virtioserial"
	"hv/qmp/events"
	"hv/qmp/qapi"
)

// unplugTime is how long a guest may take to let a device go before it can be asked
// again.
const unplugTime = 5 * time.Second

// plug puts a function into a slot of the running machine.
func (v *VM) plug(bus *pci.Bus, addr *pci.Addr, f *pci.Function, in *qdev.Instance) error {
	port := bus.Port()
	switch {
	case port != nil:
	case v.clock != nil: // no guest is there that would have to find it
		_, err := bus.Attach(addr, f, in.Multifunction)
		return err
	default:
		return fmt.Errorf("Bus '%s' does not support hotplugging", bus.ID)
	}
	_, err := port.Plug(addr, f, in.Multifunction)
	return err
}

// place is where an instance is on PCI, and its work that stands still while the VM does.
type place struct {
	fn   *pci.Function
	work quiet // nil if it has none
}

// PlugDevice makes the device that the arguments of device_add describe. Control
// goroutine only.
func (v *VM) PlugDevice(args qapi.DeviceAddArgs) error {
	in, err := v.cfg.NewDevice(args)
	if err != nil {
		return err
	}
	return v.AddDevice(in)
}

// AddDevice makes a device while the machine is there. Control goroutine only.
func (v *VM) AddDevice(in *qdev.Instance) error {
	if in.Driver.Bus == "ISA" && !v.bare() {
		return fmt.Errorf("Bus 'isa.0' does not support hotplugging")
	}
	in.Hotplugged = true
	add := func() error { return v.addDevice(in) }
	if isMemory(in.Driver) {
		add = func() error { return v.still(func() error { return v.addDevice(in) }) }
	}
	if err := add(); err != nil {
		return err
	}
	if p := v.places[in]; p != nil && p.work != nil && v.control.State() == qapi.RunStateRunning {
		p.work.Resume()
	}
	return nil
}

// RemoveDevice asks the guest to let a device go, or takes one at once that needs no
// guest for that. id may be a QOM path. Control goroutine only.
func (v *VM) RemoveDevice(id string) error {
	in := v.tree.Find(id)
	if strings.HasPrefix(id, "/") {
		in = v.tree.FindPath(id)
	}
	if in == nil {
		return qapi.Errorf(qapi.QapiErrorClassDeviceNotFound, "Device '%s' not found", id)
	}
	if isMemory(in.Driver) {
		return errMemoryStays
	}
	if in.Unplugging.After(time.Now()) {
		return fmt.Errorf("Device %s is already in the process of unplug", id)
	}
	switch in.Device.(type) {
	case *virtioserial.Port, *scsi.Unit:
		v.removeDevice(in)
		return nil
	}
	if ok, err := v.removeCPUDevice(in); ok {
		return err
	}
	if in.Driver.Bus == "" {
		return fmt.Errorf("Device '%s' does not support hotplugging", in.Driver.Name)
	}
	name := "isa.0"
	var port *pci.RootPort
	if p := v.places[in]; p != nil {
		bus, _ := p.fn.Addr()
		name, port = bus.ID, bus.Port()
	}
	switch {
	case port != nil:
		if err := port.RequestUnplug(); err != nil {
			return err
		}
	case v.clock == nil || v.places[in] == nil:
		return fmt.Errorf("Bus '%s' does not support hotplugging", name)
	}
	in.Unplugging = time.Now().Add(unplugTime)
	return nil
}

// finishUnplugs takes down, when a machine is reset that no guest runs in, what was asked to
// go.
func (v *VM) finishUnplugs() {
	for _, in := range v.tree.Devices() {
		if v.clock != nil && !in.Unplugging.IsZero() {
			v.removeDevice(in)
		}
	}
}

// unplugged is told by a port, on a vCPU's thread, that the guest let functions go.
func (v *VM) unplugged(gone []*pci.Function) {
	v.control.Post(func() {
		for in, p := range v.places {
			if slices.Contains(gone, p.fn) {
				v.removeDevice(in)
			}
		}
	})
}

// removeDevice takes a device down, after those on its buses, and tells of it. No vCPU
// runs meanwhile, so that none is in the midst of an access to it.
func (v *VM) removeDevice(in *qdev.Instance) {
	for _, child := range v.tree.Children(in) {
		v.removeDevice(child)
	}
	running := v.control.State() == qapi.RunStateRunning
	if running {
		v.hw.Hold()
	}
	if err := in.Release(); err != nil {
		v.failed("remove device "+in.Label(), err)
	}
	v.tree.Remove(in)
	if running {
		v.hw.Resume()
	}
	if isVirtio(in.Driver) {
		events.Emit(v.events, qapi.EventDeviceDeleted, qapi.DeviceDeletedEvent{Path: in.Path() + "/virtio-backend"})
	}
	deleted := qapi.DeviceDeletedEvent{Path: in.Path()}
	if in.ID != "" {
		deleted.Device = &in.ID
	}
	events.Emit(v.events, qapi.EventDeviceDeleted, deleted)
}
