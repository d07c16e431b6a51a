package vm

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"hv/devices/platform"
	"hv/hypervisor/config"
	"hv/qmp/chardev"
	"hv/qmp/qapi"
)

// keepDescriptors takes over what -add-fd names.
func (v *VM) keepDescriptors(context.Context) error {
	v.undo.later(v.fds.Close)
	for _, f := range v.cfg.FDs {
		flags, err := unix.FcntlInt(uintptr(f.FD), unix.F_GETFD, 0)
		if err != nil {
			return fmt.Errorf("-add-fd fd=%d: %w", f.FD, err)
		}
		if flags&unix.FD_CLOEXEC != 0 {
			return fmt.Errorf("-add-fd fd=%d: not a descriptor that hv was started with", f.FD)
		}
		unix.CloseOnExec(f.FD)
		set := int64(f.Set)
		var opaque *string
		if f.Opaque != "" {
			opaque = &f.Opaque
		}
		if _, err := v.fds.Add(&set, opaque, f.FD); err != nil {
			return err
		}
	}
	return nil
}

// chardevHost is what character devices need of the VM. descriptor returns what fd=
// names.
func (v *VM) chardevHost(descriptor func(string) (int, error)) chardev.Host {
	return chardev.Host{
		Open: v.fds.Open, Descriptor: descriptor, Notify: v.opt.Notify,
		Terminate: func() { v.control.RequestShutdown(qapi.ShutdownCauseHostUi) },
	}
}

// openChardevs opens the host's ends of consoles and monitors.
func (v *VM) openChardevs(ctx context.Context) error {
	v.undo.later(v.chardevs.Close)
	for _, c := range v.cfg.Chardevs {
		if err := v.openChardev(ctx, &c); err != nil {
			return fmt.Errorf("chardev %s: %w", c.ID, err)
		}
	}
	return nil
}

func (v *VM) openChardev(ctx context.Context, c *config.Chardev) error {
	o, err := chardev.FromQAPI(&c.Backend, v.chardevHost(v.fds.Param))
	if err != nil {
		return err
	}
	o.Mux = c.Mux
	if c.Link != "" {
		o.Path = c.Link
	}
	b, err := v.chardevs.Create(ctx, c.ID, o)
	if t, ok := b.(*chardev.Terminal); ok {
		v.opt.Notify("char device redirected to %s (label %s)", t.Path, c.ID)
	}
	return err
}

// console connects a serial port of a device with a chardev: it is the chardev's
// frontend, and the chardev is the port's output.
type console struct {
	port interface {
		CanReceive() int
		Receive(p []byte)
	}
	connected func(open bool) // nil if the port does not care
	lineBreak func()          // as well
}

func (c *console) CanReceive() int  { return c.port.CanReceive() }
func (c *console) Receive(p []byte) { c.port.Receive(p) }

func (c *console) Event(e chardev.Event) {
	switch {
	case e == chardev.Break && c.lineBreak != nil:
		c.lineBreak()
	case (e == chardev.Opened || e == chardev.Closed) && c.connected != nil:
		c.connected(e == chardev.Opened)
	}
}

// addSerial adds a serial port with a chardev behind it.
func (v *VM) addSerial(index int, id string) error {
	b, err := v.chardevs.Claim(id, fmt.Sprintf("serial port %d", index))
	if err != nil {
		return err
	}
	u, err := v.hw.board.AddSerial(index, b, b.Accept)
	if err != nil {
		return errors.Join(err, b.Close())
	}
	b.Attach(&console{port: u, lineBreak: u.Break})
	return nil
}

var _ platform.Output = chardev.Null{}
