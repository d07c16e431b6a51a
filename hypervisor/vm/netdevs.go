package vm

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"

	"hv/devices/qdev"
	"hv/hypervisor/config"
	"hv/net/netdev"
	"hv/qmp/events"
	"hv/qmp/qapi"
)

// netback is a network back end of the host, and the NIC that has it.
type netback struct {
	netdev.Backend
	id   string
	kind qapi.NetClientDriver
	nic  *nic // nil for none
	down bool // set_link has disconnected it
	// dumps are what its packets are shown to.
	dumps packetDumps
}

// network is a VM's back ends and NICs, each in the order in which they came. It belongs
// to the control goroutine.
type network struct {
	backs     []*netback
	nics      []*nic
	macs      macs
	announces map[string]*announcement
}

// back returns the back end with an id, nil for none.
func (n *network) back(id string) *netback {
	i := slices.IndexFunc(n.backs, func(b *netback) bool { return b.id == id })
	if i < 0 {
		return nil
	}
	return n.backs[i]
}

// close closes what there is.
func (n *network) close() error {
	var errs []error
	for _, a := range n.announces {
		a.stop()
	}
	for _, b := range n.backs {
		errs = append(errs, b.Close())
	}
	n.backs = nil
	return errors.Join(errs...)
}

// netHost is what a back end needs of the VM.
func (v *VM) netHost(b *netback) netdev.Host {
	return netdev.Host{
		Descriptor: v.fds.Param, Log: v.opt.Log, Sockets: v.netSockets,
		Connected: func(id string, a *qapi.SocketAddress) {
			events.Emit(v.events, qapi.EventNetdevStreamConnected, qapi.NetdevStreamConnectedEvent{NetdevId: id, Addr: *a})
		},
		Disconnected: func(id string) {
			events.Emit(v.events, qapi.EventNetdevStreamDisconnected, qapi.NetdevStreamDisconnectedEvent{NetdevId: id})
		},
		Lost: func(_ string, err error) {
			v.control.Post(func() {
				if slices.Contains(v.net.backs, b) && b.nic != nil {
					b.nic.lost(err)
				}
			})
		},
	}
}

// openNetdevs opens the back ends of the command line.
func (v *VM) openNetdevs(ctx context.Context) error {
	for _, n := range v.cfg.Netdevs {
		if err := v.openNetdev(ctx, n); err != nil {
			return fmt.Errorf("-netdev %s,id=%s: %w", n.Type, n.Id, err)
		}
	}
	for _, o := range v.cfg.Objects {
		if o.Dump != nil {
			if err := v.addObject(o); err != nil {
				return fmt.Errorf("-object filter-dump,id=%s: %w", o.ID, err)
			}
		}
	}
	return nil
}

// AddNetdev makes a back end. Control goroutine only.
func (v *VM) AddNetdev(n qapi.Netdev) error {
	if err := config.CheckNetdevID(n.Id); err != nil {
		return err
	}
	ctx, cancel := soon()
	defer cancel()
	return v.openNetdev(ctx, &n)
}

// openNetdev makes a back end, and gives it to a NIC that has lost one of its id.
func (v *VM) openNetdev(ctx context.Context, n *qapi.Netdev) error {
	if v.net.back(n.Id) != nil {
		return fmt.Errorf("Duplicate ID '%s'", n.Id)
	}
	b := &netback{id: n.Id, kind: n.Type}
	link, err := netdev.Open(ctx, n, v.netHost(b))
	if err != nil {
		return err
	}
	b.Backend = link
	v.watch(b)
	for _, nic := range v.net.nics {
		if nic.netdev != n.Id || nic.back != nil {
			continue
		}
		if err := nic.attach(b); err != nil {
			return errors.Join(fmt.Errorf("NIC %s: %w", nic.name, err), link.Close())
		}
	}
	v.net.backs = append(v.net.backs, b)
	return nil
}

// RemoveNetdev takes a back end away. A NIC that has it sees its link go down. Control
// goroutine only.
func (v *VM) RemoveNetdev(id string) error {
	b := v.net.back(id)
	if b == nil {
		return qapi.Errorf(qapi.QapiErrorClassDeviceNotFound, "Device '%s' not found", id)
	}
	var err error
	for _, d := range slices.Clone(b.dumps) {
		err = errors.Join(err, v.removeObject(d.id))
	}
	if b.nic != nil {
		err = errors.Join(err, b.nic.detach())
	}
	v.net.backs = without(v.net.backs, b)
	return errors.Join(err, b.Close())
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
