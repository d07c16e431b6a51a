package vm

import (
	"fmt"
	"net"
	"strconv"
	"strings"

	"hv/devices/qdev"
	"hv/devices/virtio"
	"hv/devices/virtio/virtioballoon"
	"hv/devices/virtio/virtioblk"
	"hv/devices/virtio/virtionet"
	"hv/devices/virtio/virtiorng"
	"hv/devices/virtio/virtioserial"
	"hv/devices/virtio/virtiovsock"
	"hv/devices/virtio/vpci"
	"hv/hypervisor/config"
	"hv/net/tap"
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
	v.undo.later(t.Close)
	if err := v.attach(in, t.Function()); err != nil {
		return err
	}
	t.Pause()
	v.hw.devices = append(v.hw.devices, t)
	in.Device = dev
	return nil
}

func makeNet(v *VM, in *qdev.Instance, c *netConfig) (virtio.Device, error) {
	link, err := v.openNetdev(c.Netdev, in)
	if err != nil {
		return nil, err
	}
	if c.MAC == nil {
		c.MAC = net.HardwareAddr{0x52, 0x54, 0x00, 0x12, 0x34, 0x56 + byte(len(v.netdevs)-1)}
	}
	return virtionet.New(c.Config, link, func(err error) {
		v.opt.Log.WithError(err).WithField("device", in.Label()).Error("the host's network link is gone")
	})
}

// openNetdev opens the netdev with an id for one device's use.
func (v *VM) openNetdev(id string, in *qdev.Instance) (*tap.Tap, error) {
	for _, n := range v.cfg.Netdevs {
		if n.ID != id {
			continue
		}
		if user := v.netdevs[id]; user != "" {
			return nil, fmt.Errorf("netdev '%s' is already in use by %s", id, user)
		}
		v.netdevs[id] = in.Label()
		fds, err := descriptors(n)
		if err != nil {
			return nil, fmt.Errorf("netdev %s: %w", id, err)
		}
		t, err := tap.Open(tap.Config{
			ID: id, Ifname: n.Ifname, FDs: fds, Queues: int(n.Queues), Script: n.Script, DownScript: n.DownScript, Sndbuf: int(n.Sndbuf),
		})
		if err == nil {
			v.undo.later(t.Close)
		}
		return t, err
	}
	return nil, fmt.Errorf("Property '%s.netdev' can't find value '%s'", in.Driver.Name, id)
}

// descriptors returns the numbers in fd= or fds=.
func descriptors(n config.Netdev) ([]int, error) {
	list := n.FDs
	if n.FD != "" {
		list = n.FD
	}
	if list == "" {
		return nil, nil
	}
	var out []int
	for _, s := range strings.Split(list, ":") {
		fd, err := strconv.Atoi(s)
		if err != nil || fd <= 2 {
			return nil, fmt.Errorf("'%s' is no descriptor number above 2", s)
		}
		out = append(out, fd)
	}
	return out, nil
}

func makeBalloon(v *VM, _ *qdev.Instance, c *balloonConfig) (virtio.Device, error) {
	if v.balloon != nil {
		return nil, fmt.Errorf("Only one balloon device is supported")
	}
	d := virtioballoon.New(c.Config, v.cfg.Memory.Size, v.hw, func(actual uint64) {
		events.Emit(v.events, qapi.EventBalloonChange, qapi.BalloonChangeEvent{Actual: int64(actual)})
	})
	v.balloon = d
	return d, nil
}

func makeVsock(_ *VM, _ *qdev.Instance, c *vsockConfig) (virtio.Device, error) {
	fd := -1
	if c.VhostFD != "" {
		n, err := strconv.Atoi(c.VhostFD)
		if err != nil || n <= 2 {
			return nil, fmt.Errorf("vhostfd '%s' is no descriptor number above 2", c.VhostFD)
		}
		fd = n
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
func (v *VM) serialBus(name string) (*virtioserial.Device, error) {
	var last *virtioserial.Device
	n := 0
	for _, in := range v.tree.Devices() {
		d, ok := in.Device.(*virtioserial.Device)
		if !ok {
			continue
		}
		if name != "" && (name == in.ID+".0" || name == fmt.Sprintf("virtio-serial-bus.%d", n)) {
			return d, nil
		}
		last = d
		n++
	}
	if name != "" || last == nil {
		return nil, fmt.Errorf("No 'virtio-serial-bus' bus found for device: add a virtio-serial-pci before it")
	}
	return last, nil
}

// addPort adds a port to a virtio-serial device, with a chardev behind it.
func (v *VM) addPort(in *qdev.Instance, c *portConfig, isConsole bool) error {
	d, err := v.serialBus(in.Bus)
	if err != nil {
		return err
	}
	var b chardev.Backend = chardev.Null{}
	if c.Chardev != "" {
		if b, err = v.chardevs.Claim(c.Chardev, in.Label()); err != nil {
			return err
		}
	}
	const auto = ^uint32(0)
	id := in.ID
	p, err := d.AddPort(virtioserial.PortConfig{
		Nr: c.Nr, Auto: c.Nr == auto, Name: c.Name, Console: isConsole, Out: b, Space: b.Accept,
		OnOpen: func(open bool) {
			if id != "" {
				events.Emit(v.events, qapi.EventVserportChange, qapi.VserportChangeEvent{Id: id, Open: open})
			}
		},
	})
	if err != nil {
		return err
	}
	b.Attach(&console{port: p, connected: p.SetConnected})
	in.Device = p
	return nil
}
