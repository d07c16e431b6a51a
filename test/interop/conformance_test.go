package interop

import (
	"fmt"
	"regexp"
	"slices"
	"testing"

	"hv/test/hvrun"
)

// How a conversation begins.
const (
	negotiate    = `{"execute": "qmp_capabilities"}`
	negotiateOOB = `{"execute": "qmp_capabilities", "arguments": {"enable": ["oob"]}}`
)

// conversation is what a client sends, step by step: each step's answers are
// awaited before the next.
type conversation struct {
	name  string
	steps []string
}

// said has a conversation, and returns what came back to each step but for the
// versions and times.
func said(t testing.TB, s *server, path string, c conversation) (answers []string) {
	t.Helper()
	con := dial(t, s.Proc, path)
	defer con.Close()
	for i, step := range c.steps {
		// The byte ends whatever the step left open, and the command's answer comes
		// after those to the step.
		con.send(step + "\xff" + fmt.Sprintf("{'execute': 'no-such', 'id': 'end of %d'}", i))
		end := regexp.MustCompile(fmt.Sprintf(`"end of %d"(.*\}\r?\n|,?\r?\n(?s:.*?)\n\}\r?\n)`, i))
		answers = append(answers, normal(con.until(end)))
	}
	return answers
}

// TestConformance has the same conversations with hv and with QEMU, on both kinds
// of sockets, and compares every byte of what they say.
func TestConformance(t *testing.T) {
	ours, theirs := serve(t, hvrun.Binary(t)), serve(t, hvrun.Tool(t, qemu))
	for _, c := range conversations() {
		t.Run(c.name, func(t *testing.T) {
			compare(t, c, said(t, ours, ours.plain, c), said(t, theirs, theirs.plain, c))
			compare(t, c, said(t, ours, ours.pretty, c), said(t, theirs, theirs.pretty, c))
		})
	}
}

func compare(t *testing.T, c conversation, hv, qemu []string) {
	t.Helper()
	for i, step := range c.steps {
		a, b := hv[i], qemu[i]
		if a == b {
			continue
		}
		same := 0
		for same < min(len(a), len(b)) && a[same] == b[same] {
			same++
		}
		from := max(0, same-200)
		t.Errorf("step %d, %.200q, from byte %d:\nhv   %.400q\nqemu %.400q", i, step, from, a[from:], b[from:])
	}
}

// conversations puts the tables together.
func conversations() []conversation {
	all := slices.Clone(negotiations)
	for _, state := range []struct{ name, begin string }{{"before", ""}, {"after", negotiate}, {"oob", negotiateOOB}} {
		all = append(all, conversation{"malformed " + state.name, append([]string{state.begin}, malformed...)},
			conversation{"envelope " + state.name, append([]string{state.begin}, envelopes...)})
	}
	named := conversation{"id", []string{negotiate}}
	for _, id := range ids {
		named.steps = append(named.steps, "{'execute': 'qmp_capabilities', 'id': "+id+"}",
			"{'execute': 'query-status', 'id': "+id+"}",
			"{'id': "+id+", 'arguments': {'x': 1}, 'execute': 'query-status'}",
			"{'id': "+id+"}")
	}
	return append(all, named, conversation{"arguments", append([]string{negotiate}, arguments...)})
}
