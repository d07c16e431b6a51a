package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/digitalocean/go-qemu/qemu"
	"github.com/digitalocean/go-qemu/qmp"
	"github.com/digitalocean/go-qemu/qmp/raw"
)

// connect begins a session of go-qemu's.
func connect(socket string) (*qmp.SocketMonitor, error) {
	m, err := qmp.NewSocketMonitor("unix", socket, patience)
	if err != nil {
		return nil, err
	}
	return m, m.Connect()
}

// goQemu uses all three layers of digitalocean's go-qemu.
func goQemu(socket string) error {
	m, err := connect(socket)
	if err != nil {
		return err
	}
	events, err := m.Events(context.Background())
	if err != nil {
		return err
	}
	seen := make(chan qmp.Event, 10)
	go func() { // the library waits for whoever takes events before it takes replies
		for e := range events {
			seen <- e
		}
	}()
	if err := rawCommands(m); err != nil {
		return err
	}
	for _, want := range []string{"RESUME", "STOP"} {
		select {
		case e := <-seen:
			if e.Event != want || time.Since(time.Unix(e.Timestamp.Seconds, 0)) > time.Hour {
				return fmt.Errorf("event %+v, want %s", e, want)
			}
		case <-time.After(patience):
			return fmt.Errorf("no event %s", want)
		}
	}
	if err := m.Disconnect(); err != nil {
		return err
	}
	if m, err = connect(socket); err != nil { // the server takes one client after another
		return err
	}
	return domain(m)
}

// rawCommands uses the commands that the library has generated from a schema.
func rawCommands(m qmp.Monitor) error {
	r := raw.NewMonitor(m)
	if name, err := r.QueryName(); err != nil || name.Name == nil || *name.Name != "interop" {
		return fmt.Errorf("query-name: %+v, %v", name, err)
	}
	if status, err := r.QueryStatus(); err != nil || status.Running {
		return fmt.Errorf("query-status: %+v, %v", status, err)
	}
	if kvm, err := r.QueryKVM(); err != nil || !kvm.Enabled {
		return fmt.Errorf("query-kvm: %+v, %v", kvm, err)
	}
	if uuid, err := r.QueryUUID(); err != nil || uuid.UUID != "6ba7b810-9dad-11d1-80b4-00c04fd430c8" {
		return fmt.Errorf("query-uuid: %+v, %v", uuid, err)
	}
	if version, err := r.QueryVersion(); err != nil || version.Qemu.Major != 7 {
		return fmt.Errorf("query-version: %+v, %v", version, err)
	}
	if _, err := r.QueryBalloon(); err == nil || !strings.Contains(err.Error(), "No balloon device") {
		return fmt.Errorf("query-balloon: %v", err)
	}
	if err := r.Cont(); err != nil {
		return err
	}
	return r.Stop()
}

// domain uses the library's idea of a VM.
func domain(m qmp.Monitor) error {
	d, err := qemu.NewDomain(m, "interop")
	if err != nil {
		return err
	}
	defer d.Close()
	if v, err := d.Version(); err != nil || !strings.HasPrefix(v, "7.2.") {
		return fmt.Errorf("version %q, %v", v, err)
	}
	if s, err := d.Status(); err != nil || s != qemu.StatusPaused {
		return fmt.Errorf("status %v, %v", s, err)
	}
	if ok, err := d.Supported("query-cpus-fast"); err != nil || !ok {
		return fmt.Errorf("query-cpus-fast is supported: %v, %v", ok, err)
	}
	stream, done, err := d.Events()
	if err != nil {
		return err
	}
	defer close(done)
	if err := d.SystemReset(); err != nil {
		return err
	}
	select {
	case e := <-stream:
		if e.Event != "RESET" || e.Data["reason"] != "host-qmp-system-reset" {
			return fmt.Errorf("event %+v", e)
		}
	case <-time.After(patience):
		return fmt.Errorf("no event RESET")
	}
	_, err = d.Run(qmp.Command{Execute: "no-such", Args: map[string]string{"a": "b"}})
	if err == nil || !strings.Contains(err.Error(), "has not been found") {
		return fmt.Errorf("no-such: %v", err)
	}
	if ok, err := d.Supported("query-pci"); err != nil || !ok {
		return err
	}
	devices, err := d.PCIDevices()
	if err != nil || len(devices) == 0 {
		return fmt.Errorf("query-pci: %v, %v", devices, err)
	}
	return nil
}
