package export

import (
	"fmt"

	"hv/block/bitmap"
	"hv/block/graph"
	"hv/block/nbdproto"
	"hv/qmp/qapi"
)

// findBitmap returns the dirty bitmap with a name of a node, or of what lies below it in a
// chain.
func findBitmap(n *graph.Node, name string) *bitmap.Bitmap {
	for n != nil {
		if b := n.Bitmap(name); b != nil {
			return b
		}
		var below *graph.Node
		for _, c := range n.Children() {
			if c.Role() == graph.Backing || c.Role() == graph.Filtered {
				below = c.Node()
			}
		}
		n = below
	}
	return nil
}

// bitmap returns the bitmap that an option names.
func (x *nbdExport) bitmap(r *Registry, o *qapi.BlockDirtyBitmapOrStr) (*bitmap.Bitmap, error) {
	if o.External != nil {
		n, err := r.host.Drive(o.External.Node)
		if err != nil {
			return nil, fmt.Errorf("Node '%s' not found", o.External.Node)
		}
		b := n.Bitmap(o.External.Name)
		if b == nil {
			return nil, fmt.Errorf("Dirty bitmap '%s' not found", o.External.Name)
		}
		return b, nil
	}
	n := x.root.Node()
	b := findBitmap(n, *o.Local)
	switch {
	case b == nil:
		return nil, fmt.Errorf("Bitmap '%s' is not found", *o.Local)
	case !x.writable && !n.Options().ReadOnly && b.Enabled():
		return nil, fmt.Errorf("Enabled bitmap '%s' incompatible with readonly export", *o.Local)
	}
	return b, nil
}

// addBitmaps adds the contexts of dirty bitmaps, which nobody may change meanwhile.
func (x *nbdExport) addBitmaps(r *Registry, list *qapi.BlockDirtyBitmapOrStrList) error {
	if list == nil {
		return nil
	}
	for i := range *list {
		b, err := x.bitmap(r, &(*list)[i])
		if err == nil {
			err = b.Check(bitmap.Used)
		}
		if err != nil {
			return err
		}
		x.addContext("qemu:dirty-bitmap:"+b.Name(), context{bitmap: b})
	}
	x.setBusy(true)
	return nil
}

func (x *nbdExport) setBusy(on bool) {
	for _, c := range x.contexts {
		if c.bitmap != nil {
			c.bitmap.SetBusy(on)
		}
	}
}

// dirty adds the extents of a bitmap.
func dirty(to *extents, b *bitmap.Bitmap, off, end int64) {
	for off < end {
		start, n, ok := b.Next(off, end)
		if !ok {
			start, n = end, 0
		}
		if !to.add(start-off, 0) || !to.add(n, nbdproto.StateDirty) {
			return
		}
		off = start + n
	}
}
