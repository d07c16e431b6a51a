package vm

import (
	"context"
	"errors"
	"fmt"
	"time"

	"hv/hypervisor/mem"
	"hv/net/netdev"
	"hv/qmp/chardev"
)

// netPatience is how long netdev_add waits for a back end that somebody else has to connect.
const netPatience = 5 * time.Second

// netSockets gives a back end the connections of a chardev.
func (v *VM) netSockets(id, user string) (netdev.Sockets, error) {
	seat, err := v.chardevs.Claim(id, user)
	if err != nil {
		return nil, err
	}
	s := seat.Socket()
	switch {
	case s == nil:
		return nil, errors.Join(fmt.Errorf("chardev \"%s\" is not reconnectable", id), seat.Close())
	case !s.PassesDescriptors():
		return nil, errors.Join(fmt.Errorf("chardev \"%s\" does not support FD passing", id), seat.Close())
	}
	seat.Pin()
	seat.SetOpen(true)
	return netSockets{s, seat}, nil
}

// netSockets is a chardev in a back end's use.
type netSockets struct {
	*chardev.Socket
	seat *chardev.Seat
}

// Close gives the chardev back.
func (s netSockets) Close() error { return errors.Join(s.Stop(), s.seat.Close()) }

// soon returns the context of netdev_add.
func soon() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), netPatience)
}

// watched is a back end that comes and goes while there is a NIC for it.
type watched interface {
	// Watch has changed called from now on, and returns whether it is there.
	Watch(changed func(up bool)) bool
}

// watch has the link of a back end's NIC follow it, as set_link would.
func (v *VM) watch(b *netback) {
	w, ok := b.Backend.(watched)
	if !ok {
		return
	}
	b.down = !w.Watch(func(up bool) {
		v.control.Post(func() {
			if v.net.back(b.id) != b {
				return
			}
			b.down = !up
			v.opt.Log.WithField("netdev", b.id).WithField("connected", up).Info("the network back end came or went")
			if b.nic != nil {
				b.nic.dev.SetLink(up)
			}
		})
	})
}

// sharer is a back end to which guest memory is handed over.
type sharer interface {
	// SharesMemory returns what is to be said where that cannot be.
	SharesMemory() error
}

// shareable returns an error if a back end cannot have all of guest memory.
func (v *VM) shareable(b *netback) error {
	s, ok := b.Backend.(sharer)
	if !ok {
		return nil
	}
	regions := v.hw.mem.Regions()
	if len(regions) > sharedRegions {
		return errNoSlots
	}
	for _, r := range regions {
		if r.FD < 0 {
			return s.SharesMemory()
		}
	}
	return nil
}

// sharedRegions is how many pieces of memory a back end takes that it is handed over to.
const sharedRegions = 8

// growable returns an error if a back end in use cannot have more memory, that of backend.
func (n *network) growable(m *mem.Memory, backend *mem.Backend) error {
	for _, nic := range n.nics {
		if nic.back == nil {
			continue
		}
		s, ok := nic.back.Backend.(sharer)
		switch {
		case !ok:
		case backend.SharedFD() < 0:
			return s.SharesMemory()
		case len(m.Regions()) >= sharedRegions:
			return errNoSlots
		}
	}
	return nil
}

var errNoSlots = errors.New("a used vhost backend has no free memory slots left")

// EngineRefused is told of links whose packets nobody else would move.
func (n *nic) EngineRefused(err error) {
	n.v.opt.Log.WithError(err).WithField("device", n.name).WithField("netdev", n.netdev).Warn("network link")
}
