package vm

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"

	"hv/block/blockqmp"
	"hv/block/disk"
	"hv/block/formats"
	"hv/block/graph"
	"hv/block/qcow2"
	"hv/block/throttle"
	"hv/block/tlscreds"
	"hv/devices/qdev"
	"hv/devices/virtio"
	"hv/devices/virtio/virtioblk"
	"hv/hypervisor/config"
	"hv/qmp/events"
	"hv/qmp/qapi"
)

// What blockqmp needs. All run on the control goroutine.
var _ blockqmp.VM = (*VM)(nil)

// drive is a -drive, or the node that a disk has.
type drive struct {
	id           string       // of the -drive, or empty
	root         *graph.Child // keeps the node, whichever takes its place; nil while there is no medium
	writeThrough bool
	policy       disk.Policy    // what the -drive says of errors
	user         *qdev.Instance // nil for none
	front        *disk.Front
	disk         *disk.Disk // the user's, nil without a medium
	slot         *slot      // of a user whose medium can be exchanged
	last         lastMedium
	thread       string // iothread of the user's adapter
}

// node returns the medium, nil if there is none.
func (d *drive) node() *graph.Node {
	if d.root == nil {
		return nil
	}
	return d.root.Node()
}

// name is what errors call the drive.
func (d *drive) name() string {
	switch {
	case d.id != "":
		return fmt.Sprintf("block device '%s'", d.id)
	case d.user != nil:
		return fmt.Sprintf("block device '%s'", d.user.Label())
	}
	return "an unnamed block device"
}

// blocks is the VM's nodes, and who uses them. It belongs to the control goroutine.
type blocks struct {
	graph  graph.Graph
	drives []*drive // in the order in which they came
	groups throttle.Groups
}

func (b *blocks) find(id string) *drive {
	i := slices.IndexFunc(b.drives, func(d *drive) bool { return d.id == id && id != "" })
	if i < 0 {
		return nil
	}
	return b.drives[i]
}

// node returns the node of the -drive with an id, nil if there is none.
func (b *blocks) node(id string) *graph.Node {
	if d := b.find(id); d != nil {
		return d.node()
	}
	return nil
}

// add makes a drive on a node, or an empty one.
func (b *blocks) add(d *drive, n *graph.Node) error {
	if n != nil {
		if err := d.load(n); err != nil {
			b.groups.Leave(&d.front.Limits)
			return err
		}
	}
	b.drives = append(b.drives, d)
	return nil
}

// load gives an empty drive its medium.
func (d *drive) load(n *graph.Node) error {
	root, err := n.Use(d.name, nil, 0, graph.AllPerms)
	if err != nil {
		return err
	}
	root.SetLimiter(&d.front.Limits)
	d.root = root
	return nil
}

// unload takes the medium out.
func (d *drive) unload() error {
	root := d.root
	if d.root = nil; root == nil {
		return nil
	}
	return root.Close()
}

// remove forgets a drive, which may be the last that had its node.
func (b *blocks) remove(d *drive) error {
	b.drives = without(b.drives, d)
	b.groups.Leave(&d.front.Limits)
	return d.unload()
}

func (b *blocks) close() error {
	var errs []error
	for _, d := range slices.Clone(b.drives) {
		errs = append(errs, b.remove(d))
	}
	return errors.Join(append(errs, b.graph.Close())...)
}

func (v *VM) opener(writeThrough bool) *formats.Opener {
	return &formats.Opener{
		Graph: &v.blocks.graph, OpenFile: v.fds.Open, Drive: v.blocks.node, Groups: &v.blocks.groups, WriteThrough: writeThrough,
		Said: func(text string) { fmt.Print(text) },
		Warn: func(text string) { v.opt.Log.Warn(text) },
		Network: formats.Network{
			Descriptors: v.fds.Param, Log: func(err error) { v.opt.Log.Warn(err) },
			Credentials: func(id string) (*tlscreds.Creds, error) { return v.credentials(id, false) },
		},
		Corrupted: func(node string, c qcow2.Corruption) { v.control.Post(func() { v.imageCorrupted(node, c) }) },
		Join:      v.blocks.join,
		Quorum:    quorum{v}, Print: v.breakpoints(), Complain: complain,
	}
}

// openDrives makes the nodes of the command line.
func (v *VM) openDrives(context.Context) error {
	for _, b := range v.cfg.Blockdevs {
		if err := v.AddBlockdev(b.Options); err != nil {
			return fmt.Errorf("-blockdev %s: %w", b.Text, err)
		}
	}
	for i := range v.cfg.Drives {
		if err := v.openDrive(&v.cfg.Drives[i]); err != nil {
			return fmt.Errorf("-drive %s: %w", v.cfg.Drives[i].Text, err)
		}
	}
	return nil
}

