package export

import "unsafe"

// aligned returns the part of a buffer that begins where direct I/O may.
func aligned(b []byte) []byte {
	skip := -uintptr(unsafe.Pointer(&b[0])) & (headRoom - 1)
	return b[skip:]
}
