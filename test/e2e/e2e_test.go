// Package e2e runs the hv binary with its embedded guest on this machine's KVM.
// It has tests only; `make build` comes first.
package e2e

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"hv/qmp/client"
	"hv/qmp/qapi"
	"hv/test/hvrun"
)

func TestMain(m *testing.M) {
	if _, err := os.Stat("/dev/kvm"); err != nil {
		println("SKIPPED: the end-to-end suite needs /dev/kvm:", err.Error())
		return
	}
	os.Exit(m.Run())
}

// vm is a running hv with a QMP client.
type vm struct {
	*hvrun.Proc
	c *client.Client
}

// bare returns the options of a VM that has what it is told to.
func bare(t testing.TB, commands string, more ...string) []string {
	t.Helper()
	return append([]string{"-nodefaults", "-display", "none", "-cpu", "host", "-m", "64", "-serial", "stdio", "-append", commands}, more...)
}

// start starts hv with a QMP socket and connects to it.
func start(t testing.TB, args ...string) *vm {
	t.Helper()
	return startWith(t, nil, args...)
}

// startWith is start with open files, from descriptor 3 on.
func startWith(t testing.TB, files []*os.File, args ...string) *vm {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "qmp")
	p := hvrun.StartWith(t, files, hvrun.Binary(t), append(args, "-qmp", "unix:"+socket+",server=on,wait=off")...)
	return &vm{p, hvrun.Dial(t, p, socket)}
}

func (v *vm) do(t testing.TB, command string) {
	t.Helper()
	if err := v.try(command); err != nil {
		t.Fatalf("%s: %v", command, err)
	}
}

func (v *vm) try(command string) error { return v.call(command, "{}") }

// call runs a command with arguments in JSON.
func (v *vm) call(command, args string) error {
	ctx, cancel := context.WithTimeout(context.Background(), hvrun.Patience)
	defer cancel()
	return v.c.Execute(ctx, command, json.RawMessage(args), nil)
}

func (v *vm) status(t testing.TB) qapi.RunState {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), hvrun.Patience)
	defer cancel()
	s, err := client.Call(ctx, v.c, qapi.CmdQueryStatus, qapi.Empty{})
	if err != nil {
		t.Fatal(err)
	}
	return s.Status
}

// event waits for an event and returns its data as text.
func (v *vm) event(t testing.TB, name string) client.Event {
	t.Helper()
	limit := time.After(hvrun.Patience)
	for {
		select {
		case e, ok := <-v.c.Events():
			if !ok {
				t.Fatalf("connection ended before %s", name)
			}
			if e.Name == name {
				return e
			}
		case <-limit:
			t.Fatalf("no %s", name)
		}
	}
}

func (v *vm) ends(t testing.TB, status int) {
	t.Helper()
	if got := v.Wait(t); got != status {
		t.Fatalf("exit status %d, not %d:\n%s", got, status, v.Output())
	}
}

func withDisk(path string) []string {
	return []string{"-drive", "file=" + path + ",format=raw,if=none,id=d", "-device", "virtio-blk-pci,drive=d"}
}

func TestLifeByQMP(t *testing.T) {
	v := start(t, bare(t, "print=up; idle", "-name", "e2e", "-uuid", "550e8400-e29b-41d4-a716-446655440000", "-S", "-smp", "2")...)
	if s := v.status(t); s != qapi.RunStatePrelaunch {
		t.Errorf("state %s before cont", s)
	}
	v.do(t, "cont")
	v.event(t, "RESUME")
	v.Expect(t, "guest: up")
	v.do(t, "stop")
	v.event(t, "STOP")
	if s := v.status(t); s != qapi.RunStatePaused {
		t.Errorf("state %s after stop", s)
	}
	v.do(t, "cont")
	v.do(t, "system_reset")
	v.event(t, "RESET")
	v.Expect(t, `(?s)guest: up.*guest: up`)
	for _, c := range []string{"query-version", "query-commands", "query-kvm", "query-name", "query-uuid", "query-target", "query-cpus-fast"} {
		v.do(t, c)
	}
	if err := v.try("query-balloon"); qapi.ClassOf(err) != qapi.QapiErrorClassDeviceNotActive {
		t.Errorf("query-balloon without a balloon: %v", err)
	}
	ctx := context.Background()
	panics := qapi.PanicActionNone
	if _, err := client.Call(ctx, v.c, qapi.CmdSetAction, qapi.SetActionArgs{Panic: &panics}); err != nil {
		t.Error(err)
	}
	v.do(t, "quit")
	v.event(t, "SHUTDOWN")
	v.ends(t, 0)
}

