package surface

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"hv/test/hvrun"
)

// declaration is a command or an event in package qapi.
type declaration struct{ ident, name string }

// declared finds the descriptors of package qapi.
func declared(t *testing.T) map[string]declaration {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(hvrun.Root(t), "qmp/qapi/*.go"))
	if err != nil {
		t.Fatal(err)
	}
	re := regexp.MustCompile(`(?s)\nvar ((?:Cmd|Event)\w+) = (?:Command|Event)\[[^\]]*\]\{\s*Name:\s*"([^"]+)"`)
	all := map[string]declaration{}
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range re.FindAllSubmatch(text, -1) {
			d := declaration{string(m[1]), string(m[2])}
			all[d.name] = d
		}
	}
	return all
}

// sources returns the text of the tests and of the rest. What describes the types,
// which names everything, is neither, nor is this file.
func sources(t *testing.T) (tests, rest string) {
	t.Helper()
	root := hvrun.Root(t)
	var test, other strings.Builder
	err := filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		rel, _ := filepath.Rel(root, path)
		switch {
		case err != nil:
			return err
		case e.IsDir() && (rel == ".git" || rel == "bin" || rel == "docs" || rel == "qmp/qapi"):
			return filepath.SkipDir
		case e.Name() == "mention_test.go" || e.IsDir() || !slices.Contains([]string{".go", ".py", ".sh"}, filepath.Ext(path)):
			return nil
		}
		text, err := os.ReadFile(path)
		if strings.HasSuffix(rel, "_test.go") || strings.HasPrefix(rel, "test/") {
			test.Write(text)
		} else {
			other.Write(text)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return test.String(), other.String()
}

// words returns what stands in quotes in a text, and the descriptors in it. A quote
// may end one word and begin the next.
func words(text string) map[string]bool {
	all := map[string]bool{}
	quoted := regexp.MustCompile("[\"'`]([\\w-]+)[\"'`]")
	for at := quoted.FindStringSubmatchIndex(text); at != nil; at = quoted.FindStringSubmatchIndex(text) {
		all[text[at[2]:at[3]]] = true
		text = text[at[3]:]
	}
	return all
}

// descriptors returns the descriptors that a text uses.
func descriptors(text string) map[string]bool {
	all := map[string]bool{}
	for _, name := range regexp.MustCompile(`\b(?:Cmd|Event)\w+`).FindAllString(text, -1) {
		all[name] = true
	}
	return all
}

// TestAllIsTested looks for each command that a VM advertises, and for each event, in
// the tests; an event must be emitted somewhere besides.
func TestAllIsTested(t *testing.T) {
	all, described := declared(t), schemaOf(t, ours(t))
	tests, rest := sources(t)
	quoted, tested, used := words(tests), descriptors(tests), descriptors(rest)
	for name, e := range described {
		if e.Command == nil && e.Event == nil {
			continue
		}
		d, ok := all[name]
		if !ok {
			t.Errorf("%s is advertised, and its descriptor was not found", name)
			continue
		}
		if !quoted[d.name] && !tested[d.ident] {
			t.Errorf("no test mentions %s or %s", d.name, d.ident)
		}
		if !used[d.ident] {
			t.Errorf("%s is used nowhere: %s is never emitted", d.ident, d.name)
		}
	}
	for name, d := range all {
		if e := described[name]; e.Command == nil && e.Event == nil {
			t.Errorf("%s is declared as %s and not registered", name, d.ident)
		}
	}
}

func TestMentions(t *testing.T) {
	for text, want := range map[string]bool{
		`c.Execute(ctx, "stop", nil)`: true, `{'execute': 'stop'}`: true, "client.Call(ctx, c, qapi.CmdStop, x)": true,
		"stop()": false, "// stop the VM": false, "qapi.CmdStopper": false, `"stopped"`: false, `"x"stop"`: true,
	} {
		if got := words(text)["stop"] || descriptors(text)["CmdStop"]; got != want {
			t.Errorf("%s: %v", text, got)
		}
	}
}
