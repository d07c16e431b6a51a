package vmqmp

import (
	"context"

	"hv/qmp/dispatch"
	"hv/qmp/qapi"
)

// RegisterOptions adds query-command-line-options, which asks list.
func RegisterOptions(t *dispatch.Table, list func(option *string) (qapi.CommandLineOptionInfoList, error)) {
	dispatch.Register(t, qapi.CmdQueryCommandLineOptions,
		func(_ context.Context, a qapi.QueryCommandLineOptionsArgs) (qapi.CommandLineOptionInfoList, error) {
			return list(a.Option)
		})
}
