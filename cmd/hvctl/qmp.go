package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"

	"hv/qmp/client"
	"hv/qmp/introspect"
	"hv/qmp/qapi"
)

// qmp runs one command, or those that are typed.
func (t *tool) qmp(ctx context.Context, c *client.Client, args []string) error {
	if len(args) > 0 {
		return execute(ctx, c, t.out, args)
	}
	s := newShell(ctx, c)
	g := c.Greeting().QMP.Version
	greeting := fmt.Sprintf("Connected to QEMU %d.%d.%d (%s). Ctrl-D ends.\n", g.Qemu.Major, g.Qemu.Minor, g.Qemu.Micro, g.Package)
	return t.ask(ctx, c, greeting, "(QMP) ", s.complete, func(w io.Writer, line string) error {
		words := strings.Fields(line)
		if len(words) == 0 {
			return nil
		}
		return execute(ctx, c, w, words)
	})
}

// execute runs a command and prints what it returns.
func execute(ctx context.Context, c *client.Client, w io.Writer, words []string) error {
	args, err := parseArgs(words[1:])
	if err != nil {
		return err
	}
	var ret json.RawMessage
	if err := c.Execute(ctx, words[0], args, &ret); err != nil {
		return err
	}
	return printJSON(w, ret)
}

// printJSON prints a value over many lines, text without quotes.
func printJSON(w io.Writer, v json.RawMessage) error {
	var text string
	if json.Unmarshal(v, &text) == nil {
		_, err := fmt.Fprintln(w, strings.TrimRight(strings.ReplaceAll(text, "\r\n", "\n"), "\n"))
		return err
	}
	var b bytes.Buffer
	if err := json.Indent(&b, v, "", "  "); err != nil {
		return err
	}
	_, err := fmt.Fprintf(w, "%s\n", &b)
	return err
}

// parseArgs reads ARG=VALUE..., or one JSON object.
func parseArgs(words []string) (any, error) {
	if len(words) > 0 && strings.HasPrefix(words[0], "{") {
		text := strings.Join(words, " ")
		if !json.Valid([]byte(text)) {
			return nil, usageError("the arguments are no valid JSON")
		}
		return json.RawMessage(text), nil
	}
	args := introspect.Object{}
	for _, w := range words {
		key, value, ok := strings.Cut(w, "=")
		if !ok || key == "" {
			return nil, usageError(fmt.Sprintf("'%s' is not ARG=VALUE", w))
		}
		if err := put(args, strings.Split(key, "."), parseValue(value)); err != nil {
			return nil, err
		}
	}
	if len(args) == 0 {
		return nil, nil
	}
	return args, nil
}

// parseValue reads JSON, or else text.
func parseValue(text string) any {
	if json.Valid([]byte(text)) {
		return json.RawMessage(text)
	}
	return text
}

// put sets a member of an object, or of an object in it.
func put(o introspect.Object, path []string, v any) error {
	if len(path) == 1 {
		if _, there := o[path[0]]; there {
			return usageError(fmt.Sprintf("argument '%s' is given twice", path[0]))
		}
		o[path[0]] = v
		return nil
	}
	inner, ok := o[path[0]].(introspect.Object)
	if _, there := o[path[0]]; there && !ok {
		return usageError(fmt.Sprintf("argument '%s' is both a value and an object", path[0]))
	}
	if !ok {
		inner = introspect.Object{}
		o[path[0]] = inner
	}
	return put(inner, path[1:], v)
}

// shell knows what may be typed.
type shell struct {
	commands []string
	schema   *introspect.Schema // nil if the server does not tell
}

// newShell asks the server what it has. Without an answer nothing is completed.
func newShell(ctx context.Context, c *client.Client) *shell {
	s := &shell{}
	if list, err := client.Call(ctx, c, qapi.CmdQueryCommands, qapi.Empty{}); err == nil {
		for _, i := range list {
			s.commands = append(s.commands, i.Name)
		}
		slices.Sort(s.commands)
	}
	var b json.RawMessage
	if slices.Contains(s.commands, "query-qmp-schema") && c.Execute(ctx, "query-qmp-schema", nil, &b) == nil {
		s.schema, _ = introspect.Parse(b)
	}
	return s
}

// complete lists what the last word of a line may become.
func (s *shell) complete(line string) []string {
	words := strings.Fields(line)
	if line == "" || strings.HasSuffix(line, " ") {
		words = append(words, "")
	}
	last := words[len(words)-1]
	var list []string
	switch key, _, hasValue := strings.Cut(last, "="); {
	case len(words) == 1:
		list = s.commands
	case s.schema == nil:
	case hasValue:
		for _, v := range s.schema.Values(words[0], key, given(words[1:len(words)-1])) {
			list = append(list, key+"="+v)
		}
	default:
		for _, k := range s.schema.Keys(words[0], given(words[1:len(words)-1])) {
			list = append(list, k+"=")
		}
	}
	return slices.DeleteFunc(slices.Clone(list), func(w string) bool { return !strings.HasPrefix(w, last) })
}

// given reads the arguments before the word at hand as text, as far as they can be
// read.
func given(words []string) introspect.Object {
	args := introspect.Object{}
	for _, w := range words {
		if key, value, ok := strings.Cut(w, "="); ok {
			_ = put(args, strings.Split(key, "."), value)
		}
	}
	return args
}
