package vmqmp

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"testing"

	"hv/qmp/client"
	"hv/qmp/dispatch"
	"hv/qmp/qapi"
)

// system is a VM that notes what it is asked.
type system struct {
	asked []string
	err   error
}

func (s *system) note(format string, args ...any) error {
	s.asked = append(s.asked, fmt.Sprintf(format, args...))
	return s.err
}

func (s *system) SetActions(a qapi.SetActionArgs) error { return s.note("watchdog %s", *a.Watchdog) }
func (s *system) SaveLinear(a qapi.MemsaveArgs) error {
	return s.note("linear %d %d %s", a.Val, a.Size, a.Filename)
}
func (s *system) SavePhysical(a qapi.PmemsaveArgs) error {
	return s.note("physical %d %d %s", a.Val, a.Size, a.Filename)
}
func (s *system) Dump(_ context.Context, a qapi.DumpGuestMemoryArgs) error {
	return s.note("dump %s", a.Protocol)
}
func (s *system) DumpStatus() qapi.DumpQueryResult {
	return qapi.DumpQueryResult{Status: qapi.DumpStatusActive, Completed: 1, Total: 2}
}
func (s *system) Stats(f qapi.StatsFilter) (qapi.StatsResultList, error) {
	return qapi.StatsResultList{}, s.note("stats %s %v", f.Target, f.Providers)
}
func (s *system) StatsSchemas() (qapi.StatsSchemaList, error) {
	return qapi.StatsSchemaList{{Provider: qapi.StatsProviderKvm, Target: qapi.StatsTargetVm, Stats: qapi.StatsSchemaValueList{}}}, s.err
}
func (s *system) Interrupts() string { return "interrupts" }
func (s *system) RAMBlocks() string  { return "blocks" }
func (s *system) Nodes() string      { return "nodes" }
func (s *system) GenerationID() (string, error) {
	return "324e6eaf-d1d1-4bf6-bf41-b9bb6c91fb87", s.err
}
func (s *system) WakeUp() error { return s.note("wake") }
func (s *system) NMI() error    { return s.note("nmi") }

// connectSystem serves the system commands on a socket and returns a client.
func connectSystem(t *testing.T, s *system) *client.Client {
	t.Helper()
	table := dispatch.NewTable()
	RegisterSystem(table, s)
	return serve(t, table)
}

func TestSystemCommands(t *testing.T) {
	s := &system{}
	c := connectSystem(t, s)
	call(t, c, qapi.CmdMemsave, qapi.MemsaveArgs{Val: -1, Size: 2, Filename: "f"})
	call(t, c, qapi.CmdPmemsave, qapi.PmemsaveArgs{Val: 1, Size: 2, Filename: "g"})
	call(t, c, qapi.CmdDumpGuestMemory, qapi.DumpGuestMemoryArgs{Protocol: "file:x"})
	call(t, c, qapi.CmdInjectNmi, qapi.Empty{})
	call(t, c, qapi.CmdWatchdogSetAction, qapi.WatchdogSetActionArgs{Action: qapi.WatchdogActionDebug})
	call(t, c, qapi.CmdRtcResetReinjection, qapi.Empty{})
	call(t, c, qapi.CmdQueryStats, qapi.StatsFilter{Target: qapi.StatsTargetVcpu, Vcpu: &qapi.StatsVCPUFilter{}})
	if want := []string{
		"linear -1 2 f", "physical 1 2 g", "dump file:x", "nmi", "watchdog debug", "stats vcpu []",
	}; !reflect.DeepEqual(s.asked, want) {
		t.Errorf("asked %q, want %q", s.asked, want)
	}
	if r := call(t, c, qapi.CmdQueryDump, qapi.Empty{}); r != s.DumpStatus() {
		t.Errorf("%+v", r)
	}
	if r := call(t, c, qapi.CmdQueryDumpGuestMemoryCapability, qapi.Empty{}); r.Formats[0] != qapi.DumpGuestMemoryFormatElf {
		t.Errorf("%+v", r)
	}
	if r := call(t, c, qapi.CmdQueryStatsSchemas, qapi.QueryStatsSchemasArgs{}); len(r) != 1 {
		t.Errorf("%+v", r)
	}
	if r := call(t, c, qapi.CmdQueryVmGenerationId, qapi.Empty{}); r.Guid != "324e6eaf-d1d1-4bf6-bf41-b9bb6c91fb87" {
		t.Errorf("%+v", r)
	}
	for cmd, want := range map[*qapi.Command[qapi.Empty, qapi.HumanReadableText]]string{
		&qapi.CmdXQueryIrq: "interrupts", &qapi.CmdXQueryRamblock: "blocks", &qapi.CmdXQueryNuma: "nodes",
	} {
		if r := call(t, c, *cmd, qapi.Empty{}); r.HumanReadableText != want {
			t.Errorf("%s: %q", cmd.Name, r.HumanReadableText)
		}
	}
}

// TestSystemErrors checks that what the VM refuses is refused.
func TestSystemErrors(t *testing.T) {
	c := connectSystem(t, &system{err: errors.New("no")})
	for _, command := range []string{"inject-nmi", "system_wakeup", "query-stats-schemas", "query-vm-generation-id"} {
		if err := c.Execute(context.Background(), command, nil, nil); err == nil || err.Error() != "no" {
			t.Errorf("%s: %v", command, err)
		}
	}
}
