// Command hvctl talks to running VMs by QMP: it lists them, runs commands of QMP and of
// the human monitor, at a prompt too, and shows events. It also works on images of disks.
// See `hvctl --help`.
//
// It exits with 0 if all went well, 1 if a VM could not be reached or refused, and 2
// if it was called wrongly.
//
// It depends on block/imgtool, net/rxsync, qmp/client, qmp/hmp and qmp/introspect.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"hv/qmp/client"
)

// version is set by the linker.
var version = "unknown"

// runDir is where VMs have their sockets.
const runDir = "/run/vm"

const usage = `usage: hvctl COMMAND [ARGUMENT...]

  list                               the VMs that run here, and their state
  status VM                          a VM's state
  stop | cont | reset VM             stop a VM, let it run, reset it
  powerdown VM                       press its power button
  quit VM                            end its process
  qmp VM [COMMAND [ARG=VALUE...]]    run a QMP command; without one, ask for commands
  hmp VM [COMMAND...]                run a command of the human monitor; without one, ask
  events VM [--follow]               wait for an event and print it; with --follow, all
  disks VM                           the tree of nodes that its disks have
  net VM [--watch] [--interval SECONDS] [--link NIC=IFNAME...]
                                     its NICs, their links, traffic and filters
  rxfilter sync | show VM ...        have links follow the guest's filters, or show both;
                                     'hvctl rxfilter help' tells more
  img COMMAND ...                    work on images of disks; 'hvctl img help' tells more
  version | help

VM is the name of a VM, whose socket is /run/vm/VM.sock, the path of a QMP socket,
or HOST:PORT. A VALUE is JSON if it is valid as such and text otherwise; ARG may
be a path with dots: addr.host=localhost. Exit status: 0 done, 1 the VM refused or
cannot be reached, 2 wrong usage.
`

// exit statuses.
const (
	statusOK = iota
	statusFailed
	statusUsage
)

// usageError is a wrong command line.
type usageError string

func (e usageError) Error() string { return string(e) }

// tool is one run of the program.
type tool struct {
	in          io.Reader
	out, errOut io.Writer
	dir         string // of sockets
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	t := tool{in: os.Stdin, out: os.Stdout, errOut: os.Stderr, dir: runDir}
	status := t.run(ctx, os.Args[1:])
	stop()
	os.Exit(status)
}

// run carries out a command line and returns the exit status.
func (t *tool) run(ctx context.Context, args []string) int {
	err := t.command(ctx, args)
	var wrong usageError
	var status imgStatus
	switch {
	case err == nil:
		return statusOK
	case errors.Is(err, errHuman): // which has been printed
		return statusFailed
	case errors.As(err, &status): // what there is to say has been said
		return int(status)
	case errors.As(err, &wrong):
		fmt.Fprintf(t.errOut, "hvctl: %v\nTry 'hvctl --help'.\n", err)
		return statusUsage
	}
	fmt.Fprintf(t.errOut, "hvctl: %v\n", err)
	if h := interface{ Hint() string }(nil); errors.As(err, &h) {
		fmt.Fprintln(t.errOut, h.Hint())
	}
	return statusFailed
}

// actions are the commands that are one QMP command without arguments.
var actions = map[string]string{
	"stop": "stop", "cont": "cont", "reset": "system_reset", "powerdown": "system_powerdown", "quit": "quit",
}

func (t *tool) command(ctx context.Context, args []string) error {
	if len(args) == 0 {
		return usageError("which command?")
	}
	verb, args := args[0], args[1:]
	switch verb {
	case "help", "-h", "-help", "--help":
		fmt.Fprint(t.out, usage)
		return nil
	case "version", "--version":
		fmt.Fprintf(t.out, "hvctl version %s\n", version)
		return nil
	case "list":
		if len(args) > 0 {
			return usageError("list takes no arguments")
		}
		return t.list(ctx)
	case "img":
		return t.img(ctx, args)
	case "net":
		return t.net(ctx, args)
	case "rxfilter":
		return t.rxfilter(ctx, args)
	}
	run := map[string]func(context.Context, *client.Client, []string) error{
		"qmp": t.qmp, "hmp": t.hmp, "events": t.events, "status": t.status, "disks": t.disks,
	}[verb]
	if qmp := actions[verb]; qmp != "" {
		run = func(ctx context.Context, c *client.Client, args []string) error { return t.action(ctx, c, qmp, args) }
	}
	switch {
	case run == nil:
		return usageError(fmt.Sprintf("there is no command '%s'", verb))
	case len(args) == 0:
		return usageError(verb + ": which VM?")
	case len(args) > 1 && (verb == "status" || verb == "disks" || actions[verb] != ""):
		return usageError(verb + " takes a VM only")
	}
	c, err := t.dial(ctx, args[0])
	if err != nil {
		return err
	}
	defer c.Close()
	return run(ctx, c, args[1:])
}

// dial connects to a VM.
func (t *tool) dial(ctx context.Context, vm string) (*client.Client, error) {
	conn, err := t.connect(ctx, vm)
	if err != nil {
		return nil, err
	}
	return client.New(ctx, conn)
}

// connect connects to a VM's QMP socket.
func (t *tool) connect(ctx context.Context, vm string) (net.Conn, error) {
	network, address := "unix", vm
	switch {
	case vm == "":
		return nil, usageError("the VM has no name")
	case strings.Contains(vm, "/"):
	case strings.Contains(vm, ":"):
		network = "tcp"
	default:
		address = filepath.Join(t.dir, vm+".sock")
	}
	conn, err := (&net.Dialer{}).DialContext(ctx, network, address)
	if err != nil {
		return nil, fmt.Errorf("connect to QMP server: %w", err)
	}
	return conn, nil
}

// action runs a command whose result is nothing.
func (t *tool) action(ctx context.Context, c *client.Client, command string, _ []string) error {
	return c.Execute(ctx, command, nil, nil)
}
