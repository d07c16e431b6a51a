package vm

import (
	"fmt"

	"hv/devices/qdev"
	"hv/devices/virtio"
	"hv/devices/virtio/virtioballoon"
	"hv/devices/virtio/virtioblk"
	"hv/devices/virtio/virtionet"
	"hv/devices/virtio/virtiorng"
	"hv/devices/virtio/virtioserial"
	"hv/devices/virtio/virtiovsock"
	"hv/devices/virtio/vpci"
	"hv/qmp/chardev"
	"hv/qmp/events"
	"hv/qmp/qapi"
)

// Configurations of the devices on PCI: the device's properties and the
// transport's.
type (
	blkConfig struct {
		virtioblk.Config
		vpci.Options
	}
	netConfig struct {
		virtionet.Config
		vpci.Options
	}
	rngConfig struct {
		virtiorng.Config
		vpci.Options
	}
	balloonConfig struct {
		virtioballoon.Config
		vpci.Options
	}
	vsockConfig struct {
		virtiovsock.Config
		vpci.Options
	}
	serialPCIConfig struct {
		virtioserial.Config
		vpci.Options
	}
)

// portConfig is the properties of virtserialport and virtconsole.
type portConfig struct {
	Chardev string `prop:"chardev" desc:"ID of a chardev to use as a backend"`
	Name    string `prop:"name" desc:"name that the guest finds the port by"`
	Nr      uint32 `prop:"nr" default:"0xffffffff" desc:"port number; the first free one if it is not given"`
}

func virtioDrivers() []*qdev.Driver {
	return []*qdev.Driver{
		pciDriver("virtio-blk", qdev.Storage, func(c *blkConfig) *vpci.Options { return &c.Options }, makeBlk),
		pciDriver("virtio-net", qdev.Network, func(c *netConfig) *vpci.Options { return &c.Options }, makeNet),
		pciDriver("virtio-rng", qdev.Misc, func(c *rngConfig) *vpci.Options { return &c.Options }, makeRNG),
		pciDriver("virtio-balloon", qdev.Misc, func(c *balloonConfig) *vpci.Options { return &c.Options }, makeBalloon),
		pciDriver("virtio-serial", qdev.Input, func(c *serialPCIConfig) *vpci.Options { return &c.Options }, makeSerialPCI),
		memDriver(),
		pciDriver("vhost-vsock", qdev.Misc, func(c *vsockConfig) *vpci.Options { return &c.Options }, makeVsock),
		driver(qdev.Driver{Name: "virtserialport", Parent: "virtio-serial-port", Bus: "virtio-serial-bus", Category: qdev.Input},
			func(v *VM, in *qdev.Instance, c *portConfig) error { return v.addPort(in, c, false) }),
		driver(qdev.Driver{Name: "virtconsole", Parent: "virtserialport", Bus: "virtio-serial-bus", Category: qdev.Input},
			func(v *VM, in *qdev.Instance, c *portConfig) error { return v.addPort(in, c, true) }),
	}
}

// pciDriver makes the driver of a virtio device on PCI: make creates the device from
// its part of the configuration.
func pciDriver[T any](name string, c qdev.Category, opt func(*T) *vpci.Options, make func(v *VM, in *qdev.Instance, cfg *T) (virtio.Device, error)) *qdev.Driver {
	d := qdev.Driver{
		Name: name + "-pci", Aliases: []string{name, name + "-pci-non-transitional"}, Parent: name + "-pci-base", Bus: "PCI", Category: c,
	}
	return driver(d, func(v *VM, in *qdev.Instance, cfg *T) error {
		dev, err := make(v, in, cfg)
		if err != nil {
			return err
		}
		return v.addVirtio(in, dev, *opt(cfg))
	})
}

