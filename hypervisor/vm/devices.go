package vm

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"hv/devices/pci"
	"hv/devices/platform"
	"hv/devices/qdev"
	"hv/hypervisor/machine"
	"hv/qmp/chardev"
)

// Registry returns all drivers that hv has, bound to what they are made from.
func Registry() *qdev.Registry {
	return qdev.NewRegistry(slices.Concat(boardDrivers(), virtioDrivers(), scsiDrivers(), cpuDrivers())...)
}

// driver makes a Driver whose configuration is a T and whose devices make
// creates.
func driver[T any](d qdev.Driver, make func(v *VM, in *qdev.Instance, cfg *T) error) *qdev.Driver {
	d.NewConfig = func() any { return new(T) }
	d.Make = func(env any, in *qdev.Instance) error { return make(env.(*VM), in, in.Config.(*T)) }
	return &d
}

type serialConfig struct {
	Chardev string `prop:"chardev" desc:"ID of a chardev to use as a backend"`
	Index   int32  `prop:"index" default:"-1" desc:"0 to 3 for COM1 to COM4"`
}

type panicConfig struct {
	Port   uint16 `prop:"ioport" default:"0x505"`
	Events uint8  `prop:"events" default:"3"`
}

type exitConfig struct {
	Base uint32 `prop:"iobase" default:"0x501"`
	Size uint32 `prop:"iosize" default:"2"`
}

type debugconConfig struct {
	Chardev  string `prop:"chardev" desc:"ID of a chardev to use as a backend"`
	Base     uint32 `prop:"iobase" default:"0xe9"`
	Readback uint32 `prop:"readback" default:"0xe9"`
}

type rootPortConfig struct {
	Port    uint8     `prop:"port"`
	Chassis uint8     `prop:"chassis"`
	Slot    uint16    `prop:"slot"`
	Hotplug bool      `prop:"hotplug" default:"on"`
	IO      qdev.Size `prop:"io-reserve"`
	Mem     qdev.Size `prop:"mem-reserve"`
	Pref32  qdev.Size `prop:"pref32-reserve"`
	Pref64  qdev.Size `prop:"pref64-reserve"`
}

type bridgeConfig struct {
	Chassis uint8 `prop:"chassis_nr"`
}

// boardDrivers are the devices that need no back end but a chardev.
func boardDrivers() []*qdev.Driver {
	return []*qdev.Driver{
		driver(qdev.Driver{Name: "isa-serial", Parent: "isa-device", Bus: "ISA", Category: qdev.Input}, makeSerial),
		driver(qdev.Driver{Name: "pvpanic", Parent: "isa-device", Bus: "ISA", Category: qdev.Misc}, func(v *VM, _ *qdev.Instance, c *panicConfig) error {
			return v.hw.board.AddPVPanic(c.Port, platform.PanicEvent(c.Events))
		}),
		driver(qdev.Driver{Name: "pvpanic-pci", Parent: "pci-device", Bus: "PCI", Category: qdev.Misc}, makePCIPanic),
		driver(qdev.Driver{Name: "isa-debug-exit", Parent: "isa-device", Bus: "ISA", Category: qdev.Misc}, makeDebugExit),
		driver(qdev.Driver{Name: "isa-debugcon", Parent: "isa-device", Bus: "ISA", Category: qdev.Input}, makeDebugcon),
		driver(qdev.Driver{Name: "pcie-root-port", Parent: "pcie-root-port-base", Bus: "PCI", Category: qdev.Bridge, Desc: "PCI Express Root Port"}, makeRootPort),
		driver(qdev.Driver{Name: "pci-bridge", Parent: "base-pci-bridge", Bus: "PCI", Category: qdev.Bridge, Desc: "Standard PCI Bridge"}, makeBridge),
		driver(qdev.Driver{Name: "i6300esb", Parent: "pci-device", Bus: "PCI", Category: qdev.Watchdog, Desc: "Intel 6300ESB"}, makeWatchdog),
		driver(qdev.Driver{Name: "vmgenid", Parent: "device", Category: qdev.Misc}, makeGenID),
	}
}

func makeSerial(v *VM, _ *qdev.Instance, c *serialConfig) error {
	if c.Index < 0 {
		c.Index = int32(v.hw.board.FreeSerial())
	}
	if c.Chardev == "" {
		return fmt.Errorf("property 'isa-serial.chardev' is required")
	}
	return v.addSerial(int(c.Index), c.Chardev)
}

func makeDebugExit(v *VM, _ *qdev.Instance, c *exitConfig) error {
	d, err := platform.NewDebugExit(platform.DebugExitConfig{Base: uint64(c.Base), Size: uint64(c.Size), Exit: func(status int) {
		v.hw.kick()
		v.control.RequestExit(status)
	}})
	if err != nil {
		return err
	}
	return d.Map(&v.hw.board.Ports)
}

func makeDebugcon(v *VM, in *qdev.Instance, c *debugconConfig) error {
	b, err := v.claimChardev(in, c.Chardev)
	if err != nil {
		return err
	}
	b.Attach(deaf{})
	return platform.NewDebugConsole(b, byte(c.Readback)).Map(&v.hw.board.Ports, uint64(c.Base))
}

