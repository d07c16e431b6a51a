package blockqmp

import (
	"context"
	"fmt"

	"hv/block/graph"
	"hv/qmp/dispatch"
	"hv/qmp/qapi"
)

// Threads has nodes and iothreads.
type Threads interface {
	Graph() *graph.Graph
	// FindThread returns an error if there is no iothread with an id.
	FindThread(id string) error
}

// RegisterThreads adds x-blockdev-set-iothread to a table.
func RegisterThreads(t *dispatch.Table, vm Threads) {
	dispatch.Register(t, qapi.CmdBlockdevSetIothread, func(_ context.Context, a qapi.BlockdevSetIothreadArgs) (qapi.Empty, error) {
		return qapi.Empty{}, setThread(vm, &a)
	})
}

// setThread checks what QEMU does. A node has no thread of its own that it could leave.
func setThread(vm Threads, a *qapi.BlockdevSetIothreadArgs) error {
	n := vm.Graph().Find(a.NodeName)
	switch {
	case n == nil:
		return fmt.Errorf("Failed to find node with node-name='%s'", a.NodeName)
	case n.HasFrontEnd() && (a.Force == nil || !*a.Force):
		return fmt.Errorf("Node %s is associated with a BlockBackend and could be in use (use force=true to override this check)", a.NodeName)
	case a.Iothread.S != nil && vm.FindThread(*a.Iothread.S) != nil:
		return fmt.Errorf("Cannot find iothread %s", *a.Iothread.S)
	}
	return nil
}
