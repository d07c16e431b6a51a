package devqmp

import (
	"context"

	"hv/qmp/dispatch"
	"hv/qmp/qapi"
)

// RegisterIOThreads adds the command about I/O threads, of which all returns the present ones.
func RegisterIOThreads(t *dispatch.Table, all func() qapi.IOThreadInfoList) {
	dispatch.Register(t, qapi.CmdQueryIothreads, func(context.Context, qapi.Empty) (qapi.IOThreadInfoList, error) { return all(), nil })
}
