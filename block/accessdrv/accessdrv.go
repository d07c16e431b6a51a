// Package accessdrv is the driver snapshot-access: a node that is what a copy-before-write
// node was when that was made.
//
// Methods may be called concurrently. It cannot be written to, but for discards. Follows
// qapi/block-core.json of QEMU. It depends on block/graph.
package accessdrv

import (
	"golang.org/x/sys/unix"

	"hv/block/graph"
)

// Driver is an open node.
type Driver struct{ file *graph.Child }

// Open makes a driver.
func Open(file *graph.Child) *Driver { return &Driver{file} }

// Demand asks nothing of the child: what is read is not what it is.
func (d *Driver) Demand(*graph.Child, graph.Perm, graph.Perm) (graph.Perm, graph.Perm) {
	return 0, graph.AllPerms
}

// Size returns the length in bytes.
func (d *Driver) Size() int64 { return d.file.Size() }

// Readv fills the buffers from off.
func (d *Driver) Readv(off int64, v [][]byte) error {
	if s := d.file.Snapshot(); s != nil {
		return s.ReadSnapshot(off, v)
	}
	return unix.ENOTSUP
}

// Writev refuses.
func (d *Driver) Writev(int64, [][]byte, graph.Flags) error { return unix.ENOTSUP }

// WriteZeroes refuses.
func (d *Driver) WriteZeroes(int64, int64, graph.Flags) error { return unix.ENOTSUP }

// Discard lets a part go, which cannot be read any more.
func (d *Driver) Discard(off, n int64) error {
	if s := d.file.Snapshot(); s != nil {
		return s.DiscardSnapshot(off, n)
	}
	return unix.ENOTSUP
}

// BlockStatus tells what was there.
func (d *Driver) BlockStatus(off, n int64) (graph.Extent, error) {
	if s := d.file.Snapshot(); s != nil {
		return s.SnapshotStatus(off, n)
	}
	return graph.Extent{}, unix.ENOTSUP
}

// Flush does nothing: nothing is written.
func (d *Driver) Flush() error { return nil }

// Close does nothing.
func (d *Driver) Close() error { return nil }
