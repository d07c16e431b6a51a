package graph

import (
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sys/unix"

	"hv/block/bitmap"
)

// BitmapKeeper is a driver whose image keeps bitmaps while the node is closed.
type BitmapKeeper interface {
	// LoadBitmaps returns what is kept, and marks it there as being in use if the node can be
	// written to.
	LoadBitmaps() ([]bitmap.Stored, error)
	// StoreBitmaps replaces what is kept.
	StoreBitmaps(all []bitmap.Stored) error
	// RemoveBitmap forgets a bitmap, if it is kept.
	RemoveBitmap(name string) error
	// KeepsBitmap returns an error for a bitmap that cannot be kept, or not beside others.
	KeepsBitmap(name string, granularity int64, others []*bitmap.Bitmap) error
}

// Clustered is a driver that gives room in units of some size.
type Clustered interface{ ClusterSize() int64 }

// Granularities of bitmaps of which it is not said.
const (
	minDefaultGranularity = 4 << 10
	defaultGranularity    = 64 << 10
)

// Bitmaps returns the node's dirty bitmaps, the newest first.
func (n *Node) Bitmaps() []*bitmap.Bitmap {
	if l := n.bitmaps.Load(); l != nil {
		return *l
	}
	return nil
}

// Bitmap returns the bitmap with a name, nil if there is none.
func (n *Node) Bitmap(name string) *bitmap.Bitmap {
	i := slices.IndexFunc(n.Bitmaps(), func(b *bitmap.Bitmap) bool { return b.Name() == name })
	if i < 0 {
		return nil
	}
	return n.Bitmaps()[i]
}

// setBitmaps replaces the list, which those that write look at.
func (n *Node) setBitmaps(l []*bitmap.Bitmap) {
	if len(l) == 0 {
		n.bitmaps.Store(nil)
		return
	}
	n.bitmaps.Store(&l)
}

// BitmapGranularity returns the granularity of bitmaps of which it is not said.
func (n *Node) BitmapGranularity() int64 {
	if c, ok := n.driver.(Clustered); ok {
		return max(c.ClusterSize(), minDefaultGranularity)
	}
	return defaultGranularity
}

// AddBitmap makes a dirty bitmap; its size is the node's.
func (n *Node) AddBitmap(c bitmap.Config) (*bitmap.Bitmap, error) {
	c.Size = n.Size()
	if err := bitmap.CheckGranularity(c.Granularity); err != nil {
		return nil, err
	}
	if c.Persistent {
		if err := n.keeps(&c); err != nil {
			return nil, err
		}
	}
	switch {
	case n.Bitmap(c.Name) != nil:
		return nil, fmt.Errorf("Bitmap already exists: %s", c.Name)
	case len(c.Name) > bitmap.MaxName:
		return nil, fmt.Errorf("Bitmap name too long: %s", c.Name)
	}
	b, err := bitmap.New(c)
	if err == nil {
		n.setBitmaps(append([]*bitmap.Bitmap{b}, n.Bitmaps()...))
	}
	return b, err
}

// keeps returns an error for a bitmap that the node's image cannot keep.
func (n *Node) keeps(c *bitmap.Config) error {
	k, ok := n.driver.(BitmapKeeper)
	if !ok {
		return fmt.Errorf("Can't store persistent bitmaps to %s: Operation not supported", n.name)
	}
	if n.Bitmap(c.Name) != nil {
		return fmt.Errorf("Bitmap already exists: %s", c.Name)
	}
	if err := k.KeepsBitmap(c.Name, c.Granularity, n.Bitmaps()); err != nil {
		return fmt.Errorf("Can't make bitmap '%s' persistent in '%s': %w", c.Name, n.name, err)
	}
	return nil
}

// ForgetBitmap has the node's image forget a bitmap that it keeps.
func (n *Node) ForgetBitmap(b *bitmap.Bitmap) error {
	k, ok := n.driver.(BitmapKeeper)
	if !ok || !b.Persistent() {
		return nil
	}
	return k.RemoveBitmap(b.Name())
}

// DropBitmap takes a bitmap off the node.
func (n *Node) DropBitmap(b *bitmap.Bitmap) {
	n.setBitmaps(slices.DeleteFunc(slices.Clone(n.Bitmaps()), func(x *bitmap.Bitmap) bool { return x == b }))
}

