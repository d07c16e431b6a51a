package vm

import (
	"context"
	"errors"
	"io"

	"hv/hypervisor/config"
	"hv/hypervisor/vmqmp"
	"hv/qmp/qapi"
)

// What vmqmp needs. All run on the control goroutine.
var (
	_ vmqmp.VM     = (*VM)(nil)
	_ vmqmp.System = (*VM)(nil)
)

// speaker returns what runs a monitor on a connection until that or ctx ends, and then
// closes it.
func (v *VM) speaker(ctx context.Context, m config.Monitor) func(io.ReadWriteCloser) error {
	if m.Mode == config.Readline {
		return func(conn io.ReadWriteCloser) error { return v.serveHuman(ctx, conn) }
	}
	return func(conn io.ReadWriteCloser) error { return v.server.ServeConn(conn, monitorOf(m)) }
}

// Status returns the run state.
func (v *VM) Status() qapi.StatusInfo {
	s := v.control.State()
	return qapi.StatusInfo{Status: s, Running: s == qapi.RunStateRunning}
}

// Stop stops the VM.
func (v *VM) Stop() error {
	if err := v.dumping.busy(); err != nil {
		return err
	}
	v.control.StopIn(qapi.RunStatePaused)
	return nil
}

// Continue lets the VM run.
func (v *VM) Continue() error {
	if err := v.dumping.busy(); err != nil {
		return err
	}
	for _, d := range v.hw.disks {
		d.ResetStatus()
	}
	return v.control.Continue()
}

// Ask notes a request, which is carried out when the command has been answered.
func (v *VM) Ask(r vmqmp.Request) {
	switch r {
	case vmqmp.Reset:
		v.control.RequestReset(qapi.ShutdownCauseHostQmpSystemReset)
	case vmqmp.Powerdown:
		v.control.RequestPowerdown()
	case vmqmp.Quit:
		v.control.PowerOffOnShutdown()
		v.control.RequestShutdown(qapi.ShutdownCauseHostQmpQuit)
	}
}

// Name returns the VM's name.
func (v *VM) Name() string { return v.cfg.Name }

// UUID returns the VM's UUID.
func (v *VM) UUID() string { return v.cfg.UUID }

// KVM reports whether it is KVM that runs the machine, or could.
func (v *VM) KVM() bool {
	if v.clock != nil {
		return false
	}
	_, err := v.CPUHost()
	return err == nil
}

// SetActions changes what happens when the guest does something.
func (v *VM) SetActions(args qapi.SetActionArgs) error {
	a := v.control.Actions()
	set(&a.Reboot, args.Reboot)
	set(&a.Shutdown, args.Shutdown)
	set(&a.Panic, args.Panic)
	set(&a.Watchdog, args.Watchdog)
	v.control.SetActions(a)
	return nil
}

func set[T any](to *T, from *T) {
	if from != nil {
		*to = *from
	}
}

// errNoBalloon is QEMU's answer without a balloon device.
var errNoBalloon = qapi.Errorf(qapi.QapiErrorClassDeviceNotActive, "No balloon device has been activated")

// Balloon returns the guest's memory less what its balloon holds.
func (v *VM) Balloon() (int64, error) {
	if v.balloon == nil {
		return 0, errNoBalloon
	}
	return int64(v.balloon.Actual()), nil
}

// SetBalloon sets how much memory the guest is to have.
func (v *VM) SetBalloon(bytes int64) error {
	switch {
	case v.balloon == nil:
		return errNoBalloon
	case bytes <= 0:
		return errors.New("Parameter 'target' expects a size")
	}
	v.balloon.SetTarget(uint64(bytes))
	return nil
}
