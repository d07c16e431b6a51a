// Package rawdrv is the driver raw: a node that is another one as it is, or a part of it.
//
// Methods may be called concurrently but for Truncate, which comes while nothing is under
// way. It depends on block/graph.
package rawdrv

import (
	"errors"
	"fmt"
	"math"

	"golang.org/x/sys/unix"

	"hv/block/graph"
)

// Config says which part of the child the node is.
type Config struct {
	Offset int64
	Size   *int64 // nil for up to the end
	// Guessed is not nil if the format was: it tells sectors that would have the next
	// guess be another format. They are not written, so that a guest cannot have its image
	// opened as one that names other files of the host.
	Guessed func(first []byte) bool
}

// sector is what is looked at for a guess, and what parts are made of.
const sector = 512

// Role returns what the child is to the node.
func (c *Config) Role() graph.Role {
	if c.Offset != 0 || c.Size != nil {
		return graph.Part
	}
	return graph.Filtered
}

// Driver is an open node.
type Driver struct {
	cfg  Config
	file *graph.Child
}

// Open makes a driver.
func Open(cfg Config, file *graph.Child) (*Driver, error) {
	if err := cfg.check(file.Size()); err != nil {
		return nil, err
	}
	return &Driver{cfg, file}, nil
}

// check returns an error for a part that a child of this size does not have.
func (c *Config) check(total int64) error {
	switch {
	case c.Offset < 0:
		return errors.New("Parameter 'offset' expects a non-negative number below 2^64")
	case c.Offset > total:
		return fmt.Errorf("Offset (%d) cannot be greater than size of the containing file (%d)", c.Offset, total)
	case c.Size != nil && (*c.Size < 0 || total-c.Offset < *c.Size):
		return fmt.Errorf("The sum of offset (%d) and size (%d) has to be smaller or equal to the  actual size of the containing file (%d)",
			c.Offset, *c.Size, total)
	case c.Size != nil && *c.Size%sector != 0:
		return fmt.Errorf("Specified size is not multiple of %d", sector)
	}
	return nil
}

// Reopen implements graph.Reopener; own is a Config.
func (d *Driver) Reopen(_ graph.Options, own any) (commit func() error, undo func(), err error) {
	old := d.cfg
	if cfg, ok := own.(Config); ok {
		cfg.Guessed = old.Guessed
		if err := cfg.check(d.file.Size()); err != nil {
			return nil, nil, err
		}
		d.cfg = cfg
	}
	return func() error { return nil }, func() { d.cfg = old }, nil
}

// Size returns the length in bytes.
func (d *Driver) Size() int64 {
	if d.cfg.Size != nil {
		return *d.cfg.Size
	}
	return max(d.file.Size()-d.cfg.Offset, 0)
}

// Map tells that the node lies in its child, where that is all there is to it.
func (d *Driver) Map() (graph.Place, bool) {
	return graph.Place{Child: d.file, Offset: d.cfg.Offset}, d.cfg.Guessed == nil
}

// Limits has whole sectors be written where they are looked at.
func (d *Driver) Limits() graph.Limits {
	if d.cfg.Guessed == nil {
		return graph.Limits{}
	}
	return graph.Limits{Align: sector}
}

// misleads reports whether buffers that are written at an offset would change what the
// format is taken for.
func (d *Driver) misleads(off int64, v [][]byte) bool {
	if d.cfg.Guessed == nil || off != 0 {
		return false
	}
	first := make([]byte, 0, sector)
	for _, b := range v {
		first = append(first, b[:min(len(b), sector-len(first))]...)
	}
	return d.cfg.Guessed(first)
}

// Readv fills the buffers from off.
func (d *Driver) Readv(off int64, v [][]byte) error {
	d.file.Event(graph.EventReadAIO)
	return d.file.Readv(off+d.cfg.Offset, v)
}

// Writev writes the buffers at off.
func (d *Driver) Writev(off int64, v [][]byte, f graph.Flags) error {
	d.file.Event(graph.EventWriteAIO)
	if d.misleads(off, v) {
		return unix.EPERM
	}
	return d.file.Writev(off+d.cfg.Offset, v, f)
}

// WriteZeroes makes zeroes without data, if the child can.
func (d *Driver) WriteZeroes(off, n int64, f graph.Flags) error {
	return d.file.WriteZeroes(off+d.cfg.Offset, n, f)
}

// Discard passes a discard on.
func (d *Driver) Discard(off, n int64) error { return d.file.Discard(off+d.cfg.Offset, n) }

// BlockStatus leaves the answer to the child.
func (d *Driver) BlockStatus(off, n int64) (graph.Extent, error) {
	return graph.Extent{N: n, Status: graph.Recurse | graph.OffsetValid, Child: d.file, Offset: off + d.cfg.Offset}, nil
}

// Truncate changes the child's size.
func (d *Driver) Truncate(size int64) error {
	switch {
	case d.cfg.Size != nil:
		return errors.New("Cannot resize fixed-size raw disks")
	case size > math.MaxInt64-d.cfg.Offset:
		return errors.New("Disk size too large for the chosen offset")
	}
	return d.file.Truncate(size + d.cfg.Offset)
}

// Event passes on what requests have come to.
func (d *Driver) Event(e graph.Event) { d.file.Event(e) }

// Flush does nothing: nothing is kept back.
func (d *Driver) Flush() error { return nil }

// Close does nothing.
func (d *Driver) Close() error { return nil }
