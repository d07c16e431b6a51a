// Package vm is one virtual machine: the composition root that binds KVM, RAM, vCPUs, a
// board, devices and their host back ends, and puts QMP in front of them.
//
// New builds everything and starts nothing; Run is the control goroutine, on
// which all changes happen (see hypervisor/lifecycle). Construction notes how to
// undo each step, and Close undoes them last first.
//
// It depends on everything below it; nothing but cmd/hv and tests depends on it.
package vm

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/sirupsen/logrus"

	"hv/block/export"
	"hv/block/ioshell"
	"hv/block/jobs"
	"hv/devices/qdev"
	"hv/devices/virtio/virtioballoon"
	"hv/hypervisor/config"
	"hv/hypervisor/fdset"
	"hv/hypervisor/lifecycle"
	"hv/hypervisor/machine"
	"hv/hypervisor/qtest"
	"hv/hypervisor/runstate"
	"hv/hypervisor/vclock"
	"hv/qmp/chardev"
	"hv/qmp/dispatch"
	"hv/qmp/events"
	"hv/qmp/hmp"
	"hv/qmp/qapi"
	"hv/qmp/server"
)

// Options is what the program adds to the configuration.
type Options struct {
	Version  string
	Log      *logrus.Entry
	Registry *qdev.Registry
	// Notify prints a line for the user, such as the name of a pseudo-terminal.
	Notify func(format string, args ...any)
}

// VM is a virtual machine.
type VM struct {
	cfg  *config.Config
	opt  Options
	hw   *hardware
	tree qdev.Tree
	// balloon is the balloon device, nil when there is none.
	balloon *virtioballoon.Device

	// clock is the machine's time when qtest drives it, nil otherwise.
	clock *vclock.Clock
	// qtest is nil for none; endQTest ends its wait for the control goroutine.
	qtest    *qtest.Server
	endQTest context.CancelFunc

	control    *lifecycle.Control
	fds        fdset.Registry
	chardevs   chardev.Registry
	blocks     blocks
	shell      *ioshell.Shell
	jobs       *jobs.Manager
	exports    *export.Registry
	since      time.Time // when the VM came into being
	net        network
	objects    objects
	places     map[*qdev.Instance]*place
	cpuDevices map[int]*qdev.Instance // vCPUs that -device and device_add made, by index
	built      bool                   // the machine is complete: devices that come now are hot-plugged
	starting   bool                   // during the start that nobody asked for by QMP
	dumping    dumping
	statistics statistics
	events     *events.Broker
	table      *dispatch.Table
	server     *server.Server
	human      *hmp.Monitor
	monitors   undo     // ends the coming of new clients
	humans     []func() // start human monitors once there is a machine
	serving    sync.WaitGroup
	asking     sync.WaitGroup // those that wait for the control goroutine, which answers until it ends
	undo       undo
}

// New builds the VM that cfg describes. On an error nothing is left behind.
func New(ctx context.Context, cfg *config.Config, opt Options) (*VM, error) {
	v := &VM{cfg: cfg, opt: opt, places: map[*qdev.Instance]*place{},
		cpuDevices: map[int]*qdev.Instance{}, since: time.Now()}
	v.chooseAccel()
	v.hw = &hardware{failed: v.failed}
	v.control = lifecycle.New(v.hw, notices{v}, runstate.Actions{
		Reboot: cfg.Reboot, Shutdown: cfg.Shutdown, Panic: cfg.Panic, Watchdog: cfg.Watchdog,
	}, func() { v.hw.board.PowerButton() })
	v.shell = v.newShell()
	v.startBlocks()
	v.undo.later(func() error { v.events.Close(); return nil })
	v.undo.later(v.net.close)
	v.makeJobs()
	v.makeExports()
	if err := v.build(ctx); err != nil {
		now, cancel := context.WithCancel(ctx)
		cancel()
		_ = v.Close(now)
		return nil, err
	}
	return v, nil
}

