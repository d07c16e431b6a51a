package vm

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"hv/block/account"
	"hv/block/graph"
	"hv/block/ioshell"
	"hv/qmp/hmp"
	"hv/qmp/qapi"
	"hv/qmp/server"
)

var _ hmp.Requester = human{}

// complain tells the user what went wrong.
func complain(text string) { fmt.Fprintf(os.Stderr, "%s: %s\n", filepath.Base(os.Args[0]), text) }

// newShell makes what carries the human monitor's qemu-io out.
func (v *VM) newShell() *ioshell.Shell {
	return ioshell.New(ioshell.Config{
		Out: os.Stdout, Err: os.Stderr, Do: v.control.Do, Post: v.control.Post,
		Ended: func(ctx context.Context) {
			if v.control.Do(ctx, func() {}) == nil { // what was posted tells of it
				server.Settle(ctx)
			}
		},
	})
}

// Request implements hmp.Requester.
func (h human) Request(ctx context.Context, device string, isDevice bool, command string) (failed, err error) {
	var t ioshell.Target
	err = h.do(ctx, func() (err error) {
		t, err = h.v.target(device, isDevice)
		return err
	})
	if err == nil {
		server.Settle(ctx)
		failed = h.v.shell.Run(ctx, t, command)
		h.v.settle()
	}
	return failed, err
}

// target returns what a drive's id, a node's name, or a device's id or path means.
func (v *VM) target(name string, isDevice bool) (ioshell.Target, error) {
	b := &v.blocks
	if isDevice {
		for _, d := range b.drives {
			if d.user == nil {
				continue
			}
			path := d.user.Path()
			if id := d.user.ID; name == id && id != "" || strings.HasPrefix(name, id+"/") && id != "" || name == path || strings.HasPrefix(name, path+"/") {
				return driveTarget{d, v}, nil
			}
		}
		return nil, qapi.Errorf(qapi.QapiErrorClassDeviceNotFound, "Device '%s' not found", name)
	}
	if d := b.find(name); d != nil {
		return driveTarget{d, v}, nil
	}
	n := b.graph.Find(name)
	if n == nil {
		return nil, qapi.Errorf(qapi.QapiErrorClassGenericError, "Cannot find device='' nor node-name='%s'", name)
	}
	return nodeTarget{n, v}, nil
}

// driveTarget is a drive: requests are those of its disk, and what they take of
// permissions the drive keeps until there is another disk.
type driveTarget struct {
	*drive
	v *VM
}

func (t driveTarget) Hold(perm graph.Perm) (*graph.Child, error) {
	if t.root == nil {
		return nil, errors.New("No medium found")
	}
	if t.disk != nil {
		return t.root, t.disk.Need(perm)
	}
	has, shared := t.root.Perms()
	if perm&^has == 0 {
		return t.root, nil
	}
	return t.root, t.root.SetPerm(has|perm, shared)
}

func (t driveTarget) Reopen(x ioshell.Reopening) error {
	through := t.writeThrough
	if x.WriteThrough != nil {
		through = *x.WriteThrough
	}
	if through != t.writeThrough && t.user != nil {
		return errors.New("Cannot change cache.writeback: Device attached")
	}
	if perm, shared := t.root.Perms(); x.Options["read-only"] == true && perm != 0 {
		if err := t.root.SetPerm(0, shared); err != nil {
			return err
		}
	}
	if err := t.v.opener(false).Change(t.node(), x.Options); err != nil {
		return err
	}
	t.writeThrough = through
	return nil
}

func (t driveTarget) Release(*graph.Child) error { return nil }
func (t driveTarget) Stats() *account.Stats      { return t.front.Stats }
func (t driveTarget) Waits() bool                { return false }

// nodeTarget is a node, which a command uses by itself.
type nodeTarget struct {
	*graph.Node
	v *VM
}

func (t nodeTarget) Hold(perm graph.Perm) (*graph.Child, error) {
	return t.Use(func() string { return "an unnamed block device" }, nil, perm, graph.AllPerms)
}

func (t nodeTarget) Reopen(x ioshell.Reopening) error {
	return t.v.opener(false).Change(t.Node, x.Options)
}

func (t nodeTarget) Release(c *graph.Child) error { return c.Close() }
func (t nodeTarget) Stats() *account.Stats        { return nil }
func (t nodeTarget) Waits() bool                  { return true }