// deaf is the frontend of a device with output only.
type deaf struct{}

func (deaf) CanReceive() int     { return 1 << 16 }
func (deaf) Receive([]byte)      {}
func (deaf) Event(chardev.Event) {}

func makeRootPort(v *VM, in *qdev.Instance, c *rootPortConfig) error {
	reserve := func(n qdev.Size) *uint64 {
		if n == 0 {
			return nil
		}
		size := uint64(n)
		return &size
	}
	id := in.ID
	if id == "" {
		id = fmt.Sprintf("root.%d", len(v.tree.Devices()))
	}
	p, err := pci.NewRootPort(pci.RootPortConfig{
		ID: id, Port: c.Port, Chassis: c.Chassis, Slot: c.Slot, Hotplug: c.Hotplug, IRQ: v.hw.chip,
		Unplugged: v.unplugged,
		Reserve:   pci.Reserve{IO: reserve(c.IO), Mem: reserve(c.Mem), Pref32: reserve(c.Pref32), Pref64: reserve(c.Pref64)},
	})
	if err != nil {
		return err
	}
	return v.attach(in, p.Function)
}

func makeBridge(v *VM, in *qdev.Instance, c *bridgeConfig) error {
	id := in.ID
	if id == "" {
		id = fmt.Sprintf("bridge.%d", len(v.tree.Devices()))
	}
	b, err := pci.NewPCIBridge(id, c.Chassis, pci.Reserve{})
	if err != nil {
		return err
	}
	return v.attach(in, b.Function)
}

// attach puts a PCI function where its device was asked to go.
func (v *VM) attach(in *qdev.Instance, f *pci.Function) error {
	f.SetName(in.Driver.Name, in.ID)
	bus, err := v.bus(in.Bus)
	if err != nil {
		return err
	}
	var addr *pci.Addr
	if in.Addr != "" {
		a, err := pci.ParseAddr(in.Addr)
		if err != nil {
			return err
		}
		addr = &a
	}
	if v.built {
		err = v.plug(bus, addr, f, in)
	} else {
		_, err = bus.Attach(addr, f, in.Multifunction)
	}
	if err != nil {
		return err
	}
	v.places[in] = &place{fn: f}
	in.Later(func() error {
		delete(v.places, in)
		if b, _ := f.Addr(); b != nil {
			return b.Detach(f)
		}
		return nil // the guest let it go
	})
	return nil
}

// bus returns the PCI bus with an id, the root bus for "".
func (v *VM) bus(id string) (*pci.Bus, error) {
	host := v.hw.board.PCI
	if host == nil {
		return nil, fmt.Errorf("No 'PCI' bus found for device: the machine has none")
	}
	// pci.0 is what q35's root bus is called on other boards.
	if id == "" || id == "pci.0" {
		return host.Root(), nil
	}
	if b := host.Bus(id); b != nil {
		return b, nil
	}
	return nil, fmt.Errorf("Bus '%s' not found", id)
}

// makeDevices makes the serial ports and devices of the command line.
func (v *VM) makeDevices(context.Context) error {
	v.undo.later(v.releaseDevices)
	for i, id := range v.cfg.Serials {
		if id == "" || v.bare() {
			continue // an empty machine takes no notice of -serial, as QEMU's
		}
		if err := v.addSerial(i, id); err != nil {
			return fmt.Errorf("-serial: %w", err)
		}
	}
	for _, in := range v.cfg.Devices {
		if err := v.addDevice(in); err != nil {
			return fmt.Errorf("-device %s: %w", in.Driver.Name, err)
		}
	}
	return nil
}

// bare reports whether the machine has no buses at all.
func (v *VM) bare() bool { return v.hw.board.Type().Kind == machine.None }

// addDevice makes a device; of one that cannot be made nothing is left.
func (v *VM) addDevice(in *qdev.Instance) error {
	if in.ID != "" && v.tree.Find(in.ID) != nil {
		return fmt.Errorf("Duplicate device ID '%s'", in.ID)
	}
	if in.Driver.Bus == "ISA" && v.bare() {
		return fmt.Errorf("No 'ISA' bus found for device '%s'", in.Driver.Name)
	}
	if err := in.Driver.Make(v, in); err != nil {
		return errors.Join(err, in.Release())
	}
	return v.tree.Add(in)
}

// releaseDevices takes all devices down, the newest first.
func (v *VM) releaseDevices() error {
	var errs []error
	for _, in := range slices.Backward(v.tree.Devices()) {
		errs = append(errs, in.Release())
		v.tree.Remove(in)
	}
	return errors.Join(errs...)
}

// claimChardev returns a chardev for a device's use, as long as that exists.
func (v *VM) claimChardev(in *qdev.Instance, id string) (*chardev.Seat, error) {
	b, err := v.chardevs.Claim(id, in.Label())
	if err != nil {
		return nil, err
	}
	in.Later(b.Close)
	return b, nil
}

// without returns the elements of list that are not x.
func without[T comparable](list []T, x T) []T {
	return slices.DeleteFunc(list, func(e T) bool { return e == x })
}
