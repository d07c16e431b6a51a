package vm

import (
	"errors"
	"fmt"
	"slices"

	"hv/block/graph"
	"hv/devices/qdev"
	"hv/devices/scsi"
	"hv/devices/virtio"
	"hv/devices/virtio/virtioscsi"
	"hv/devices/virtio/vpci"
	"hv/hypervisor/config"
	"hv/qmp/qapi"
)

type scsiConfig struct {
	virtioscsi.Config
	vpci.Options
}

// scsiDrivers are the host adapter, and what goes onto its bus.
func scsiDrivers() []*qdev.Driver {
	unit := func(name, desc string) qdev.Driver {
		return qdev.Driver{Name: name, Parent: "scsi-disk-base", Bus: "SCSI", Category: qdev.Storage, Desc: desc}
	}
	return []*qdev.Driver{
		pciDriver("virtio-scsi", qdev.Storage, func(c *scsiConfig) *vpci.Options { return &c.Options }, makeSCSI),
		driver(unit("scsi-hd", "virtual SCSI disk"), makeSCSIDisk),
		driver(unit("scsi-cd", "virtual SCSI CD-ROM"), makeSCSICD),
	}
}

func makeSCSI(v *VM, in *qdev.Instance, c *scsiConfig) (virtio.Device, error) {
	if c.IOThread != "" {
		o := v.objects.find(c.IOThread)
		if o == nil || o.Thread == nil {
			return nil, qapi.Errorf(qapi.QapiErrorClassDeviceNotFound, "Device '%s' not found", c.IOThread)
		}
		o.users++
		in.Later(func() error { o.users--; return nil })
	}
	d, err := virtioscsi.New(c.Config, v.cfg.SMP.CPUs)
	if err == nil {
		c.NumQueues = d.NumQueues()
	}
	return d, err
}

// scsiBus returns the adapter whose bus has a name: its id with .0, or scsi.N; the first
// one for "".
func (v *VM) scsiBus(in *qdev.Instance) (*qdev.Instance, error) {
	n := 0
	for _, x := range v.tree.Devices() {
		if _, ok := x.Device.(*virtioscsi.Device); !ok {
			continue
		}
		if in.Bus == "" || x.ID != "" && in.Bus == x.ID+".0" || x.ID == "" && in.Bus == fmt.Sprintf("scsi.%d", n) {
			return x, nil
		}
		n++
	}
	if in.Bus != "" {
		return nil, fmt.Errorf("Bus '%s' not found", in.Bus)
	}
	return nil, fmt.Errorf("No 'SCSI' bus found for device '%s'", in.Driver.Name)
}

func makeSCSIDisk(v *VM, in *qdev.Instance, c *scsi.DiskConfig) error {
	if c.Drive == "" {
		return fmt.Errorf("drive property not set")
	}
	return v.addUnit(in, &c.Config, false, func(m scsi.Medium, h scsi.Hooks) (*scsi.Unit, error) { return scsi.NewDisk(*c, m, h) })
}

func makeSCSICD(v *VM, in *qdev.Instance, c *scsi.CDConfig) error {
	return v.addUnit(in, &c.Config, true, func(m scsi.Medium, h scsi.Hooks) (*scsi.Unit, error) { return scsi.NewCD(*c, m, h) })
}

// addUnit makes a unit on a drive, and puts it on a bus.
func (v *VM) addUnit(in *qdev.Instance, c *scsi.Config, readOnly bool, make func(scsi.Medium, scsi.Hooks) (*scsi.Unit, error)) error {
	parent, err := v.scsiBus(in)
	if err != nil {
		return err
	}
	in.Parent = parent
	d, err := v.claimSlot(c.Drive, in)
	if err != nil {
		return err
	}
	if c.DeviceID == "" {
		c.DeviceID = d.id
		if c.Serial != "" {
			c.DeviceID = c.Serial[:min(len(c.Serial), 20)]
		}
	}
	switch c.WriteCache {
	case "on", "off":
		d.writeThrough = c.WriteCache == "off"
	default:
		if d.writeThrough {
			c.WriteCache = "off"
		}
	}
	d.accounts(c.AccountInvalid, c.AccountFailed)
	if d.thread = parent.Config.(*scsiConfig).IOThread; !v.blocks.together(d) {
		return errThread
	}
	s := &slot{vm: v, drive: d, readOnly: readOnly, shareRW: c.ShareRW, policy: errorPolicy(c.ReadError, c.WriteError)}
	if d.node() != nil {
		if err := s.hold(); err != nil {
			return err
		}
	}
	in.Later(s.close)
	if s.unit, err = make(s.medium(), scsi.Hooks{Moved: s.movedByGuest}); err != nil {
		return err
	}
	in.Later(s.unit.Close)
	adapter := parent.Device.(*virtioscsi.Device)
	if err := adapter.Bus().Add(s.unit); err != nil {
		return err
	}
	c.Address = s.unit.Address()
	in.Later(func() error {
		adapter.Bus().Remove(s.unit)
		adapter.Unplugged(s.unit)
		return nil
	})
	if v.built {
		adapter.Plugged(s.unit)
	}
	d.slot, in.Device = s, s.unit
	in.Later(func() error { d.slot = nil; return nil })
	return nil
}

// together reports whether all that use a drive's node name the same thread.
func (b *blocks) together(d *drive) bool {
	return !slices.ContainsFunc(b.drives, func(x *drive) bool {
		return x != d && x.disk != nil && d.root != nil && x.node() == d.node() && x.thread != d.thread
	})
}

// errThread refuses to have two I/O threads meet at a node.
var errThread = errors.New("Cannot change iothread of active block backend")

// join refuses to make a node the child of another one if what uses them is served by
// different threads.
func (b *blocks) join(parent, child *graph.Node) error {
	near := func(d *drive, n *graph.Node) bool {
		return d.disk != nil && (d.node().Reaches(n) || n.Reaches(d.node()))
	}
	for _, d := range b.drives {
		differs := func(x *drive) bool { return x.thread != d.thread && near(x, child) }
		if near(d, parent) && slices.ContainsFunc(b.drives, differs) {
			return errThread
		}
	}
	return nil
}

// claimSlot is claimDrive for a device that can do without a drive, if name is empty.
func (v *VM) claimSlot(name string, in *qdev.Instance) (*drive, error) {
	if name != "" {
		return v.claimDrive(name, in)
	}
	d := &drive{user: in, front: v.newFront(&config.Drive{}), last: lastMedium{readOnly: true}}
	if err := v.blocks.add(d, nil); err != nil {
		return nil, err
	}
	in.Later(func() error { d.user = nil; return v.blocks.remove(d) })
	return d, nil
}
