// Package netqmp handles the QMP commands about network back ends.
//
// Handlers run on the VM's control goroutine. It depends on qmp/qapi and qmp/dispatch.
package netqmp

import (
	"context"

	"hv/qmp/dispatch"
	"hv/qmp/qapi"
)

// Backends makes and removes network back ends.
type Backends interface {
	AddNetdev(n qapi.Netdev) error
	RemoveNetdev(id string) error
}

// Register adds netdev_add and netdev_del to a table.
func Register(t *dispatch.Table, b Backends) {
	dispatch.Register(t, qapi.CmdNetdevAdd, func(_ context.Context, n qapi.Netdev) (qapi.Empty, error) {
		return qapi.Empty{}, b.AddNetdev(n)
	})
	dispatch.Register(t, qapi.CmdNetdevDel, func(_ context.Context, a qapi.NetdevDelArgs) (qapi.Empty, error) {
		return qapi.Empty{}, b.RemoveNetdev(a.Id)
	})
}
