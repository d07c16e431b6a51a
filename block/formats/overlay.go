package formats

import (
	"errors"
	"fmt"

	"hv/block/blockopts"
	"hv/block/filedrv"
	"hv/block/graph"
	"hv/qmp/qapi"
)

// Overlay is an image that is to come over a node.
type Overlay struct {
	File, Format string
	NodeName     string // generated if empty
	Make         bool   // the image is not there yet
}

// Overlay makes a node on an image, without its backing node, that is open as another one
// is. The caller gets a reference.
func (x *Opener) Overlay(o Overlay, over *graph.Node) (*graph.Node, error) {
	if !isDriver(o.Format) {
		if o.Make {
			return nil, fmt.Errorf("Unknown file format '%s'", o.Format)
		}
		return nil, fmt.Errorf("Unknown driver '%s'", o.Format)
	}
	if o.Make {
		if err := x.makeOverlay(&o, over); err != nil {
			return nil, err
		}
	}
	opt := over.Options()
	t := blockopts.Tree{"driver": o.Format, "read-only": opt.ReadOnly, "cache": blockopts.Tree{"direct": opt.Direct, "no-flush": opt.NoFlush}, "discard": "ignore"}
	if opt.Discard {
		t["discard"] = "unmap"
	}
	if o.NodeName != "" {
		t["node-name"] = o.NodeName
	}
	if o.Format == "qcow2" {
		t["backing"] = nil
	}
	return x.OpenNamed(o.File, t)
}

// makeOverlay makes the image.
func (x *Opener) makeOverlay(o *Overlay, over *graph.Node) error {
	name := over.Filename()
	size := uint64(over.Size()+511) &^ 511 // sectors
	switch {
	case o.Format != "qcow2" && o.Format != "raw":
		return fmt.Errorf("Format driver '%s' does not support image creation", o.Format)
	case o.Format == "raw":
		return errors.New("Backing file not supported for file format 'raw'")
	case name == o.File:
		return errors.New("Error: Trying to create an image with the same filename as the backing file")
	}
	if x.Said != nil {
		x.Said(fmt.Sprintf("Formatting '%s', fmt=%s cluster_size=65536 extended_l2=off compression_type=zlib size=%d"+
			" backing_file=%s backing_fmt=%s lazy_refcounts=off refcount_bits=16\n", o.File, o.Format, size, name, over.Driver()))
	}
	err := filedrv.Create(filedrv.Creation{Path: o.File, OpenFile: x.OpenFile}, nil)
	if err != nil {
		return err
	}
	format := qapi.BlockdevDriver(over.Driver())
	c := x.createQcow2(&qapi.BlockdevCreateOptionsQcow2{
		File: qapi.BlockdevRef{Definition: &qapi.BlockdevOptions{Driver: qapi.BlockdevDriverFile, File: &qapi.BlockdevOptionsFile{Filename: o.File}}},
		Size: size, BackingFile: &name, BackingFmt: &format,
	})
	if err := errors.Join(c.Run(nil), c.Close()); err != nil {
		return err
	}
	return nil
}
