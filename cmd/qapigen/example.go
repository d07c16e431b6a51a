package main

import (
	"fmt"
	"slices"
	"strings"
)

// example makes values up.
type example struct{ types map[string]*typ }

// texts are strings that members of these names might be.
var texts = map[string]string{
	"id": "disk0", "device": "disk0", "name": "disk0", "driver": "virtio-blk-pci", "bus": "port0", "path": "/machine/peripheral/disk0",
	"qom-path": "/machine/peripheral/disk0", "typename": "virtio-blk-pci", "property": "serial", "qom-type": "iothread",
	"type": "string", "filename": "/tmp/file", "file": "file:/tmp/file", "protocol": "file:/tmp/file", "command-line": "info status",
	"UUID": "550e8400-e29b-41d4-a716-446655440000", "desc": "Device 'disk0' not found", "package": "hv 1.0", "fdname": "tap0",
	"": "text", "data": "aGVsbG8K", "size": "1G", "help": "where it is",
}

// maxExample is how deep lists are filled.
const maxExample = 3

// value makes up a value for a member, in QEMU's order if it is an object.
func (x example) value(member, name string, depth int) string {
	t := x.types[name]
	switch {
	case name == "string", name == "Text":
		text, ok := texts[member]
		if !ok {
			text = member
		}
		return fmt.Sprintf("%q", text)
	case name == "bool":
		return "true"
	case name == "float64":
		return "0.5"
	case name == "NullType", name == "Value":
		return "null"
	case name == "Empty":
		return "{}"
	case t == nil:
		return "1" // an integer
	case t.kind == enum:
		return fmt.Sprintf("%q", t.values[0].text)
	case t.kind == list && depth >= maxExample:
		return "[]"
	case t.kind == list:
		return "[" + x.value(member, t.elem, depth+1) + "]"
	case t.kind == alternate:
		return x.value(member, x.simplest(t), depth)
	}
	return x.members(t, true, depth)
}

// simplest returns what an alternate may be that is no object, if there is such, so that
// objects that have others of their kind within them come to an end.
func (x example) simplest(t *typ) string {
	i := slices.IndexFunc(t.members, func(m member) bool { return x.types[m.typ] == nil })
	return t.members[max(i, 0)].typ
}

// object makes up arguments, in the order of the schema, or data, in QEMU's.
func (x example) object(name string, reply bool) string {
	if t := x.types[name]; t != nil {
		return x.members(t, reply, 0)
	}
	return "{}"
}

func (x example) members(t *typ, reply bool, depth int) string {
	all := x.pairs(t, depth)
	if reply {
		slices.Reverse(all)
		slices.SortStableFunc(all, func(a, b pair) int { return int(bucket(a.name)) - int(bucket(b.name)) })
	}
	var texts []string
	for _, p := range all {
		texts = append(texts, fmt.Sprintf("%q: %s", p.name, p.value))
	}
	return "{" + strings.Join(texts, ", ") + "}"
}

// pair is a member with its value.
type pair struct{ name, value string }

// pairs returns the members that an object must have, of a union with one branch.
func (x example) pairs(t *typ, depth int) []pair {
	g := &gen{types: x.types}
	i := slices.IndexFunc(t.members, func(m member) bool { return m.branch != "" })
	var all []pair
	for _, m := range g.flat(t) {
		switch {
		case m.discriminator && i >= 0:
			all = append(all, pair{m.name, fmt.Sprintf("%q", t.members[i].branch)})
		case !m.optional:
			all = append(all, pair{m.name, x.value(m.name, m.typ, depth)})
		}
	}
	if i >= 0 {
		all = append(all, x.pairs(x.types[t.members[i].typ], depth)...)
	}
	return all
}
