package vm

import (
	"errors"
	"fmt"
	"strconv"
	"time"

	"hv/devices/qdev"
	"hv/hypervisor/cpuid"
	"hv/hypervisor/machine"
	"hv/qmp/events"
	"hv/qmp/qapi"
)

// cpuConfig is where a vCPU goes.
type cpuConfig struct {
	Socket int32 `prop:"socket-id" default:"-1"`
	Die    int32 `prop:"die-id" default:"-1"`
	Core   int32 `prop:"core-id" default:"-1"`
	Thread int32 `prop:"thread-id" default:"-1"`
	Node   int32 `prop:"node-id" default:"-1"`
}

// cpuDrivers are the drivers of vCPUs, one for each model; a machine takes those of its own.
func cpuDrivers() []*qdev.Driver {
	var out []*qdev.Driver
	for _, m := range cpuid.Models(false) {
		out = append(out, driver(qdev.Driver{Name: cpuid.TypeName(m.Name), Parent: "x86_64-cpu", Category: qdev.CPU}, makeCPUDevice))
	}
	return out
}

// makeCPUDevice makes a vCPU beside those of -smp.
func makeCPUDevice(v *VM, in *qdev.Instance, c *cpuConfig) error {
	if v.board().Kind != machine.Q35 {
		return fmt.Errorf("Device '%s' can not be hotplugged on this machine", in.Driver.Name)
	}
	want, err := v.cpuType()
	switch {
	case err != nil:
		return err
	case want != in.Driver.Name:
		return fmt.Errorf("Invalid CPU type, expected cpu type: '%s', actual '%s'", want, in.Driver.Name)
	}
	index, err := v.cpuIndex(c)
	if err != nil {
		return err
	}
	if index < v.cfg.SMP.CPUs || v.cpuDevices[index] != nil {
		return fmt.Errorf("CPU[%d] with APIC ID %d exists", index, v.topology().APICID(index))
	}
	if v.built {
		if err := v.AddCPU(index); err != nil {
			return err
		}
	}
	v.cpuDevices[index] = in
	in.Later(func() error {
		delete(v.cpuDevices, index)
		v.dropCPU(index)
		return nil
	})
	return nil
}

// cpuIndex returns the index of the place that a vCPU is to go to.
func (v *VM) cpuIndex(c *cpuConfig) (int, error) {
	smp := v.cfg.SMP
	if smp.Dies == 1 && c.Die < 0 {
		c.Die = 0
	}
	if c.Node > 0 {
		return 0, errors.New("invalid node-id, must be 0")
	}
	index := 0
	for _, l := range []struct {
		name string
		id   int32
		n    int
	}{{"socket", c.Socket, smp.Sockets}, {"die", c.Die, smp.Dies}, {"core", c.Core, smp.Cores}, {"thread", c.Thread, smp.Threads}} {
		switch {
		case l.id < 0:
			return 0, fmt.Errorf("CPU %s-id is not set", l.name)
		case int(l.id) >= l.n:
			return 0, fmt.Errorf("Invalid CPU %s-id: %d must be in range 0:%d", l.name, l.id, l.n-1)
		}
		index = index*l.n + int(l.id)
	}
	return index, nil
}

// AddCPU adds the vCPU with an index to the running machine and tells the guest. Control
// goroutine only.
func (v *VM) AddCPU(index int) error {
	h := v.hw
	switch {
	case v.board().Kind != machine.Q35:
		return machine.ErrFixedCPUs
	case index < 0 || index >= len(h.bootParams.CPUs):
		return fmt.Errorf("vCPU %d: there is room for %d", index, len(h.bootParams.CPUs))
	case h.bootParams.CPUs[index].Present:
		return fmt.Errorf("vCPU %d exists", index)
	}
	if err := v.laterCPU(index); err != nil {
		return err
	}
	h.bootParams.CPUs[index].Present = true
	return h.board.PlugCPU(index)
}

// laterCPU makes a vCPU for the running machine, or takes the one that was there before.
func (v *VM) laterCPU(index int) error {
	h := v.hw
	if h.cpus == nil {
		h.dummy.add(index)
		return nil
	}
	if c := h.cpus.Parked(index); c != nil {
		return h.cpus.Plug(c, h.waiting())
	}
	c, err := v.newCPU(index)
	if err != nil {
		return err
	}
	reserveThreads(len(h.cpus.VCPUs()) + 1)
	if err := h.cpus.Plug(c, h.waiting()); err != nil {
		return errors.Join(err, c.Close())
	}
	return nil
}

// RequestRemoveCPU asks the guest to let the vCPU with an index go. Control goroutine only.
func (v *VM) RequestRemoveCPU(index int) error {
	if index == 0 {
		return errors.New("Boot CPU is unpluggable")
	}
	return v.hw.board.RequestUnplugCPU(index)
}

// dropCPU takes a vCPU that the guest let go out of the machine.
func (v *VM) dropCPU(index int) {
	h := v.hw
	if index >= len(h.bootParams.CPUs) {
		return // the machine was never complete
	}
	h.bootParams.CPUs[index].Present = false
	if h.cpus == nil {
		h.dummy.remove(index)
		return
	}
	for _, c := range h.cpus.VCPUs() {
		if c.Index() == index {
			h.cpus.Unplug(c)
		}
	}
}

// cpuEjected is told, on a vCPU's thread, that the guest let a vCPU go.
func (v *VM) cpuEjected(index int) {
	v.control.Post(func() {
		if in := v.cpuDevices[index]; in != nil {
			v.removeDevice(in)
		} else {
			v.dropCPU(index)
		}
	})
}

// cpuSaid is told, on a vCPU's thread, what the guest's system says about a vCPU.
func (v *VM) cpuSaid(index int, event, status uint32) {
	v.control.Post(func() {
		events.Emit(v.events, qapi.EventAcpiDeviceOst, qapi.AcpiDeviceOstEvent{Info: v.ostInfo(index, event, status)})
	})
}

func (v *VM) ostInfo(index int, event, status uint32) qapi.ACPIOSTInfo {
	info := qapi.ACPIOSTInfo{Slot: strconv.Itoa(index), SlotType: qapi.ACPISlotTypeCPU, Source: int64(event), Status: int64(status)}
	if in := v.cpuDevices[index]; in != nil && in.ID != "" {
		info.Device = &in.ID
	}
	return info
}

// OSTInfo returns what the guest's system said last about each vCPU.
func (v *VM) OSTInfo() (qapi.ACPIOSTInfoList, error) {
	if v.board().Kind == machine.None {
		return nil, errors.New("command is not supported, missing ACPI device")
	}
	out := qapi.ACPIOSTInfoList{}
	events, statuses := v.hw.board.CPUsSaid()
	for i := range events {
		out = append(out, v.ostInfo(i, events[i], statuses[i]))
	}
	return out, nil
}

// removeCPUDevice asks the guest to let a vCPU go that is a device; it is false for other
// devices.
func (v *VM) removeCPUDevice(in *qdev.Instance) (bool, error) {
	for index, d := range v.cpuDevices {
		if d != in {
			continue
		}
		if err := v.RequestRemoveCPU(index); err != nil {
			return true, err
		}
		in.Unplugging = time.Now().Add(unplugTime)
		return true, nil
	}
	return false, nil
}
