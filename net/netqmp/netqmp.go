// Package netqmp handles the QMP commands about NICs and network back ends.
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

// NICs are a VM's network devices.
type NICs interface {
	// SetLink connects or disconnects the cable of a NIC, named by its id or its back end's.
	SetLink(name string, up bool) error
	// Filters tells what NICs receive, or the one with a name. arm is called with the path
	// of each of them before its state is read.
	Filters(name *string, arm func(path string)) (qapi.RxFilterInfoList, error)
	Announce(a qapi.AnnounceParameters) error
	// Counters tells what happened on the queues of NICs, or of the one with a name.
	Counters(name *string) (qapi.NicCountersList, error)
}

// Network is all that Register needs.
type Network interface {
	Backends
	NICs
}

// Register adds the commands to a table. arm has the client whose command has a context
// hear of the next change of the filter of the NIC with a path.
func Register(t *dispatch.Table, n Network, arm func(ctx context.Context, path string)) {
	dispatch.Register(t, qapi.CmdNetdevAdd, func(_ context.Context, a qapi.Netdev) (qapi.Empty, error) {
		return qapi.Empty{}, n.AddNetdev(a)
	})
	dispatch.Register(t, qapi.CmdNetdevDel, func(_ context.Context, a qapi.NetdevDelArgs) (qapi.Empty, error) {
		return qapi.Empty{}, n.RemoveNetdev(a.Id)
	})
	dispatch.Register(t, qapi.CmdSetLink, func(_ context.Context, a qapi.SetLinkArgs) (qapi.Empty, error) {
		return qapi.Empty{}, n.SetLink(a.Name, a.Up)
	})
	dispatch.Register(t, qapi.CmdQueryRxFilter, func(ctx context.Context, a qapi.QueryRxFilterArgs) (qapi.RxFilterInfoList, error) {
		return n.Filters(a.Name, func(path string) { arm(ctx, path) })
	})
	dispatch.Register(t, qapi.CmdAnnounceSelf, func(_ context.Context, a qapi.AnnounceParameters) (qapi.Empty, error) {
		return qapi.Empty{}, n.Announce(a)
	})
	dispatch.Register(t, qapi.CmdXQueryNicCounters, func(_ context.Context, a qapi.QueryNicCountersArgs) (qapi.NicCountersList, error) {
		return n.Counters(a.Name)
	})
}
