package devqmp

import (
	"context"
	"fmt"
	"slices"

	"hv/devices/virtio"
	"hv/devices/virtio/vpci"
	"hv/hypervisor/mem"
	"hv/qmp/dispatch"
	"hv/qmp/qapi"
)

// VirtioDevice is a virtio device with its QOM path.
type VirtioDevice struct {
	Path string
	Type virtio.DeviceID
	// Inspect returns the state of the device's transport.
	Inspect func() vpci.State
}

// VirtioSource is a VM with virtio devices.
type VirtioSource interface {
	VirtioDevices() []VirtioDevice
	// RAM is where their rings are.
	RAM() *mem.Memory
	Running() bool
}

// RegisterVirtio adds the commands about the state of virtio devices.
func RegisterVirtio(t *dispatch.Table, vm VirtioSource) {
	dispatch.Register(t, qapi.CmdXQueryVirtio, func(context.Context, qapi.Empty) (qapi.VirtioInfoList, error) {
		out := qapi.VirtioInfoList{}
		for _, d := range vm.VirtioDevices() {
			out = append(out, qapi.VirtioInfo{Path: d.Path, Name: d.name()})
		}
		slices.Reverse(out) // QEMU lists the newest first
		return out, nil
	})
	dispatch.Register(t, qapi.CmdXQueryVirtioStatus, func(_ context.Context, a qapi.VirtioPathArgs) (qapi.VirtioStatus, error) {
		d, err := findVirtio(vm, a.Path)
		if err != nil {
			return qapi.VirtioStatus{}, err
		}
		return d.status(vm.Running()), nil
	})
	dispatch.Register(t, qapi.CmdXQueryVirtioQueueStatus, func(_ context.Context, a qapi.VirtioQueueArgs) (qapi.VirtQueueStatus, error) {
		d, err := findVirtio(vm, a.Path)
		if err != nil {
			return qapi.VirtQueueStatus{}, err
		}
		return d.queueStatus(a.Queue)
	})
	dispatch.Register(t, qapi.CmdXQueryVirtioVhostQueueStatus, func(_ context.Context, a qapi.VirtioQueueArgs) (qapi.VirtVhostQueueStatus, error) {
		d, err := findVirtio(vm, a.Path)
		if err != nil {
			return qapi.VirtVhostQueueStatus{}, err
		}
		return d.hostQueueStatus(a.Queue)
	})
	dispatch.Register(t, qapi.CmdXQueryVirtioQueueElement, func(_ context.Context, a qapi.VirtioQueueElementArgs) (qapi.VirtioQueueElement, error) {
		d, err := findVirtio(vm, a.Path)
		if err != nil {
			return qapi.VirtioQueueElement{}, err
		}
		return d.element(vm.RAM(), a.Queue, a.Index)
	})
}

func findVirtio(vm VirtioSource, path string) (*VirtioDevice, error) {
	for _, d := range vm.VirtioDevices() {
		if d.Path == path {
			return &d, nil
		}
	}
	return nil, fmt.Errorf("Path %s is not a VirtIODevice", path)
}

// name returns QEMU's name of the kind of device.
func (d *VirtioDevice) name() string {
	switch d.Type {
	case virtio.IDNet:
		return "virtio-net"
	case virtio.IDBlock:
		return "virtio-blk"
	case virtio.IDConsole:
		return "virtio-serial"
	case virtio.IDRNG:
		return "virtio-rng"
	case virtio.IDBalloon:
		return "virtio-balloon"
	case virtio.IDMem:
		return "virtio-mem"
	case virtio.IDSCSI:
		return "virtio-scsi"
	case virtio.IDVsock:
		return "vhost-vsock"
	}
	return fmt.Sprintf("virtio-%d", d.Type)
}

func (d *VirtioDevice) status(running bool) qapi.VirtioStatus {
	s := d.Inspect()
	return qapi.VirtioStatus{
		Name: d.name(), DeviceId: uint16(d.Type), VhostStarted: s.Host != nil, DeviceEndian: "little",
		GuestFeatures: features(d.Type, s.Accepted), HostFeatures: features(d.Type, s.Offered), BackendFeatures: features(d.Type, 0),
		NumVqs: int64(len(s.Queues)), Status: deviceStatus(s.Status), Isr: s.ISR, QueueSel: s.QueueSel, VmRunning: running,
		Broken: s.Broken != nil, UseStarted: true, Started: s.Active, UseGuestNotifierMask: true, VhostDev: d.host(s.Host),
	}
}

func (d *VirtioDevice) host(h *virtio.HostState) *qapi.VhostStatus {
	if h == nil {
		return nil
	}
	return &qapi.VhostStatus{
		NMemSections: int64(h.Regions), NTmpSections: int64(h.Regions), Nvqs: uint32(len(h.Queues)),
		Features: features(d.Type, h.Features), AckedFeatures: features(d.Type, h.Accepted), BackendFeatures: features(d.Type, 0),
		ProtocolFeatures: qapi.VhostDeviceProtocols{Protocols: qapi.StrList{}},
	}
}

// queue returns a queue that there is, and the state of its device.
func (d *VirtioDevice) queue(i uint16) (*vpci.State, *vpci.QueueState, error) {
	s := d.Inspect()
	if int(i) >= len(s.Queues) || s.Queues[i].Config.Size == 0 {
		return nil, nil, fmt.Errorf("Invalid virtqueue number %d", i)
	}
	return &s, &s.Queues[i], nil
}

// ringAlign is what QEMU says of rings, whose parts are where the driver puts them.
const ringAlign = 4096

func (d *VirtioDevice) queueStatus(i uint16) (qapi.VirtQueueStatus, error) {
	s, q, err := d.queue(i)
	if err != nil {
		return qapi.VirtQueueStatus{}, err
	}
	c := q.Config
	out := qapi.VirtQueueStatus{
		Name: d.name(), QueueIndex: i, VringNum: uint32(c.Size), VringNumDefault: uint32(q.Largest), VringAlign: ringAlign,
		VringDesc: c.Desc, VringAvail: c.Driver, VringUsed: c.Device,
	}
	if s.Host != nil && int(i) < len(s.Host.Queues) {
		out.LastAvailIdx = &s.Host.Queues[i].Base
		return out, nil
	}
	out.LastAvailIdx, out.ShadowAvailIdx = new(uint16), new(uint16)
	if q.At != nil {
		*out.LastAvailIdx, *out.ShadowAvailIdx = q.At.Avail, q.At.Offered
		out.Inuse, out.UsedIdx, out.SignalledUsed, out.SignalledUsedValid = uint32(q.At.Taken), q.At.Used, q.At.Published, true
	}
	return out, nil
}

func (d *VirtioDevice) hostQueueStatus(i uint16) (qapi.VirtVhostQueueStatus, error) {
	h := d.Inspect().Host
	if h == nil {
		return qapi.VirtVhostQueueStatus{}, fmt.Errorf("Error: vhost device has not started yet")
	}
	if int(i) >= len(h.Queues) {
		return qapi.VirtVhostQueueStatus{}, fmt.Errorf("Invalid vhost virtqueue number %d", i)
	}
	q := h.Queues[i]
	return qapi.VirtVhostQueueStatus{
		Name: d.name(), Kick: int64(q.Kick), Call: int64(q.Call), Num: int64(q.Num),
		Desc: q.Addr[0], Avail: q.Addr[1], Used: q.Addr[2],
		DescPhys: q.Guest[0], AvailPhys: q.Guest[1], UsedPhys: q.Guest[2], DescSize: q.Size[0], AvailSize: q.Size[1], UsedSize: q.Size[2],
	}, nil
}
