package ioshell

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"hv/block/graph"
)

// command is an entry of the table.
type command struct {
	name, short string
	perm        graph.Perm
	min, max    int // how many arguments; max is -1 for any
	args, what  string
	help        string // more of it, unless it is empty
	global      bool   // it is about nothing in particular
	options     string // letters, followed by a colon if they have a value
	do          func(r *run, args []string)
}

// expected tells how many arguments there may be.
func (c *command) expected() string {
	switch {
	case c.max < 0:
		return fmt.Sprintf("at least %d arguments", c.min)
	case c.min == c.max:
		return fmt.Sprintf("%d arguments", c.min)
	}
	return fmt.Sprintf("between %d and %d arguments", c.min, c.max)
}

// commands returns the table, by name.
func commands() []*command {
	all := slices.Concat(transferCommands(), asyncCommands(), otherCommands(), breakCommands())
	all = append(all, reopenCommand(), &command{
		name: "help", short: "?", max: 1, args: "[command]", what: "help for one or all commands", global: true, do: (*run).help,
	})
	slices.SortFunc(all, func(a, b *command) int { return cmp.Compare(a.name, b.name) })
	return all
}

func find(name string) *command {
	for _, c := range commands() {
		if c.name == name || c.short == name && name != "" {
			return c
		}
	}
	return nil
}

func (r *run) help(args []string) {
	var b strings.Builder
	line := func(name string, c *command) {
		fmt.Fprint(&b, name, " ")
		if c.args != "" {
			fmt.Fprint(&b, c.args, " ")
		}
		fmt.Fprintf(&b, "-- %s\n", c.what)
	}
	if len(args) < 2 {
		for _, c := range commands() {
			line(c.name, c)
		}
		r.shell.print(b.String() + "\nUse 'help commandname' for extended help.\n")
		return
	}
	c := find(args[1])
	if c == nil {
		r.printf("command %s not found\n", args[1])
		return
	}
	line(args[1], c)
	r.shell.print(b.String() + c.help)
}

// usage tells how the command is used.
func (r *run) usage() { r.printf("%s %s -- %s\n", r.cmd.name, r.cmd.args, r.cmd.what) }

// option is one of a command line.
type option struct {
	letter byte
	value  string
}

// parse sorts arguments into options and others, as getopt does: options may come anywhere,
// up to "--". What is wrong is told, and ok is false.
func (r *run) parse(args []string) (opts []option, rest []string, ok bool) {
	for i := 1; i < len(args); i++ {
		a := args[i]
		switch {
		case a == "--":
			return opts, append(rest, args[i+1:]...), true
		case len(a) < 2 || a[0] != '-':
			rest = append(rest, a)
			continue
		}
		for a = a[1:]; a != ""; {
			letter := a[0]
			a = a[1:]
			at := strings.IndexByte(r.cmd.options, letter)
			if at < 0 || letter == ':' {
				r.shell.complain("%s: invalid option -- '%c'\n", args[0], letter)
				r.usage()
				return nil, nil, false
			}
			o := option{letter: letter}
			if at+1 < len(r.cmd.options) && r.cmd.options[at+1] == ':' {
				if a == "" {
					if i++; i == len(args) {
						r.shell.complain("%s: option requires an argument -- '%c'\n", args[0], letter)
						r.usage()
						return nil, nil, false
					}
					a = args[i]
				}
				o.value, a = a, ""
			}
			opts = append(opts, o)
		}
	}
	return opts, rest, true
}

// number reads a number of bytes, and tells what is wrong with it.
func (r *run) number(s string) (int64, bool) {
	n, err := parseSize(s)
	if err != nil {
		r.printf("%s\n", err)
	}
	return n, err == nil
}
