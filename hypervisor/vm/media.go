package vm

import (
	"errors"

	"hv/block/blockopts"
	"hv/block/blockqmp"
	"hv/block/disk"
	"hv/block/graph"
	"hv/devices/scsi"
	"hv/hypervisor/config"
	"hv/qmp/events"
	"hv/qmp/qapi"
)

// What blockqmp needs of drives whose medium can be exchanged.
var _ blockqmp.Trays = (*VM)(nil)

// lastMedium is what a medium that takes the place of another one has of that.
type lastMedium struct{ readOnly, detectZeroes bool }

// slot is what a SCSI unit has of its drive: a hold on the node, while there is one.
type slot struct {
	vm                *VM
	drive             *drive
	unit              *scsi.Unit
	readOnly, shareRW bool
	policy            disk.Policy
}

// scsiMedium gives a unit its medium's type for IO.
type scsiMedium struct{ *disk.Disk }

func (m scsiMedium) NewIO(kick int, depth uint32) (scsi.IO, error) { return m.Disk.NewIO(kick, depth) }

// hold takes a hold on the drive's node.
func (s *slot) hold() error {
	err := s.vm.holdDisk(s.drive, disk.Config{ShareRW: s.shareRW, ReadOnly: s.readOnly, Policy: s.policy})
	if err == nil {
		s.drive.disk.OnResize(func() { s.unit.Resized() })
	}
	return err
}

// medium returns what the unit is to read and write, nil for nothing.
func (s *slot) medium() scsi.Medium {
	if s.drive.disk == nil {
		return nil
	}
	return scsiMedium{s.drive.disk}
}

// close gives the hold up, if there is one.
func (s *slot) close() error { return s.vm.dropDisk(s.drive) }

// movedByGuest tells of the tray that the guest moved, on the unit's thread.
func (s *slot) movedByGuest(open bool) {
	s.vm.control.Post(func() {
		if s.drive.slot == s { // it may have gone meanwhile
			s.moved(open)
		}
	})
}

// moved tells of the tray. Control goroutine only.
func (s *slot) moved(open bool) {
	events.Emit(s.vm.events, qapi.EventDeviceTrayMoved, qapi.DeviceTrayMovedEvent{Device: s.drive.id, Id: s.drive.title(), TrayOpen: open})
}

// title is what the device is called in events and replies: its id, or its QOM path.
func (d *drive) title() string {
	switch _, isUnit := d.user.Device.(*scsi.Unit); {
	case !isUnit:
		return d.user.Path() + "/virtio-backend"
	case d.user.ID != "":
		return d.user.ID
	}
	return d.user.Path()
}

// describe returns the drive as queries show it.
func (d *drive) describe() blockqmp.Drive {
	x := blockqmp.Drive{ID: d.id, Node: d.node(), Front: d.front, Disk: d.disk, WriteThrough: d.writeThrough, Removable: d.user == nil}
	if d.user != nil {
		x.Qdev, x.Device = d.title(), d.user.ID
	}
	if d.slot != nil && d.slot.unit.Removable() {
		t := d.slot.unit.Tray()
		x.Removable, x.Locked, x.TrayOpen = true, t.Locked, &t.Open
	}
	return x
}

// Tray returns a drive by its own id, or by that of its device or the device's QOM path.
// Control goroutine only.
func (v *VM) Tray(device, id *string) (blockqmp.Tray, error) {
	switch {
	case (device == nil) == (id == nil):
		return nil, errors.New("Need exactly one of 'device' and 'id'")
	case device != nil:
		if d := v.blocks.find(*device); d != nil {
			return tray{v, d, *device}, nil
		}
		return nil, qapi.Errorf(qapi.QapiErrorClassDeviceNotFound, "Device '%s' not found", *device)
	}
	in := v.tree.Find(*id)
	if in == nil {
		in = v.tree.FindPath(*id)
	}
	if in == nil {
		return nil, qapi.Errorf(qapi.QapiErrorClassDeviceNotFound, "Device '%s' not found", *id)
	}
	for _, d := range v.blocks.drives {
		if d.user == in {
			return tray{v, d, *id}, nil
		}
	}
	return nil, errors.New("Device does not have a block device backend")
}

// tray is a drive as the commands see it.
type tray struct {
	vm    *VM
	drive *drive
	name  string
}

// Name returns how the drive was called.
func (t tray) Name() string { return t.name }

// State returns how the drive is.
func (t tray) State() blockqmp.TrayState {
	s := blockqmp.TrayState{Attached: t.drive.user != nil, Removable: t.drive.user == nil, Medium: t.drive.node()}
	if x := t.drive.slot; x != nil && x.unit.Removable() {
		now := x.unit.Tray()
		s.Removable, s.HasTray, s.Open, s.Locked = true, true, now.Open, now.Locked
	}
	return s
}

// RequestEject asks the guest to open the tray.
func (t tray) RequestEject(force bool) { t.drive.slot.unit.RequestEject(force) }

// Move opens or closes the tray.
func (t tray) Move(open bool) {
	s := t.drive.slot
	was := s.unit.Tray().Open
	if s.unit.SetTray(open); was != open {
		s.moved(open)
	}
}

// Remove takes the medium out.
func (t tray) Remove() error {
	d := t.drive
	o := d.node().Options()
	d.last = lastMedium{readOnly: o.ReadOnly, detectZeroes: o.DetectZeroes}
	var err error
	if d.slot != nil {
		err = d.slot.remove()
	}
	t.vm.exports.DriveGone(d.id)
	return errors.Join(err, d.unload())
}

// Insert puts a node in.
func (t tray) Insert(n *graph.Node) error {
	if err := t.drive.load(n); err != nil {
		return err
	}
	if t.drive.slot == nil {
		return nil
	}
	if err := t.drive.slot.insert(); err != nil {
		return errors.Join(err, t.drive.unload())
	}
	return nil
}

// Open opens an image to be the next medium, with a reference for the caller. A file that
// is not to be written to by anything that is known of it is opened as the last medium was.
func (t tray) Open(filename string, format *string, mode qapi.BlockdevChangeReadOnlyMode) (*graph.Node, error) {
	last := t.drive.last
	if n := t.drive.node(); n != nil {
		last = lastMedium{readOnly: n.Options().ReadOnly, detectZeroes: n.Options().DetectZeroes}
	}
	switch mode {
	case qapi.BlockdevChangeReadOnlyModeReadOnly:
		last.readOnly = true
	case qapi.BlockdevChangeReadOnlyModeReadWrite:
		last.readOnly = false
	}
	o := blockopts.Tree{"read-only": last.readOnly, "detect-zeroes": "off"}
	if last.detectZeroes {
		o["detect-zeroes"] = "on"
	}
	if format != nil {
		o["driver"] = *format
	}
	return t.vm.opener(t.drive.writeThrough).OpenNamed(filename, o)
}

// insert gives the unit the drive's medium.
func (s *slot) insert() error {
	if err := s.hold(); err != nil {
		return err
	}
	return s.unit.SetMedium(s.medium())
}

// remove takes the medium away from the unit.
func (s *slot) remove() error { return errors.Join(s.unit.SetMedium(nil), s.close()) }

// emptyDrive makes a -drive without a file.
func (v *VM) emptyDrive(c *config.Drive) error {
	d := &drive{id: c.ID, writeThrough: c.WriteThrough, policy: drivePolicy(c), front: v.newFront(c), last: lastMedium{readOnly: c.Options["read-only"] == true}}
	return v.blocks.add(d, nil)
}
