package wire

import (
	"bytes"
	"encoding/json"
	"io"
	"math"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"hv/qmp/qapi"
)

func encoded(v qapi.Value) string {
	e := qapi.NewEncoder(false)
	e.Value(v)
	return string(e.Bytes())
}

// stream reads a whole stream and returns its values and errors, one a line.
func stream(r io.Reader) string {
	var (
		out strings.Builder
		doc qapi.Document
	)
	for reader := NewReader(r); ; {
		switch err := reader.Next(&doc); {
		case IsSyntax(err):
			out.WriteString("! " + strings.ReplaceAll(err.Error(), "\n", "<LF>") + "\n")
		case err != nil:
			return out.String()
		default:
			out.WriteString(encoded(doc.Root()) + "\n")
		}
	}
}

// TestStream compares with what QEMU 7.2 answers to the same input.
func TestStream(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{`{'a':1}{"b":2}  [3] `, "{\"a\": 1}\n{\"b\": 2}\n[3]\n"},
		{"1 true null 'x' ", "1\ntrue\nnull\n\"x\"\n"},
		{"{'a':1", ""},
		{`"it's" 'say "x"' '\'' `, "\"it's\"\n\"say \\\"x\\\"\"\n\"'\"\n"},
		{`{"execute": }`, "! JSON parse error, expecting value\n"},
		{`{"a" 1}`, "! JSON parse error, missing : in object pair\n"},
		{`{"a":1 "b":2}`, "! JSON parse error, expected separator in dict\n"},
		{`{"a":1,}`, "! JSON parse error, expecting value\n"},
		{`{1:1}`, "! JSON parse error, key is not a string in object\n"},
		{`{[nul]:1}`, "! JSON parse error, invalid keyword 'nul'\n"},
		{`{"a":1,"a":2}`, "! JSON parse error, duplicate key\n"},
		{`[1 2]`, "! JSON parse error, expected separator in list\n"},
		{`[1,}]`, "! JSON parse error, expecting value\n! JSON parse error, expecting value\n"},
		{`{"a":1]`, "! JSON parse error, expected separator in dict\n"},
		{`{"a"]`, "! JSON parse error, missing : in object pair\n"},
		{`,`, "! JSON parse error, expecting value\n"},
		{`True {}`, "! JSON parse error, stray 'T'\n{}\n"},
		{"{'a': \x01{'b':1}", "! JSON parse error, stray '\x01'\n{\"b\": 1}\n"},
		{"[[[ 'abc\xff{'b':1}", "! JSON parse error, stray ''abc\xff'\n{\"b\": 1}\n"},
		{"\xff \xfe\n{}", "! JSON parse error, stray '\xff'\n! JSON parse error, stray '\xfe'\n{}\n"},
		{"\x00{}", "! JSON parse error, stray ''\n{}\n"},
		{"'a\tb' {}", "! JSON parse error, stray ''a\t'\n{}\n"},
		{"01 {}", "! JSON parse error, stray '01'\n{}\n"},
		{"1. [2]", "! JSON parse error, stray '1. '\n[2]\n"},
		{"- 1,2", "! JSON parse error, stray '- '\n! JSON parse error, expecting value\n"},
		{"1e+ []", "! JSON parse error, stray '1e+ '\n[]\n"},
		{"@ ab {}", "! JSON parse error, stray '@'\n{}\n"},
		{`'\x' `, "! JSON parse error, invalid escape sequence in string\n"},
		{`'\ud83d' `, "! JSON parse error, \\ud83d is not a valid Unicode character\n"},
		{`'\ud83d\u0041' `, "! JSON parse error, \\ud83d is not a valid Unicode character\n"},
		{`'\udc00' `, "! JSON parse error, \\udc00 is not a valid Unicode character\n"},
		{`'a\uffffb' `, "! JSON parse error, \\uffff is not a valid Unicode character\n"},
		{`'\ud83f\udfff' `, "! JSON parse error, \\ud83f\\udfff is not a valid Unicode character\n"},
		{`'é\u12' `, "! JSON parse error, \\u12' is not a valid Unicode character\n"},
		{"'\xc3(' ", "! JSON parse error, invalid UTF-8 sequence in string\n"},
		{"'\xed\xa0\x80' ", "! JSON parse error, invalid UTF-8 sequence in string\n"},
		{"'\xef\xb7\x90' ", "! JSON parse error, invalid UTF-8 sequence in string\n"},
		{"'\xc0\x80' ", "\"\\u0000\"\n"},
		{`'\u00E9\ud83d\ude00\n' `, "\"\\u00E9\\uD83D\\uDE00\\n\"\n"},
	} {
		for name, r := range map[string]io.Reader{
			"at once":     strings.NewReader(c.in),
			"by the byte": iotest.OneByteReader(strings.NewReader(c.in)),
		} {
			if got := stream(r); got != c.want {
				t.Errorf("%q %s: %q, want %q", c.in, name, got, c.want)
			}
		}
	}
}