func TestBalloonCommands(t *testing.T) {
	v := start(t, bare(t, "idle", "-device", "virtio-balloon-pci")...)
	if _, err := client.Call(context.Background(), v.c, qapi.CmdBalloon, qapi.BalloonArgs{Value: 32 << 20}); err != nil {
		t.Error(err)
	}
	b, err := client.Call(context.Background(), v.c, qapi.CmdQueryBalloon, qapi.Empty{})
	if err != nil || b.Actual != 64<<20 {
		t.Errorf("balloon %+v, %v", b, err)
	}
	v.do(t, "quit")
	v.ends(t, 0)
}

// TestGuestEnds covers how a guest can end or be made to.
func TestGuestEnds(t *testing.T) {
	for name, c := range map[string]struct {
		commands string
		args     []string
		status   int
	}{
		"poweroff":           {"poweroff", nil, 0},
		"debug exit":         {"exit=3", []string{"-device", "isa-debug-exit,iosize=4"}, 7},
		"no-reboot":          {"reset", []string{"-no-reboot"}, 0},
		"triple, no-reboot":  {"triple", []string{"-no-reboot"}, 0},
		"panic exit-failure": {"panic", []string{"-device", "pvpanic", "-action", "panic=exit-failure"}, 1},
		"microvm":            {"poweroff", []string{"-machine", "microvm"}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			p := hvrun.Start(t, hvrun.Binary(t), bare(t, c.commands, c.args...)...)
			if got := p.Wait(t); got != c.status {
				t.Errorf("exit status %d, not %d: %s", got, c.status, p.Output())
			}
		})
	}
}

func TestPanicPauses(t *testing.T) {
	v := start(t, bare(t, "print=first; panic", "-device", "pvpanic", "-action", "panic=pause", "-S")...)
	v.do(t, "cont")
	v.event(t, "GUEST_PANICKED")
	v.event(t, "STOP")
	if s := v.status(t); s != qapi.RunStateGuestPanicked {
		t.Errorf("state %s", s)
	}
	v.do(t, "quit")
	v.ends(t, 0)
}

func TestNoShutdown(t *testing.T) {
	v := start(t, bare(t, "poweroff", "-no-shutdown", "-S")...)
	v.do(t, "cont")
	v.event(t, "SHUTDOWN")
	v.event(t, "STOP")
	if err := v.try("cont"); err == nil || !strings.Contains(err.Error(), "Resetting") {
		t.Errorf("cont after a shutdown: %v", err)
	}
	v.do(t, "system_reset")
	v.event(t, "RESET")
	if s := v.status(t); s != qapi.RunStatePrelaunch {
		t.Errorf("state %s after the reset", s)
	}
	v.do(t, "quit")
	v.ends(t, 0)
}

func TestMachineNone(t *testing.T) {
	v := start(t, "-machine", "none", "-nodefaults", "-display", "none", "-serial", "null")
	v.failing(t, "No 'ISA' bus found for device 'pvpanic'", "device_add", `{"driver":"pvpanic"}`)
	v.failing(t, "No 'PCI' bus found for device", "device_add", `{"driver":"virtio-rng-pci"}`)
	v.do(t, "query-status")
	v.do(t, "cont")
	v.do(t, "stop")
	v.do(t, "quit")
	v.ends(t, 0)
}
