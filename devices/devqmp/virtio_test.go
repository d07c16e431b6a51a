package devqmp

import (
	"encoding/binary"
	"errors"
	"strings"
	"testing"

	"hv/devices/virtio"
	"hv/devices/virtio/queue"
	"hv/devices/virtio/vpci"
	"hv/hypervisor/mem"
)

// A split queue of four descriptors.
const (
	descAt  = 0x1000
	availAt = 0x2000
	usedAt  = 0x3000
	tableAt = 0x4000
)

type ram struct {
	*mem.Memory
	b []byte
}

func newRAM(t *testing.T) ram {
	t.Helper()
	b := make([]byte, 64<<10)
	m, err := mem.New(mem.Region{Data: b})
	if err != nil {
		t.Fatal(err)
	}
	return ram{m, b}
}

// desc writes a descriptor of a table.
func (r ram) desc(table, i int, addr uint64, size uint32, flags, next uint16) {
	d := r.b[table+descSize*i:]
	binary.LittleEndian.PutUint64(d, addr)
	binary.LittleEndian.PutUint32(d[8:], size)
	binary.LittleEndian.PutUint16(d[12:], flags)
	binary.LittleEndian.PutUint16(d[14:], next)
}

func (r ram) avail(flags, idx uint16, ring ...uint16) {
	for i, v := range append([]uint16{flags, idx}, ring...) {
		binary.LittleEndian.PutUint16(r.b[availAt+2*i:], v)
	}
}

func device(s vpci.State) *VirtioDevice {
	return &VirtioDevice{Path: "/d/virtio-backend", Type: virtio.IDBlock, Inspect: func() vpci.State { return s }}
}

func active() vpci.State {
	return vpci.State{
		Status: 0xf, Active: true, Accepted: 1<<32 | 1<<9, Offered: 1<<32 | 1<<9 | 1<<50, QueueSel: 1, ISR: 1,
		Queues: []vpci.QueueState{{
			Config: queue.Config{Size: 4, Desc: descAt, Driver: availAt, Device: usedAt}, Largest: 256,
			At: &queue.Positions{Avail: 9, Offered: 10, Used: 7, Published: 6, Taken: 2},
		}, {Config: queue.Config{Index: 1}, Largest: 64}},
	}
}

func TestVirtioStatus(t *testing.T) {
	s := device(active()).status(true)
	if s.Name != "virtio-blk" || s.DeviceId != 2 || s.NumVqs != 2 || !s.VmRunning || !s.Started || s.Broken || s.VhostDev != nil || s.VhostStarted {
		t.Errorf("%+v", s)
	}
	if u := s.HostFeatures.UnknownDevFeatures; u == nil || *u != 1<<50 || s.GuestFeatures.UnknownDevFeatures != nil {
		t.Errorf("unknown features: %+v", s.HostFeatures)
	}
	if f := s.GuestFeatures; len(f.Transports) != 1 || !strings.HasPrefix(f.Transports[0], "VIRTIO_F_VERSION_1:") ||
		len(f.DevFeatures) != 1 || !strings.HasPrefix(f.DevFeatures[0], "VIRTIO_BLK_F_FLUSH:") {
		t.Errorf("%+v", f)
	}
	if len(s.Status.Statuses) != 4 || s.Status.UnknownStatuses != nil {
		t.Errorf("%+v", s.Status)
	}
	broken := active()
	broken.Status, broken.Broken = 0x30|0x40, errors.New("guest's mistake")
	if s := device(broken).status(false); !s.Broken || s.VmRunning || *s.Status.UnknownStatuses != 0x30 || len(s.Status.Statuses) != 1 {
		t.Errorf("%+v", s)
	}
}

// TestFeatureNames checks that no bit has two names.
func TestFeatureNames(t *testing.T) {
	for _, list := range append([][]bit{statusBits}, deviceBits[virtio.IDNet], deviceBits[virtio.IDBlock]) {
		seen := map[uint]bool{}
		for _, b := range append(list, ringBits...) {
			if seen[b.n] && &list[0] != &statusBits[0] {
				t.Errorf("bit %d twice: %s", b.n, b.name)
			}
			seen[b.n] = true
		}
	}
}

func TestVirtioQueueStatus(t *testing.T) {
	d := device(active())
	got, err := d.queueStatus(0)
	const want = `{"signalled-used": 6, "inuse": 2, "name": "virtio-blk", "vring-align": 4096, "vring-desc": 4096, "signalled-used-valid": true, ` +
		`"vring-num-default": 256, "vring-avail": 8192, "queue-index": 0, "last-avail-idx": 9, "vring-used": 12288, "used-idx": 7, ` +
		`"shadow-avail-idx": 10, "vring-num": 4}`
	if err != nil || encoded(&got) != want {
		t.Errorf("%s, %v", encoded(&got), err)
	}
	for _, i := range []uint16{1, 2, 65535} {
		if _, err := d.queueStatus(i); err == nil || !strings.HasPrefix(err.Error(), "Invalid virtqueue number") {
			t.Errorf("queue %d: %v", i, err)
		}
	}
}

