// Package introspect reads what query-qmp-schema returns: which commands a QMP server
// has, with which arguments, of which types. It turns arguments that people wrote as
// text into values of those types, and says what may be written.
//
// A Schema is plain data that may be read by any number of goroutines. The package
// follows the introspection of QEMU's QAPI (docs/devel/qapi-code-gen) and depends on
// nothing of ours.
package introspect

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

var errSize = errors.New("invalid size")

// Size reads a number that may have a unit; without one it is bytes.
func Size(s string) (int64, error) {
	if n, err := strconv.ParseInt(s, 0, 64); err == nil {
		return n, nil
	}
	shift := 0
	if s != "" {
		shift = 10 * (1 + strings.IndexByte("kmgtpe", s[len(s)-1]|0x20))
	}
	if shift == 0 {
		return 0, errSize
	}
	f, err := strconv.ParseFloat(s[:len(s)-1], 64)
	if f = math.Ldexp(f, shift); err != nil || math.IsNaN(f) || math.Abs(f) >= math.MaxInt64 {
		return 0, errSize
	}
	return int64(f), nil
}

// entity is a type or a command.
type entity struct {
	Name    string
	Meta    string `json:"meta-type"`
	JSON    string `json:"json-type"`
	ArgType string `json:"arg-type"`
	Element string `json:"element-type"`
	Members []struct{ Name, Type string }
	Tag     string
	Words   []string                      `json:"values"`
	Cases   []struct{ Case, Type string } `json:"variants"`
}

// Object is a JSON object.
type Object = map[string]any

// Schema holds the types and commands of a server.
type Schema struct {
	types    map[string]*entity
	commands map[string]*entity
}

// Parse reads the result of query-qmp-schema.
func Parse(b []byte) (*Schema, error) {
	var list []*entity
	if err := json.Unmarshal(b, &list); err != nil {
		return nil, fmt.Errorf("result of query-qmp-schema: %w", err)
	}
	s := &Schema{types: map[string]*entity{}, commands: map[string]*entity{}}
	for _, e := range list {
		switch e.Meta {
		case "command":
			s.commands[e.Name] = e
		case "event":
		default:
			s.types[e.Name] = e
		}
	}
	return s, nil
}

// Arguments gives the values of a command's arguments, which are text or objects of
// such, their types. What the schema does not know stays text.
func (s *Schema) Arguments(command string, args Object) (Object, error) {
	cmd := s.commands[command]
	if cmd == nil {
		return args, nil
	}
	v, err := s.typed(cmd.ArgType, "", args, maxTypes)
	if err != nil {
		return nil, err
	}
	return v.(Object), nil
}

// maxTypes bounds how deeply types are nested.
const maxTypes = 32

func (s *Schema) typed(name, path string, v any, depth int) (any, error) {
	t := s.types[name]
	text, isText := v.(string)
	switch o, isObject := v.(Object); {
	case t == nil || depth == 0:
		return v, nil
	case t.Meta == "object" && isObject:
		return s.object(t, path, o, depth)
	case t.Meta == "array":
		return s.array(t, path, v, depth)
	case t.Meta == "builtin" && isText:
		return Text(t.JSON, path, text)
	case t.Meta == "alternate" && isText:
		for _, m := range t.Members {
			if a := s.types[m.Type]; a != nil && a.JSON == "boolean" {
				if b, err := Text("boolean", path, text); err == nil {
					return b, nil
				}
			}
		}
	}
	return v, nil
}

// members returns the types of an object's members, those of its variant too.
func (s *Schema) members(t *entity, o Object, depth int) map[string]string {
	types := map[string]string{}
	for _, m := range t.Members {
		types[m.Name] = m.Type
	}
	for _, c := range t.Cases {
		if sub := s.types[c.Type]; c.Case == o[t.Tag] && sub != nil && depth > 0 {
			for k, v := range s.members(sub, o, depth-1) {
				types[k] = v
			}
			break
		}
	}
	return types
}

func (s *Schema) object(t *entity, path string, o Object, depth int) (Object, error) {
	types, out := s.members(t, o, depth), Object{}
	for k, v := range o {
		w, err := s.typed(types[k], k, v, depth-1)
		if err != nil {
			return nil, err
		}
		out[k] = w
	}
	return out, nil
}

// array takes an object with the keys 0, 1 and so on, or one element.
func (s *Schema) array(t *entity, path string, v any, depth int) (any, error) {
	elements := []any{v}
	if o, ok := v.(Object); ok {
		elements = nil
		for i := range len(o) {
			e, ok := o[strconv.Itoa(i)]
			if !ok {
				return nil, fmt.Errorf("Parameter '%s.%d' missing", path, i) //nolint:staticcheck // QEMU's words
			}
			elements = append(elements, e)
		}
	}
	out := make([]any, len(elements))
	for i, e := range elements {
		w, err := s.typed(t.Element, path, e, depth-1)
		if err != nil {
			return nil, err
		}
		out[i] = w
	}
	return out, nil
}

// Text reads text as a type of JSON's, for the parameter called path.
func Text(json, path, text string) (any, error) {
	switch json {
	case "int":
		n, err := Size(text)
		if err != nil {
			if u, err := strconv.ParseUint(text, 0, 64); err == nil {
				return u, nil
			}
			return nil, fmt.Errorf("Parameter '%s' expects a number", path) //nolint:staticcheck // QEMU's words
		}
		return n, nil
	case "number":
		f, err := strconv.ParseFloat(text, 64)
		if err != nil || math.IsNaN(f) || math.IsInf(f, 0) {
			return nil, fmt.Errorf("Parameter '%s' expects a number", path) //nolint:staticcheck // QEMU's words
		}
		return f, nil
	case "boolean":
		switch text {
		case "on", "yes", "true", "y":
			return true, nil
		case "off", "no", "false", "n":
			return false, nil
		}
		return nil, fmt.Errorf("Parameter '%s' expects 'on' or 'off'", path) //nolint:staticcheck // QEMU's words
	}
	return text, nil
}

// Keys lists the arguments that a command takes, given some of them, and those of the
// objects in them with dots.
func (s *Schema) Keys(command string, given Object) []string {
	cmd := s.commands[command]
	if cmd == nil || s.types[cmd.ArgType] == nil {
		return nil
	}
	var out []string
	s.keys(s.types[cmd.ArgType], "", given, maxKeys, &out)
	slices.Sort(out)
	return out
}

// maxKeys bounds how deeply arguments are listed.
const maxKeys = 3

func (s *Schema) keys(t *entity, prefix string, given Object, depth int, out *[]string) {
	for name, typ := range s.members(t, given, maxTypes) {
		sub := s.types[typ]
		if sub == nil || sub.Meta != "object" || depth == 0 {
			*out = append(*out, prefix+name)
			continue
		}
		inner, _ := given[name].(Object)
		s.keys(sub, prefix+name+".", inner, depth-1, out)
	}
}

// Values lists what an argument may be, nil if that is not one of some words.
func (s *Schema) Values(command, key string, given Object) []string {
	cmd := s.commands[command]
	if cmd == nil {
		return nil
	}
	t := s.types[cmd.ArgType]
	for _, name := range strings.Split(key, ".") {
		if t == nil || t.Meta != "object" {
			return nil
		}
		t = s.types[s.members(t, given, maxTypes)[name]]
		given, _ = given[name].(Object)
	}
	switch {
	case t == nil:
		return nil
	case t.Meta == "enum":
		return slices.Clone(t.Words)
	case t.JSON == "boolean":
		return []string{"false", "true"}
	}
	return nil
}
