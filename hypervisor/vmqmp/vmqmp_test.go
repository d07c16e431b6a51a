package vmqmp

import (
	"context"
	"errors"
	"net"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"hv/qmp/client"
	"hv/qmp/dispatch"
	"hv/qmp/events"
	"hv/qmp/qapi"
	"hv/qmp/server"
)

// fake is a VM that remembers what it was asked.
type fake struct {
	name, uuid string
	running    bool
	asked      []Request
	actions    qapi.SetActionArgs
	balloon    int64
	soft       bool
}

var errStuck = errors.New("cannot continue")

func (f *fake) Status() qapi.StatusInfo {
	s := qapi.RunStatePaused
	if f.running {
		s = qapi.RunStateRunning
	}
	return qapi.StatusInfo{Status: s, Running: f.running}
}
func (f *fake) Stop() error { f.running = false; return nil }
func (f *fake) Continue() error {
	if f.name == "stuck" {
		return errStuck
	}
	f.running = true
	return nil
}
func (f *fake) Ask(r Request) { f.asked = append(f.asked, r) }
func (f *fake) Name() string  { return f.name }
func (f *fake) UUID() string  { return f.uuid }
func (f *fake) KVM() bool     { return !f.soft }
func (f *fake) CPUs() []qapi.CpuInfoFast {
	return []qapi.CpuInfoFast{{CpuIndex: 0, QomPath: "/machine/unattached/device[0]", ThreadId: 42, Target: qapi.SysEmuTargetX8664}}
}
func (f *fake) SetActions(a qapi.SetActionArgs) error { f.actions = a; return nil }
func (f *fake) Balloon() (int64, error) {
	if f.balloon == 0 {
		return 0, qapi.Errorf(qapi.QapiErrorClassDeviceNotActive, "no balloon")
	}
	return f.balloon, nil
}
func (f *fake) SetBalloon(n int64) error { f.balloon = n; return nil }

// serial runs functions one at a time.
type serial struct{ mu sync.Mutex }

func (s *serial) Do(_ context.Context, f func()) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
	return nil
}

// connect serves vm on a socket and returns a client of it.
func connect(t *testing.T, vm VM) *client.Client {
	t.Helper()
	table := dispatch.NewTable()
	Register(table, vm)
	return serve(t, table)
}

// serve serves a table on a socket and returns a client of it.
func serve(t *testing.T, table *dispatch.Table) *client.Client {
	t.Helper()
	broker := events.NewBroker()
	srv := server.New(server.Config{Table: table, Events: broker, Exec: &serial{}, Version: "test"})
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "q"))
	if err != nil {
		t.Fatal(err)
	}
	var served sync.WaitGroup
	served.Go(func() { _ = srv.Serve(l, server.Monitor{}) })
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	c, err := client.Dial(ctx, "unix", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.Close()
		_ = srv.Close(ctx)
		served.Wait()
		broker.Close()
		cancel()
	})
	return c
}

func call[A, R any, PA qapi.Codec[A], PR qapi.Codec[R]](t *testing.T, c *client.Client, cmd qapi.Command[A, R], a A) R {
	t.Helper()
	r, err := client.Call[A, R, PA, PR](context.Background(), c, cmd, a)
	if err != nil {
		t.Fatalf("%s: %v", cmd.Name, err)
	}
	return r
}

func TestRunCommands(t *testing.T) {
	f := &fake{}
	c := connect(t, f)
	call(t, c, qapi.CmdCont, qapi.Empty{})
	if s := call(t, c, qapi.CmdQueryStatus, qapi.Empty{}); s.Status != qapi.RunStateRunning || !s.Running {
		t.Errorf("%+v", s)
	}
	call(t, c, qapi.CmdStop, qapi.Empty{})
	if s := call(t, c, qapi.CmdQueryStatus, qapi.Empty{}); s.Status != qapi.RunStatePaused || s.Running {
		t.Errorf("%+v", s)
	}
	call(t, c, qapi.CmdSystemReset, qapi.Empty{})
	call(t, c, qapi.CmdSystemPowerdown, qapi.Empty{})
	call(t, c, qapi.CmdQuit, qapi.Empty{})
	if !slices.Equal(f.asked, []Request{Reset, Powerdown, Quit}) {
		t.Errorf("asked %v", f.asked)
	}
}

