package rxfilter

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// ifreq is struct ifreq with ifr_hwaddr.
type ifreq struct {
	name   [unix.IFNAMSIZ]byte
	family uint16
	addr   MAC
	_      [16]byte
}

// join has a link join a group for user space. It may have done so before.
func join(socket int, link string, m MAC) error { return group(socket, unix.SIOCADDMULTI, link, m) }

// leave takes that back. The link stays in groups that the kernel joined.
func leave(socket int, link string, m MAC) error { return group(socket, unix.SIOCDELMULTI, link, m) }

func group(socket int, request uintptr, link string, m MAC) error {
	r := ifreq{family: unix.AF_UNSPEC, addr: m}
	if copy(r.name[:unix.IFNAMSIZ-1], link) < len(link) {
		return unix.ENAMETOOLONG
	}
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(socket), request, uintptr(unsafe.Pointer(&r))); errno != 0 {
		return errno
	}
	return nil
}
