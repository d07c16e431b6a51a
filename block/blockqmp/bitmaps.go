package blockqmp

import (
	"context"
	"errors"
	"fmt"

	"hv/block/bitmap"
	"hv/block/graph"
	"hv/qmp/dispatch"
	"hv/qmp/qapi"
)

// registerBitmaps adds the commands about dirty bitmaps. Each that changes something is a
// transaction of one action.
func registerBitmaps(t *dispatch.Table, vm VM) {
	dispatch.Register(t, qapi.CmdBlockDirtyBitmapAdd, action(vm, addBitmap))
	dispatch.Register(t, qapi.CmdBlockDirtyBitmapRemove, action(vm, removeBitmap))
	dispatch.Register(t, qapi.CmdBlockDirtyBitmapClear, action(vm, clearBitmap))
	dispatch.Register(t, qapi.CmdBlockDirtyBitmapEnable, action(vm, enableBitmap))
	dispatch.Register(t, qapi.CmdBlockDirtyBitmapDisable, action(vm, disableBitmap))
	dispatch.Register(t, qapi.CmdBlockDirtyBitmapMerge, action(vm, mergeBitmaps))
	dispatch.Register(t, qapi.CmdDebugBlockDirtyBitmapSha256, func(_ context.Context, a qapi.BlockDirtyBitmap) (qapi.BlockDirtyBitmapSha256, error) {
		_, b, err := findBitmap(vm, a.Node, a.Name)
		if err != nil {
			return qapi.BlockDirtyBitmapSha256{}, err
		}
		return qapi.BlockDirtyBitmapSha256{Sha256: b.SHA256()}, nil
	})
}

// action is the handler of a command that is an action.
func action[T any](vm VM, of func(VM, *T) *Action) func(context.Context, T) (qapi.Empty, error) {
	return func(_ context.Context, args T) (qapi.Empty, error) { return qapi.Empty{}, of(vm, &args).run() }
}

// findBitmap returns a node and its bitmap with a name.
func findBitmap(vm VM, node, name string) (*graph.Node, *bitmap.Bitmap, error) {
	n, err := vm.FindNode(node)
	if err != nil {
		return nil, nil, fmt.Errorf("Node '%s' not found", node)
	}
	b := n.Bitmap(name)
	if b == nil {
		return nil, nil, errNoBitmap(name)
	}
	return n, b, nil
}

func errNoBitmap(name string) error { return fmt.Errorf("Dirty bitmap '%s' not found", name) }

// addBitmap is block-dirty-bitmap-add.
func addBitmap(vm VM, a *qapi.BlockDirtyBitmapAdd) *Action {
	var n *graph.Node
	var b *bitmap.Bitmap
	return &Action{
		Prepare: func() (err error) {
			if a.Name == "" {
				return errors.New("Bitmap name cannot be empty")
			}
			if n, err = vm.FindNode(a.Node); err != nil {
				return err
			}
			b, err = n.AddBitmap(bitmapConfig(n, a))
			return err
		},
		Abort: func() {
			if b != nil {
				n.DropBitmap(b)
			}
		},
	}
}

func bitmapConfig(n *graph.Node, a *qapi.BlockDirtyBitmapAdd) bitmap.Config {
	c := bitmap.Config{Name: a.Name, Granularity: n.BitmapGranularity(), Enabled: a.Disabled == nil || !*a.Disabled, Persistent: a.Persistent != nil && *a.Persistent}
	if a.Granularity != nil {
		c.Granularity = int64(*a.Granularity)
	}
	return c
}

// removeBitmap is block-dirty-bitmap-remove. Until it is committed the bitmap is in use, and
// not stored with others.
func removeBitmap(vm VM, a *qapi.BlockDirtyBitmap) *Action {
	var n *graph.Node
	var b *bitmap.Bitmap
	kept := false
	return &Action{
		Prepare: func() error {
			on, found, err := findBitmap(vm, a.Node, a.Name)
			if err != nil {
				return err
			}
			if err := found.Check(bitmap.Removed); err != nil {
				return err
			}
			if err := on.ForgetBitmap(found); err != nil {
				return err
			}
			n, b = on, found
			kept = b.Persistent()
			b.SetPersistent(false)
			b.SetBusy(true)
			return nil
		},
		Commit: func() { n.DropBitmap(b) },
		Abort: func() {
			// The image keeps it again when it is closed.
			if b != nil {
				b.SetPersistent(kept)
				b.SetBusy(false)
			}
		},
	}
}

// onBitmap is an action that checks a bitmap, and then does something that cannot fail.
func onBitmap(vm VM, a *qapi.BlockDirtyBitmap, use bitmap.Use, commit func(*bitmap.Bitmap)) *Action {
	var b *bitmap.Bitmap
	return &Action{
		Prepare: func() (err error) {
			if _, b, err = findBitmap(vm, a.Node, a.Name); err != nil {
				return err
			}
			return b.Check(use)
		},
		Commit: func() { commit(b) },
	}
}

// clearBitmap is block-dirty-bitmap-clear.
func clearBitmap(vm VM, a *qapi.BlockDirtyBitmap) *Action {
	return onBitmap(vm, a, bitmap.Changed, (*bitmap.Bitmap).Clear)
}

// enableBitmap is block-dirty-bitmap-enable.
func enableBitmap(vm VM, a *qapi.BlockDirtyBitmap) *Action {
	return onBitmap(vm, a, bitmap.Used, func(b *bitmap.Bitmap) { b.SetEnabled(true) })
}

// disableBitmap is block-dirty-bitmap-disable.
func disableBitmap(vm VM, a *qapi.BlockDirtyBitmap) *Action {
	return onBitmap(vm, a, bitmap.Used, func(b *bitmap.Bitmap) { b.SetEnabled(false) })
}

// mergeBitmaps is block-dirty-bitmap-merge.
func mergeBitmaps(vm VM, a *qapi.BlockDirtyBitmapMerge) *Action {
	var to *bitmap.Bitmap
	var from []*bitmap.Bitmap
	return &Action{
		Prepare: func() error {
			n, b, err := findBitmap(vm, a.Node, a.Target)
			if err != nil {
				return err
			}
			to = b
			for _, s := range a.Bitmaps {
				src, err := sourceBitmap(vm, n, &s)
				if err != nil {
					return err
				}
				if err := to.Mergeable(src); err != nil {
					return err
				}
				from = append(from, src)
			}
			return nil
		},
		Commit: func() {
			for _, src := range from {
				to.Merge(src)
			}
		},
	}
}

// sourceBitmap returns the bitmap that is meant, of node n if it does not say of which.
func sourceBitmap(vm VM, n *graph.Node, s *qapi.BlockDirtyBitmapOrStr) (*bitmap.Bitmap, error) {
	if s.External != nil {
		_, b, err := findBitmap(vm, s.External.Node, s.External.Name)
		return b, err
	}
	if b := n.Bitmap(*s.Local); b != nil {
		return b, nil
	}
	return nil, errNoBitmap(*s.Local)
}

// bitmapInfos describes the bitmaps of a node.
func bitmapInfos(n *graph.Node) (list qapi.BlockDirtyInfoList) {
	for _, b := range n.Bitmaps() {
		name, inconsistent := b.Name(), b.Inconsistent()
		info := qapi.BlockDirtyInfo{
			Name: &name, Count: b.Count(), Granularity: uint32(b.Granularity()), Recording: b.Enabled() && !inconsistent, Busy: b.Busy(),
			Persistent: b.Persistent(),
		}
		if inconsistent {
			info.Inconsistent = &inconsistent
		}
		list = append(list, info)
	}
	return list
}
