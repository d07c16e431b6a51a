package main

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const (
	schema   = "../../qmp/qapi"
	handbook = "../../docs/qmp-reference.md"
)

// TestDrift holds the committed code to what the schema files say.
func TestDrift(t *testing.T) {
	files, text, err := generate(schema)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(handbook); err != nil || !bytes.Equal(got, text) {
		t.Errorf("%s is out of date (%v): run go generate ./qmp/qapi", handbook, err)
	}
	for name, want := range files {
		got, err := os.ReadFile(filepath.Join(schema, name))
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s is out of date (%v): run go generate ./qmp/qapi", name, err)
		}
	}
	found, err := filepath.Glob(filepath.Join(schema, "*_gen*.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range found {
		if files[filepath.Base(f)] == nil {
			t.Errorf("%s is generated from no schema file: remove it", f)
		}
	}
}

func TestWrite(t *testing.T) {
	dir := t.TempDir()
	in := marker + "\npackage qapi\n\ntype Colour string\n\nconst Red Colour = \"red\"\n"
	if err := os.WriteFile(filepath.Join(dir, "colour.go"), []byte(in), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "other.go"), []byte("package qapi\n\ntype T int\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := write(dir, filepath.Join(dir, "reference.md")); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(filepath.Join(dir, "colour_gen.go"))
	if err != nil || !strings.Contains(string(got), "*x = Red") {
		t.Errorf("colour_gen.go: %v\n%s", err, got)
	}
	if _, err := os.Stat(filepath.Join(dir, "other_gen.go")); err == nil {
		t.Error("code was generated for a file that is no schema")
	}
}

// TestMistakes tries schema files that cannot be right.
func TestMistakes(t *testing.T) {
	const e = "type E string\nconst A E = \"a\"\n"
	for _, c := range []struct{ in, want string }{
		{"type E int", "an enumeration is a string"},
		{"type E string", "has no values"},
		{"type L []*string", "a list is a slice of a named type"},
		{"type L [3]string", "a list is a slice of a named type"},
		{"type L []Missing", "neither basic nor in a schema file"},
		{"type F func()", "neither a string, a slice nor a struct"},
		{"type S struct { A, B string `qapi:\"a\"` }", "a field of its own"},
		{"type S struct { A string }", "has no tag"},
		{"type S struct { A map[string]string `qapi:\"a\"` }", "not of a named type"},
		{"type S struct { A float32 `qapi:\"a\"` }", "neither basic nor in a schema file"},
		{"type S struct { A string `qapi:\"a,what\"` }", "unknown tag option"},
		{"type S struct { A string `json:\"a\"` }", "wants a name"},
		{"type S struct { B *S `qapi:\",branch=a\"` }", "no value of the discriminator"},
		{e + "type B struct{}\ntype S struct {\nD E `qapi:\"d,discriminator\"`\nB *B `qapi:\",branch=b\"`\n}", "no value of the discriminator"},
		{e + "type B struct{}\ntype S struct {\nD E `qapi:\"d,discriminator\"`\nB B `qapi:\",branch=a\"`\n}", "wants a name"},
		{e + "type S struct{}\ntype U struct {\nD E `qapi:\"d,discriminator\"`\nB *E `qapi:\",branch=a\"`\n}", "no value of the discriminator"},
		{"type A struct { S *string `qapi:\"s,alternate\"`\nB *bool `qapi:\"b\"` }", "which alternative it is"},
		{"type A struct { I *int64 `qapi:\"i,alternate\"`\nF *float64 `qapi:\"f,alternate\"` }", "which alternative it is"},
		{"type A struct { V *Value `qapi:\"v,alternate\"` }", "which alternative it is"},
		{"type A struct { V *Missing `qapi:\"v,alternate\"` }", "neither basic nor in a schema file"},
		{"type A struct { S string `qapi:\"s,alternate\"` }", "wants a name"},
		{"type S struct { string }", "a base is a struct"},
		{"type S struct { *T }", "a base is an embedded type"},
		{"type S struct { R string `qapi:\",rest\"` }", "the rest is a Value"},
		{"type S struct { R string `qapi:\"r,optional\"` }", "an optional member is a pointer"},
		{"type", "expected"},
	} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "s.go"), []byte(marker+"package qapi\n"+c.in), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, _, err := generate(dir); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want %q", c.in, err, c.want)
		}
	}
}

// TestOrder checks QEMU's order against lines that QEMU 7.2 printed.
func TestOrder(t *testing.T) {
	for _, want := range [][]string{
		{"status", "singlestep", "running"},
		{"timestamp", "event", "data"},
		{"seconds", "microseconds"},
		{"thread-id", "props", "qom-path", "cpu-index", "target"},
		{"version", "capabilities"},
		{"micro", "minor", "major"},
		{"id", "error"},
		{"return", "id"},
	} {
		if !slices.IsSortedFunc(want, func(a, b string) int { return int(bucket(a)) - int(bucket(b)) }) {
			t.Errorf("QEMU prints %v", want)
		}
	}
}
