// Package hmp is QEMU's human monitor on top of QMP: it reads command lines such as
// "info block", runs the QMP commands behind them and prints what they return for
// people to read.
//
// A command of the monitor exists, that is, is listed, is completed and runs,
// exactly when the QMP commands behind it are registered, so what is added to QMP
// appears here by itself. What QMP cannot tell, such as registers, comes from the
// optional interfaces that a Caller may have.
//
// A Monitor is immutable and may serve any number of sessions; a Session belongs to
// one goroutine. Serve runs on its caller's goroutine and ends with the stream or
// its context.
//
// Commands, arguments and output follow QEMU 7.2's monitor. The package depends on
// qmp/introspect; line editing is golang.org/x/term's.
package hmp

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// Caller runs QMP commands.
type Caller interface {
	// Call runs a command with arguments that encoding/json writes as an object,
	// nil for none, and returns its result.
	Call(ctx context.Context, command string, args any) (json.RawMessage, error)
	// Has tells whether there is such a command.
	Has(command string) bool
}

// Machine is a Caller that can look into the machine itself.
type Machine interface {
	// Registers describes a vCPU's registers over many lines.
	Registers(ctx context.Context, cpu int) (string, error)
	// Register returns the value of a register, such as "rip".
	Register(ctx context.Context, cpu int, name string) (uint64, bool)
	// ReadPhysical reads guest memory.
	ReadPhysical(ctx context.Context, addr uint64, p []byte) error
	// Translate returns the physical address that a vCPU's address stands for.
	Translate(ctx context.Context, cpu int, addr uint64) (uint64, bool)
}

// Informer is a Caller that has texts of its own for sub-commands of info that
// no QMP command is behind, such as "network".
type Informer interface {
	// Info returns how to make the text on a topic, nil if there is none.
	Info(topic string) func(ctx context.Context) (string, error)
}

// Monitor is the human monitor of one VM.
type Monitor struct {
	caller   Caller
	machine  Machine
	informer Informer
	commands []*command // those that there are, by name
	info     []*command
}

// New returns the monitor over caller. The commands that it has are those that
// caller has when New is called.
func New(caller Caller) *Monitor {
	m := &Monitor{caller: caller}
	m.machine, _ = caller.(Machine)
	m.informer, _ = caller.(Informer)
	m.info = m.available(infoCommands())
	m.commands = m.available(slices.Concat(baseCommands(), runCommands(), memoryCommands(), deviceCommands(), blockCommands(), driveCommands(), requestCommands(), migrateCommands()))
	return m
}

func (m *Monitor) available(all []*command) []*command {
	var out []*command
	for _, c := range all {
		if m.has(c) {
			out = append(out, c)
		}
	}
	slices.SortFunc(out, func(a, b *command) int { return strings.Compare(a.name, b.name) })
	return out
}

func (m *Monitor) has(c *command) bool {
	for _, n := range c.needs {
		switch {
		case n == needsMachine:
			if m.machine == nil {
				return false
			}
		case n == needsRequester:
			if _, ok := m.caller.(Requester); !ok {
				return false
			}
		case n == needsDrives:
			if _, ok := m.caller.(Drives); !ok {
				return false
			}
		case strings.HasPrefix(n, needsInfo):
			if m.informer == nil || m.informer.Info(n[len(needsInfo):]) == nil {
				return false
			}
		case !m.caller.Has(n):
			return false
		}
	}
	return true
}

// What a command may need besides QMP commands.
const (
	needsMachine   = "<machine>"
	needsRequester = "<requester>"
	needsDrives    = "<drives>"
	needsInfo      = "<info>" // followed by the topic
)

// command is an entry of the table.
type command struct {
	name   string // and aliases, separated by |
	args   string // see parseArgs
	params string // the arguments as help shows them
	help   string
	needs  []string
	run    func(*call) error
	// complete lists what the last argument may be, instead of the default for its
	// type.
	complete func(c *completion, n int) []string
	sub      func(*Monitor) []*command
}

