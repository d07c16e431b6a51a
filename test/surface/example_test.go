package surface

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"hv/qmp/qapi"
	"hv/qmp/wire"
	"hv/test/hvrun"
)

// conforms says in what a value is not of a type.
func (s schema) conforms(v qapi.Value, name string) error {
	t := s[name]
	switch t.MetaType {
	case qapi.SchemaMetaTypeBuiltin:
		return conformsBuiltin(v, t.Builtin.JsonType)
	case qapi.SchemaMetaTypeEnum:
		for _, m := range t.Enum.Values {
			if v.Kind() == qapi.String && m == string(v.Text()) {
				return nil
			}
		}
		return fmt.Errorf("%q is none of %v", v.Text(), t.Enum.Values)
	case qapi.SchemaMetaTypeArray:
		if v.Kind() != qapi.Array {
			return fmt.Errorf("no array")
		}
		for e := range v.Elements() {
			if err := s.conforms(e, t.Array.ElementType); err != nil {
				return fmt.Errorf("element: %w", err)
			}
		}
		return nil
	case qapi.SchemaMetaTypeAlternate:
		for _, m := range t.Alternate.Members {
			if s.conforms(v, m.Type) == nil {
				return nil
			}
		}
		return fmt.Errorf("none of the alternatives")
	}
	return s.conformsObject(v, t.Object)
}

func conformsBuiltin(v qapi.Value, t qapi.JSONType) error {
	kinds := map[qapi.JSONType][]qapi.Kind{
		qapi.JSONTypeString: {qapi.String}, qapi.JSONTypeBoolean: {qapi.Bool}, qapi.JSONTypeNull: {qapi.Null},
		qapi.JSONTypeInt: {qapi.Int, qapi.Uint}, qapi.JSONTypeNumber: {qapi.Int, qapi.Uint, qapi.Float},
	}[t]
	for _, k := range kinds {
		if v.Kind() == k {
			return nil
		}
	}
	if t == qapi.JSONTypeValue && v.Kind() != qapi.None {
		return nil
	}
	return fmt.Errorf("no %s", t)
}

func (s schema) conformsObject(v qapi.Value, o *qapi.SchemaInfoObject) error {
	if v.Kind() != qapi.Object && v.Kind() != qapi.None {
		return fmt.Errorf("no object")
	}
	known := map[string]bool{}
	if err := s.members(v, o, known); err != nil {
		return err
	}
	for k := range v.Members() {
		if !known[string(k.Text())] {
			return fmt.Errorf("there is no member %s", k.Text())
		}
	}
	return nil
}

// members checks the members of an object, those of the branch too.
func (s schema) members(v qapi.Value, o *qapi.SchemaInfoObject, known map[string]bool) error {
	for _, m := range o.Members {
		known[m.Name] = true
		x := v.Get(m.Name)
		if x.Kind() == qapi.None && m.Default.Kind() == qapi.Null {
			continue
		}
		if err := s.conforms(x, m.Type); err != nil {
			return fmt.Errorf("%s: %w", m.Name, err)
		}
	}
	for _, b := range o.Variants {
		if b.Case == string(v.Get(*o.Tag).Text()) {
			return s.members(v, s[b.Type].Object, known)
		}
	}
	return nil
}

// TestExamples checks the examples of the reference against the schema.
func TestExamples(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(hvrun.Root(t), "docs/qmp-reference.md"))
	if err != nil {
		t.Fatal(err)
	}
	s := schemaOf(t, ours(t))
	n, command := 0, ""
	for _, line := range strings.Split(string(text), "\n") {
		sent, isCommand := strings.CutPrefix(line, "-> ")
		got, isReply := strings.CutPrefix(line, "<- ")
		if !isCommand && !isReply {
			continue
		}
		v, err := wire.Parse([]byte(sent))
		if isReply {
			v, err = wire.Parse([]byte(got))
		}
		if err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		n++
		if isCommand {
			command = string(v.Get("execute").Text())
		}
		if err := s.example(command, v); err != nil {
			t.Errorf("%s: %v", line, err)
		}
	}
	if n < len(s)/10 {
		t.Errorf("only %d examples", n)
	}
}

// example checks a message; a reply is one to the command.
func (s schema) example(command string, v qapi.Value) error {
	if name := string(v.Get("event").Text()); name != "" {
		if e := s[name].Event; e != nil {
			return s.conforms(v.Get("data"), e.ArgType)
		}
		return fmt.Errorf("there is no event %s", name)
	}
	c := s[command].Command
	switch {
	case c == nil:
		return nil // TestAllIsTested tells of those that are not registered
	case v.Get("execute").Kind() != qapi.None:
		return s.conforms(v.Get("arguments"), c.ArgType)
	}
	return s.conforms(v.Get("return"), c.RetType)
}

// TestReplies checks what queries without arguments return against the schema.
func TestReplies(t *testing.T) {
	c := ours(t)
	s := schemaOf(t, c)
	for name, e := range s {
		if e.Command == nil || !strings.Contains(name, "query-") || len(s[e.Command.ArgType].Object.Members) > 0 {
			continue
		}
		var v qapi.Value
		if err := c.Execute(patience(t), name, nil, &v); err != nil {
			continue // not without a machine
		}
		if err := s.conforms(v, e.Command.RetType); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}
