package mem

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// mapping is memory of this process with an inaccessible page behind it, so
// that an overrun faults instead of reaching another mapping.
type mapping struct {
	base unsafe.Pointer
	size uint64
}

// mapAligned maps size bytes of fd, or of nothing, at a multiple of align.
func mapAligned(fd int, size, align uint64, flags int) (mapping, error) {
	// Reserve enough to find an aligned place in, then give back the rest.
	// align is a multiple of every page size, and so are head and tail.
	room := uintptr(size + align + PageSize)
	start, err := unix.MmapPtr(-1, 0, nil, room, unix.PROT_NONE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_NORESERVE)
	if err != nil {
		return mapping{}, err
	}
	head := -uintptr(start) & uintptr(align-1)
	base := unsafe.Add(start, head)
	if _, err := unix.MmapPtr(fd, 0, base, uintptr(size), unix.PROT_READ|unix.PROT_WRITE, flags|unix.MAP_FIXED); err != nil {
		_ = unix.MunmapPtr(start, room)
		return mapping{}, err
	}
	if head > 0 {
		_ = unix.MunmapPtr(start, head)
	}
	end := head + uintptr(size) + PageSize
	if end < room {
		_ = unix.MunmapPtr(unsafe.Add(start, end), room-end)
	}
	return mapping{base, size}, nil
}

// bytes returns the mapping without the page behind it.
func (m mapping) bytes() []byte { return unsafe.Slice((*byte)(m.base), m.size) }

// unmap gives the mapping back.
func (m mapping) unmap() error { return unix.MunmapPtr(m.base, uintptr(m.size+PageSize)) }