// TestVhost checks what is told of a device that the kernel serves.
func TestVhost(t *testing.T) {
	s := active()
	s.Host = &virtio.HostState{Features: 1 << 32, Accepted: 1 << 32, Regions: 2, Queues: []virtio.HostQueue{{
		Kick: 5, Call: 6, Num: 4, Addr: [3]uint64{1, 2, 3}, Guest: [3]uint64{descAt, availAt, usedAt}, Size: [3]uint32{64, 14, 38}, Base: 3,
	}}}
	d := device(s)
	if got := d.status(true); !got.VhostStarted || got.VhostDev.Nvqs != 1 || got.VhostDev.NMemSections != 2 {
		t.Errorf("%+v", got.VhostDev)
	}
	if q, err := d.queueStatus(0); err != nil || *q.LastAvailIdx != 3 || q.ShadowAvailIdx != nil {
		t.Errorf("%+v, %v", q, err)
	}
	q, err := d.hostQueueStatus(0)
	const want = `{"avail-phys": 8192, "name": "virtio-blk", "used-phys": 12288, "avail-size": 14, "desc-size": 64, "used-size": 38, "desc": 1, ` +
		`"num": 4, "call": 6, "avail": 2, "desc-phys": 4096, "used": 3, "kick": 5}`
	if err != nil || encoded(&q) != want {
		t.Errorf("%s, %v", encoded(&q), err)
	}
	if _, err := d.hostQueueStatus(1); err == nil {
		t.Error("a second queue")
	}
	if _, err := device(active()).hostQueueStatus(0); err == nil {
		t.Error("a queue of a device that the kernel does not serve")
	}
}

func index(i uint16) *uint16 { return &i }

func TestQueueElement(t *testing.T) {
	r := newRAM(t)
	r.avail(1, 10, 3, 2)
	r.desc(descAt, 2, 0x5000, 16, descNext, 0)
	r.desc(descAt, 0, 0x6000, 512, descWrite, 7)
	r.desc(descAt, 3, tableAt, 2*descSize, descIndirect, 0)
	r.desc(tableAt, 0, 0x7000, 8, descNext, 1)
	r.desc(tableAt, 1, 0x8000, 9, descWrite, 0)
	binary.LittleEndian.PutUint16(r.b[usedAt+2:], 7)
	d := device(active())
	got, err := d.element(r.Memory, 0, nil) // index 9 of 4 is 1
	const want = `{"index": 2, "name": "virtio-blk", "descs": [{"flags": ["write"], "len": 512, "addr": 24576}, ` +
		`{"flags": ["next"], "len": 16, "addr": 20480}], "avail": {"idx": 10, "flags": 1, "ring": 2}, "used": {"idx": 7, "flags": 0}}`
	if err != nil || encoded(&got) != want {
		t.Errorf("%s, %v", encoded(&got), err)
	}
	got, err = d.element(r.Memory, 0, index(8))
	if err != nil || got.Index != 3 || len(got.Descs) != 2 || got.Descs[0].Addr != 0x8000 || got.Descs[1].Addr != 0x7000 {
		t.Errorf("indirect: %+v, %v", got, err)
	}
}

// TestBadElements has a guest that lies.
func TestBadElements(t *testing.T) {
	r := newRAM(t)
	r.avail(0, 1, 0, 1, 2, 9)
	r.desc(descAt, 0, 0x5000, 1, descNext, 0)             // goes round
	r.desc(descAt, 1, 1<<40, 4*descSize, descIndirect, 0) // not RAM
	r.desc(descAt, 2, tableAt, 1<<15, descIndirect, 0)    // goes round in a table
	r.desc(tableAt, 0, tableAt, 1<<15, descIndirect|descNext, 0)
	d := device(active())
	if e, err := d.element(r.Memory, 0, index(0)); err != nil || len(e.Descs) != 4 {
		t.Errorf("a loop: %d descriptors, %v", len(e.Descs), err)
	}
	if e, err := d.element(r.Memory, 0, index(2)); err != nil || len(e.Descs) > 1<<11 {
		t.Errorf("a loop in a table: %d descriptors, %v", len(e.Descs), err)
	}
	for _, i := range []uint16{1, 3} {
		if e, err := d.element(r.Memory, 0, index(i)); err == nil {
			t.Errorf("element %d: %+v", i, e)
		}
	}
	packed := active()
	packed.Accepted |= virtio.FeatureRingPacked
	idle := active()
	idle.Queues[0].At = nil
	for _, s := range []vpci.State{packed, idle} {
		if _, err := device(s).element(r.Memory, 0, nil); err == nil {
			t.Errorf("%+v has elements", s)
		}
	}
}

// source is a VM with devices.
type source struct {
	devices []VirtioDevice
	ram     *mem.Memory
}

func (s source) VirtioDevices() []VirtioDevice { return s.devices }
func (s source) RAM() *mem.Memory              { return s.ram }
func (s source) Running() bool                 { return true }

func TestFindVirtio(t *testing.T) {
	s := source{devices: []VirtioDevice{{Path: "/a"}, {Path: "/b", Type: virtio.IDVsock}}}
	d, err := findVirtio(s, "/b")
	if err != nil || d.name() != "vhost-vsock" {
		t.Errorf("%+v, %v", d, err)
	}
	if _, err := findVirtio(s, "/c"); err == nil || err.Error() != "Path /c is not a VirtIODevice" {
		t.Errorf("%v", err)
	}
}
