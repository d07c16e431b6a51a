package blockqmp

import (
	"context"
	"errors"
	"fmt"

	"hv/block/graph"
	"hv/qmp/dispatch"
	"hv/qmp/qapi"
)

// Trays has drives whose medium can be exchanged.
type Trays interface {
	VM
	// Tray returns a drive by its own id, or by that of its device or the device's QOM path.
	Tray(device, id *string) (Tray, error)
}

// Tray is a drive.
type Tray interface {
	// Name returns how the drive was called.
	Name() string
	State() TrayState
	// RequestEject asks the guest to open the tray. With force its lock is no more.
	RequestEject(force bool)
	// Move opens or closes the tray.
	Move(open bool)
	// Open opens an image to be the next medium, with a reference for the caller.
	Open(filename string, format *string, mode qapi.BlockdevChangeReadOnlyMode) (*graph.Node, error)
	// Insert gives an empty drive a medium, Remove takes it out.
	Insert(n *graph.Node) error
	Remove() error
}

// TrayState is how a drive is.
type TrayState struct {
	Attached  bool // a device has it
	Removable bool // its medium can be exchanged
	HasTray   bool
	Open      bool // the tray
	Locked    bool // by the guest
	Medium    *graph.Node
}

// RegisterMedia adds the commands about trays and media to a table.
func RegisterMedia(t *dispatch.Table, vm Trays) {
	dispatch.Register(t, qapi.CmdEject, func(_ context.Context, a qapi.EjectArgs) (qapi.Empty, error) {
		return qapi.Empty{}, eject(vm, a.Device, a.Id, isSet(a.Force))
	})
	dispatch.Register(t, qapi.CmdBlockdevOpenTray, func(_ context.Context, a qapi.BlockdevOpenTrayArgs) (qapi.Empty, error) {
		d, err := vm.Tray(a.Device, a.Id)
		if err != nil {
			return qapi.Empty{}, err
		}
		return qapi.Empty{}, except[askedError](except[traylessError](openTray(d, isSet(a.Force))))
	})
	dispatch.Register(t, qapi.CmdBlockdevCloseTray, func(_ context.Context, a qapi.BlockdevCloseTrayArgs) (qapi.Empty, error) {
		d, err := vm.Tray(a.Device, a.Id)
		if err != nil {
			return qapi.Empty{}, err
		}
		return qapi.Empty{}, closeTray(d)
	})
	dispatch.Register(t, qapi.CmdBlockdevRemoveMedium, func(_ context.Context, a qapi.BlockdevRemoveMediumArgs) (qapi.Empty, error) {
		d, err := vm.Tray(nil, &a.Id)
		if err != nil {
			return qapi.Empty{}, err
		}
		return qapi.Empty{}, removeMedium(d)
	})
	dispatch.Register(t, qapi.CmdBlockdevInsertMedium, func(_ context.Context, a qapi.BlockdevInsertMediumArgs) (qapi.Empty, error) {
		return qapi.Empty{}, insertNode(vm, a.Id, a.NodeName)
	})
	dispatch.Register(t, qapi.CmdBlockdevChangeMedium, func(_ context.Context, a qapi.BlockdevChangeMediumArgs) (qapi.Empty, error) {
		return qapi.Empty{}, changeMedium(vm, &a)
	})
}

func isSet(b *bool) bool { return b != nil && *b }

// Ends of openTray that some commands take for success: of a drive without a tray, and of
// one whose guest was asked to open it. They say what the drive is called.
type (
	traylessError string
	askedError    string
)

func (e traylessError) Error() string {
	return fmt.Sprintf("Device '%s' does not have a tray", string(e))
}

func (e askedError) Error() string {
	return fmt.Sprintf("Device '%s' is locked and force was not specified, wait for tray to open and try again", string(e))
}

// except returns err if it is no E.
func except[E error](err error) error {
	var e E
	if errors.As(err, &e) {
		return nil
	}
	return err
}

// openTray opens a tray. One that the guest locked is opened by force only; else the guest
// is asked to.
func openTray(d Tray, force bool) error {
	s := d.State()
	switch {
	case !s.Removable:
		return fmt.Errorf("Device '%s' is not removable", d.Name())
	case !s.HasTray:
		return traylessError(d.Name())
	case s.Open:
		return nil
	}
	if s.Locked {
		d.RequestEject(force)
	}
	if !s.Locked || force {
		d.Move(true)
		return nil
	}
	return askedError(d.Name())
}

// closeTray closes a tray that is open.
func closeTray(d Tray) error {
	s := d.State()
	if !s.Removable {
		return fmt.Errorf("Device '%s' is not removable", d.Name())
	}
	if s.HasTray && s.Open {
		d.Move(false)
	}
	return nil
}

// removeMedium takes a medium out, if there is one.
func removeMedium(d Tray) error {
	s := d.State()
	switch {
	case s.Attached && !s.Removable:
		return fmt.Errorf("Device '%s' is not removable", d.Name())
	case s.HasTray && !s.Open:
		return fmt.Errorf("Tray of device '%s' is not open", d.Name())
	case s.Medium == nil:
		return nil
	}
	return d.Remove()
}

// insertMedium puts a node into an empty drive.
func insertMedium(d Tray, n *graph.Node) error {
	s := d.State()
	switch {
	case s.Attached && !s.Removable:
		return errors.New("Device is not removable")
	case s.HasTray && !s.Open:
		return errors.New("Tray of the device is not open")
	case s.Medium != nil:
		return errors.New("There already is a medium in the device")
	}
	return d.Insert(n)
}

func insertNode(vm Trays, id, name string) error {
	d, err := vm.Tray(nil, &id)
	if err != nil {
		return err
	}
	n := vm.Graph().Find(name)
	if n == nil {
		return fmt.Errorf("Node '%s' not found", name)
	}
	for _, other := range vm.Drives() {
		if other.Node == n {
			return fmt.Errorf("Node '%s' is already in use", name)
		}
	}
	return insertMedium(d, n)
}

func eject(vm Trays, device, id *string, force bool) error {
	d, err := vm.Tray(device, id)
	if err != nil {
		return err
	}
	if err := except[traylessError](openTray(d, force)); err != nil {
		return err
	}
	return removeMedium(d)
}

// changeMedium puts another image into a drive. The image comes first: if it cannot be
// opened, all stays as it is.
func changeMedium(vm Trays, a *qapi.BlockdevChangeMediumArgs) (err error) {
	d, err := vm.Tray(a.Device, a.Id)
	if err != nil {
		return err
	}
	mode := qapi.BlockdevChangeReadOnlyModeRetain
	if a.ReadOnlyMode != nil {
		mode = *a.ReadOnlyMode
	}
	n, err := d.Open(a.Filename, a.Format, mode)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, n.Unref()) }()
	if err := except[traylessError](openTray(d, isSet(a.Force))); err != nil {
		return err
	}
	if err := removeMedium(d); err != nil {
		return err
	}
	if err := insertMedium(d, n); err != nil {
		return err
	}
	return closeTray(d)
}
