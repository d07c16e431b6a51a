package blockqmp

import (
	"context"

	"hv/block/export"
	"hv/qmp/dispatch"
	"hv/qmp/qapi"
	"hv/qmp/sockaddr"
)

// Exporter has exports.
type Exporter interface {
	Exports() *export.Registry
	// IsDrive reports whether there is a drive with an id.
	IsDrive(id string) bool
}

// RegisterExports adds the commands about exports to a table.
func RegisterExports(t *dispatch.Table, vm Exporter) {
	dispatch.Register(t, qapi.CmdNbdServerStart, func(_ context.Context, a qapi.NbdServerStartArgs) (qapi.Empty, error) {
		c := export.ServerConfig{Addr: sockaddr.Flat(&a.Addr), Creds: a.TlsCreds, Authz: a.TlsAuthz}
		if a.MaxConnections != nil {
			c.MaxConnections = *a.MaxConnections
		}
		return qapi.Empty{}, vm.Exports().StartNBD(c)
	})
	dispatch.Register(t, qapi.CmdNbdServerAdd, func(_ context.Context, a qapi.NbdServerAddOptions) (qapi.Empty, error) {
		return qapi.Empty{}, vm.Exports().AddNBD(&a, vm.IsDrive(a.Device))
	})
	dispatch.Register(t, qapi.CmdNbdServerRemove, func(_ context.Context, a qapi.NbdServerRemoveArgs) (qapi.Empty, error) {
		return qapi.Empty{}, vm.Exports().DeleteNBD(a.Name, isHard(a.Mode))
	})
	dispatch.Register(t, qapi.CmdNbdServerStop, func(context.Context, qapi.Empty) (qapi.Empty, error) {
		return qapi.Empty{}, vm.Exports().StopNBD()
	})
	dispatch.Register(t, qapi.CmdBlockExportAdd, func(_ context.Context, o qapi.BlockExportOptions) (qapi.Empty, error) {
		return qapi.Empty{}, vm.Exports().Add(&o)
	})
	dispatch.Register(t, qapi.CmdBlockExportDel, func(_ context.Context, a qapi.BlockExportDelArgs) (qapi.Empty, error) {
		return qapi.Empty{}, vm.Exports().Delete(a.Id, isHard(a.Mode))
	})
	dispatch.Register(t, qapi.CmdQueryBlockExports, func(context.Context, qapi.Empty) (qapi.BlockExportInfoList, error) {
		return vm.Exports().List(), nil
	})
}

func isHard(m *qapi.BlockExportRemoveMode) bool {
	return m != nil && *m == qapi.BlockExportRemoveModeHard
}
