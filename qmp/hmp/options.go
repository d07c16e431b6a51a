package hmp

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// option is one key=value.
type option struct{ key, value string }

// parseOptionList reads "KEY=VALUE,...", in which ",," stands for a comma in a value.
// A word without "=" is the value of the implied key if it comes first, else a
// switch: "wait" is wait=on and "nowait" wait=off.
func parseOptionList(text, implied string) []option {
	var out []option
	for text != "" {
		var word string
		word, text = cutOption(text)
		key, value, ok := strings.Cut(word, "=")
		switch {
		case ok:
		case implied != "" && len(out) == 0:
			key, value = implied, word
		case strings.HasPrefix(word, "no"):
			key, value = word[2:], "off"
		default:
			key, value = word, "on"
		}
		out = append(out, option{key, value})
	}
	return out
}

// cutOption splits at the first comma that is not doubled.
func cutOption(s string) (word, rest string) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == ',' {
			if i+1 >= len(s) || s[i+1] != ',' {
				return b.String(), s[i+1:]
			}
			i++
		}
		b.WriteByte(s[i])
	}
	return b.String(), ""
}

// tree turns options into an object, nested where keys have dots. A key given twice
// has its last value.
func tree(options []option) (obj, error) {
	root := obj{}
	for _, o := range options {
		at := root
		path := strings.Split(o.key, ".")
		for _, p := range path[:len(path)-1] {
			sub, ok := at[p].(obj)
			if _, there := at[p]; there && !ok {
				return nil, fmt.Errorf("Parameters '%s' used inconsistently", o.key) //nolint:staticcheck // QEMU's words
			}
			if !ok {
				sub = obj{}
				at[p] = sub
			}
			at = sub
		}
		last := path[len(path)-1]
		if _, nested := at[last].(obj); nested {
			return nil, fmt.Errorf("Parameters '%s' used inconsistently", o.key) //nolint:staticcheck // QEMU's words
		}
		at[last] = o.value
	}
	return root, nil
}

// plainSize reads a number that may have a unit; without one it is bytes.
func plainSize(s string) (int64, error) {
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

// entity is a type or a command as query-qmp-schema describes it.
type entity struct {
	Name    string
	Meta    string `json:"meta-type"`
	JSON    string `json:"json-type"`
	ArgType string `json:"arg-type"`
	Element string `json:"element-type"`
	Members []struct{ Name, Type string }
	Tag     string
	Cases   []struct{ Case, Type string } `json:"variants"`
}

// schema holds the types of QMP by name.
type schema map[string]*entity

// schema asks for the types; without them there are none.
func (c *call) schema() schema {
	var list []*entity
	if !c.m.caller.Has("query-qmp-schema") || c.query("query-qmp-schema", nil, &list) != nil {
		return nil
	}
	s := schema{}
	for _, e := range list {
		s[e.Name+choose(e.Meta == "command", "()", "")] = e
	}
	return s
}

// arguments gives the values of a command's arguments, which are all text, their
// types.
func (s schema) arguments(command string, args obj) (obj, error) {
	cmd := s[command+"()"]
	if cmd == nil {
		return args, nil
	}
	v, err := s.typed(cmd.ArgType, "", args, maxTypes)
	if err != nil {
		return nil, err
	}
	return v.(obj), nil
}

// maxTypes bounds how deeply types are nested.
const maxTypes = 32

func (s schema) typed(name, path string, v any, depth int) (any, error) {
	t := s[name]
	text, isText := v.(string)
	switch o, isObject := v.(obj); {
	case t == nil || depth == 0:
		return v, nil
	case t.Meta == "object" && isObject:
		return s.object(t, path, o, depth)
	case t.Meta == "array":
		return s.array(t, path, v, depth)
	case t.Meta == "builtin" && isText:
		return builtin(t.JSON, path, text)
	case t.Meta == "alternate" && isText:
		for _, m := range t.Members {
			if a := s[m.Type]; a != nil && a.JSON == "boolean" {
				if b, err := builtin("boolean", path, text); err == nil {
					return b, nil
				}
			}
		}
	}
	return v, nil
}

// members returns the types of an object's members, those of its variant too.
func (s schema) members(t *entity, o obj, depth int) map[string]string {
	types := map[string]string{}
	for _, m := range t.Members {
		types[m.Name] = m.Type
	}
	for _, c := range t.Cases {
		if sub := s[c.Type]; c.Case == o[t.Tag] && sub != nil && depth > 0 {
			for k, v := range s.members(sub, o, depth-1) {
				types[k] = v
			}
		}
	}
	return types
}

func (s schema) object(t *entity, path string, o obj, depth int) (obj, error) {
	types, out := s.members(t, o, depth), obj{}
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
func (s schema) array(t *entity, path string, v any, depth int) (any, error) {
	elements := []any{v}
	if o, ok := v.(obj); ok {
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

// builtin reads text as a type of JSON's.
func builtin(json, path, text string) (any, error) {
	switch json {
	case "int":
		n, err := plainSize(text)
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

var errJSON = errors.New("JSON parse error, a value is expected")

// parseJSON reads a JSON value.
func parseJSON(text string) (json.RawMessage, error) {
	if !json.Valid([]byte(text)) {
		return nil, errJSON
	}
	return json.RawMessage(text), nil
}
