package hmp

import (
	"errors"
	"fmt"
	"strings"
)

// values holds a command's arguments by name. What was not given is absent.
type values map[string]any

func (v values) str(name string) string { s, _ := v[name].(string); return s }
func (v values) num(name string) int64  { n, _ := v[name].(int64); return n }
func (v values) flag(name string) bool  { b, _ := v[name].(bool); return b }
func (v values) has(name string) bool   { _, ok := v[name]; return ok }

// format is how memory and numbers are printed: "/16xb".
type format struct {
	count int
	kind  byte // o d u x c i
	size  int  // bytes, -1 for none
}

// param is one argument that a command takes.
type param struct {
	name, kind string
	flag       byte // 0 for an argument with a place
	optional   bool
}

// spec reads what the command takes: words such as "size:int", "base:string?" if it may
// be missing, "-f:force" for a flag and "-f:format:string" for one with a value.
//
// Types are string; file and block, which are strings that are completed; rest,
// which is what is left of the line; options, which is key=value,...; int of 32
// bits and long, which are expressions; mega, which is one in MiB; size, on, and
// format.
func (c *command) spec() []param {
	var out []param
	for _, w := range strings.Fields(c.args) {
		var p param
		if w[0] == '-' {
			p.flag, w = w[1], w[3:]
		}
		w, p.optional = strings.CutSuffix(w, "?")
		p.name, p.kind, _ = strings.Cut(w, ":")
		out = append(out, p)
	}
	return out
}

// parseArgs reads the arguments of a command. What is wrong is an error with QEMU's
// text, in full.
func (c *call) parseArgs(in *scanner, cmd *command) (values, error) {
	args := values{}
	params := cmd.spec()
	for i, p := range params {
		in.space()
		if p.optional && in.end() {
			continue
		}
		if err := c.parseArg(in, cmd, p, params[i+1:], args); err != nil {
			return nil, err
		}
	}
	in.space()
	if !in.end() {
		return nil, fmt.Errorf("%s: extraneous characters at the end of line", cmd.name)
	}
	return args, nil
}

func (c *call) parseArg(in *scanner, cmd *command, p param, later []param, args values) (err error) {
	var v any
	switch {
	case p.flag != 0:
		return parseFlag(in, cmd, p, later, args)
	case p.kind == "options":
		return parseOptions(in, args)
	case p.kind == "string", p.kind == "file", p.kind == "block":
		v, err = parseWord(in, cmd, p.kind)
	case p.kind == "rest":
		if v = in.rest(); in.end() {
			return fmt.Errorf("%s: string expected", cmd.name)
		}
		in.pos = len(in.s)
	case p.kind == "int", p.kind == "long", p.kind == "mega":
		v, err = c.parseNumber(in, cmd, p.kind)
	case p.kind == "size":
		v, err = in.size()
	case p.kind == "on":
		v, err = parseOn(in)
	case p.kind == "format":
		v, err = c.parseFormat(in)
	}
	args[p.name] = v
	return err
}

func parseWord(in *scanner, cmd *command, kind string) (string, error) {
	w, err := in.word()
	if err != nil {
		what := map[string]string{"string": "string", "file": "filename", "block": "block device name"}[kind]
		return "", fmt.Errorf("%s: %s expected", cmd.name, what)
	}
	return w, nil
}

// parseFlag reads a flag if it is the one at hand; another of the command's may
// come first only in the order of the table.
func parseFlag(in *scanner, cmd *command, p param, later []param, args values) error {
	if in.peek() != '-' {
		return nil
	}
	letter := byte(0)
	if in.pos+1 < len(in.s) {
		letter = in.s[in.pos+1]
	}
	if letter != p.flag {
		for _, l := range later {
			if l.flag == letter && letter != 0 {
				return nil
			}
		}
		return fmt.Errorf("%s: unsupported option -%s", cmd.name, strings.TrimRight(string(letter), "\x00"))
	}
	in.pos += 2
	if p.kind == "" {
		args[p.name] = true
		return nil
	}
	w, err := in.word()
	if err != nil {
		return fmt.Errorf("%s: value expected for -%c", cmd.name, letter)
	}
	args[p.name] = w
	return nil
}

// parseOptions reads key=value,... into an argument for each key.
func parseOptions(in *scanner, args values) error {
	if in.end() {
		return nil
	}
	w, err := in.word()
	if err != nil {
		return errSilent
	}
	args[optionText] = w
	return nil
}

// errSilent is an error that QEMU does not tell of.
var errSilent = errors.New("")

// optionText is the argument that holds key=value,... as it is.
const optionText = "options"

func (c *call) parseNumber(in *scanner, cmd *command, kind string) (int64, error) {
	e := evaluator{scanner: in, register: c.register}
	v, err := e.value()
	switch {
	case err != nil:
		return 0, err
	case kind == "int" && v>>32 != 0:
		return 0, fmt.Errorf("'%s' has failed: integer is for 32-bit values", cmd.name)
	case kind == "mega" && v < 0:
		return 0, errors.New("enter a positive value")
	case kind == "mega":
		return v << 20, nil
	}
	return v, nil
}

func (c *call) register(name string) (uint64, bool) {
	if c.m.machine == nil {
		return 0, false
	}
	return c.m.machine.Register(c.ctx, c.cpu, name)
}

func parseOn(in *scanner) (bool, error) {
	switch in.take(func(b byte) bool { return b > ' ' && b < 0x7f }) {
	case "on":
		return true, nil
	case "off":
		return false, nil
	}
	return false, errors.New("Expected 'on' or 'off'") //nolint:staticcheck // QEMU's words
}

// maxCount bounds how much one command prints of memory, in items.
const maxCount = 1 << 20

// parseFormat reads "/COUNT FORMAT SIZE", of which all may be missing.
func (c *call) parseFormat(in *scanner) (format, error) {
	f := format{count: 1, kind: c.format, size: c.size}
	if in.peek() != '/' {
		if f.kind == 'i' {
			f.size = -1
		}
		return f, nil
	}
	in.pos++
	if digits := in.take(func(b byte) bool { return b >= '0' && b <= '9' }); digits != "" {
		n, ok := (&scanner{s: strings.TrimLeft(digits, "0")}).number()
		f.count = int(min(n, maxCount))
		if !ok {
			f.count = maxCount
		}
	}
	size := -1
	letters := in.take(func(b byte) bool { return !isSpace(b) })
	for i := range len(letters) {
		switch l := letters[i]; {
		case strings.IndexByte("oduxic", l) >= 0:
			f.kind = l
		case strings.IndexByte("bhwgL", l) >= 0:
			size = map[byte]int{'b': 1, 'h': 2, 'w': 4, 'g': 8, 'L': 8}[l]
		default:
			return f, fmt.Errorf("invalid char in format: '%c'", l)
		}
	}
	if size > 0 || f.kind == 'i' {
		f.size = size
	}
	if f.kind != 'i' {
		c.size = f.size
	}
	c.format = f.kind
	return f, nil
}