func TestParse(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"1", ""}, {"-0", ""}, {"null", ""}, {" {} ", ""},
		{"", "Expecting a JSON value"},
		{" ", "Expecting a JSON value"},
		{"1 2", "Expecting at most one JSON value"},
		{"{} @", "Expecting at most one JSON value"},
		{"{", "JSON parse error, premature EOI"},
		{"{'a'", "JSON parse error, premature EOI"},
		{"{'a':", "JSON parse error, premature EOI"},
		{"[1,", "JSON parse error, premature EOI"},
		{"[1", "JSON parse error, premature EOI"},
		{"'abc", "JSON parse error, stray ''abc\n'"},
		{"1.", "JSON parse error, stray '1.\n'"},
	} {
		_, err := Parse([]byte(c.in))
		if (err == nil) != (c.want == "") || err != nil && err.Error() != c.want {
			t.Errorf("%q: %v, want %q", c.in, err, c.want)
		}
	}
}

// TestLongErrors cuts off what is wrong where QEMU does.
func TestLongErrors(t *testing.T) {
	head := "JSON parse error, "
	for n, want := range map[int]int{100: len("invalid keyword ''") + 100, maxError: maxError, 1 << 20: maxError} {
		_, err := Parse([]byte(strings.Repeat("x", n)))
		if err == nil || len(err.Error()) != len(head)+want {
			t.Errorf("a keyword of %d bytes: %.60v..., want %d bytes", n, err, want)
		}
	}
}

func TestNumbers(t *testing.T) {
	for in, want := range map[string]qapi.Kind{
		"0": qapi.Int, "9223372036854775807": qapi.Int, "-9223372036854775808": qapi.Int,
		"9223372036854775808": qapi.Uint, "18446744073709551615": qapi.Uint,
		"18446744073709551616": qapi.Float, "-9223372036854775809": qapi.Float,
		"1.0": qapi.Float, "0e0": qapi.Float, "1e0": qapi.Float, "1E-400": qapi.Float,
	} {
		v, err := Parse([]byte(in))
		if err != nil || v.Kind() != want {
			t.Errorf("%s: kind %d, %v", in, v.Kind(), err)
		}
	}
	v, err := Parse([]byte("-1e400"))
	if f, _ := v.Float64(); err != nil || !math.IsInf(f, -1) {
		t.Error("-1e400", f, err)
	}
}

// TestManyKeys looks for duplicate keys among many.
func TestManyKeys(t *testing.T) {
	var s strings.Builder
	for i := range 3 * manyMembers {
		s.WriteString(`"` + strings.Repeat("k", i+1) + `":0,`)
	}
	if _, err := Parse([]byte("{" + s.String() + `"last":0}`)); err != nil {
		t.Error(err)
	}
	for _, n := range []int{1, manyMembers - 1, manyMembers, manyMembers + 1, 3 * manyMembers} {
		_, err := Parse([]byte("{" + s.String() + `"` + strings.Repeat("k", n) + `":0}`))
		if err == nil || err.Error() != "JSON parse error, duplicate key" {
			t.Errorf("key %d twice: %v", n, err)
		}
	}
}

