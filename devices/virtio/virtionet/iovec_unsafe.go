package virtionet

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// readv and writev take iovecs that are already made, so that nothing is allocated. Their descriptors do
// not block, so the runtime is not told of the calls.
func readv(fd int, v []unix.Iovec) (int, unix.Errno) {
	n, _, errno := unix.RawSyscall(unix.SYS_READV, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(v))), uintptr(len(v)))
	return int(n), errno
}

func writev(fd int, v []unix.Iovec) unix.Errno {
	_, _, errno := unix.RawSyscall(unix.SYS_WRITEV, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(v))), uintptr(len(v)))
	return errno
}
