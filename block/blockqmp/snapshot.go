package blockqmp

import (
	"context"
	"errors"
	"fmt"
	"time"

	"hv/block/formats"
	"hv/block/graph"
	"hv/qmp/dispatch"
	"hv/qmp/qapi"
)

// Changer is a VM whose nodes can be changed.
type Changer interface {
	VM
	// OpenOverlay makes a node on an image, without its backing node, that is open as another
	// one is. The caller gets a reference.
	OpenOverlay(o formats.Overlay, over *graph.Node) (*graph.Node, error)
	// Reopen gives nodes other options.
	Reopen(list []qapi.BlockdevOptions) error
	// SetReadOnly has a node be writable, or not.
	SetReadOnly(n *graph.Node, on bool) error
	// GuestTime is for how long there has been a guest.
	GuestTime() time.Duration
	// HasDisk reports whether a hold is that of a drive whose disk has one, too.
	HasDisk(c *graph.Child) bool
}

// RegisterChanges adds the commands to a table that change nodes.
func RegisterChanges(t *dispatch.Table, vm Changer) {
	act(t, vm, qapi.CmdBlockdevSnapshot, snapshot)
	act(t, vm, qapi.CmdBlockdevSnapshotSync, snapshotSync)
	act(t, vm, qapi.CmdBlockdevSnapshotInternalSync, snapshotInternal)
	dispatch.Register(t, qapi.CmdBlockdevSnapshotDeleteInternalSync, deleteInternal(vm))
	dispatch.Register(t, qapi.CmdChangeBackingFile, changeBackingFile(vm))
	registerTransaction(t, vm)
	registerGraph(t, vm)
}

// act adds a command that is an action.
func act[T any, P qapi.Codec[T]](t *dispatch.Table, vm Changer, cmd qapi.Command[T, qapi.Empty], of func(Changer, *T) *Action) {
	dispatch.Register[T, qapi.Empty, P](t, cmd, func(_ context.Context, args T) (qapi.Empty, error) { return qapi.Empty{}, of(vm, &args).run() })
}

// lookup returns the node of a drive, or with a name.
func lookup(vm VM, device, node *string) (*graph.Node, error) {
	name := func(s *string) string {
		if s == nil {
			return ""
		}
		return *s
	}
	if device != nil {
		for _, d := range vm.Drives() {
			switch {
			case d.ID != *device || d.ID == "":
			case d.Node == nil:
				return nil, fmt.Errorf("Device '%s' has no medium", d.ID)
			default:
				return d.Node, nil
			}
		}
	}
	if node != nil {
		if n := vm.Graph().Find(*node); n != nil {
			return n, nil
		}
	}
	return nil, fmt.Errorf("Cannot find device='%s' nor node-name='%s'", name(device), name(node))
}

// rootNode returns the node that no other stands on, and that a drive's id or a node's name
// means.
func rootNode(vm Changer, name string) (*graph.Node, error) {
	n, err := lookup(vm, &name, &name)
	if err == nil && !n.IsRoot() {
		err = errors.New("Need a root block node")
	}
	return n, err
}

// overlaying is a snapshot by an overlay.
type overlaying struct {
	vm       Changer
	node     *graph.Node
	overlay  *graph.Node
	undrain  func()
	appended bool
}

// snapshot is blockdev-snapshot.
func snapshot(vm Changer, a *qapi.BlockdevSnapshot) *Action {
	x := &overlaying{vm: vm}
	return x.action(func() (err error) {
		if err := x.begin(&a.Node, &a.Node); err != nil {
			return err
		}
		if x.overlay, err = lookup(vm, &a.Overlay, &a.Overlay); err == nil {
			x.overlay.Ref()
		}
		return err
	})
}

// snapshotSync is blockdev-snapshot-sync.
func snapshotSync(vm Changer, a *qapi.BlockdevSnapshotSync) *Action {
	x := &overlaying{vm: vm}
	return x.action(func() (err error) {
		if err := x.begin(a.Device, a.NodeName); err != nil {
			return err
		}
		if a.NodeName != nil && a.SnapshotNodeName == nil {
			return errors.New("New overlay node-name missing")
		}
		o := formats.Overlay{File: a.SnapshotFile, Format: "qcow2", Make: a.Mode == nil || *a.Mode != qapi.NewImageModeExisting}
		if a.Format != nil {
			o.Format = *a.Format
		}
		if name := a.SnapshotNodeName; name != nil {
			o.NodeName = *name
			if _, err := lookup(vm, name, name); err == nil {
				return errors.New("New overlay node-name already in use")
			}
		}
		x.overlay, err = vm.OpenOverlay(o, x.node)
		return err
	})
}

// action is the action that puts the overlay over the node which open finds.
func (x *overlaying) action(open func() error) *Action {
	return &Action{
		Prepare: func() error {
			err := open()
			if err == nil {
				err = x.append()
			}
			return err
		},
		Commit: func() {
			// That it stays writable does no harm.
			_ = x.vm.SetReadOnly(x.node, true)
		},
		Abort: func() {
			if x.appended {
				// It was so before.
				_ = x.vm.Graph().Unappend(x.overlay, x.node)
			}
		},
		Clean: func() {
			if x.undrain != nil {
				x.undrain()
			}
			if x.overlay != nil {
				_ = x.overlay.Unref() // what nobody wrote to
			}
		},
	}
}

// begin finds and drains the node.
func (x *overlaying) begin(device, node *string) (err error) {
	if x.node, err = lookup(x.vm, device, node); err != nil {
		return err
	}
	x.undrain = x.node.Drain()
	if err := x.node.Blocked(); err != nil {
		return err
	}
	if !x.node.Options().ReadOnly && x.node.Flush() != nil {
		return errors.New("An IO error has occurred")
	}
	return nil
}

// append puts the overlay over the node.
func (x *overlaying) append() error {
	switch o := x.overlay; {
	case o.Read():
		return errors.New("The overlay is already in use")
	case o.IsFilter():
		return errors.New("Filters cannot be used as overlays")
	case o.Backing() != nil:
		return errors.New("The overlay already has a backing image")
	case !o.CanBack():
		return errors.New("The overlay does not support backing images")
	}
	err := x.vm.Graph().Append(x.overlay, x.node)
	x.appended = err == nil
	return err
}
