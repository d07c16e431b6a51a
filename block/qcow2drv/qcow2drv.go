// Package qcow2drv is the driver qcow2: an image in a child "file", with what it does not
// have in a child "backing" and, if the image is so, its data in a child "data-file".
//
// Methods may be called concurrently but for Truncate, Close and the operations on the
// image as a whole (Image), which wait for requests under way. It depends on block/graph
// and block/qcow2.
package qcow2drv

import (
	"errors"

	"golang.org/x/sys/unix"

	"hv/block/graph"
	"hv/block/qcow2"
)

// Driver is an open image.
type Driver struct {
	image  *qcow2.Image
	closed bool          // the image is
	opt    qcow2.Options // as it is open
	file   *graph.Child
	data   *graph.Child // what has the data
	// found is what the backing node is known by that was found by said, the image's name for it.
	found, said string
	lost        bool // there are bitmaps that were in use when the image was not closed
}

// Open opens the image in file. backing and data are nil if there is no such child.
func Open(opt qcow2.Options, file, data, backing *graph.Child) (*Driver, error) {
	d := &Driver{file: file, data: file}
	if data != nil {
		opt.DataFile, d.data = Storage{data}, data
	}
	if backing != nil {
		opt.Backing = below{backing}
	}
	if err := d.open(opt); err != nil {
		return nil, err
	}
	return d, nil
}

// Image returns the image, for what is more than requests.
func (d *Driver) Image() *qcow2.Image { return d.image }

// Size returns the length of the disk in bytes.
func (d *Driver) Size() int64 { return d.image.Size() }

// Readv fills the buffers from off.
func (d *Driver) Readv(off int64, v [][]byte) error { return wrap(d.image.Readv(off, v)) }

// Beneath returns the backing node if a range is known to be read there.
func (d *Driver) Beneath(off, n int64) *graph.Child {
	if d.file.Listens() {
		return nil
	}
	b, _ := d.image.Beneath(off, n).(below)
	return b.Child
}

// Writev writes the buffers at off.
func (d *Driver) Writev(off int64, v [][]byte, f graph.Flags) error {
	return wrap(d.image.Writev(off, v, flags(f)))
}

// WriteZeroes makes zeroes without data.
func (d *Driver) WriteZeroes(off, n int64, f graph.Flags) error {
	return wrap(d.image.WriteZeroes(off, n, flags(f)))
}

// Discard gives clusters up.
func (d *Driver) Discard(off, n int64) error { return wrap(d.image.Discard(off, n)) }

// flags translates flags of requests.
func flags(f graph.Flags) (to qcow2.Flags) {
	if f&graph.FUA != 0 {
		to |= qcow2.FUA
	}
	if f&graph.MayUnmap != 0 {
		to |= qcow2.MayUnmap
	}
	if f&graph.NoFallback != 0 {
		to |= qcow2.NoFallback
	}
	if f&graph.Compressed != 0 {
		to |= qcow2.Compressed
	}
	return to
}

// failure is an error of the image, with what the graph knows it as.
type failure struct {
	error
	as error
}

func (f failure) Unwrap() []error { return []error{f.error, f.as} }

// wrap has the graph know errors that it branches on, or that reach guests as numbers.
func wrap(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, qcow2.ErrNotSupported):
		return failure{err, graph.ErrNotSupported}
	case errors.Is(err, qcow2.ErrReadOnly):
		return failure{err, unix.EPERM}
	}
	return err
}

// statuses is what each bit of a status is called in the graph.
var statuses = [...]struct {
	from qcow2.Status
	to   graph.Status
}{
	{qcow2.Data, graph.Data},
	{qcow2.Zero, graph.Zero},
	{qcow2.Allocated, graph.Allocated},
	{qcow2.OffsetValid, graph.OffsetValid},
	{qcow2.Recurse, graph.Recurse},
	{qcow2.CompressedData, graph.CompressedData},
}

// BlockStatus returns the run that begins at off.
func (d *Driver) BlockStatus(off, n int64) (graph.Extent, error) {
	x, err := d.image.BlockStatus(off, n)
	if err != nil {
		return graph.Extent{}, wrap(err)
	}
	e := graph.Extent{N: x.N, Offset: x.Offset}
	for _, s := range statuses {
		if x.Status&s.from != 0 {
			e.Status |= s.to
		}
	}
	if e.Status&graph.OffsetValid != 0 {
		e.Child = d.data
	}
	return e, nil
}

// Truncate changes the size of the disk.
func (d *Driver) Truncate(size int64) error {
	if err := d.resizable(); err != nil {
		return wrap(err)
	}
	return wrap(d.image.Truncate(size, qcow2.PreallocOff))
}

// Flush makes what was written durable, down to the host.
func (d *Driver) Flush() error { return wrap(d.image.Flush()) }

// FlushesChildren tells that Flush is all there is to do.
func (d *Driver) FlushesChildren() {}

// Close writes back what is cached.
func (d *Driver) Close() error {
	if d.closed {
		return nil
	}
	d.closed = true
	return wrap(d.image.Close())
}
