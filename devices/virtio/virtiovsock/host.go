package virtiovsock

import "hv/devices/virtio"

// Host returns what the kernel was given, nil while the driver is not active.
func (d *Device) Host() *virtio.HostState {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.active == nil {
		return nil
	}
	s := &virtio.HostState{Features: ringFeatures, Accepted: d.active.Features & ringFeatures, Regions: len(d.active.Mem.Regions())}
	for i := range kernelQueues {
		q := d.active.Queues[i]
		c := q.Config()
		h := virtio.HostQueue{Kick: q.Kick, Call: q.InterruptFD, Num: int(c.Size), Guest: [3]uint64{c.Desc, c.Driver, c.Device}}
		at, err := d.parts(q)
		if err != nil {
			return nil // it was checked when the queue was handed over
		}
		for k, b := range at {
			h.Addr[k], h.Size[k] = address(b), uint32(len(b))
		}
		if base, err := d.vhost.base(i); err == nil {
			h.Base = uint16(base)
		}
		s.Queues = append(s.Queues, h)
	}
	return s
}
