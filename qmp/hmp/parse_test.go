package hmp

import (
	"math"
	"slices"
	"strings"
	"testing"
)

func evaluate(text string) (int64, string, error) {
	e := evaluator{scanner: &scanner{s: text}, register: func(name string) (uint64, bool) { return 7, name == "r7" }}
	v, err := e.value()
	return v, e.rest(), err
}

func TestExpressions(t *testing.T) {
	for text, want := range map[string]int64{
		"1": 1, " 12 ": 12, "0x1F": 31, "017": 15, "0": 0, "-1": -1, "~0": -1, "--1": 1, "+1": 1, "'a'": 97, "$r7": 7, "$r7 + 1": 8,
		"1+2*3": 7, "(1+2)*3": 9, "7/2": 3, "-7/2": -3, "7%4": 3, "6&3": 2, "6|1": 7, "6^3": 5,
		"4-2&2":              2, // & binds tighter than -
		"1|2*4":              9,
		"2*3&4+1":            5,
		"0xffffffffffffffff": -1, "18446744073709551615": -1, "-9223372036854775808": math.MinInt64, "(-9223372036854775808)/(-1)": math.MinInt64,
	} {
		if v, rest, err := evaluate(text); v != want || rest != "" || err != nil {
			t.Errorf("%q: %d with %q left, %v; not %d", text, v, rest, err, want)
		}
	}
	for text, want := range map[string]string{
		"": "unexpected end of expression", "1+": "unexpected end of expression", "(1": "')' expected", "x": "invalid char 'x' in expression",
		"1/0": "division by zero", "1%0": "division by zero", "18446744073709551616": "number too large", "$nothing": "unknown register",
		"'": "character constant expected", "'ab'": "missing terminating ' character",
		strings.Repeat("(", 1000): "expression is nested too deeply", strings.Repeat("-", 1<<20): "expression is nested too deeply",
	} {
		if v, _, err := evaluate(text); err == nil || err.Error() != want {
			t.Errorf("%.20q: %d, %v; not %s", text, v, err, want)
		}
	}
	for text, want := range map[string]string{"08": "8", "0x": "x", "1 2": "2", "5)": ")"} {
		if _, rest, err := evaluate(text); rest != want || err != nil {
			t.Errorf("%q: %q left, %v; not %q", text, rest, err, want)
		}
	}
}

func TestSizes(t *testing.T) {
	for text, want := range map[string]int64{
		"1": 1 << 20, "1b": 1, "1K": 1 << 10, "1m": 1 << 20, "2G": 2 << 30, "1T": 1 << 40, "1.5k": 1536, "0x10": 16 << 20, "0": 0, "7E": 7 << 60,
	} {
		in := &scanner{s: text}
		if v, err := in.size(); v != want || err != nil || !in.end() {
			t.Errorf("%q: %d, %v, %q left", text, v, err, in.rest())
		}
	}
	for _, text := range []string{"", "x", "-1", "8E", "99999999999999999999", "1.2.3", "0xffffffffffffffffff", "1.5b", "."} {
		if v, err := (&scanner{s: text}).size(); err == nil {
			t.Errorf("%q is %d", text, v)
		}
	}
}

func TestWords(t *testing.T) {
	for line, want := range map[string][]string{
		"": {""}, "a": {"a"}, "a ": {"a", ""}, " a  b": {"a", "b"}, `a "b c" d`: {"a", "b c", "d"}, `"\n\r\\\'\""`: {"\n\r\\'\""}, `"a`: nil, `"\x"`: nil, `"\`: nil,
	} {
		if got := words(line); !slices.Equal(got, want) {
			t.Errorf("%q: %q, not %q", line, got, want)
		}
	}
}

func TestOptions(t *testing.T) {
	for text, want := range map[string][]option{
		"":            nil,
		"a":           {{"type", "a"}},
		"a,b=c":       {{"type", "a"}, {"b", "c"}},
		"a=1,b":       {{"a", "1"}, {"b", "on"}},
		"x,nob,c=":    {{"type", "x"}, {"b", "off"}, {"c", ""}},
		"a=b,,c,d=,,": {{"a", "b,c"}, {"d", ","}},
		"a=b=c":       {{"a", "b=c"}},
		"a=1,":        {{"a", "1"}},
	} {
		if got := parseOptionList(text, "type"); !slices.Equal(got, want) {
			t.Errorf("%q: %q, not %q", text, got, want)
		}
	}
}

func FuzzExpression(f *testing.F) {
	for _, s := range []string{"1+2*3", "(1|2)&~$r7", "'a'", "0x10%07", "-(-1)"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		v, rest, err := evaluate(text)
		if !strings.HasSuffix(text, rest) {
			t.Errorf("%q is left of %q", rest, text)
		}
		again, _, err2 := evaluate("(" + text + ")")
		if err == nil && rest == "" && (err2 != nil || again != v) {
			t.Errorf("%q is %d, in parentheses %d, %v", text, v, again, err2)
		}
	})
}

// FuzzCommandLine runs lines with every command there is.
func FuzzCommandLine(f *testing.F) {
	for _, s := range []string{
		"x/16xb $rip", "info block -v d0", "device_add a,b=c", "chardev-add socket,id=a,path=/b,server", "object_add a,b.c=d", `ringbuf_write a "b\n"`,
		"dump-guest-memory -p -d a 1 2", "migrate_set_parameter a 1M", "help info x", "p/c 'a'", "drive_mirror -n -f a b c", "block_resize a 1.5G",
	} {
		f.Add(s)
	}
	w := newWhole()
	for _, c := range slices.Concat(infoCommands(), runCommands(), memoryCommands(), deviceCommands(), blockCommands(), migrateCommands()) {
		for _, n := range c.needs {
			if w.results[n] == "" {
				w.results[n] = "{}"
			}
		}
	}
	w.results["query-migrate"] = `{"status":"completed"}`
	m := New(w)
	f.Fuzz(func(t *testing.T, line string) {
		w.asked = nil
		s := m.NewSession()
		s.Execute(t.Context(), line)
		if strings.Contains(line, "/") {
			return // completion would look into the host's folders
		}
		for _, o := range s.Complete(t.Context(), line) {
			if w := words(line); !strings.HasPrefix(o, w[len(w)-1]) {
				t.Errorf("%q completes %q", o, line)
			}
		}
	})
}