// repeat is a reader of a string over and over.
type repeat struct {
	s    string
	left int // bytes
	at   int // in s
}

func (r *repeat) Read(b []byte) (int, error) {
	if r.left <= 0 {
		return 0, io.EOF
	}
	n := 0
	for n < len(b) {
		m := copy(b[n:], r.s[r.at:])
		n, r.at = n+m, (r.at+m)%len(r.s)
	}
	r.left -= n
	return n, nil
}

// TestBounds feeds values that are too large.
func TestBounds(t *testing.T) {
	for _, c := range []struct{ head, body, want string }{
		{"", "[", "JSON nesting depth limit exceeded"},
		{"", "{'a':", "JSON nesting depth limit exceeded"},
		{"[", "1,", "JSON token count limit exceeded"},
		{"['", "x", "JSON token size limit exceeded"},
		{"[", "'" + strings.Repeat("x", 8188) + "',,", "JSON token size limit exceeded"},
	} {
		if testing.Short() && strings.Contains(c.want, "size") {
			continue
		}
		doc := qapi.Document{}
		r := NewReader(io.MultiReader(strings.NewReader(c.head), &repeat{s: c.body, left: 2 * MaxText}))
		if err := r.Next(&doc); !IsSyntax(err) || err.Error() != c.want {
			t.Errorf("%q...: %v, want %s", c.head+c.body[:1], err, c.want)
		}
		if cap(r.p.lex.text) > keep {
			t.Errorf("%q...: %d bytes are kept", c.head+c.body[:1], cap(r.p.lex.text))
		}
	}
	deep := strings.Repeat("[", MaxNesting) + strings.Repeat("]", MaxNesting)
	if _, err := Parse([]byte(deep)); err != nil {
		t.Errorf("%d levels: %v", MaxNesting, err)
	}
}

func TestMessages(t *testing.T) {
	id, err := Parse([]byte(`{"x": [1]}`))
	if err != nil {
		t.Fatal(err)
	}
	e := qapi.NewEncoder(false)
	WriteGreeting(e, qapi.VersionInfo{Qemu: qapi.VersionTriple{Major: 7, Minor: 2}, Package: "hv 1"}, qapi.QMPCapabilityList{qapi.QMPCapabilityOob})
	BeginReturn(e)
	e.Int(1)
	EndReturn(e, id)
	BeginReturn(e)
	e.Int(2)
	EndReturn(e, qapi.Value{})
	WriteError(e, qapi.Errorf(qapi.QapiErrorClassDeviceNotFound, "no %q", "d"), id)
	WriteError(e, io.EOF, qapi.Value{})
	BeginEvent(e, "STOP", time.UnixMicro(1500000))
	EndEvent(e)
	want := strings.Join([]string{
		`{"QMP": {"version": {"qemu": {"micro": 0, "minor": 2, "major": 7}, "package": "hv 1"}, "capabilities": ["oob"]}}`,
		`{"return": 1, "id": {"x": [1]}}`,
		`{"return": 2}`,
		`{"id": {"x": [1]}, "error": {"class": "DeviceNotFound", "desc": "no \"d\""}}`,
		`{"error": {"class": "GenericError", "desc": "EOF"}}`,
		`{"timestamp": {"seconds": 1, "microseconds": 500000}, "event": "STOP"}`, "",
	}, "\r\n")
	if got := string(e.Bytes()); got != want {
		t.Errorf("%s\nwant\n%s", got, want)
	}
}

const command = `{"execute": "query-status", "id": "libvirt-17", "arguments": {"value": -12345}}` + "\n"

func TestReaderAllocs(t *testing.T) {
	r := NewReader(&repeat{s: command, left: math.MaxInt})
	var doc qapi.Document
	e := qapi.NewEncoder(false)
	if n := testing.AllocsPerRun(1000, func() {
		if err := r.Next(&doc); err != nil {
			t.Fatal(err)
		}
		e.Reset()
		BeginReturn(e)
		e.BeginObject()
		e.EndObject()
		EndReturn(e, doc.Root().Get("id"))
	}); n != 0 {
		t.Errorf("%v allocations to read a command and write a reply", n)
	}
}

