package vm

import (
	"fmt"

	"hv/block/hostfile"
	"hv/devices/qdev"
	"hv/devices/virtio"
	"hv/devices/virtio/virtioblk"
	"hv/devices/virtio/vpci"
	"hv/hypervisor/config"
)

// balloon is what the balloon commands need of a device.
type balloon interface {
	Actual() uint64
	SetTarget(bytes uint64)
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
	t, err := vpci.New(vpci.Config{Device: dev, Mem: v.hw.mem, IRQ: v.hw.chip, Bells: v.hw.chip, Options: opt, Express: bus.Express() && !bus.Root()})
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

type blkConfig struct {
	virtioblk.Config
	vpci.Options
}

func virtioDrivers() []*qdev.Driver {
	return []*qdev.Driver{
		pciDriver("virtio-blk", qdev.Storage, func(c *blkConfig) *vpci.Options { return &c.Options }, makeBlk),
	}
}

// medium gives a virtio disk its back end's type for IO.
type medium struct{ *hostfile.File }

func (m medium) NewIO(kick int, depth uint32) (virtioblk.IO, error) { return m.File.NewIO(kick, depth) }

func makeBlk(v *VM, in *qdev.Instance, c *blkConfig) (virtio.Device, error) {
	if c.Drive == "" {
		return nil, fmt.Errorf("drive property not set")
	}
	drive, err := v.claimDrive(c.Drive, in)
	if err != nil {
		return nil, err
	}
	f, err := hostfile.Open(hostfile.Config{
		Path: drive.File, ReadOnly: drive.ReadOnly, Direct: drive.Direct, NoFlush: drive.NoFlush, WriteThrough: drive.WriteThrough,
		Discard: drive.Discard == "unmap" || drive.Discard == "on", Threads: drive.AIO == "threads", Lock: drive.Locking != "off", Shared: c.ShareRW,
	})
	if err != nil {
		return nil, err
	}
	v.undo.later(f.Close)
	v.hw.disks = append(v.hw.disks, f)
	return virtioblk.New(c.Config, medium{f})
}

// claimDrive returns the drive with an id for one device's use.
func (v *VM) claimDrive(id string, in *qdev.Instance) (*config.Drive, error) {
	for i := range v.cfg.Drives {
		d := &v.cfg.Drives[i]
		if d.ID != id {
			continue
		}
		if user := v.drives[id]; user != "" {
			return nil, fmt.Errorf("Drive '%s' is already in use by %s", id, user)
		}
		v.drives[id] = in.Label()
		return d, nil
	}
	return nil, fmt.Errorf("Property '%s.drive' can't find value '%s'", in.Driver.Name, id)
}
