package vm

import (
	"hv/devices/devqmp"
	"hv/devices/pci"
	"hv/devices/virtio"
	"hv/devices/virtio/vpci"
	"hv/hypervisor/mem"
	"hv/qmp/qapi"
)

// pciHost returns the board's host bridge, nil if it has none.
func (v *VM) pciHost() *pci.Host { return v.hw.board.PCI }

// VirtioDevices lists the virtio devices in the order in which they were made. Control
// goroutine only.
func (v *VM) VirtioDevices() []devqmp.VirtioDevice {
	var out []devqmp.VirtioDevice
	for _, in := range v.tree.Devices() {
		p := v.places[in]
		if p == nil {
			continue
		}
		if t, ok := p.work.(*vpci.Transport); ok {
			out = append(out, devqmp.VirtioDevice{Path: in.Path() + "/virtio-backend", Type: in.Device.(virtio.Device).Type(), Inspect: t.Inspect})
		}
	}
	return out
}

// RAM returns the guest's RAM; a machine of type none has nothing.
func (v *VM) RAM() *mem.Memory {
	if v.hw.mem == nil {
		return &mem.Memory{}
	}
	return v.hw.mem
}

// Running reports whether the VM runs.
func (v *VM) Running() bool { return v.control.State() == qapi.RunStateRunning }