func BenchmarkReader(b *testing.B) {
	r := NewReader(&repeat{s: command, left: math.MaxInt})
	var doc qapi.Document
	b.ReportAllocs()
	b.SetBytes(int64(len(command)))
	for b.Loop() {
		if err := r.Next(&doc); err != nil {
			b.Fatal(err)
		}
	}
}

var seeds = []string{
	"", "1", "-0", "1e3", "0.5", `"a\u00e9\ud83d\ude00\n"`, `'\''`, command, `{"a":[1,{"b":null}],"c":"d"}`,
	`[true,false]`, "[1,}", "{'a':1,'a':2}", "\xff{}", "{\x00", "'\xc0\x80'", "\"\xc3\xa9\"", "[[[]]]", "18446744073709551615", "nul",
}

// FuzzStream checks that the pieces in which input comes make no difference, and
// that values survive being written and read.
func FuzzStream(f *testing.F) {
	for _, s := range seeds {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		whole := stream(bytes.NewReader(b))
		if pieces := stream(iotest.OneByteReader(bytes.NewReader(b))); pieces != whole {
			t.Errorf("at once %q, by the byte %q", whole, pieces)
		}
		for line := range strings.Lines(whole) {
			if strings.HasPrefix(line, "!") {
				continue
			}
			v, err := Parse([]byte(line))
			if err != nil || encoded(v)+"\n" != line {
				t.Errorf("%q read again: %v, %q", line, err, encoded(v))
			}
		}
	})
}

// FuzzJSON compares with the standard library on input that it accepts.
func FuzzJSON(f *testing.F) {
	for _, s := range seeds {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		dec := json.NewDecoder(bytes.NewReader(b))
		dec.UseNumber()
		var want any
		if !json.Valid(b) || dec.Decode(&want) != nil {
			return
		}
		v, err := Parse(b)
		if err != nil {
			if !ours(err) {
				t.Errorf("%q: %v", b, err)
			}
			return
		}
		compare(t, v, want)
	})
}

// ours tells whether an error is one that the standard library does not make:
// it takes duplicate keys, deeper nesting, and text that is no Unicode.
func ours(err error) bool {
	s := err.Error()
	return strings.Contains(s, "duplicate key") || strings.Contains(s, "nesting depth") ||
		strings.Contains(s, "not a valid Unicode character") || strings.Contains(s, "invalid UTF-8") ||
		strings.Contains(s, "stray") // bytes 0xFE and 0xFF in strings
}

func compare(t *testing.T, v qapi.Value, want any) {
	t.Helper()
	switch want := want.(type) {
	case nil:
		if v.Kind() != qapi.Null {
			t.Errorf("kind %d, want null", v.Kind())
		}
	case bool:
		if v.Kind() != qapi.Bool || v.Bool() != want {
			t.Errorf("kind %d %v, want %v", v.Kind(), v.Bool(), want)
		}
	case string:
		if v.Kind() != qapi.String || string(v.Text()) != want && !strings.ContainsRune(want, 0xfffd) {
			t.Errorf("%q, want %q", v.Text(), want)
		}
	case json.Number:
		got, ok := v.Float64()
		if f, err := want.Float64(); err == nil && (!ok || got != f) {
			t.Errorf("%v, want %v", got, want)
		}
	case []any:
		i := 0
		for m := range v.Elements() {
			compare(t, m, want[i])
			i++
		}
		if i != len(want) || v.Len() != i {
			t.Errorf("%d elements, want %d", v.Len(), len(want))
		}
	case map[string]any:
		for k, m := range v.Members() {
			compare(t, m, want[string(k.Text())])
		}
		if v.Len() != len(want) {
			t.Errorf("%d members, want %d", v.Len(), len(want))
		}
	}
}
