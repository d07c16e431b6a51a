package tap

import (
	"bytes"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Requests that x/sys/unix lacks (linux/if_tun.h).
const (
	tunSetOffload   = 0x400454d0
	tunSetSndbuf    = 0x400454d4
	tunSetVnetHdrSz = 0x400454d8
)

// iface is struct ifreq with ifr_flags.
type iface struct {
	name  [unix.IFNAMSIZ]byte
	flags uint16
	_     [22]byte
}

// Name returns ifr_name.
func (i *iface) Name() string {
	name, _, _ := bytes.Cut(i.name[:], []byte{0})
	return string(name)
}

func ioctl(fd int, req uintptr, arg unsafe.Pointer) error {
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), req, uintptr(arg)); errno != 0 {
		return errno
	}
	return nil
}

// setIface is TUNSETIFF; it returns the name that the device has.
func setIface(fd int, name string, flags uint16) (string, error) {
	if len(name) >= unix.IFNAMSIZ {
		return "", unix.ENAMETOOLONG
	}
	var i iface
	copy(i.name[:], name)
	i.flags = flags
	err := ioctl(fd, unix.TUNSETIFF, unsafe.Pointer(&i))
	return i.Name(), err
}

// getIface is TUNGETIFF.
func getIface(fd int) (iface, error) {
	var i iface
	err := ioctl(fd, unix.TUNGETIFF, unsafe.Pointer(&i))
	return i, err
}

// setQueue is TUNSETQUEUE.
func setQueue(fd int, flags uint16) error {
	i := iface{flags: flags}
	return ioctl(fd, unix.TUNSETQUEUE, unsafe.Pointer(&i))
}

func setInt(fd int, req uintptr, v int) error {
	n := int32(v)
	return ioctl(fd, req, unsafe.Pointer(&n))
}

func setOffload(fd int, flags uintptr) error {
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), tunSetOffload, flags); errno != 0 {
		return errno
	}
	return nil
}

// NameOf returns the name of the device that a descriptor of a tap or macvtap is of.
func NameOf(fd int) (string, error) {
	i, err := getIface(fd)
	return i.Name(), err
}

// SetFlags has a macvtap's descriptor carry packets with a virtio-net header, of one queue or
// of several.
func SetFlags(fd int, multi bool) error {
	i := iface{flags: unix.IFF_TAP | unix.IFF_NO_PI | unix.IFF_VNET_HDR}
	if multi {
		i.flags |= unix.IFF_MULTI_QUEUE
	}
	return ioctl(fd, unix.TUNSETIFF, unsafe.Pointer(&i))
}
