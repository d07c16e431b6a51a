package qcow2drv

import "hv/block/graph"

// Storage is a node as a place for an image.
type Storage struct{ *graph.Child }

// Writev writes the buffers at off.
func (s Storage) Writev(off int64, v [][]byte) error { return s.Child.Writev(off, v, 0) }

// WriteZeroes makes zeroes, by giving space back if unmap says so.
func (s Storage) WriteZeroes(off, n int64, unmap bool) error {
	if unmap {
		return s.Child.WriteZeroes(off, n, graph.MayUnmap)
	}
	return s.Child.WriteZeroes(off, n, 0)
}
