package blockqmp

import (
	"strings"
	"testing"

	"hv/block/bitmap"
	"hv/block/formats"
	"hv/block/graph"
	"hv/qmp/qapi"
)

// nodesOnly is a VM with nodes alone.
type nodesOnly struct {
	VM
	opener *formats.Opener
}

func (v nodesOnly) FindNode(name string) (*graph.Node, error) { return v.opener.Find(name) }

// twoNodes returns a VM with two nodes of 1 MiB, a and b, and one of 2, c.
func twoNodes(t *testing.T) VM {
	t.Helper()
	x := &formats.Opener{Graph: &graph.Graph{}, Drive: func(string) *graph.Node { return nil }}
	for name, size := range map[string]int64{"a": 1 << 20, "b": 1 << 20, "c": 2 << 20} {
		n, err := x.Open(&qapi.BlockdevOptions{Driver: qapi.BlockdevDriverNullCo, NodeName: &name, NullCo: &qapi.BlockdevOptionsNull{Size: &size}})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := n.Unref(); err != nil {
				t.Error(err)
			}
		})
	}
	return nodesOnly{opener: x}
}

func named(node, name string) *qapi.BlockDirtyBitmap {
	return &qapi.BlockDirtyBitmap{Node: node, Name: name}
}

func merge(vm VM, node, target string, from ...qapi.BlockDirtyBitmapOrStr) *Action {
	return mergeBitmaps(vm, &qapi.BlockDirtyBitmapMerge{Node: node, Target: target, Bitmaps: from})
}

func local(name string) qapi.BlockDirtyBitmapOrStr { return qapi.BlockDirtyBitmapOrStr{Local: &name} }

func external(node, name string) qapi.BlockDirtyBitmapOrStr {
	return qapi.BlockDirtyBitmapOrStr{External: named(node, name)}
}

func added(vm VM, node, name string, granularity uint32, disabled bool) *Action {
	return addBitmap(vm, &qapi.BlockDirtyBitmapAdd{Node: node, Name: name, Granularity: &granularity, Disabled: &disabled})
}

func works(t *testing.T, a *Action) {
	t.Helper()
	if err := a.run(); err != nil {
		t.Error(err)
	}
}

func fails(t *testing.T, a *Action, want string) {
	t.Helper()
	if err := a.run(); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("%v, not %s", err, want)
	}
}

func get(t *testing.T, vm VM, node, name string) *bitmap.Bitmap {
	t.Helper()
	_, b, err := findBitmap(vm, node, name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestBitmapErrors(t *testing.T) {
	vm := twoNodes(t)
	persistent := true
	works(t, added(vm, "a", "x", 65536, false))
	works(t, added(vm, "c", "x", 65536, false))
	fails(t, added(vm, "a", "", 65536, false), "Bitmap name cannot be empty")
	fails(t, added(vm, "z", "x", 65536, false), "Cannot find device='z' nor node-name='z'")
	fails(t, added(vm, "a", "x", 65536, false), "Bitmap already exists: x")
	fails(t, added(vm, "a", "y", 500, false), "Granularity must be power of 2 and at least 512")
	fails(t, addBitmap(vm, &qapi.BlockDirtyBitmapAdd{Node: "a", Name: "y", Persistent: &persistent}), "Can't store persistent bitmaps to a")
	fails(t, removeBitmap(vm, named("z", "x")), "Node 'z' not found")
	fails(t, clearBitmap(vm, named("a", "z")), "Dirty bitmap 'z' not found")
	fails(t, merge(vm, "a", "x", local("z")), "Dirty bitmap 'z' not found")
	fails(t, merge(vm, "a", "x", external("z", "x")), "Node 'z' not found")
	fails(t, merge(vm, "a", "x", external("c", "x")), "different sizes")
	busy := get(t, vm, "a", "x")
	busy.SetBusy(true)
	for _, a := range []*Action{
		removeBitmap(vm, named("a", "x")), clearBitmap(vm, named("a", "x")), enableBitmap(vm, named("a", "x")), disableBitmap(vm, named("a", "x")), merge(vm, "a", "x", local("x")),
	} {
		fails(t, a, "Bitmap 'x' is currently in use by another operation and cannot be used")
	}
}

func TestBitmapCommands(t *testing.T) {
	vm := twoNodes(t)
	works(t, added(vm, "a", "x", 65536, false))
	works(t, added(vm, "a", "y", 512, true))
	works(t, added(vm, "b", "x", 4096, false))
	works(t, addBitmap(vm, &qapi.BlockDirtyBitmapAdd{Node: "b", Name: "z"}))
	get(t, vm, "a", "x").Mark(0, 1)
	get(t, vm, "b", "x").Mark(1<<19, 1)
	works(t, merge(vm, "a", "y", local("x"), external("b", "x")))
	if n := get(t, vm, "a", "y").Count(); n != 65536+4096 {
		t.Errorf("%d bytes are dirty after a merge", n)
	}
	fails(t, merge(vm, "a", "x", external("b", "x"), local("none")), "not found")
	if n := get(t, vm, "a", "x").Count(); n != 65536 {
		t.Errorf("%d bytes are dirty after a merge that failed", n)
	}
	works(t, enableBitmap(vm, named("a", "y")))
	works(t, disableBitmap(vm, named("a", "x")))
	works(t, clearBitmap(vm, named("a", "x")))
	n, err := vm.FindNode("a")
	if err != nil {
		t.Fatal(err)
	}
	infos := bitmapInfos(n)
	if len(infos) != 2 || *infos[0].Name != "y" || !infos[0].Recording || infos[0].Granularity != 512 || infos[0].Count != 65536+4096 || infos[0].Persistent ||
		infos[0].Busy || infos[0].Inconsistent != nil || *infos[1].Name != "x" || infos[1].Recording || infos[1].Count != 0 {
		t.Errorf("%+v", infos)
	}
	works(t, removeBitmap(vm, named("a", "x")))
	works(t, removeBitmap(vm, named("a", "y")))
	if n.Bitmaps() != nil {
		t.Error("bitmaps are left")
	}
}

// TestBitmapActionsAbort prepares actions and takes them back.
func TestBitmapActionsAbort(t *testing.T) {
	vm := twoNodes(t)
	works(t, added(vm, "a", "x", 65536, false))
	x := get(t, vm, "a", "x")
	x.Mark(0, 1)
	for _, a := range []*Action{
		added(vm, "a", "new", 512, false), disableBitmap(vm, named("a", "x")), clearBitmap(vm, named("a", "x")), removeBitmap(vm, named("a", "x")),
	} {
		if err := a.Prepare(); err != nil {
			t.Fatal(err)
		}
		if a.Abort != nil {
			a.Abort()
		}
	}
	n, _ := vm.FindNode("a")
	if len(n.Bitmaps()) != 1 || x.Count() != 65536 || !x.Enabled() || x.Busy() {
		t.Errorf("%+v", bitmapInfos(n))
	}
	first := removeBitmap(vm, named("a", "x"))
	if err := first.Prepare(); err != nil {
		t.Fatal(err)
	}
	if err := removeBitmap(vm, named("a", "x")).Prepare(); err == nil || !strings.Contains(err.Error(), "currently in use") {
		t.Errorf("removed twice: %v", err)
	}
	if err := added(vm, "a", "x", 512, false).Prepare(); err == nil {
		t.Error("a name is given twice")
	}
	first.Commit()
	if n.Bitmaps() != nil {
		t.Error("it is not removed")
	}
}
