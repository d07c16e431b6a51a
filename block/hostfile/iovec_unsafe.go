package hostfile

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// piece returns what lies at off in iovecs, up to the end of the buffer there.
func piece(iovs []unix.Iovec, off int64) []byte {
	for _, v := range iovs {
		if uint64(off) < v.Len {
			return unsafe.Slice(v.Base, v.Len)[off:]
		}
		off -= int64(v.Len)
	}
	return nil
}

// moveVector is preadv2 or pwritev2 with iovecs that are already made, so that nothing is
// allocated.
func moveVector(fd int, v []unix.Iovec, off int64, write, sync bool) (int, unix.Errno) {
	call, flags := uintptr(unix.SYS_PREADV2), uintptr(0)
	if write {
		call = unix.SYS_PWRITEV2
		if sync {
			flags = unix.RWF_DSYNC
		}
	}
	n, _, errno := unix.Syscall6(call, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(v))), uintptr(len(v)), uintptr(off), 0, flags)
	return int(n), errno
}

// alignedBuffer returns n bytes at an address that every file takes.
func alignedBuffer(n int) []byte {
	b := make([]byte, n+largestAlign)
	skip := -int(uintptr(unsafe.Pointer(&b[0]))) & (largestAlign - 1)
	return b[skip : skip+n : skip+n]
}

// isAligned tells whether a buffer lies as a file wants it.
func isAligned(v *unix.Iovec, align int64) bool {
	return (uintptr(unsafe.Pointer(v.Base))|uintptr(v.Len))&uintptr(align-1) == 0
}

// suits is isAligned for the place of a buffer.
func suits(b []byte, align int64) bool {
	return uintptr(unsafe.Pointer(unsafe.SliceData(b)))&uintptr(align-1) == 0
}
