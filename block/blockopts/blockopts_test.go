package blockopts

import (
	"reflect"
	"strings"
	"testing"

	"hv/qmp/qapi"
)

func TestParseJSON(t *testing.T) {
	for text, want := range map[string]Tree{
		`{}`: {},
		`{'node-name': 'a"b', "x": "it's", 'y': 'it\'s \\ \n'}`: {"node-name": `a"b`, "x": "it's", "y": "it's \\ \n"},
		`{"a.b": "c", "a": {"d": null, "e.f": true}}`:           {"a": Tree{"b": "c", "d": nil, "e": Tree{"f": true}}},
	} {
		if got, err := ParseJSON(text); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %#v, %v", text, got, err)
		}
	}
	deep := strings.Repeat(`{"a":`, maxDepth+2) + "1" + strings.Repeat("}", maxDepth+2)
	for _, text := range []string{``, `[]`, `null`, `{`, `{}{}`, `{"a":1,}`, `{"a":1,"a.b":2}`, `{"a.b":1,"a":2}`, `'`, `{'a`, deep, `{"` + strings.Repeat("a.", maxDepth) + `":1}`} {
		if got, err := ParseJSON(text); err == nil {
			t.Errorf("%.40s: %v", text, got)
		}
	}
}

// TestDecode has text stand for what the schema wants.
func TestDecode(t *testing.T) {
	tree := Tree{}
	for key, value := range map[string]string{"driver": "qcow2", "file.driver": "null-co", "file.size": "1M", "lazy-refcounts": "on", "overlap-check.template": "none", "cache-size": "-0x10"} {
		if err := tree.Put(key, value); err != nil {
			t.Fatal(err)
		}
	}
	var o qapi.BlockdevOptions
	if err := tree.Decode(&o); err != nil {
		t.Fatal(err)
	}
	if q := o.Qcow2; *q.File.Definition.NullCo.Size != 1<<20 || !*q.LazyRefcounts || *q.OverlapCheck.Flags.Template != "none" || *q.CacheSize != -16 {
		t.Errorf("%+v", q)
	}
	for key, value := range map[string]string{"file.size": "big", "lazy-refcounts": "maybe", "l2-cache-size": "1.5", "colour": "red", "file.size.x": "1"} {
		bad := tree.With("file", Tree{"driver": "null-co", "size": "1"})
		if err := bad.Put(key, value); err == nil && bad.Decode(&o) == nil {
			t.Errorf("%s=%s is taken", key, value)
		}
	}
}

// TestJSON prints members as QEMU does.
func TestJSON(t *testing.T) {
	tree := Tree{"driver": "raw", "size": nil, "file": Tree{"filename": `a"b`, "driver": "file"}, "l": []any{true, "x"}}
	if got := tree.JSON(); got != `{"driver": "raw", "size": null, "l": [true, "x"], "file": {"driver": "file", "filename": "a\"b"}}` {
		t.Error(got)
	}
}

func FuzzParseJSON(f *testing.F) {
	f.Add(`{"driver":"raw","file.filename":'x',"a":[1,{"b":null}]}`)
	f.Add(`{"0":[]}`)
	f.Fuzz(func(t *testing.T, s string) {
		tree, err := ParseJSON(s)
		if err != nil {
			return
		}
		var o qapi.BlockdevOptions
		_ = tree.Decode(&o)
		if again, err := ParseJSON(tree.JSON()); err != nil || again.JSON() != tree.JSON() {
			t.Errorf("%q: %v, %s", s, err, tree.JSON())
		}
	})
}

func TestJoin(t *testing.T) {
	low := Tree{"a": "1", "cache": Tree{"direct": "on", "no-flush": "on"}, "file": "node"}
	got := low.Join(Tree{"b": "2", "cache": Tree{"direct": "off"}, "file": Tree{"driver": "file"}})
	want := Tree{"a": "1", "b": "2", "cache": Tree{"direct": "off", "no-flush": "on"}, "file": Tree{"driver": "file"}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	if low["cache"].(Tree)["direct"] != "on" || low["b"] != nil {
		t.Errorf("what was joined changed: %v", low)
	}
}