func (v *VM) openDrive(c *config.Drive) error {
	if v.blocks.graph.Find(c.ID) != nil {
		return fmt.Errorf("Device name '%s' conflicts with an existing node name", c.ID)
	}
	if c.Empty() {
		return v.emptyDrive(c)
	}
	opener := v.opener(c.WriteThrough)
	opener.AIO = c.AIO
	n, err := opener.OpenDrive(c.File, c.Options, c.Snapshot)
	if err == nil && c.CopyOnRead {
		n, err = opener.CopyOnRead(n)
	}
	if err != nil {
		return err
	}
	err = v.blocks.add(&drive{id: c.ID, writeThrough: c.WriteThrough, policy: drivePolicy(c), front: v.newFront(c)}, n)
	return errors.Join(err, n.Unref())
}

// AddBlockdev makes a node that the monitor keeps. Control goroutine only.
func (v *VM) AddBlockdev(o *qapi.BlockdevOptions) error {
	n, err := v.opener(false).Open(o)
	if err == nil {
		n.Own()
	}
	return err
}

// Graph returns the VM's nodes. Control goroutine only.
func (v *VM) Graph() *graph.Graph { return &v.blocks.graph }

// FindNode returns the node that a drive's id or a node's name means. Control goroutine only.
func (v *VM) FindNode(name string) (*graph.Node, error) { return v.opener(false).Find(name) }

// Drives returns the drives and disks. Control goroutine only.
func (v *VM) Drives() []blockqmp.Drive {
	var out []blockqmp.Drive
	for _, d := range v.blocks.drives {
		out = append(out, d.describe())
	}
	return out
}

// imageCorrupted tells of damage in a node's image. Control goroutine only.
func (v *VM) imageCorrupted(node string, c qcow2.Corruption) {
	e := qapi.BlockImageCorruptedEvent{NodeName: &node, Msg: c.Message, Fatal: c.Fatal}
	if c.Offset >= 0 {
		e.Offset, e.Size = &c.Offset, &c.Size
	}
	if n := v.blocks.graph.Find(node); n != nil {
		for _, d := range v.blocks.drives {
			if d.node() == n {
				e.Device = d.id
			}
		}
	}
	text := fmt.Sprintf("qcow2: Image is corrupt: %s; further non-fatal corruption events will be suppressed", c.Message)
	if c.Fatal {
		text = fmt.Sprintf("qcow2: Marking image as corrupt: %s; further corruption events will be suppressed", c.Message)
	}
	v.opt.Log.WithField("node", node).Info(text)
	fmt.Fprintln(os.Stderr, text)
	events.Emit(v.events, qapi.EventBlockImageCorrupted, e)
}

// medium gives a virtio disk its back end's type for IO.
type medium struct{ *disk.Disk }

func (m medium) NewIO(kick int, depth uint32) (virtioblk.IO, error) { return m.Disk.NewIO(kick, depth) }

func makeBlk(v *VM, in *qdev.Instance, c *blkConfig) (virtio.Device, error) {
	if c.Drive == "" {
		return nil, fmt.Errorf("drive property not set")
	}
	d, err := v.claimDrive(c.Drive, in)
	if err != nil {
		return nil, err
	}
	switch c.WriteCache {
	case "on", "off":
		d.writeThrough = c.WriteCache == "off"
	}
	d.accounts(c.AccountInvalid, c.AccountFailed)
	thread, err := v.claimThread(in, c.IOThread)
	if err != nil {
		return nil, err
	}
	d.thread = c.IOThread
	cfg := disk.Config{ShareRW: c.ShareRW, WriteThrough: d.writeThrough, Policy: errorPolicy(c.ReadError, c.WriteError)}
	if thread != nil {
		cfg.Carriers = thread.carriers
	}
	opened, err := v.openDisk(d, in, cfg)
	if err != nil {
		return nil, err
	}
	dev, err := virtioblk.New(c.Config, medium{opened}, v.cfg.SMP.CPUs)
	if err == nil {
		c.Config = dev.Config()
		opened.OnResize(dev.Resized)
		if thread != nil {
			dev.ServeOn(thread.loop)
		}
	}
	return dev, err
}

// claimDrive returns the drive with an id, or one on the node with a name, for one
// device's use.
func (v *VM) claimDrive(name string, in *qdev.Instance) (*drive, error) {
	d := v.blocks.find(name)
	if d == nil {
		n := v.blocks.graph.Find(name)
		if n == nil {
			return nil, fmt.Errorf("Property '%s.drive' can't find value '%s'", in.Driver.Name, name)
		}
		d = &drive{front: v.newFront(&config.Drive{})}
		if err := v.blocks.add(d, n); err != nil {
			return nil, err
		}
	}
	if d.user != nil {
		return nil, fmt.Errorf("Drive '%s' is already in use by another device", name)
	}
	d.user = in
	in.Later(func() error {
		d.user = nil
		// A -drive goes with the device that had it, but not with one that could not be made.
		if d.id == "" || slices.Contains(v.tree.Devices(), in) {
			v.exports.DriveGone(d.id)
			return v.blocks.remove(d)
		}
		return nil
	})
	return d, nil
}
