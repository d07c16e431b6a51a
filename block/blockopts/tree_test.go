package blockopts

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"hv/qmp/qapi"
)

// FuzzWrittenAgain has any text not do harm, and what is an object be the same after it was
// written and read again.
func FuzzWrittenAgain(f *testing.F) {
	for _, s := range []string{
		`{}`, `{"driver":"qcow2","file.driver":"file","file":{"filename":"x"}}`, `{'a': 'it\'s "so"', "b": [1, -2, 3.5, null, true]}`,
		`{"0":"a","1":"b"}`, `{"a.0":1,"a.1":{"b":[{}]}}`, `{"a":1,"a.b":2}`, `{"a":18446744073709551615,"b":1e300,"c":1e999}`,
		`{"a..b":{"":1}}`, `{"\u0000":"\ud800"}`, `{"a":[[[[]]]]}`, `[1]`, `{"a":1}x`, `'`, `{'\`, "{\"a\":\"\xff\"}",
		strings.Repeat(`{"a":`, 200) + "1" + strings.Repeat("}", 200), `{"` + strings.Repeat("a.", 200) + `a":1}`,
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		tree, err := ParseJSON(s)
		if err != nil {
			return
		}
		text := tree.JSON()
		again, err := ParseJSON(text)
		if err != nil {
			if text == "{}" || strings.Contains(err.Error(), "too deep") || strings.Contains(err.Error(), "unmarshal array") {
				return // it is a list at its top, or has more levels than keys with dots
			}
			t.Fatalf("%q gives %q: %v", s, text, err)
		}
		if next := again.JSON(); next != text {
			t.Errorf("%q gives %q, and that %q", s, text, next)
		}
		for _, key := range Order(tree.Flat()) {
			if strings.Count(key, ".") > maxDepth*maxDepth {
				t.Errorf("%q nests too deep", key)
			}
		}
	})
}

// TestPut sets options in any order, with dotted keys.
func TestPut(t *testing.T) {
	type step struct {
		key  string
		v    any
		want string // of the error
	}
	for _, x := range []struct {
		steps []step
		want  string
	}{
		{[]step{{"a", "1", ""}, {"a", "2", ""}}, "a=2"},
		{[]step{{"a.b", "1", ""}, {"a.c", "2", ""}}, "a.b=1 a.c=2"},
		{[]step{{"a", "1", ""}, {"a.b", "2", "Parameter 'a.b' is unexpected"}}, "a=1"},
		{[]step{{"a.b", "1", ""}, {"a", "2", "Parameter 'a' is unexpected"}}, "a.b=1"},
		{[]step{{"a.b.c", "1", ""}, {"a.b", Tree{"d": "2"}, ""}, {"a.b", Tree{"c": "3"}, ""}}, "a.b.c=3 a.b.d=2"},
		{[]step{{"a.b", Tree{"c": "1"}, ""}, {"a.b.c.d", "2", "Parameter 'a.b.c.d' is unexpected"}}, "a.b.c=1"},
		{[]step{{"l.0", "x", ""}, {"l.1.y", "z", ""}}, "l.0=x l.1.y=z"},
		{[]step{{strings.Repeat("a.", 200), "1", "the options nest too deep"}}, ""},
	} {
		tree := Tree{}
		for _, s := range x.steps {
			err := tree.Put(s.key, s.v)
			if s.want == "" && err != nil || s.want != "" && (err == nil || err.Error() != s.want) {
				t.Errorf("%+v: %v", s, err)
			}
		}
		flat := tree.Flat()
		var got []string
		for _, k := range slices.Sorted(maps.Keys(flat)) {
			got = append(got, k+"="+flat[k])
		}
		if s := strings.Join(got, " "); s != x.want {
			t.Errorf("%+v: %s", x.steps, s)
		}
	}
}

// TestCopies has what is derived from options not change them.
func TestCopies(t *testing.T) {
	a := Tree{"x": "1", "y": Tree{"z": "2"}}
	before := a.JSON()
	with, without, joined := a.With("x", "3"), a.Without("y"), a.Join(Tree{"x": "4", "n": "5"})
	if with["x"] != "3" || len(without) != 1 || joined["x"] != "4" || joined["n"] != "5" || len(joined) != 3 {
		t.Errorf("%v, %v, %v", with, without, joined)
	}
	if none := Tree(nil).With("x", "1"); none["x"] != "1" {
		t.Error(none)
	}
	if a.JSON() != before {
		t.Errorf("%s, not %s", a.JSON(), before)
	}
	if s, ok := a.Text("x"); !ok || s != "1" {
		t.Error(s, ok)
	}
	if _, ok := a.Text("y"); ok || len(a.Sub("y")) != 1 || len(a.Sub("x")) != 0 || a.Sub("none") == nil {
		t.Error("a tree is a text, or a text a tree")
	}
	if a.Take("x") != "1" || a.Take("x") != nil || len(a) != 1 {
		t.Error(a)
	}
}

// TestLists has keys that count be a list, and no others.
func TestLists(t *testing.T) {
	for in, want := range map[string]string{
		`{"l.0":1,"l.1":2}`:  `{"l": [1, 2]}`,
		`{"l.1":1,"l.0":2}`:  `{"l": [2, 1]}`,
		`{"l.0":{"a":1}}`:    `{"l": [{"a": 1}]}`,
		`{"l.0.0":1}`:        `{"l": [[1]]}`,
		`{"l.1":1}`:          `{"l": {"1": 1}}`,
		`{"l.00":1}`:         `{"l": {"00": 1}}`,
		`{"l.-1":1,"l.0":1}`: `{"l": {"-1": 1, "0": 1}}`,
		`{"l":{}}`:           `{"l": {}}`,
		`{"l":[]}`:           `{"l": []}`,
		`{"n":-9223372036854775808,"u":18446744073709551615}`: `{"n": -9223372036854775808, "u": 18446744073709551615}`,
	} {
		tree, err := ParseJSON(in)
		if err != nil {
			t.Error(in, err)
			continue
		}
		var doc, other qapi.Document
		if err := add(&doc, tree); err != nil {
			t.Error(err)
		}
		// Members may come in another order.
		if expected, err := ParseJSON(want); err != nil || add(&other, expected) != nil || expected.JSON() != tree.JSON() {
			t.Errorf("%s is %s, not %s: %v", in, tree.JSON(), want, err)
		}
	}
	for _, in := range []string{`{"a":1e999}`, `{"a":[1e999]}`, `{"a":{"b":-1e999}}`} {
		tree, err := ParseJSON(in)
		var o qapi.BlockdevOptions
		if err == nil {
			err = tree.Decode(&o)
		}
		if err == nil || !strings.Contains(err.Error(), "is no number") {
			t.Errorf("%s: %v", in, err)
		}
	}
}

// TestRefused has texts that are no object.
func TestRefused(t *testing.T) {
	for _, s := range []string{``, `null`, `1`, `"a"`, `[]`, `{`, `{"a"}`, `{"a":1,}`, `{"a":1}{}`, `{"a":1} 2`, `{'a":1}`, `{"a":01}`, `{a:1}`,
		fmt.Sprintf(`{"a":%s1%s}`, strings.Repeat("[", 200), strings.Repeat("]", 200))} {
		if tree, err := ParseJSON(s); err == nil {
			t.Errorf("%s is %s", s, tree.JSON())
		}
	}
}
