package qcow2drv

import "hv/block/graph"

// Storage is a node as a place for an image.
type Storage struct{ *graph.Child }

// Writev writes the buffers at off.
func (s Storage) Writev(off int64, v [][]byte) error { return s.Child.Writev(off, v, 0) }

// Allocated returns how many bytes the node takes on the host, if that is known.
func (s Storage) Allocated() (int64, bool) { return s.Child.Node().Allocated() }

// WriteZeroes makes zeroes, by giving space back if unmap says so.
func (s Storage) WriteZeroes(off, n int64, unmap bool) error {
	if unmap {
		return s.Child.WriteZeroes(off, n, graph.MayUnmap)
	}
	return s.Child.WriteZeroes(off, n, 0)
}

// below is a backing node.
type below struct{ *graph.Child }

// ReadsZero tells whether a range is known to read as zeroes.
func (b below) ReadsZero(off, n int64) bool {
	for n > 0 {
		e, _, err := b.StatusAbove(off, n)
		if err != nil || e.N < 1 || e.Status&graph.Zero == 0 {
			return false
		}
		off, n = off+e.N, n-e.N
	}
	return true
}
