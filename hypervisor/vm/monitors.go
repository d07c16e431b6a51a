package vm

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"

	"hv/block/blockqmp"
	"hv/devices/devqmp"
	"hv/hypervisor/config"
	"hv/hypervisor/cpuqmp"
	"hv/hypervisor/fdset/fdqmp"
	"hv/hypervisor/vmqmp"
	"hv/net/netqmp"
	"hv/qmp/chardev"
	"hv/qmp/chardev/charqmp"
	"hv/qmp/dispatch"
	"hv/qmp/server"
	"hv/qmp/sockaddr"
)

// SocketPath returns where the VM called name has its QMP socket.
func SocketPath(name string) string { return filepath.Join("/run/vm", name+".sock") }

// openMonitors puts QMP on the chardevs that were asked for, and on the VM's own
// socket.
func (v *VM) openMonitors(ctx context.Context) error {
	table := dispatch.NewTable()
	table.SetPreconfig(v.cfg.Preconfig)
	v.table = table
	vmqmp.Register(table, v)
	vmqmp.RegisterOptions(table, config.CommandLineOptions)
	cpuqmp.Register(table, v)
	vmqmp.RegisterMigration(table)
	devqmp.RegisterPlug(table, v)
	devqmp.RegisterQOM(table, v)
	devqmp.RegisterIOThreads(table, v.IOThreads)
	netqmp.Register(table, v, func(ctx context.Context, path string) { server.Arm(ctx, filterKey(path)) })
	blockqmp.Register(table, v)
	blockqmp.RegisterMedia(table, v)
	blockqmp.RegisterJobs(table, v)
	blockqmp.RegisterExports(table, v)
	blockqmp.RegisterThreads(table, v)
	blockqmp.RegisterChanges(table, v)
	vmqmp.RegisterSystem(table, v)
	devqmp.RegisterPCI(table, v.pciHost)
	devqmp.RegisterVirtio(table, v)
	fdqmp.Register(table, &v.fds, server.Descriptor)
	charqmp.Register(table, &v.chardevs, v.chardevHost(v.fds.Take))
	v.registerHuman(table)
	v.server = server.New(server.Config{Table: table, Events: v.events, Exec: v.control, Version: v.opt.Version, Log: v.opt.Log})
	v.openHuman()
	human, end := context.WithCancel(context.WithoutCancel(ctx))
	v.monitors.later(func() error { end(); return nil })
	monitors := v.cfg.Monitors
	if v.cfg.Name != "" && !v.cfg.NoDefault {
		if err := v.ownSocket(ctx); err != nil {
			return err
		}
		monitors = append(monitors, config.Monitor{Chardev: ownMonitor, Mode: config.Control})
	}
	for _, m := range monitors {
		if err := v.openMonitor(human, m); err != nil {
			return err
		}
	}
	return nil
}

const ownMonitor = "#monitor" // no id of a user's looks like this

// ownSocket opens /run/vm/NAME.sock.
func (v *VM) ownSocket(ctx context.Context) error {
	path := SocketPath(v.cfg.Name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("folder for QMP sockets: %w (use -nodefaults with -qmp to have it elsewhere)", err)
	}
	_, err := v.chardevs.Create(ctx, ownMonitor, chardev.Options{Kind: "socket", Socket: sockaddr.Unix(path), Server: true})
	if err != nil {
		return fmt.Errorf("QMP: %w", err)
	}
	return nil
}

// openMonitor puts a monitor on a chardev: on each connection of a socket, or on what
// else it is.
func (v *VM) openMonitor(ctx context.Context, m config.Monitor) error {
	seat, err := v.chardevs.Claim(m.Chardev, "a monitor")
	if err != nil {
		return err
	}
	if m.Mode == config.Control && v.serveClients(seat, m) {
		return nil
	}
	next, speak := v.connections(seat, m.Mode == config.Readline), v.speaker(ctx, m)
	start := func() { v.serving.Go(func() { v.serve(m, next, speak) }) }
	if m.Mode == config.Readline && !v.cfg.Preconfig {
		// The banner is not to come before the guest's console has the focus of a
		// terminal that both share.
		v.humans = append(v.humans, start)
		return nil
	}
	start()
	return nil
}

// startHumans starts the human monitors that waited for the machine.
func (v *VM) startHumans(context.Context) error {
	for _, start := range v.humans {
		start()
	}
	v.humans = nil
	return nil
}

// serveClients runs QMP on a server's socket, which a chardev may be.
func (v *VM) serveClients(seat *chardev.Seat, m config.Monitor) bool {
	s := seat.Socket()
	if s == nil || s.Listener() == nil {
		return false
	}
	seat.Pin()
	seat.SetOpen(true)
	v.serving.Go(func() { v.served(m, v.server.Serve(s.Listener(), monitorOf(m))) })
	return true
}

func monitorOf(m config.Monitor) server.Monitor {
	return server.Monitor{Name: m.Chardev, Pretty: m.Pretty}
}

// connections returns what returns a chardev's connections as they come, until the VM
// ends. With quiet set, output waits for the focus of a mux.
func (v *VM) connections(seat *chardev.Seat, quiet bool) func() (io.ReadWriteCloser, error) {
	if s := seat.Socket(); s != nil {
		seat.Pin()
		seat.SetOpen(true)
		v.monitors.later(s.Stop)
		return s.Next
	}
	l := chardev.NewLine(seat, quiet)
	v.monitors.later(l.Close)
	return l.Next
}

// serve runs a monitor on one connection after the other as they come, until there are
// no more.
func (v *VM) serve(m config.Monitor, next func() (io.ReadWriteCloser, error), speak func(io.ReadWriteCloser) error) {
	for {
		conn, err := next()
		if err != nil {
			v.served(m, err)
			return
		}
		v.serving.Go(func() { v.served(m, speak(conn)) })
	}
}

func (v *VM) served(m config.Monitor, err error) {
	if err != nil && !errors.Is(err, server.ErrClosed) && !errors.Is(err, io.EOF) && !errors.Is(err, net.ErrClosed) {
		v.opt.Log.WithError(err).WithField("monitor", m.Chardev).Warn("monitor ended")
	}
}