// dirtied notes in the bitmaps that a range was written to.
func (n *Node) dirtied(off, size int64) {
	l := n.bitmaps.Load()
	if l == nil {
		return
	}
	for _, b := range *l {
		b.Mark(off, size)
	}
}

// refit has the bitmaps of a node, and of those that it is a part of, follow its size.
func (n *Node) refit() error {
	var errs []error
	size := n.Size()
	for _, b := range n.Bitmaps() {
		if b.Size() != size {
			errs = append(errs, b.Resize(size))
		}
	}
	for _, c := range n.parents {
		if c.parent != nil && c.role != Backing {
			errs = append(errs, c.parent.refit())
		}
	}
	return errors.Join(errs...)
}

// loadBitmaps makes the bitmaps that the node's image keeps.
func (n *Node) loadBitmaps() error {
	k, ok := n.driver.(BitmapKeeper)
	if !ok {
		return nil
	}
	stored, err := k.LoadBitmaps()
	if err != nil {
		return err
	}
	var l []*bitmap.Bitmap
	for i := range stored {
		b, err := bitmap.Load(&stored[i], n.Size())
		if err != nil {
			return err
		}
		b.SetReadOnly(n.opt.ReadOnly)
		l = append(l, b)
	}
	slices.Reverse(l)
	n.setBitmaps(l)
	return nil
}

// StoreBitmaps has the node's image keep its persistent bitmaps, as they are, before the
// node can no longer be written to.
func (n *Node) StoreBitmaps() error {
	k, ok := n.driver.(BitmapKeeper)
	if !ok {
		return nil
	}
	all := n.persistent()
	if !slices.ContainsFunc(all, func(b *bitmap.Bitmap) bool { return !b.ReadOnly() && !b.Inconsistent() }) {
		return nil
	}
	var l []bitmap.Stored
	for _, b := range all {
		l = append(l, b.Store())
	}
	if err := k.StoreBitmaps(l); err != nil {
		return fmt.Errorf("Lost persistent bitmaps during inactivation of node '%s': %w", n.name, err)
	}
	for _, b := range all {
		b.SetStored()
	}
	return nil
}

// persistent returns the bitmaps to keep, in the order in which QEMU has them in images: those
// that were kept before stay where they are, and the newest of the others comes first.
func (n *Node) persistent() (all []*bitmap.Bitmap) {
	for _, b := range slices.Backward(n.Bitmaps()) {
		if b.Persistent() && b.Stored() {
			all = append(all, b)
		}
	}
	for _, b := range n.Bitmaps() {
		if b.Persistent() && !b.Stored() {
			all = append(all, b)
		}
	}
	return all
}

// resizable returns an error if there are bitmaps that cannot follow the node's size.
func (n *Node) resizable() error {
	for _, b := range n.persistent() {
		if err := b.Check(bitmap.Changed); err != nil && b.Stored() {
			return err
		}
	}
	return nil
}

// FreezeBitmaps stores persistent bitmaps and keeps them from changing, for a node that is
// to be read only.
func (n *Node) FreezeBitmaps() error {
	if err := n.StoreBitmaps(); err != nil {
		return err
	}
	n.setReadOnlyBitmaps(true)
	return nil
}

// ThawBitmaps undoes FreezeBitmaps, for a node that can be written to again.
func (n *Node) ThawBitmaps() error {
	k, ok := n.driver.(BitmapKeeper)
	if !ok || !slices.ContainsFunc(n.Bitmaps(), (*bitmap.Bitmap).ReadOnly) {
		return nil
	}
	stored, err := k.LoadBitmaps()
	if err != nil {
		return err
	}
	for _, s := range stored {
		switch b := n.Bitmap(s.Name); {
		case b == nil:
			return fmt.Errorf("Unexpected bitmap '%s' in image '%s'", s.Name, n.Filename())
		case s.Inconsistent && !b.Inconsistent():
			return fmt.Errorf("Corruption: bitmap '%s' is marked IN_USE in the image '%s' but it is readonly and consistent in RAM: %w", s.Name, n.Filename(), unix.EINVAL)
		}
	}
	n.setReadOnlyBitmaps(false)
	return nil
}

func (n *Node) setReadOnlyBitmaps(on bool) {
	for _, b := range n.Bitmaps() {
		if b.Persistent() {
			b.SetReadOnly(on)
		}
	}
}
