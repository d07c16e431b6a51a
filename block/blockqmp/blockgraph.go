package blockqmp

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"hv/block/graph"
	"hv/qmp/dispatch"
	"hv/qmp/qapi"
)

// registerGraph adds the commands about how nodes hang together.
func registerGraph(t *dispatch.Table, vm Changer) {
	dispatch.Register(t, qapi.CmdXDebugQueryBlockGraph, func(context.Context, qapi.Empty) (qapi.XDbgBlockGraph, error) {
		return drawn(vm), nil
	})
	dispatch.Register(t, qapi.CmdXBlockdevChange, func(_ context.Context, a qapi.XBlockdevChangeArgs) (qapi.Empty, error) {
		return qapi.Empty{}, changeChild(vm, &a)
	})
	dispatch.Register(t, qapi.CmdBlockdevReopen, func(_ context.Context, a qapi.BlockdevReopenArgs) (qapi.Empty, error) {
		return qapi.Empty{}, vm.Reopen(a.Options)
	})
}

// drawing numbers nodes and their users.
type drawing struct {
	graph qapi.XDbgBlockGraph
	ids   map[any]uint64
}

// id returns the number of a node or of a user.
func (d *drawing) id(x any) uint64 {
	if d.ids[x] == 0 {
		d.ids[x] = uint64(len(d.ids) + 1)
	}
	return d.ids[x]
}

func (d *drawing) add(x any, kind qapi.XDbgBlockGraphNodeType, name string) {
	d.graph.Nodes = append(d.graph.Nodes, qapi.XDbgBlockGraphNode{Id: d.id(x), Type: kind, Name: name})
}

func (d *drawing) edge(from any, c *graph.Child) {
	perm, shared := c.Perms()
	d.graph.Edges = append(d.graph.Edges, qapi.XDbgBlockGraphEdge{
		Parent: d.id(from), Child: d.id(c.Node()), Name: c.Name(), Perm: permissions(perm), SharedPerm: permissions(shared),
	})
}

// drawn shows all nodes and their users.
func drawn(vm Changer) qapi.XDbgBlockGraph {
	d := &drawing{graph: qapi.XDbgBlockGraph{Nodes: qapi.XDbgBlockGraphNodeList{}, Edges: qapi.XDbgBlockGraphEdgeList{}}, ids: map[any]uint64{}}
	nodes := vm.Graph().Nodes()
	slices.Reverse(nodes)
	for _, n := range nodes {
		for _, c := range slices.Backward(n.Fronts()) {
			if !vm.HasDisk(c) {
				d.add(c, qapi.XDbgBlockGraphNodeTypeBlockBackend, frontName(c))
				d.edge(c, c)
			}
		}
	}
	for _, n := range nodes {
		d.add(n, qapi.XDbgBlockGraphNodeTypeBlockDriver, n.Name())
		for _, c := range slices.Backward(n.Children()) {
			d.edge(n, c)
		}
	}
	// QEMU's lists begin with what came last.
	slices.Reverse(d.graph.Nodes)
	slices.Reverse(d.graph.Edges)
	return d.graph
}

// frontName is what a front end is called, without what it is.
func frontName(c *graph.Child) string {
	if _, name, ok := strings.Cut(c.User(), "'"); ok {
		return strings.TrimSuffix(name, "'")
	}
	return ""
}

// permissions lists a set of permissions.
func permissions(p graph.Perm) qapi.BlockPermissionList {
	list := qapi.BlockPermissionList{}
	for i, name := range []qapi.BlockPermission{
		qapi.BlockPermissionConsistentRead, qapi.BlockPermissionWrite, qapi.BlockPermissionWriteUnchanged, qapi.BlockPermissionResize,
	} {
		if p&(1<<i) != 0 {
			list = append(list, name)
		}
	}
	slices.Reverse(list)
	return list
}

// changeChild is x-blockdev-change.
func changeChild(vm Changer, a *qapi.XBlockdevChangeArgs) error {
	parent, err := lookup(vm, &a.Parent, &a.Parent)
	switch {
	case err != nil:
		return err
	case a.Child != nil && a.Node != nil:
		return errors.New("The parameters child and node are in conflict")
	case a.Child == nil && a.Node == nil:
		return errors.New("Either child or node must be specified")
	case a.Child != nil:
		c := parent.Child(*a.Child)
		if c == nil {
			return fmt.Errorf("Node '%s' does not have child '%s'", a.Parent, *a.Child)
		}
		return vm.Graph().RemoveChild(parent, c)
	}
	n := vm.Graph().Find(*a.Node)
	if n == nil {
		return fmt.Errorf("Node '%s' not found", *a.Node)
	}
	return vm.Graph().AddChild(parent, n)
}
