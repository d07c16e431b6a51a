package qapi

import (
	"slices"
	"testing"
)

// entities returns the entities of a schema by name, which must be unique.
func entities(t *testing.T, list SchemaInfoList) map[string]SchemaInfo {
	t.Helper()
	all := map[string]SchemaInfo{}
	for _, e := range list {
		if _, twice := all[e.Name]; twice {
			t.Errorf("%s is described twice", e.Name)
		}
		all[e.Name] = e
	}
	return all
}

// refs returns the names of types that an entity mentions.
func refs(e SchemaInfo) []string {
	var all []string
	switch {
	case e.Command != nil:
		all = append(all, e.Command.ArgType, e.Command.RetType)
	case e.Event != nil:
		all = append(all, e.Event.ArgType)
	case e.Array != nil:
		all = append(all, e.Array.ElementType)
	case e.Alternate != nil:
		for _, m := range e.Alternate.Members {
			all = append(all, m.Type)
		}
	case e.Object != nil:
		for _, m := range e.Object.Members {
			all = append(all, m.Type)
		}
		for _, v := range e.Object.Variants {
			all = append(all, v.Type)
		}
	}
	return all
}

// TestSchemaIsWhole describes all commands: what is mentioned is there, what is there
// is mentioned, and each entity has the members of its kind.
func TestSchemaIsWhole(t *testing.T) {
	var commands []string
	for _, file := range schemaTables {
		for _, e := range file {
			if e.meta == SchemaMetaTypeCommand {
				commands = append(commands, e.name)
			}
		}
	}
	all := entities(t, Schema(commands))
	used := map[string]bool{}
	for _, e := range all {
		kinds := []bool{e.Builtin != nil, e.Enum != nil, e.Array != nil, e.Object != nil, e.Alternate != nil, e.Command != nil, e.Event != nil}
		if n := len(slices.DeleteFunc(kinds, func(b bool) bool { return !b })); n != 1 {
			t.Errorf("%s is of %d kinds", e.Name, n)
		}
		for _, r := range refs(e) {
			used[r] = true
			if _, ok := all[r]; !ok {
				t.Errorf("%s mentions %s, which is not described", e.Name, r)
			}
		}
	}
	for name, e := range all {
		if e.Command == nil && e.Event == nil && !used[name] {
			t.Errorf("type %s is described and nowhere used", name)
		}
	}
	for _, c := range commands {
		if all[c].Command == nil {
			t.Errorf("command %s is not described", c)
		}
	}
}

func TestSchemaIsRestricted(t *testing.T) {
	all := entities(t, Schema([]string{CmdQueryKvm.Name}))
	if all[CmdQueryStatus.Name].Command != nil {
		t.Error("a command that is not registered is described")
	}
	ret := all[all[CmdQueryKvm.Name].Command.RetType].Object
	if ret == nil || len(ret.Members) != 2 || ret.Members[0].Type != "bool" || ret.Members[0].Default.Kind() != None {
		t.Errorf("query-kvm returns %+v", ret)
	}
	if all[EventStop.Name].Event == nil {
		t.Error("STOP is not described")
	}
	if o := all[all[EventStop.Name].Event.ArgType].Object; o == nil || len(o.Members) != 0 {
		t.Errorf("STOP has data: %+v", o)
	}
}

// TestSchemaOfKinds describes types of every kind.
func TestSchemaOfKinds(t *testing.T) {
	oob := true
	tables := [][]entity{{
		{name: "E", meta: SchemaMetaTypeEnum, features: []string{"unstable"}, members: []field{{name: "a"}, {name: "b", features: []string{"deprecated"}}}},
		{name: "L", meta: SchemaMetaTypeArray, arg: "int"},
		{name: "L2", meta: SchemaMetaTypeArray, arg: "int"},
		{name: "A", meta: SchemaMetaTypeAlternate, members: []field{{name: "s", typ: "str"}, {name: "n", typ: "null"}}},
		{name: "U", meta: SchemaMetaTypeObject, tag: "e", variants: []field{{name: "a", typ: "B"}, {name: "b", typ: "Empty"}}, members: []field{
			{name: "e", typ: "E"}, {name: "l", typ: "L"}, {name: "l2", typ: "L2", optional: true}, {name: "a", typ: "A"}, {name: "x", typ: "any", features: []string{"f"}},
		}},
		{name: "B", meta: SchemaMetaTypeObject, members: []field{{name: "self", typ: "U", optional: true}}},
		{name: "c", meta: SchemaMetaTypeCommand, arg: "U", ret: "L2", oob: true, features: []string{"deprecated"}},
	}}
	all := entities(t, describe(tables, []string{"c"}))
	c := all["c"]
	if c.Command == nil || c.Command.RetType != "[int]" || *c.Command.AllowOob != oob || !slices.Equal(c.Features, []string{"deprecated"}) {
		t.Fatalf("c: %+v", c)
	}
	u := all[c.Command.ArgType].Object
	if u == nil || *u.Tag != "e" || len(u.Variants) != 2 || u.Variants[0].Case != "a" || u.Members[2].Type != "[int]" ||
		u.Members[2].Default.Kind() != Null || u.Members[4].Type != "any" || u.Members[4].Features[0] != "f" {
		t.Fatalf("U: %+v", u)
	}
	if e := all[u.Members[0].Type]; e.Enum == nil || e.Features[0] != "unstable" || e.Enum.Members[1].Features[0] != "deprecated" || e.Enum.Values[1] != "b" {
		t.Errorf("E: %+v", e)
	}
	if a := all[u.Members[3].Type].Alternate; a == nil || a.Members[1].Type != "null" || all["null"].Builtin.JsonType != JSONTypeNull {
		t.Errorf("A: %+v", a)
	}
	if b := all[u.Variants[0].Type].Object; b == nil || b.Members[0].Type != c.Command.ArgType {
		t.Errorf("B: %+v", b)
	}
	if b := all[u.Variants[1].Type].Object; b == nil || len(b.Members) != 0 {
		t.Errorf("Empty: %+v", b)
	}
}
