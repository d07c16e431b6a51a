package vm

import (
	"hv/devices/pci"
	"hv/devices/platform"
	"hv/devices/qdev"
)

// pciPanicConfig is the properties of pvpanic-pci.
type pciPanicConfig struct {
	Events uint8 `prop:"events" default:"3"`
}

// panicBAR is the size of its register, as small as a BAR can be.
const panicBAR = 16

// makePCIPanic makes pvpanic as a PCI function, with QEMU's identity.
func makePCIPanic(v *VM, in *qdev.Instance, c *pciPanicConfig) error {
	p := platform.NewPVPanic(platform.PVPanicConfig{Events: platform.PanicEvent(c.Events), Event: v.hooks().Panic})
	f := pci.NewFunction(pci.Identity{Vendor: 0x1b36, Device: 0x0011, SubVendor: 0x1af4, SubDevice: 0x1100, Class: 0x088000, Revision: 1})
	if err := f.AddBAR(0, pci.BAR{Size: panicBAR, Name: "pvpanic", Regions: []pci.Region{{Size: 1, Handler: p}}}); err != nil {
		return err
	}
	return v.attach(in, f)
}