// build makes the VM. Monitors come first: clients are greeted while KVM does its
// part, and their commands wait for Run. With -preconfig the machine is left for
// x-exit-preconfig.
func (v *VM) build(ctx context.Context) error {
	if err := each(ctx, v.keepDescriptors, v.openChardevs, v.makeObjects, v.openMonitors, v.openQTest); err != nil || v.cfg.Preconfig {
		return err
	}
	return v.buildMachine(ctx)
}

// buildMachine makes what the VM consists of.
func (v *VM) buildMachine(ctx context.Context) error {
	if err := each(ctx, v.buildHardware, v.openNetdevs, v.openDrives, v.makeDevices, v.makeCPUs, v.firstReset, v.startHumans); err != nil {
		return err
	}
	v.built = true
	return nil
}

// each takes the steps of a construction until one fails.
func each(ctx context.Context, steps ...func(context.Context) error) error {
	for _, step := range steps {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

// undo is how to take back the steps of a construction.
type undo struct{ steps []func() error }

func (u *undo) later(f func() error) { u.steps = append(u.steps, f) }

// run takes all steps back, the last first.
func (u *undo) run() error {
	var errs []error
	for i := len(u.steps) - 1; i >= 0; i-- {
		errs = append(errs, u.steps[i]())
	}
	u.steps = nil
	return errors.Join(errs...)
}

// buildHardware makes what the board consists of, but for devices and vCPUs.
func (v *VM) buildHardware(context.Context) error {
	t, err := machine.Lookup(v.cfg.Machine.Type)
	if err != nil {
		return err
	}
	v.undo.later(v.hw.Close)
	if t.Kind == machine.None {
		v.hw.board, err = machine.New(machine.Config{Type: t})
		return err
	}
	if err := v.openAccel(); err != nil {
		return err
	}
	v.hw.layout = machine.NewLayout(v.cfg.Memory.Size, v.cfg.Memory.MaxSize, v.cfg.Memory.Slots)
	if err := v.hw.addRAM(v.cfg); err != nil {
		return err
	}
	board := machine.Config{Type: t, Layout: v.hw.layout, RAM: v.hw.mem, IRQ: v.hw.chip, Hooks: v.hooks()}
	now := time.Now()
	if v.clock != nil {
		board.Clock, now = v.clock, v.clock.Now()
	}
	board.ClockOffset = v.clockOffset(now)
	if v.hw.board, err = machine.New(board); err != nil {
		return err
	}
	v.hw.undo.later(func() error { v.hw.board.Close(); return nil })
	if v.clock != nil {
		if err := v.mapSoftIRQ(); err != nil || v.cfg.Kernel == "" {
			return err
		}
	}
	return v.hw.openKernel(v.cfg)
}

// Run lets the VM live and returns the process's exit status.
func (v *VM) Run(ctx context.Context) int {
	if !v.cfg.Paused && v.built {
		v.start()
	}
	status := v.control.Run(ctx)
	v.dumping.close()
	v.asking.Wait()
	return status
}

// start lets the machine run before anything else happens on the control goroutine, which
// is the caller's. Clients see a VM that runs, not one that begins to.
func (v *VM) start() {
	v.starting = true
	defer func() { v.starting = false }()
	if err := v.control.Continue(); err != nil {
		v.failed("start", err)
	}
}

// Close gives everything back. Clients have until ctx ends to take what was sent to
// them.
func (v *VM) Close(ctx context.Context) error {
	var err error
	if v.server != nil {
		err = errors.Join(v.monitors.run(), v.server.Close(ctx))
		v.closeQTest()
		v.serving.Wait()
	}
	return errors.Join(err, v.undo.run())
}

// Signal ends the VM as a signal to the process asks.
func (v *VM) Signal() {
	v.asking.Go(func() {
		_ = v.control.Do(context.Background(), v.control.PowerOffOnShutdown)
		v.control.RequestShutdown(qapi.ShutdownCauseHostSignal)
	})
}

// Alive returns once the control goroutine answers.
func (v *VM) Alive() { _ = v.control.Do(context.Background(), func() {}) }

// failed logs what went wrong without anybody to tell it to.
func (v *VM) failed(what string, err error) { v.opt.Log.WithError(err).Errorf("%s failed", what) }
