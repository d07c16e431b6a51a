// Package surface holds what clients see of QMP to what QEMU shows them, and to the
// tests that there are. It has tests only.
package surface

import (
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/sirupsen/logrus"

	"hv/hypervisor/config"
	"hv/hypervisor/machine"
	"hv/hypervisor/vm"
	"hv/qmp/client"
	"hv/qmp/qapi"
	"hv/test/hvrun"
)

// context of everything that a test asks a monitor.
func patience(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// ours returns a client of a VM without a machine, which lives in this process.
func ours(t testing.TB) *client.Client {
	t.Helper()
	ctx := patience(t)
	socket := filepath.Join(t.TempDir(), "qmp")
	registry := vm.Registry()
	cfg, err := config.Parse([]string{"-machine", "none", "-nodefaults", "-display", "none", "-qmp", "unix:" + socket + ",server=on,wait=off"},
		config.Env{
			Devices: registry, ReadFile: os.ReadFile, CPU: func(string) error { return nil },
			Machine: func(name string) error { _, err := machine.Lookup(name); return err },
		})
	if err != nil {
		t.Fatal(err)
	}
	log := logrus.New()
	log.SetOutput(io.Discard)
	v, err := vm.New(ctx, cfg, vm.Options{Version: "hv test", Log: log.WithContext(ctx), Registry: registry, Notify: t.Logf})
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		v.Run(ctx)
	}()
	t.Cleanup(func() {
		v.Signal()
		<-ended
		if err := v.Close(ctx); err != nil {
			t.Error(err)
		}
	})
	c, err := client.Dial(ctx, "unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// pipes is a connection through a process's standard input and output.
type pipes struct {
	io.Reader
	io.WriteCloser
}

// theirs returns a client of QEMU.
func theirs(t testing.TB, args ...string) *client.Client {
	t.Helper()
	cmd := exec.Command(hvrun.Tool(t, "qemu-system-x86_64"),
		append([]string{"-machine", "none", "-nodefaults", "-display", "none", "-qmp", "stdio"}, args...)...)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ctx := patience(t)
	c, err := client.New(ctx, pipes{out, in})
	if err != nil {
		_ = cmd.Process.Kill()
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = c.Execute(ctx, qapi.CmdQuit.Name, nil, nil)
		if err := cmd.Wait(); err != nil {
			t.Error(err)
		}
		c.Close()
	})
	return c
}

// schemaOf returns the schema of a monitor.
func schemaOf(t testing.TB, c *client.Client) schema {
	t.Helper()
	list, err := client.Call(patience(t), c, qapi.CmdQueryQmpSchema, qapi.Empty{})
	if err != nil {
		t.Fatal(err)
	}
	return newSchema(list)
}
