// Package throttledrv is the driver throttle: a node that is another one, whose requests
// keep to the limits of a throttle-group.
//
// Methods may be called concurrently but for Truncate and Close, which come while nothing is
// under way. Drains lift the limits. Follows qapi/block-core.json of QEMU
// (BlockdevOptionsThrottle). It depends on block/graph and block/throttle.
package throttledrv

import (
	"fmt"

	"hv/block/graph"
	"hv/block/throttle"
)

// Driver is an open node.
type Driver struct {
	throttle.Member
	groups *throttle.Groups
	file   *graph.Child
}

// Open makes a driver that is in the group with a name, which must be there.
func Open(groups *throttle.Groups, group string, file *graph.Child) (*Driver, error) {
	if groups.Find(group) == nil {
		return nil, fmt.Errorf("Throttle group '%s' does not exist", group)
	}
	d := &Driver{groups: groups, file: file}
	groups.Join(&d.Member, group)
	return d, nil
}

// Reopen implements graph.Reopener; own is the name of a group.
func (d *Driver) Reopen(_ graph.Options, own any) (commit func() error, undo func(), err error) {
	old := d.Group().Name()
	if group, ok := own.(string); ok && group != old {
		if d.groups.Find(group) == nil {
			return nil, nil, fmt.Errorf("Throttle group '%s' does not exist", group)
		}
		d.move(group)
	}
	return func() error { return nil }, func() { d.move(old) }, nil
}

// move has the node be in another group.
func (d *Driver) move(group string) {
	if d.Group().Name() != group {
		d.groups.Leave(&d.Member)
		d.groups.Join(&d.Member, group)
	}
}

// Size returns the length in bytes.
func (d *Driver) Size() int64 { return d.file.Size() }

func length(v [][]byte) (n int64) {
	for _, b := range v {
		n += int64(len(b))
	}
	return n
}

// Readv fills the buffers from off.
func (d *Driver) Readv(off int64, v [][]byte) error {
	d.Wait(false, length(v))
	return d.file.Readv(off, v)
}

// Writev writes the buffers at off.
func (d *Driver) Writev(off int64, v [][]byte, f graph.Flags) error {
	d.Wait(true, length(v))
	return d.file.Writev(off, v, f)
}

// WriteZeroes makes zeroes without data, if the child can.
func (d *Driver) WriteZeroes(off, n int64, f graph.Flags) error {
	d.Wait(true, n)
	return d.file.WriteZeroes(off, n, f)
}

// Discard passes a discard on.
func (d *Driver) Discard(off, n int64) error {
	d.Wait(true, n)
	return d.file.Discard(off, n)
}

// BlockStatus leaves the answer to the child.
func (d *Driver) BlockStatus(off, n int64) (graph.Extent, error) {
	return graph.Extent{N: n, Status: graph.Recurse | graph.OffsetValid, Child: d.file, Offset: off}, nil
}

// Truncate changes the child's size.
func (d *Driver) Truncate(size int64) error { return d.file.Truncate(size) }

// Flush does nothing: nothing is kept back.
func (d *Driver) Flush() error { return nil }

// Close leaves the group.
func (d *Driver) Close() error {
	d.groups.Leave(&d.Member)
	return nil
}
