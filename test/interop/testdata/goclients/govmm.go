package main

import (
	"context"
	"fmt"
	"log"
	"os"
	"slices"

	"github.com/kata-containers/govmm/qemu"
)

// logger prints warnings.
type logger struct{}

func (logger) V(level int32) bool          { return level <= 1 }
func (logger) Infof(string, ...any)        {}
func (logger) Warningf(f string, a ...any) { log.Printf(f, a...) }
func (logger) Errorf(f string, a ...any)   { log.Printf(f, a...) }

// govmm uses Kata Containers' govmm, and ends the VM.
func govmm(socket string, commands []string) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	gone := make(chan struct{})
	events := make(chan qemu.QMPEvent, 100)
	q, version, err := qemu.QMPStart(ctx, socket, qemu.QMPConfig{Logger: logger{}, EventCh: events, MaxCapacity: 1 << 20}, gone)
	if err != nil {
		return err
	}
	defer q.Shutdown()
	if version.Major != 7 || version.Minor != 2 || !slices.Contains(version.Capabilities, "oob") {
		return fmt.Errorf("version %+v", version)
	}
	if err := q.ExecuteQMPCapabilities(ctx); err != nil {
		return err
	}
	if err := govmmQueries(ctx, q); err != nil {
		return err
	}
	for name, f := range map[string]func() error{
		"device_del":              func() error { return refused(q.ExecuteDeviceDel(ctx, "none")) },
		"chardev-remove":          func() error { return refused(q.ExecuteChardevDel(ctx, "none")) },
		"netdev_del":              func() error { return refused(q.ExecuteNetdevDel(ctx, "none")) },
		"query-qmp-schema":        func() error { return schema(ctx, q) },
		"qom-get":                 func() error { _, err := q.ExecQomGet(ctx, "/machine", "type"); return err },
		"getfd":                   func() error { return passFile(ctx, q) },
		"chardev-add":             func() error { return q.ExecuteCharDevUnixSocketAdd(ctx, "c", socket+".c", false, true) },
		"query-memory-devices":    func() error { _, err := q.ExecQueryMemoryDevices(ctx); return err },
		"query-hotpluggable-cpus": func() error { _, err := q.ExecuteQueryHotpluggableCPUs(ctx); return err },
	} {
		if !slices.Contains(commands, name) {
			return fmt.Errorf("there is no %s", name)
		}
		if err := f(); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	if err := q.ExecuteQuit(ctx); err != nil {
		return err
	}
	<-gone
	var seen []string
	for e := range events {
		seen = append(seen, e.Name)
	}
	if want := []string{"RESUME", "STOP", "POWERDOWN", "SHUTDOWN"}; !slices.Equal(seen, want) {
		return fmt.Errorf("events %q, want %q", seen, want)
	}
	return nil
}

func govmmQueries(ctx context.Context, q *qemu.QMP) error {
	if err := q.ExecuteCont(ctx); err != nil {
		return err
	}
	if err := q.ExecuteStop(ctx); err != nil {
		return err
	}
	if s, err := q.ExecuteQueryStatus(ctx); err != nil || s.Status != "paused" || s.Running {
		return fmt.Errorf("query-status: %+v, %w", s, err)
	}
	cpus, err := q.ExecQueryCpusFast(ctx)
	if err != nil || len(cpus) != 1 || cpus[0].Target != "x86_64" || cpus[0].ThreadID == 0 {
		return fmt.Errorf("query-cpus-fast: %+v, %w", cpus, err)
	}
	if err := refused(q.ExecuteBalloon(ctx, 1<<20)); err != nil {
		return err
	}
	return q.ExecuteSystemPowerdown(ctx) // which waits for the event
}

// refused wants an error.
func refused(err error) error {
	if err == nil {
		return fmt.Errorf("it was not refused")
	}
	return nil
}

func schema(ctx context.Context, q *qemu.QMP) error {
	all, err := q.ExecQueryQmpSchema(ctx)
	if err == nil && len(all) < 100 {
		err = fmt.Errorf("%d entities", len(all))
	}
	return err
}

func passFile(ctx context.Context, q *qemu.QMP) error {
	f, err := os.Open(os.DevNull)
	if err != nil {
		return err
	}
	defer f.Close()
	return q.ExecuteGetFD(ctx, "null", f)
}
