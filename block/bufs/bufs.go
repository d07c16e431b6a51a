// Package bufs has what filters do with the buffers of requests. Its functions are pure. It
// depends on nothing of ours.
package bufs

// Len returns how many bytes buffers have.
func Len(v [][]byte) (n int64) {
	for _, b := range v {
		n += int64(len(b))
	}
	return n
}

// Cut returns the n bytes of v from off on, which there must be. If that is all, it is v.
func Cut(v [][]byte, off, n int64) [][]byte {
	if off == 0 && n == Len(v) {
		return v
	}
	var out [][]byte
	for _, b := range v {
		size := int64(len(b))
		if off >= size {
			off -= size
			continue
		}
		b = b[off:min(size, off+n)]
		off, n = 0, n-int64(len(b))
		if len(b) > 0 {
			out = append(out, b)
		}
		if n == 0 {
			break
		}
	}
	return out
}

// IsZero reports whether a buffer has but zeroes.
func IsZero(b []byte) bool {
	for _, x := range b {
		if x != 0 {
			return false
		}
	}
	return true
}
