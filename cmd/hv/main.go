// Command hv runs one virtual machine. Its command line is QEMU's; see
// `hv -help`. It exits with 0 after an orderly end, 1 when the VM could not be
// started, and as the guest says when that has a debug exit device.
//
// It depends on hypervisor/vm and systemd.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strconv"
	"syscall"
	"time"

	"github.com/sirupsen/logrus"

	"hv/devices/qdev"
	"hv/hypervisor/config"
	"hv/hypervisor/cpuid"
	"hv/hypervisor/machine"
	"hv/hypervisor/smbios"
	"hv/hypervisor/vm"
	"hv/systemd/notify"
)

// version is set by the linker.
var version = "unknown"

// The first thread is kept from everything else: a vCPU on it would have the process's own
// id, by which managers tell vCPUs from the process, and give the process its name.
func init() { runtime.LockOSThread() }

func main() {
	program := filepath.Base(os.Args[0])
	ended := make(chan int)
	go func() {
		status, err := run(program, os.Args[1:])
		if err != nil {
			fmt.Fprintf(os.Stderr, "%s: %v\n", program, err)
			if h := interface{ Hint() string }(nil); errors.As(err, &h) {
				fmt.Fprintln(os.Stderr, h.Hint())
			}
			status = 1
		}
		ended <- status
	}()
	os.Exit(<-ended)
}

func run(program string, args []string) (int, error) {
	registry := vm.Registry()
	cfg, err := config.Parse(args, config.Env{
		Devices: registry, ReadFile: os.ReadFile,
		Machine: func(name string) error { _, err := machine.Lookup(name); return err },
		CPU:     checkCPU, SMBIOS: smbios.Check,
	})
	if err != nil {
		return 1, err
	}
	if cfg.Help.Topic != "" {
		return 0, printHelp(os.Stdout, program, cfg.Help, registry)
	}
	if cfg.Daemonize && !isDaemon() {
		return daemonize()
	}
	if cfg.Process != "" {
		// What ps and top call the process; one that cannot be set is no reason to fail.
		_ = os.WriteFile("/proc/self/comm", []byte(cfg.Process), 0)
	}
	log, err := newLogger(cfg)
	if err != nil {
		return 1, err
	}
	return live(program, cfg, registry, log)
}

// checkCPU reads a -cpu argument and names what is near a model or feature that
// there is not.
func checkCPU(arg string) error {
	_, err := cpuid.Parse(arg)
	if unknown := (*cpuid.UnknownError)(nil); errors.As(err, &unknown) {
		return fmt.Errorf("%w%s", err, qdev.Near(unknown.Name, unknown.Known))
	}
	return err
}

// closeTime is how long clients have at the end to take what was sent to them.
const closeTime = 2 * time.Second

// live builds the VM, runs it and takes it down.
func live(program string, cfg *config.Config, registry *qdev.Registry, log *logrus.Entry) (status int, err error) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	signal.Ignore(syscall.SIGPIPE)

	v, err := vm.New(ctx, cfg, vm.Options{
		Version: "hv " + version, Log: log, Registry: registry,
		Notify: func(format string, a ...any) { fmt.Fprintf(os.Stdout, format+"\n", a...) },
	})
	if err != nil {
		return 1, err
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.Background(), closeTime)
		defer cancel()
		if cerr := v.Close(ctx); cerr != nil && !errors.Is(cerr, context.DeadlineExceeded) {
			log.WithError(cerr).Error("not all could be closed")
		}
	}()
	if cfg.PIDFile != "" {
		if err := os.WriteFile(cfg.PIDFile, []byte(strconv.Itoa(os.Getpid())+"\n"), 0o644); err != nil {
			return 1, fmt.Errorf("-pidfile: %w", err)
		}
		defer os.Remove(cfg.PIDFile)
	}
	go watch(signals, v, log)
	watchdog, err := announce(cfg, v)
	if err != nil {
		return 1, err
	}
	defer watchdog.Close()
	settle()
	status = v.Run(ctx)
	return status, notify.Stopping()
}

// watch ends the VM at the first signal and the process at the second.
func watch(signals <-chan os.Signal, v *vm.VM, log *logrus.Entry) {
	log.WithField("signal", <-signals).Info("terminating")
	v.Signal()
	<-signals
	os.Exit(1)
}

// announce tells systemd, and whoever waits for a daemon, that the VM is up.
func announce(cfg *config.Config, v *vm.VM) (*notify.Watchdog, error) {
	if err := releaseParent(); err != nil {
		return nil, err
	}
	if err := notify.Ready("VM " + cfg.Name + " is up"); err != nil {
		return nil, err
	}
	return notify.StartWatchdog(v.Alive)
}
