package vmqmp

import (
	"context"

	"hv/qmp/dispatch"
	"hv/qmp/qapi"
)

// RegisterMigration adds what managers ask and set about migration when a VM starts.
func RegisterMigration(t *dispatch.Table) {
	on := map[qapi.MigrationCapability]bool{qapi.MigrationCapabilityEvents: false}
	dispatch.Register(t, qapi.CmdQueryMigrateCapabilities, func(context.Context, qapi.Empty) (qapi.MigrationCapabilityStatusList, error) {
		list := qapi.MigrationCapabilityStatusList{}
		for c, state := range on {
			list = append(list, qapi.MigrationCapabilityStatus{Capability: c, State: state})
		}
		return list, nil
	})
	dispatch.Register(t, qapi.CmdMigrateSetCapabilities, func(_ context.Context, a qapi.MigrateSetCapabilitiesArgs) (qapi.Empty, error) {
		for _, c := range a.Capabilities {
			on[c.Capability] = c.State
		}
		return qapi.Empty{}, nil
	})
}