func TestErrorsReachTheClient(t *testing.T) {
	c := connect(t, &fake{name: "stuck"})
	if _, err := client.Call(context.Background(), c, qapi.CmdCont, qapi.Empty{}); err == nil || qapi.ClassOf(err) != qapi.QapiErrorClassGenericError {
		t.Errorf("cont: %v", err)
	}
	if _, err := client.Call(context.Background(), c, qapi.CmdQueryBalloon, qapi.Empty{}); qapi.ClassOf(err) != qapi.QapiErrorClassDeviceNotActive {
		t.Errorf("query-balloon: %v", err)
	}
}

func TestIdentity(t *testing.T) {
	anonymous := connect(t, &fake{})
	if n := call(t, anonymous, qapi.CmdQueryName, qapi.Empty{}); n.Name != nil {
		t.Errorf("name %q", *n.Name)
	}
	if u := call(t, anonymous, qapi.CmdQueryUuid, qapi.Empty{}); u.UUID != nullUUID {
		t.Errorf("UUID %s", u.UUID)
	}
	c := connect(t, &fake{name: "web", uuid: "550e8400-e29b-41d4-a716-446655440000"})
	if n := call(t, c, qapi.CmdQueryName, qapi.Empty{}); n.Name == nil || *n.Name != "web" {
		t.Errorf("%+v", n)
	}
	if u := call(t, c, qapi.CmdQueryUuid, qapi.Empty{}); u.UUID != "550e8400-e29b-41d4-a716-446655440000" {
		t.Errorf("%+v", u)
	}
	if k := call(t, c, qapi.CmdQueryKvm, qapi.Empty{}); !k.Enabled || !k.Present {
		t.Errorf("%+v", k)
	}
	if a := call(t, c, qapi.CmdQueryTarget, qapi.Empty{}); a.Arch != qapi.SysEmuTargetX8664 {
		t.Errorf("%+v", a)
	}
	if cpus := call(t, c, qapi.CmdQueryCpusFast, qapi.Empty{}); len(cpus) != 1 || cpus[0].ThreadId != 42 {
		t.Errorf("%+v", cpus)
	}
}

func TestActionsAndBalloon(t *testing.T) {
	f := &fake{soft: true}
	c := connect(t, f)
	if k := call(t, c, qapi.CmdQueryKvm, qapi.Empty{}); k.Enabled || !k.Present {
		t.Errorf("without KVM: %+v", k)
	}
	pause := qapi.ShutdownActionPause
	call(t, c, qapi.CmdSetAction, qapi.SetActionArgs{Shutdown: &pause})
	if f.actions.Shutdown == nil || *f.actions.Shutdown != pause || f.actions.Reboot != nil {
		t.Errorf("%+v", f.actions)
	}
	call(t, c, qapi.CmdBalloon, qapi.BalloonArgs{Value: 1 << 30})
	if b := call(t, c, qapi.CmdQueryBalloon, qapi.Empty{}); b.Actual != 1<<30 {
		t.Errorf("%+v", b)
	}
}

// TestMigrationCapabilities sets the one there is.
func TestMigrationCapabilities(t *testing.T) {
	table := dispatch.NewTable()
	RegisterMigration(table)
	c := serve(t, table)
	on := qapi.MigrateSetCapabilitiesArgs{Capabilities: qapi.MigrationCapabilityStatusList{{Capability: qapi.MigrationCapabilityEvents, State: true}}}
	for _, want := range []bool{false, true} {
		list := call(t, c, qapi.CmdQueryMigrateCapabilities, qapi.Empty{})
		if len(list) != 1 || list[0].Capability != qapi.MigrationCapabilityEvents || list[0].State != want {
			t.Errorf("capabilities %+v", list)
		}
		call(t, c, qapi.CmdMigrateSetCapabilities, on)
	}
}

// TestEveryCommandIsHere keeps the list of what is advertised in view.
func TestEveryCommandIsHere(t *testing.T) {
	table := dispatch.NewTable()
	Register(table, &fake{})
	want := []string{"balloon", "cont", "query-balloon", "query-cpus-fast", "query-kvm", "query-name", "query-status", "query-target",
		"query-uuid", "quit", "set-action", "stop", "system_powerdown", "system_reset"}
	if got := table.Names(); !slices.Equal(got, want) {
		t.Errorf("commands %q", got)
	}
}