// is tells whether the command has a name.
func (c *command) is(name string) bool {
	return slices.Contains(strings.Split(c.name, "|"), name)
}

func find(table []*command, name string) *command {
	i := slices.IndexFunc(table, func(c *command) bool { return c.is(name) })
	if i < 0 {
		return nil
	}
	return table[i]
}

// Session is what one user of a monitor has chosen.
type Session struct {
	m   *Monitor
	cpu int
	// The format of the last memory dump is the next one's.
	format byte
	size   int
	// history returns the lines entered so far, nil without line editing.
	history func() []string
}

// NewSession returns a session on the first vCPU.
func (m *Monitor) NewSession() *Session { return &Session{m: m, format: 'x', size: 4} }

// Execute runs one command line for QMP's human-monitor-command, on behalf of a
// vCPU, nil meaning the first, and returns what it prints, lines ending in CRLF.
func (m *Monitor) Execute(ctx context.Context, line string, cpu *int64) (string, error) {
	s := m.NewSession()
	if cpu != nil && !s.setCPU(ctx, *cpu) {
		return "", fmt.Errorf("Parameter 'cpu-index' expects a CPU number") //nolint:staticcheck // QEMU's words
	}
	return strings.ReplaceAll(s.Execute(ctx, line), "\n", "\r\n"), nil
}

// Execute runs one command line and returns what it prints.
func (s *Session) Execute(ctx context.Context, line string) string {
	c := &call{Session: s, ctx: ctx}
	c.execute(line)
	return c.out.String()
}

// call is the execution of a command line.
type call struct {
	*Session
	ctx  context.Context
	args values
	out  strings.Builder
}

func (c *call) printf(format string, args ...any) { fmt.Fprintf(&c.out, format, args...) }

func (c *call) execute(line string) {
	in := &scanner{s: line}
	cmd := c.command(in, c.m.commands)
	if cmd == nil {
		return
	}
	name := strings.TrimRight(line[:in.pos], spaces)
	args, err := c.parseArgs(in, cmd)
	if err != nil {
		c.printf("%sTry \"help %s\" for more information\n", choose(err == errSilent, "", err.Error()+"\n"), name)
		return
	}
	c.args = args
	if err := cmd.run(c); err != nil {
		c.printf("Error: %s\n", err)
	}
}

// command reads the name of a command, and of its sub-command if there is one.
func (c *call) command(in *scanner, table []*command) *command {
	name := in.name()
	if name == "" {
		return nil
	}
	cmd := find(table, name)
	if cmd == nil {
		c.printf("unknown command: '%s'\n", in.s[:in.pos])
		return nil
	}
	in.space()
	if cmd.sub != nil && !in.end() {
		return c.command(in, cmd.sub(c.m))
	}
	return cmd
}

// obj is a JSON object.
type obj = map[string]any

// query runs a QMP command and decodes what it returns.
func (c *call) query(command string, args obj, ret any) error {
	var a any
	if args != nil {
		a = args
	}
	b, err := c.m.caller.Call(c.ctx, command, a)
	if err != nil {
		return err
	}
	if ret == nil {
		return nil
	}
	if err := json.Unmarshal(b, ret); err != nil {
		return fmt.Errorf("result of %s: %w", command, err)
	}
	return nil
}

// setCPU makes a vCPU the one that commands are about, if it exists.
func (s *Session) setCPU(ctx context.Context, cpu int64) bool {
	c := call{Session: s, ctx: ctx}
	for _, i := range c.cpus() {
		if i.Index == cpu {
			s.cpu = int(cpu)
			return true
		}
	}
	return false
}

// cpuInfo is what query-cpus-fast says of a vCPU.
type cpuInfo struct {
	Index  int64  `json:"cpu-index"`
	Path   string `json:"qom-path"`
	Thread int64  `json:"thread-id"`
}

// cpus lists the vCPUs, none if they cannot be known.
func (c *call) cpus() []cpuInfo {
	var list []cpuInfo
	if !c.m.caller.Has("query-cpus-fast") || c.query("query-cpus-fast", nil, &list) != nil {
		return nil
	}
	return list
}
