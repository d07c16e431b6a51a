package vm

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"hv/devices/platform"
	"hv/hypervisor/config"
	"hv/qmp/chardev"
	"hv/qmp/qapi"
)

// openChardevs opens the host's ends of consoles and monitors.
func (v *VM) openChardevs(ctx context.Context) error {
	v.undo.later(v.chardevs.Close)
	if v.cfg.NoGraphic && len(v.cfg.Serials) == 0 {
		v.cfg.Serials = []string{"serial0"}
		v.cfg.Chardevs = append(v.cfg.Chardevs, config.Chardev{ID: "serial0", Kind: "stdio", Escape: true})
	}
	for _, c := range v.cfg.Chardevs {
		o, err := v.chardevOptions(c)
		if err != nil {
			return fmt.Errorf("chardev %s: %w", c.ID, err)
		}
		b, err := chardev.Open(ctx, o)
		if err != nil {
			return fmt.Errorf("chardev %s: %w", c.ID, err)
		}
		if err := v.chardevs.Add(c.ID, b); err != nil {
			return err
		}
		if s, ok := b.(*chardev.Stream); ok && s.Path != "" {
			v.opt.Notify("char device redirected to %s (label %s)", s.Path, c.ID)
		}
	}
	return nil
}

func (v *VM) chardevOptions(c config.Chardev) (chardev.Options, error) {
	o := chardev.Options{
		Kind: c.Kind, Path: c.Path, Abstract: c.Abstract, Host: c.Host, Port: c.Port, Server: c.Server, Wait: c.Wait,
		Reconnect: time.Duration(c.Reconnect) * time.Second, Signal: c.Signal, Append: c.Append, LogFile: c.LogFile, LogAppend: c.LogAppend,
		Escape: c.Escape, Terminate: func() { v.control.RequestShutdown(qapi.ShutdownCauseHostUi) },
	}
	if c.FD != "" {
		fd, err := strconv.Atoi(c.FD)
		if err != nil || fd <= 2 {
			return o, fmt.Errorf("fd=%s is no descriptor number above 2", c.FD)
		}
		o.FD = fd
	}
	return o, nil
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
	case e != chardev.Break && c.connected != nil:
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
		return err
	}
	b.Attach(&console{port: u, lineBreak: u.Break})
	return nil
}

var _ platform.Output = chardev.Null{}
