package vhost

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// Requests of linux/vhost.h.
const (
	getFeatures     = 0x8008af00
	setFeatures     = 0x4008af00
	setOwner        = 0x0000af01
	setMemTable     = 0x4008af03
	setNum          = 0x4008af10
	setAddr         = 0x4028af11
	setBase         = 0x4008af12
	getBase         = 0xc008af12
	setKick         = 0x4008af20
	setCall         = 0x4008af21
	setBusyLoop     = 0x4008af23
	netSetBackend   = 0x4008af30
	vsockSetCID     = 0x4008af60
	vsockSetRunning = 0x4004af61
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

// memTable is struct vhost_memory with room for as many regions as the kernel takes
// unless it is told otherwise.
type memTable struct {
	count, padding uint32
	regions        [64]memRegion
}

func (k *Kernel) ioctl(req uintptr, arg unsafe.Pointer) error {
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(k.fd), req, uintptr(arg)); errno != 0 {
		return errno
	}
	return nil
}

func (k *Kernel) setOwner() error { return k.ioctl(setOwner, nil) }

// Features returns what the device can do.
func (k *Kernel) Features() (f uint64, err error) {
	err = k.ioctl(getFeatures, unsafe.Pointer(&f))
	return f, err
}

// SetFeatures says what the driver accepted of that.
func (k *Kernel) SetFeatures(f uint64) error { return k.ioctl(setFeatures, unsafe.Pointer(&f)) }

// SetMemory says where guest memory is.
func (k *Kernel) SetMemory(regions []Region) error {
	var t memTable
	if len(regions) > len(t.regions) {
		return ErrTooMuchMemory
	}
	for i, r := range regions {
		t.regions[i] = memRegion{guest: r.Guest, size: r.Size, user: r.User}
	}
	t.count = uint32(len(regions))
	return k.ioctl(setMemTable, unsafe.Pointer(&t))
}

func (k *Kernel) setSize(i int, n uint32) error {
	s := vringState{uint32(i), n}
	return k.ioctl(setNum, unsafe.Pointer(&s))
}

func (k *Kernel) setBase(i int, n uint32) error {
	s := vringState{uint32(i), n}
	return k.ioctl(setBase, unsafe.Pointer(&s))
}

// Base returns how far ring i was served.
func (k *Kernel) Base(i int) (uint32, error) {
	s := vringState{index: uint32(i)}
	err := k.ioctl(getBase, unsafe.Pointer(&s))
	return s.num, err
}

func (k *Kernel) setAddresses(i int, desc, used, avail uint64) error {
	a := vringAddr{index: uint32(i), desc: desc, used: used, avail: avail}
	return k.ioctl(setAddr, unsafe.Pointer(&a))
}

func (k *Kernel) setFile(req uintptr, i, fd int) error {
	f := vringFile{uint32(i), int32(fd)}
	return k.ioctl(req, unsafe.Pointer(&f))
}

// SetKick exchanges the descriptor that tells of work.
func (k *Kernel) SetKick(i, fd int) error { return k.setFile(setKick, i, fd) }

// SetCall exchanges the descriptor for interrupts.
func (k *Kernel) SetCall(i, fd int) error { return k.setFile(setCall, i, fd) }

// SetBusyLoop has the kernel look for work on ring i for some microseconds before it sleeps.
func (k *Kernel) SetBusyLoop(i int, us uint32) error {
	s := vringState{uint32(i), us}
	return k.ioctl(setBusyLoop, unsafe.Pointer(&s))
}

// SetNetBackend has ring i of a vhost-net device served with the packets of a tap's
// descriptor, or with -1 no more.
func (k *Kernel) SetNetBackend(i, fd int) error { return k.setFile(netSetBackend, i, fd) }

// SetCID gives a vhost-vsock device the guest's context identifier.
func (k *Kernel) SetCID(cid uint64) error { return k.ioctl(vsockSetCID, unsafe.Pointer(&cid)) }

// SetVsockRunning has a vhost-vsock device serve its rings, or not.
func (k *Kernel) SetVsockRunning(on bool) error {
	n := int32(0)
	if on {
		n = 1
	}
	return k.ioctl(vsockSetRunning, unsafe.Pointer(&n))
}

// Address returns where b is in this process.
func Address(b []byte) uint64 { return uint64(uintptr(unsafe.Pointer(unsafe.SliceData(b)))) }
