package blockopts

import (
	"encoding/json"
	"reflect"
	"testing"
)

func TestSingleQuotes(t *testing.T) {
	for text, want := range map[string]Tree{
		`{'driver': 'file', "filename": "it's"}`:                  {"driver": "file", "filename": "it's"},
		`{'a': 'say "x"', 'b': 'it\'s', "c": "\"'\"", 'd': '\\'}`: {"a": `say "x"`, "b": "it's", "c": `"'"`, "d": `\`},
		`{'a': {'b': [1, 'x']}}`:                                  {"a": Tree{"b": []any{json.Number("1"), "x"}}},
	} {
		if got, err := ParseJSON(text); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %v, %v", text, got, err)
		}
	}
	for _, text := range []string{`{'a': 'b}`, `{'a": 1}`, `{'a\`, `{'`, `'`} {
		if got, err := ParseJSON(text); err == nil {
			t.Errorf("%s is %v", text, got)
		}
	}
}
