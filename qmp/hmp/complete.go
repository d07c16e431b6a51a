package hmp

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// completion is a line that ends in the word to be completed.
type completion struct {
	*call
	words []string // the command's name first
}

// last returns the word to be completed.
func (c *completion) last() string { return c.words[len(c.words)-1] }

// Complete returns what the last word of a line may become, sorted.
func (s *Session) Complete(ctx context.Context, line string) []string {
	w := words(line)
	if len(w) == 0 {
		return nil
	}
	c := &completion{call: &call{Session: s, ctx: ctx}, words: w}
	out := slices.DeleteFunc(c.inTable(s.m.commands), func(o string) bool { return !strings.HasPrefix(o, c.last()) })
	slices.Sort(out)
	return slices.Compact(out)
}

// names lists the names of commands.
func names(table []*command) []string {
	var out []string
	for _, c := range table {
		out = append(out, strings.Split(c.name, "|")...)
	}
	return out
}

func (c *completion) inTable(table []*command) []string {
	if len(c.words) == 1 {
		return names(table)
	}
	cmd := find(table, c.words[0])
	switch {
	case cmd == nil:
		return nil
	case cmd.sub != nil:
		c.words = c.words[1:]
		return c.inTable(cmd.sub(c.m))
	}
	n, kind := c.place(cmd)
	if cmd.complete != nil {
		return cmd.complete(c, n)
	}
	switch kind {
	case "on":
		return []string{"on", "off"}
	case "block":
		return c.blocks()
	case "file":
		return files(c.last())
	}
	return nil
}

// place returns which argument is the last word, counted from 1 without flags, and
// its type, "" if the command takes no such.
func (c *completion) place(cmd *command) (n int, kind string) {
	for _, w := range c.words[1:] {
		if !strings.HasPrefix(w, "-") {
			n++
		}
	}
	i := 0
	for _, p := range cmd.spec() {
		if p.flag == 0 {
			if i++; i == n {
				return n, p.kind
			}
		}
	}
	return n, ""
}

// oneOf completes a first argument that is one of some words.
func oneOf(list ...string) func(*completion, int) []string {
	return func(_ *completion, n int) []string {
		if n != 1 {
			return nil
		}
		return slices.Clone(list)
	}
}

func completeHelp(c *completion, _ int) []string {
	c.words = c.words[1:]
	table := c.m.commands
	for len(c.words) > 1 {
		cmd := find(table, c.words[0])
		if cmd == nil || cmd.sub == nil {
			return nil
		}
		table, c.words = cmd.sub(c.m), c.words[1:]
	}
	return names(table)
}

// ask runs a query if there is such; what fails is without result.
func (c *completion) ask(command string, args obj, ret any) {
	if c.m.caller.Has(command) {
		_ = c.query(command, args, ret)
	}
}

func (c *completion) blocks() []string {
	var out []string
	var devices []blockDevice
	c.ask("query-block", nil, &devices)
	for _, d := range devices {
		out = append(out, d.Device)
	}
	var nodes []blockNode
	c.ask("query-named-block-nodes", nil, &nodes)
	for _, n := range nodes {
		if n.NodeName != nil {
			out = append(out, *n.NodeName)
		}
	}
	return slices.DeleteFunc(out, func(s string) bool { return s == "" })
}

// files lists the files whose path begins with prefix.
func files(prefix string) []string {
	dir, _ := filepath.Split(prefix)
	entries, err := os.ReadDir(choose(dir == "", ".", dir))
	if err != nil {
		return nil
	}
	var out []string
	for _, e := range entries {
		if name := dir + e.Name(); strings.HasPrefix(name, prefix) {
			out = append(out, name+choose(e.IsDir(), "/", ""))
		}
	}
	return out
}

// below lists the objects that a QOM object holds.
func (c *completion) below(path string) []string {
	var list []qomProperty
	c.ask("qom-list", obj{"path": path}, &list)
	var out []string
	for _, p := range list {
		if _, ok := p.child(); ok {
			out = append(out, p.Name)
		}
	}
	return out
}

func completeDevice(c *completion, n int) []string {
	if n != 1 {
		return nil
	}
	return c.below("/machine/peripheral")
}

func completeObject(c *completion, n int) []string {
	if n != 1 {
		return nil
	}
	return c.below("/objects")
}

func completeLink(c *completion, n int) []string {
	if n == 2 {
		return []string{"on", "off"}
	}
	return completeDevice(c, n)
}

func completeChardev(c *completion, n int) []string {
	if n != 1 {
		return nil
	}
	var list []struct{ Label string }
	c.ask("query-chardev", nil, &list)
	var out []string
	for _, d := range list {
		out = append(out, d.Label)
	}
	return out
}

func completeChardevTypes(c *completion, n int) []string {
	if n != 1 {
		return nil
	}
	var list []struct{ Name string }
	c.ask("query-chardev-backends", nil, &list)
	var out []string
	for _, d := range list {
		out = append(out, d.Name)
	}
	return out
}

// completeTypes completes the type of what is to be made.
func completeTypes(base string) func(*completion, int) []string {
	return func(c *completion, n int) []string {
		if n != 1 {
			return nil
		}
		var list []struct{ Name string }
		c.ask("qom-list-types", obj{"implements": base, "abstract": false}, &list)
		var out []string
		for _, t := range list {
			out = append(out, t.Name)
		}
		return out
	}
}

func completeNetdevTypes(c *completion, n int) []string {
	s := c.schema()
	if n != 1 || s == nil {
		return nil
	}
	return s.Values("netdev_add", "type", nil)
}

func completeParameter(c *completion, n int) []string {
	if n != 1 {
		return nil
	}
	var out []string
	for _, f := range migrateParameters {
		out = append(out, f.key)
	}
	return out
}

func completeVirtio(c *completion, n int) []string {
	if n != 1 {
		return nil
	}
	var list []virtioDevice
	c.ask("x-query-virtio", nil, &list)
	var out []string
	for _, d := range list {
		out = append(out, d.Path)
	}
	return out
}

// completePath completes a QOM path, and after that the name of a property.
func completePath(c *completion, n int) []string {
	switch n {
	case 1:
		dir := c.last()[:strings.LastIndexByte(c.last(), '/')+1]
		out := c.below(dir[:max(len(dir)-1, min(len(dir), 1))])
		for i := range out {
			out[i] = dir + out[i]
		}
		return out
	case 2:
		var list []qomProperty
		c.ask("qom-list", obj{"path": c.words[len(c.words)-2]}, &list)
		var out []string
		for _, p := range list {
			out = append(out, p.Name)
		}
		return out
	}
	return nil
}
