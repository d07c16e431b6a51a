package hmp

import (
	"fmt"
	"strings"
)

// pass returns a handler that hands the arguments on to a QMP command, under the
// names that they have in the command's specification, and extra beside them.
func pass(command string, extra obj) func(*call) error {
	return func(c *call) error {
		args := obj{}
		for k, v := range extra {
			args[k] = v
		}
		for k, v := range c.args {
			args[k] = v
		}
		if len(args) == 0 {
			args = nil
		}
		return c.query(command, args, nil)
	}
}

// on returns an entry of the table for a QMP command that takes what is given.
func on(qmp, name, args, params, help string) *command {
	return &command{name: name, args: args, params: params, help: help, needs: []string{qmp}, run: pass(qmp, nil)}
}

// baseCommands are those of the monitor itself.
func baseCommands() []*command {
	return []*command{
		{
			name: "help|?", args: "name:rest?", params: "[cmd]", help: "list commands, or tell how one is used",
			run: (*call).help, complete: completeHelp,
		},
		{
			name: "info", args: "item:string?", params: "[subcommand]", help: "show a part of the machine's state",
			run: (*call).infoHelp, sub: func(m *Monitor) []*command { return m.info },
		},
		{name: "print|p", args: "fmt:format val:long", params: "/fmt expr", help: "print an expression's value; $reg is a register", run: (*call).print},
		{
			name: "cpu", args: "index:int", params: "index", help: "choose the CPU that commands are about",
			needs: []string{"query-cpus-fast"}, run: (*call).chooseCPU,
		},
		{
			name: "exit_preconfig", help: "end the preconfig state", needs: []string{"x-exit-preconfig"}, run: pass("x-exit-preconfig", nil),
		},
	}
}

func (c *call) chooseCPU() error {
	if !c.setCPU(c.ctx, c.args.num("index")) {
		c.printf("invalid CPU index\n")
	}
	return nil
}

func (c *call) infoHelp() error {
	c.list("info ", c.m.info)
	return nil
}

func (c *call) help() error {
	args := words(strings.TrimRight(c.args.str("name"), spaces))
	if !c.args.has("name") {
		args = nil
	}
	table, prefix := c.m.commands, ""
	for i, a := range args {
		cmd := find(table, a)
		switch {
		case cmd == nil:
			c.printf("unknown command: '%s'\n", strings.Join(args[:i+1], " "))
			return nil
		case cmd.sub == nil:
			c.list(prefix, []*command{cmd})
			return nil
		}
		table, prefix = cmd.sub(c.m), prefix+a+" "
	}
	c.list(prefix, table)
	return nil
}

func (c *call) list(prefix string, table []*command) {
	for _, cmd := range table {
		c.printf("%s%s %s -- %s\n", prefix, cmd.name, cmd.params, cmd.help)
	}
}

func (c *call) print() error {
	f, v := c.args["fmt"].(format), c.args.num("val")
	switch f.kind {
	case 'o':
		c.printf("%s\n", alternate("0", "%o", uint64(v)))
	case 'x':
		c.printf("%s\n", alternate("0x", "%x", uint64(v)))
	case 'u':
		c.printf("%d\n", uint64(v))
	case 'c':
		c.printf("%s\n", quoted(byte(v)))
	default:
		c.printf("%d\n", v)
	}
	return nil
}

// alternate prints a number with its prefix, which zero does not have.
func alternate(prefix, format string, v uint64) string {
	if v == 0 {
		return "0"
	}
	return prefix + fmt.Sprintf(format, v)
}

// quoted prints a character.
func quoted(b byte) string {
	switch {
	case b == '\'' || b == '\\':
		return `'\` + string(rune(b)) + "'"
	case b == '\n':
		return `'\n'`
	case b == '\r':
		return `'\r'`
	case b >= ' ' && b <= '~':
		return "'" + string(rune(b)) + "'"
	}
	return fmt.Sprintf(`'\x%02x'`, b)
}

// runCommands let the machine run, stop and end.
func runCommands() []*command {
	return []*command{
		on("stop", "stop|s", "", "", "stop the machine"),
		on("cont", "cont|c", "", "", "let the machine run"),
		on("system_reset", "system_reset", "", "", "reset the machine"),
		on("system_powerdown", "system_powerdown", "", "", "press the power button"),
		on("system_wakeup", "system_wakeup", "", "", "wake the guest from suspension"),
		on("quit", "quit|q", "", "", "end the process"),
		on("inject-nmi", "nmi", "", "", "send a non-maskable interrupt to the guest"),
		{
			name: "watchdog_action", args: "action:string", params: "[reset|shutdown|poweroff|pause|debug|none]", help: "choose what an expired watchdog does",
			needs: []string{"watchdog-set-action"}, run: pass("watchdog-set-action", nil),
			complete: oneOf("reset", "shutdown", "poweroff", "pause", "debug", "none", "inject-nmi"),
		},
		on("getfd", "getfd", "fdname:string", "getfd name", "give a name to a descriptor that came over the socket"),
		on("closefd", "closefd", "fdname:string", "closefd name", "close a descriptor that has a name"),
		{
			name: "trace-event", args: "name:string enable:on vcpu:int?", params: "name on|off [vcpu]", help: "switch trace events",
			needs: []string{"trace-event-set-state"}, run: pass("trace-event-set-state", nil),
		},
	}
}
