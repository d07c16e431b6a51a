package mem

import (
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// aligned reports whether b starts at a multiple of n.
func aligned(b []byte, n uintptr) bool { return uintptr(unsafe.Pointer(&b[0]))%n == 0 }

// resident returns how many pages of b are in memory.
func resident(b []byte) int {
	vec := make([]byte, len(b)/PageSize)
	if _, _, errno := unix.Syscall(unix.SYS_MINCORE, uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)), uintptr(unsafe.Pointer(&vec[0]))); errno != 0 {
		return -1
	}
	n := 0
	for _, v := range vec {
		n += int(v & 1)
	}
	return n
}

// TestGuardPage demands that what follows a mapping cannot be touched.
func TestGuardPage(t *testing.T) {
	m, err := mapAligned(-1, 3*PageSize, hugePage, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		t.Fatal(err)
	}
	behind := unsafe.Slice((*byte)(unsafe.Add(m.base, m.size)), PageSize)
	if err := unix.Madvise(behind, unix.MADV_POPULATE_WRITE); err == nil {
		t.Error("the page behind is writable")
	}
	if err := m.unmap(); err != nil {
		t.Error(err)
	}
	if _, err := mapAligned(99999, PageSize, hugePage, unix.MAP_PRIVATE); err == nil {
		t.Error("a bad descriptor was mapped")
	}
}
