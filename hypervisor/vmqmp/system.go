package vmqmp

import (
	"context"

	"hv/qmp/dispatch"
	"hv/qmp/qapi"
)

// Saver is a VM whose memory can be written to files.
type Saver interface {
	// SaveLinear writes memory at a linear address, SavePhysical at a guest-physical one.
	SaveLinear(a qapi.MemsaveArgs) error
	SavePhysical(a qapi.PmemsaveArgs) error
	// Dump writes a core file; it runs on the client's goroutine. DumpStatus tells how far
	// the last one is.
	Dump(ctx context.Context, a qapi.DumpGuestMemoryArgs) error
	DumpStatus() qapi.DumpQueryResult
}

// Counter is a VM with statistics.
type Counter interface {
	Stats(f qapi.StatsFilter) (qapi.StatsResultList, error)
	StatsSchemas() (qapi.StatsSchemaList, error)
}

// Inspector tells what a VM consists of, for people.
type Inspector interface {
	Interrupts() string
	RAMBlocks() string
	Nodes() string
	// GenerationID returns the identifier that a vmgenid device has.
	GenerationID() (string, error)
}

// Prodder is a VM that can be disturbed.
type Prodder interface {
	// NMI sends a non-maskable interrupt to the vCPUs that take one.
	NMI() error
	// WakeUp wakes a suspended guest.
	WakeUp() error
}

// System is all that RegisterSystem needs.
type System interface {
	Actor
	Saver
	Counter
	Inspector
	Prodder
}

// RegisterSystem adds the commands about memory, statistics and debugging to a table.
func RegisterSystem(t *dispatch.Table, vm System) {
	registerSaver(t, vm)
	registerCounter(t, vm)
	registerInspector(t, vm)
	dispatch.Register(t, qapi.CmdInjectNmi, func(context.Context, qapi.Empty) (qapi.Empty, error) {
		return qapi.Empty{}, vm.NMI()
	})
	dispatch.Register(t, qapi.CmdSystemWakeup, func(context.Context, qapi.Empty) (qapi.Empty, error) {
		return qapi.Empty{}, vm.WakeUp()
	})
	dispatch.Register(t, qapi.CmdWatchdogSetAction, func(_ context.Context, a qapi.WatchdogSetActionArgs) (qapi.Empty, error) {
		return qapi.Empty{}, vm.SetActions(qapi.SetActionArgs{Watchdog: &a.Action})
	})
	// Clock interrupts that a guest misses are never made up for: there is nothing to forget.
	dispatch.Register(t, qapi.CmdRtcResetReinjection, func(context.Context, qapi.Empty) (qapi.Empty, error) {
		return qapi.Empty{}, nil
	})
}

func registerSaver(t *dispatch.Table, vm Saver) {
	dispatch.Register(t, qapi.CmdMemsave, func(_ context.Context, a qapi.MemsaveArgs) (qapi.Empty, error) {
		return qapi.Empty{}, vm.SaveLinear(a)
	})
	dispatch.Register(t, qapi.CmdPmemsave, func(_ context.Context, a qapi.PmemsaveArgs) (qapi.Empty, error) {
		return qapi.Empty{}, vm.SavePhysical(a)
	})
	dispatch.Register(t, qapi.CmdDumpGuestMemory, func(ctx context.Context, a qapi.DumpGuestMemoryArgs) (qapi.Empty, error) {
		return qapi.Empty{}, vm.Dump(ctx, a)
	})
	dispatch.Register(t, qapi.CmdQueryDump, func(context.Context, qapi.Empty) (qapi.DumpQueryResult, error) {
		return vm.DumpStatus(), nil
	})
	dispatch.Register(t, qapi.CmdQueryDumpGuestMemoryCapability, func(context.Context, qapi.Empty) (qapi.DumpGuestMemoryCapability, error) {
		return qapi.DumpGuestMemoryCapability{Formats: qapi.DumpGuestMemoryFormatList{qapi.DumpGuestMemoryFormatElf}}, nil
	})
}

func registerCounter(t *dispatch.Table, vm Counter) {
	dispatch.Register(t, qapi.CmdQueryStats, func(_ context.Context, f qapi.StatsFilter) (qapi.StatsResultList, error) {
		return vm.Stats(f)
	})
	dispatch.Register(t, qapi.CmdQueryStatsSchemas, func(context.Context, qapi.QueryStatsSchemasArgs) (qapi.StatsSchemaList, error) {
		return vm.StatsSchemas() // all are of the one provider that there is
	})
}

func registerInspector(t *dispatch.Table, vm Inspector) {
	for cmd, text := range map[*qapi.Command[qapi.Empty, qapi.HumanReadableText]]func() string{
		&qapi.CmdXQueryIrq: vm.Interrupts, &qapi.CmdXQueryRamblock: vm.RAMBlocks, &qapi.CmdXQueryNuma: vm.Nodes,
	} {
		dispatch.Register(t, *cmd, func(context.Context, qapi.Empty) (qapi.HumanReadableText, error) {
			return qapi.HumanReadableText{HumanReadableText: text()}, nil
		})
	}
	dispatch.Register(t, qapi.CmdQueryVmGenerationId, func(context.Context, qapi.Empty) (qapi.GuidInfo, error) {
		id, err := vm.GenerationID()
		return qapi.GuidInfo{Guid: id}, err
	})
}