// addVirtio puts a virtio device behind a PCI function and that on its bus.
func (v *VM) addVirtio(in *qdev.Instance, dev virtio.Device, opt vpci.Options) error {
	bus, err := v.bus(in.Bus)
	if err != nil {
		return err
	}
	t, err := vpci.New(vpci.Config{Device: dev, Mem: v.hw.mem, IRQ: v.hw.chip, Bells: v.hw.bells, Options: opt, Express: bus.Express() && !bus.Root()})
	if err != nil {
		return err
	}
	in.Later(t.Close)
	// Whether the VM runs or not, the device stands still until Resume.
	t.Pause()
	if err := v.attach(in, t.Function()); err != nil {
		return err
	}
	v.places[in].work = t
	v.hw.devices = append(v.hw.devices, t)
	in.Later(func() error { v.hw.devices = without(v.hw.devices, quiet(t)); return nil })
	in.Device = dev
	return nil
}

func makeBalloon(v *VM, in *qdev.Instance, c *balloonConfig) (virtio.Device, error) {
	if v.balloon != nil {
		return nil, fmt.Errorf("Only one balloon device is supported")
	}
	d := virtioballoon.New(c.Config, v.cfg.Memory.Size, v.hw, func(actual uint64) {
		events.Emit(v.events, qapi.EventBalloonChange, qapi.BalloonChangeEvent{Actual: int64(actual)})
	})
	v.balloon = d
	in.Later(func() error { v.balloon = nil; return nil })
	return d, nil
}

func makeVsock(v *VM, _ *qdev.Instance, c *vsockConfig) (virtio.Device, error) {
	fd := -1
	if c.VhostFD != "" {
		var err error
		if fd, err = v.fds.Param(c.VhostFD); err != nil {
			return nil, fmt.Errorf("vhostfd: %w", err)
		}
	}
	// The kernel takes split rings only.
	c.Packed = false
	return virtiovsock.New(c.Config, fd)
}

func makeSerialPCI(_ *VM, _ *qdev.Instance, c *serialPCIConfig) (virtio.Device, error) {
	return virtioserial.New(c.Config)
}

// serialBus returns the virtio-serial device whose bus has a name: its id with .0, or
// virtio-serial-bus.N; the last one for "".
func (v *VM) serialBus(name string) (*qdev.Instance, error) {
	var last *qdev.Instance
	n := 0
	for _, in := range v.tree.Devices() {
		if _, ok := in.Device.(*virtioserial.Device); !ok {
			continue
		}
		if name != "" && (name == in.ID+".0" || name == fmt.Sprintf("virtio-serial-bus.%d", n)) {
			return in, nil
		}
		last = in
		n++
	}
	if name != "" || last == nil {
		return nil, fmt.Errorf("No 'virtio-serial-bus' bus found for device: add a virtio-serial-pci before it")
	}
	return last, nil
}

// addPort adds a port to a virtio-serial device, with a chardev behind it.
func (v *VM) addPort(in *qdev.Instance, c *portConfig, isConsole bool) error {
	parent, err := v.serialBus(in.Bus)
	if err != nil {
		return err
	}
	d := parent.Device.(*virtioserial.Device)
	in.Parent = parent
	var b chardev.Backend = chardev.Null{}
	listens := func(bool) {}
	if c.Chardev != "" {
		seat, err := v.claimChardev(in, c.Chardev)
		if err != nil {
			return err
		}
		b, listens = seat, seat.SetOpen
	}
	const auto = ^uint32(0)
	id := in.ID
	p, err := d.AddPort(virtioserial.PortConfig{
		Nr: c.Nr, Auto: c.Nr == auto, Name: c.Name, Console: isConsole, Out: b, Space: b.Accept,
		OnOpen: func(open bool) {
			listens(open || isConsole)
			if id != "" {
				events.Emit(v.events, qapi.EventVserportChange, qapi.VserportChangeEvent{Id: id, Open: open})
			}
		},
	})
	if err != nil {
		return err
	}
	in.Later(func() error { p.Remove(); return nil })
	b.Attach(&console{port: p, connected: p.SetConnected})
	listens(isConsole)
	in.Device = p
	return nil
}
