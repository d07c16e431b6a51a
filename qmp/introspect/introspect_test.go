package introspect

import (
	"encoding/json"
	"maps"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// sample is a small server: a command with a union, an alternate, a list and an object
// that holds one of its kind.
const sample = `[
	{"meta-type": "command", "name": "make", "arg-type": "args"}, {"meta-type": "command", "name": "stop", "arg-type": "none"},
	{"meta-type": "event", "name": "STOP", "arg-type": "none"},
	{"meta-type": "object", "name": "none", "members": []},
	{"meta-type": "object", "name": "args", "tag": "kind", "members": [{"name": "kind", "type": "kind"}, {"name": "id", "type": "str"}, {"name": "inner", "type": "tree"}],
	 "variants": [{"case": "disk", "type": "disk"}, {"case": "net", "type": "none"}]},
	{"meta-type": "object", "name": "disk", "members": [{"name": "size", "type": "int"}, {"name": "ro", "type": "bool"}, {"name": "tags", "type": "[str]"},
	 {"name": "share", "type": "alt"}, {"name": "rate", "type": "number"}]},
	{"meta-type": "object", "name": "tree", "members": [{"name": "on", "type": "bool"}, {"name": "sub", "type": "tree"}]},
	{"meta-type": "enum", "name": "kind", "values": ["disk", "net"]},
	{"meta-type": "alternate", "name": "alt", "members": [{"type": "bool"}, {"type": "str"}]},
	{"meta-type": "array", "name": "[str]", "element-type": "str"},
	{"meta-type": "builtin", "name": "str", "json-type": "string"}, {"meta-type": "builtin", "name": "int", "json-type": "int"},
	{"meta-type": "builtin", "name": "bool", "json-type": "boolean"}, {"meta-type": "builtin", "name": "number", "json-type": "number"}
]`

func parsed(t testing.TB) *Schema {
	t.Helper()
	s, err := Parse([]byte(sample))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestArguments(t *testing.T) {
	s := parsed(t)
	for text, want := range map[string]string{
		`{"kind": "disk", "size": "4k", "ro": "on", "id": "7"}`:             `{"kind": "disk", "size": 4096, "ro": true, "id": "7"}`,
		`{"kind": "net", "size": "4k"}`:                                     `{"kind": "net", "size": "4k"}`,
		`{"kind": "disk", "tags": "a"}`:                                     `{"kind": "disk", "tags": ["a"]}`,
		`{"kind": "disk", "tags": {"1": "b", "0": "a"}}`:                    `{"kind": "disk", "tags": ["a", "b"]}`,
		`{"kind": "disk", "share": "off", "rate": "1.5"}`:                   `{"kind": "disk", "share": false, "rate": 1.5}`,
		`{"kind": "disk", "share": "auto", "size": "18446744073709551615"}`: `{"kind": "disk", "share": "auto", "size": 18446744073709551615}`,
		`{"inner": {"on": "yes", "sub": {"on": "false"}}}`:                  `{"inner": {"on": true, "sub": {"on": false}}}`,
		`{"nothing": "x", "inner": "y"}`:                                    `{"nothing": "x", "inner": "y"}`,
	} {
		var args Object
		var wanted any
		if err := json.Unmarshal([]byte(text), &args); err != nil {
			t.Fatal(err)
		}
		got, err := s.Arguments("make", args)
		b, _ := json.Marshal(got)
		var normal any
		_ = json.Unmarshal(b, &normal)
		_ = json.Unmarshal([]byte(want), &wanted)
		if err != nil || !reflect.DeepEqual(normal, wanted) {
			t.Errorf("%s: %s, %v; not %s", text, b, err, want)
		}
	}
	for text, want := range map[string]string{
		`{"kind": "disk", "size": "big"}`:       "Parameter 'size' expects a number",
		`{"kind": "disk", "ro": "maybe"}`:       "Parameter 'ro' expects 'on' or 'off'",
		`{"kind": "disk", "rate": "nan"}`:       "Parameter 'rate' expects a number",
		`{"kind": "disk", "tags": {"1": "b"}}`:  "Parameter 'tags.0' missing",
		`{"inner": {"sub": {"on": "perhaps"}}}`: "Parameter 'on' expects 'on' or 'off'",
	} {
		var args Object
		if err := json.Unmarshal([]byte(text), &args); err != nil {
			t.Fatal(err)
		}
		if got, err := s.Arguments("make", args); err == nil || err.Error() != want {
			t.Errorf("%s: %v, %v; not %s", text, got, err, want)
		}
	}
	if got, err := s.Arguments("unknown", Object{"a": "b"}); err != nil || got["a"] != "b" {
		t.Errorf("an unknown command: %v, %v", got, err)
	}
}

func TestWhatMayBeWritten(t *testing.T) {
	s := parsed(t)
	if got := slices.Sorted(maps.Keys(s.commands)); !slices.Equal(got, []string{"make", "stop"}) {
		t.Errorf("commands %q", got)
	}
	if got := s.Keys("make", Object{"kind": "disk"}); !slices.Contains(got, "size") || !slices.Contains(got, "inner.on") || !slices.Contains(got, "inner.sub.on") {
		t.Errorf("keys %q", got)
	}
	if got := s.Keys("make", nil); slices.Contains(got, "size") || !slices.Contains(got, "id") {
		t.Errorf("keys without a kind %q", got)
	}
	if s.Keys("unknown", nil) != nil || s.Keys("stop", nil) != nil {
		t.Error("keys of what has none")
	}
	for key, want := range map[string]string{"kind": "disk net", "ro": "false true", "id": "", "inner.on": "false true", "inner": "", "inner.on.x": "", "nothing": ""} {
		if got := strings.Join(s.Values("make", key, Object{"kind": "disk"}), " "); got != want {
			t.Errorf("values of %s: %s, not %s", key, got, want)
		}
	}
	if s.Values("unknown", "a", nil) != nil {
		t.Error("values of an unknown command")
	}
}

func TestSize(t *testing.T) {
	for text, want := range map[string]int64{"0": 0, "12": 12, "0x10": 16, "-3": -3, "4k": 4096, "1.5M": 3 << 19, "2G": 2 << 30, "1e": 1 << 60} {
		if got, err := Size(text); got != want || err != nil {
			t.Errorf("%q: %d, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "k", "x", "8E", "nank", "infk", "1kk", "-k"} {
		if got, err := Size(text); err == nil {
			t.Errorf("%q is %d", text, got)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for _, text := range []string{"", "{}", `[{"members": 1}]`} {
		if _, err := Parse([]byte(text)); err == nil {
			t.Errorf("%q is taken", text)
		}
	}
}

func FuzzArguments(f *testing.F) {
	f.Add([]byte(sample), "kind", "disk")
	f.Add([]byte(sample), "size", "4k")
	f.Fuzz(func(t *testing.T, schema []byte, key, value string) {
		s, err := Parse(schema)
		if err != nil {
			return
		}
		for c := range s.commands {
			args := Object{key: value}
			s.Keys(c, args)
			s.Values(c, key, args)
			if typed, err := s.Arguments(c, args); err == nil {
				if n, ok := typed[key].(float64); ok && (math.IsNaN(n) || math.IsInf(n, 0)) {
					t.Errorf("%q is %v", value, n)
				}
			}
		}
	})
}
