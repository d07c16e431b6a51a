package virtiovsock

import (
	"unsafe"

	"golang.org/x/sys/unix"

	"hv/hypervisor/mem"
)

// Requests of linux/vhost.h.
const (
	vhostSetFeatures = 0x4008af00
	vhostSetOwner    = 0x0000af01
	vhostSetMemTable = 0x4008af03
	vhostSetNum      = 0x4008af10
	vhostSetAddr     = 0x4028af11
	vhostSetBase     = 0x4008af12
	vhostGetBase     = 0xc008af12
	vhostSetKick     = 0x4008af20
	vhostSetCall     = 0x4008af21
	vsockSetCID      = 0x4008af60
	vsockSetRunning  = 0x4004af61
)

// vringState is struct vhost_vring_state.
type vringState struct{ index, num uint32 }

// vringFile is struct vhost_vring_file.
type vringFile struct {
	index uint32
	fd    int32
}

// vringAddr is struct vhost_vring_addr.
type vringAddr struct {
	index, flags            uint32
	desc, used, avail, logs uint64
}

// memRegion is struct vhost_memory_region.
type memRegion struct{ guest, size, user, flags uint64 }

// memTable is struct vhost_memory with room for as many regions as the kernel takes.
type memTable struct {
	count, padding uint32
	regions        [64]memRegion
}

// vhost is an open vhost device.
type vhost struct{ fd int }

func (v *vhost) ioctl(req uintptr, arg unsafe.Pointer) error {
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(v.fd), req, uintptr(arg)); errno != 0 {
		return errno
	}
	return nil
}

func (v *vhost) setOwner() error            { return v.ioctl(vhostSetOwner, nil) }
func (v *vhost) setCID(cid uint64) error    { return v.ioctl(vsockSetCID, unsafe.Pointer(&cid)) }
func (v *vhost) setFeatures(f uint64) error { return v.ioctl(vhostSetFeatures, unsafe.Pointer(&f)) }

func (v *vhost) setRunning(on bool) error {
	n := int32(0)
	if on {
		n = 1
	}
	return v.ioctl(vsockSetRunning, unsafe.Pointer(&n))
}

func (v *vhost) setMemory(regions []mem.Region) error {
	var t memTable
	if len(regions) > len(t.regions) {
		return unix.E2BIG
	}
	for i, r := range regions {
		t.regions[i] = memRegion{guest: r.Base, size: uint64(len(r.Data)), user: address(r.Data)}
	}
	t.count = uint32(len(regions))
	return v.ioctl(vhostSetMemTable, unsafe.Pointer(&t))
}

func address(b []byte) uint64 { return uint64(uintptr(unsafe.Pointer(unsafe.SliceData(b)))) }

func (v *vhost) setSize(i int, n uint32) error {
	s := vringState{uint32(i), n}
	return v.ioctl(vhostSetNum, unsafe.Pointer(&s))
}

func (v *vhost) setBase(i int, n uint32) error {
	s := vringState{uint32(i), n}
	return v.ioctl(vhostSetBase, unsafe.Pointer(&s))
}

func (v *vhost) base(i int) (uint32, error) {
	s := vringState{index: uint32(i)}
	err := v.ioctl(vhostGetBase, unsafe.Pointer(&s))
	return s.num, err
}

func (v *vhost) setRings(i int, desc, avail, used []byte) error {
	a := vringAddr{index: uint32(i), desc: address(desc), avail: address(avail), used: address(used)}
	return v.ioctl(vhostSetAddr, unsafe.Pointer(&a))
}

func (v *vhost) setKick(i, fd int) error {
	f := vringFile{uint32(i), int32(fd)}
	return v.ioctl(vhostSetKick, unsafe.Pointer(&f))
}

func (v *vhost) setCall(i, fd int) error {
	f := vringFile{uint32(i), int32(fd)}
	return v.ioctl(vhostSetCall, unsafe.Pointer(&f))
}
