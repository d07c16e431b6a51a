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
