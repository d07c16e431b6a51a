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
		h := d.active.HostQueue(i)
		if base, err := d.vhost.Base(i); err == nil {
			h.Base = uint16(base)
		}
		s.Queues = append(s.Queues, h)
	}
	return s
}
