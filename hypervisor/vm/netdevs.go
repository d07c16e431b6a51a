package vm

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"hv/devices/qdev"
	"hv/devices/virtio/virtionet"
	"hv/hypervisor/config"
	"hv/net/tap"
	"hv/qmp/qapi"
)

// netdev is a network back end of the host.
type netdev struct {
	cfg config.Netdev
	tap *tap.Tap
	nic *virtionet.Device // who uses it
	who *qdev.Instance
	// gone says that netdev_del has taken it away while a NIC had it.
	gone bool
}

// nicHost is what a NIC tells the VM.
type nicHost struct {
	v  *VM
	in *qdev.Instance
}

// LinkLost notes that the NIC has no network any more.
func (h nicHost) LinkLost(err error) {
	h.v.opt.Log.WithError(err).WithField("device", h.in.Label()).Error("the host's network link is gone")
}

// FilterChanged does nothing: nobody is told.
func (h nicHost) FilterChanged() {}

// netdevs is a VM's back ends, in the order in which they came.
type netdevs struct{ all []*netdev }

func (n *netdevs) find(id string) *netdev {
	i := slices.IndexFunc(n.all, func(d *netdev) bool { return d.cfg.ID == id })
	if i < 0 {
		return nil
	}
	return n.all[i]
}

// add opens a back end. param returns the descriptor that fd= names.
func (n *netdevs) add(cfg config.Netdev, param func(string) (int, error)) error {
	if n.find(cfg.ID) != nil {
		return fmt.Errorf("Duplicate ID '%s' for netdev", cfg.ID)
	}
	fds, err := descriptors(cfg, param)
	if err != nil {
		return fmt.Errorf("netdev %s: %w", cfg.ID, err)
	}
	t, err := tap.Open(tap.Config{
		ID: cfg.ID, Ifname: cfg.Ifname, FDs: fds, Queues: int(cfg.Queues), Script: cfg.Script, DownScript: cfg.DownScript, Sndbuf: int(cfg.Sndbuf),
	})
	if err != nil {
		return err
	}
	n.all = append(n.all, &netdev{cfg: cfg, tap: t})
	return nil
}

// claim returns a back end for a NIC's use, as long as that exists.
func (n *netdevs) claim(id string, in *qdev.Instance) (*netdev, error) {
	d := n.find(id)
	if d == nil {
		return nil, fmt.Errorf("Property '%s.netdev' can't find value '%s'", in.Driver.Name, id)
	}
	if d.who != nil {
		return nil, fmt.Errorf("Property '%s.netdev' can't take value '%s', it's in use", in.Driver.Name, id)
	}
	d.who = in
	in.Later(func() error {
		d.who, d.nic = nil, nil
		if d.gone {
			return d.tap.Close()
		}
		return nil
	})
	return d, nil
}

// remove takes a back end away. A NIC that has it sees its link go down, and the back
// end is closed with that.
func (n *netdevs) remove(id string) error {
	d := n.find(id)
	if d == nil {
		return fmt.Errorf("Device '%s' not found", id)
	}
	n.all = slices.DeleteFunc(n.all, func(x *netdev) bool { return x == d })
	if d.who == nil {
		return d.tap.Close()
	}
	d.gone = true
	return d.nic.Detach()
}

func (n *netdevs) close() error {
	var errs []error
	for _, d := range n.all {
		errs = append(errs, d.tap.Close())
	}
	n.all = nil
	return errors.Join(errs...)
}

// openNetdevs opens the back ends of the command line.
func (v *VM) openNetdevs(context.Context) error {
	v.undo.later(v.nets.close)
	for _, n := range v.cfg.Netdevs {
		if err := v.nets.add(n, v.fds.Param); err != nil {
			return err
		}
	}
	return nil
}

// AddNetdev makes a back end. Control goroutine only.
func (v *VM) AddNetdev(n qapi.Netdev) error {
	cfg, err := config.NewNetdev(&n)
	if err != nil {
		return err
	}
	return v.nets.add(cfg, v.fds.Param)
}

// RemoveNetdev takes a back end away. Control goroutine only.
func (v *VM) RemoveNetdev(id string) error { return v.nets.remove(id) }

// descriptors returns what fd= or fds= name.
func descriptors(n config.Netdev, param func(string) (int, error)) ([]int, error) {
	list := n.FDs
	if n.FD != "" {
		list = n.FD
	}
	if list == "" {
		return nil, nil
	}
	var out []int
	for _, s := range strings.Split(list, ":") {
		fd, err := param(s)
		if err != nil {
			for _, fd := range out {
				_ = unix.Close(fd)
			}
			return nil, err
		}
		out = append(out, fd)
	}
	return out, nil
}

// macs gives NICs without an address of their own QEMU's ones, the first that is free.
type macs struct{ taken [256]bool }

func (m *macs) next(in *qdev.Instance) net.HardwareAddr {
	const first = 0x56
	i := byte(first)
	for m.taken[i] && i != first-1 {
		i++
	}
	m.taken[i] = true
	in.Later(func() error { m.taken[i] = false; return nil })
	return net.HardwareAddr{0x52, 0x54, 0x00, 0x12, 0x34, i}
}
