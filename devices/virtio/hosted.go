package virtio

import "hv/devices/virtio/vhost"

// Hosted is a Device whose queues the host's kernel may serve.
type Hosted interface {
	// Host returns what the kernel was given, nil while it serves nothing.
	Host() *HostState
}

// HostState is what the kernel was given of a device.
type HostState struct {
	Features, Accepted uint64
	Regions            int // pieces of guest memory
	Queues             []HostQueue
}

// HostQueue is a queue that the kernel serves. Its parts are in the order of descriptor,
// driver and device area.
type HostQueue struct {
	Kick, Call int // event descriptors
	Num        int
	Addr       [3]uint64 // in this process
	Guest      [3]uint64 // guest-physical
	Size       [3]uint32
	// Base is the index of the chain that the kernel takes next.
	Base uint16
}

// Limiter is a Device that does not work with everything that its transport and itself
// could offer, because somebody else serves its rings.
type Limiter interface {
	// Limit returns those of the features that can be offered now.
	Limit(features uint64) uint64
}

// Rewired is a Device that hands descriptors of interrupts to somebody else.
type Rewired interface {
	// Rewire says that the InterruptFD of queue i is fd from now on.
	Rewire(i, fd int)
}

// Shared returns guest memory as it is handed over to who serves rings. It may grow while
// the device stands still.
func (r *Resources) Shared() []vhost.Region {
	var all []vhost.Region
	for _, m := range r.Mem.Regions() {
		all = append(all, vhost.Region{
			Guest: m.Base, Size: uint64(len(m.Data)), User: vhost.Address(m.Data), FD: m.FD, Offset: uint64(m.Offset),
		})
	}
	return all
}

// parts returns where the queue's descriptor, driver and device area are.
func (r *Resources) parts(q *Queue) (at [3][]byte, err error) {
	c := q.Config()
	n := uint64(c.Size)
	sizes := [3]uint64{16 * n, 6 + 2*n, 6 + 8*n}
	if c.Packed {
		sizes = [3]uint64{16 * n, 4, 4}
	}
	for k, addr := range [3]uint64{c.Desc, c.Driver, c.Device} {
		if at[k], err = r.Mem.Slice(addr, sizes[k]); err != nil {
			return at, err
		}
	}
	return at, nil
}

// Ring returns queue i as it is handed over, from a position on.
func (r *Resources) Ring(i int, base uint32) (vhost.Ring, error) {
	q := r.Queues[i]
	at, err := r.parts(q)
	if err != nil {
		return vhost.Ring{}, err
	}
	return vhost.Ring{
		Size: q.Config().Size, Desc: vhost.Address(at[0]), Driver: vhost.Address(at[1]), Device: vhost.Address(at[2]),
		Base: base, Kick: q.Kick, Call: q.InterruptFD,
	}, nil
}

// HostQueue describes queue i for who inspects the device.
func (r *Resources) HostQueue(i int) HostQueue {
	q := r.Queues[i]
	c := q.Config()
	h := HostQueue{Kick: q.Kick, Call: q.InterruptFD, Num: int(c.Size), Guest: [3]uint64{c.Desc, c.Driver, c.Device}}
	if at, err := r.parts(q); err == nil {
		for k, b := range at {
			h.Addr[k], h.Size[k] = vhost.Address(b), uint32(len(b))
		}
	}
	return h
}
