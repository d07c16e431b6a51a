// Package fdqmp handles the QMP commands about descriptors that clients pass.
//
// Handlers run on the VM's control goroutine. It depends on hypervisor/fdset, qmp/qapi
// and qmp/dispatch.
package fdqmp

import (
	"context"
	"errors"

	"hv/hypervisor/fdset"
	"hv/qmp/dispatch"
	"hv/qmp/qapi"
)

// errNone is what a command is told that came without a descriptor.
var errNone = errors.New("No file descriptor supplied via SCM_RIGHTS")

// Register adds the commands for a registry to a table. passed returns the descriptor
// that came with the command whose handler has a context.
func Register(t *dispatch.Table, r *fdset.Registry, passed func(context.Context) (int, bool)) {
	registerNames(t, r, passed)
	dispatch.Register(t, qapi.CmdAddFd, func(ctx context.Context, a qapi.AddFdArgs) (qapi.AddfdInfo, error) {
		fd, ok := passed(ctx)
		if !ok {
			return qapi.AddfdInfo{}, errNone
		}
		id, err := r.Add(a.FdsetId, a.Opaque, fd)
		return qapi.AddfdInfo{FdsetId: id, Fd: int64(fd)}, err
	})
	dispatch.Register(t, qapi.CmdRemoveFd, func(_ context.Context, a qapi.RemoveFdArgs) (qapi.Empty, error) {
		return qapi.Empty{}, r.Remove(a.FdsetId, a.Fd)
	})
	dispatch.Register(t, qapi.CmdQueryFdsets, func(context.Context, qapi.Empty) (qapi.FdsetInfoList, error) {
		return list(r.Sets()), nil
	})
}

func registerNames(t *dispatch.Table, r *fdset.Registry, passed func(context.Context) (int, bool)) {
	dispatch.Register(t, qapi.CmdGetfd, func(ctx context.Context, a qapi.GetfdArgs) (qapi.Empty, error) {
		fd, ok := passed(ctx)
		if !ok {
			return qapi.Empty{}, errNone
		}
		return qapi.Empty{}, r.Name(a.Fdname, fd)
	})
	dispatch.Register(t, qapi.CmdClosefd, func(_ context.Context, a qapi.ClosefdArgs) (qapi.Empty, error) {
		return qapi.Empty{}, r.Drop(a.Fdname)
	})
}

// list describes sets as QEMU does, the last first.
func list(sets []fdset.Set) qapi.FdsetInfoList {
	out := qapi.FdsetInfoList{}
	for i := len(sets) - 1; i >= 0; i-- {
		info := qapi.FdsetInfo{FdsetId: sets[i].ID}
		for _, m := range sets[i].Members {
			info.Fds = append(info.Fds, qapi.FdsetFdInfo{Fd: int64(m.FD), Opaque: m.Opaque})
		}
		out = append(out, info)
	}
	return out
}
