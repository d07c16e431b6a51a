package charqmp

import (
	"context"
	"fmt"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"hv/qmp/chardev"
	"hv/qmp/dispatch"
	"hv/qmp/qapi"
	"hv/qmp/wire"
)

// rig is a command table of a registry's.
type rig struct {
	t     *testing.T
	table *dispatch.Table
	r     chardev.Registry
}

func newRig(t *testing.T) *rig {
	g := &rig{t: t, table: dispatch.NewTable()}
	Register(g.table, &g.r, chardev.Host{})
	t.Cleanup(func() {
		if err := g.r.Close(); err != nil {
			t.Error(err)
		}
	})
	return g
}

// run executes a command and returns the reply.
func (g *rig) run(name, args string) string {
	g.t.Helper()
	v, err := wire.Parse(fmt.Appendf(nil, `{"execute": %q, "arguments": {%s}}`, name, args))
	if err != nil {
		g.t.Fatalf("%s: %v", args, err)
	}
	e := qapi.NewEncoder(false)
	req := g.table.Parse(v, dispatch.Client{Negotiated: true})
	req.Run(context.Background(), e)
	return strings.TrimSpace(string(e.Bytes()))
}

// expect compares a reply's value, or its error if want begins with a letter.
func (g *rig) expect(name, args, want string) {
	g.t.Helper()
	whole := `{"return": ` + want + `}`
	if c := want[0] | 0x20; c >= 'a' && c <= 'z' {
		whole = `{"error": {"class": "GenericError", "desc": "` + want + `"}}`
	}
	if got := g.run(name, args); got != whole {
		g.t.Errorf("%s %s: %s, want %s", name, args, got, whole)
	}
}

// TestAnswers compares with what QEMU 7.2 answers.
func TestAnswers(t *testing.T) {
	g := newRig(t)
	add := func(id, backend, want string) {
		t.Helper()
		kind, data, _ := strings.Cut(backend, " ")
		g.expect("chardev-add", fmt.Sprintf(`"id": %q, "backend": {"type": %q, "data": {%s}}`, id, kind, data), want)
	}
	const failed = "Failed to add chardev 'x': "
	add("n", "null", "{}")
	add("n", "null", "Chardev with id 'n' already exists")
	add("x", `file "out": "/nonexistent/a"`, failed+"Could not open '/nonexistent/a': No such file or directory")
	add("x", `pipe "device": ""`, failed+"Could not open '': No such file or directory")
	add("x", `ringbuf "size": 3`, failed+"size of ringbuf chardev must be power of two")
	add("x", `mux "chardev": "none"`, failed+"mux: base chardev none not found")
	add("x", `console`, failed+"'console' is not a valid char driver name")
	add("x", `xx`, "Parameter 'type' does not accept value 'xx'")
	add("x", `socket "addr": {"type": "unix", "data": {"path": "/x"}}, "tls-creds": "t"`, failed+"No TLS credentials with id 't'")
	add("x", `socket "addr": {"type": "unix"}`, "Parameter 'backend.data.addr.data' is missing")
	add("r", `ringbuf "size": 16`, "{}")
	add("m", `memory`, "{}")
	g.expect("ringbuf-write", `"device": "r", "data": "hello"`, "{}")
	g.expect("ringbuf-read", `"device": "r", "size": 3`, `"hel"`)
	g.expect("ringbuf-read", `"device": "r", "size": 0`, "size must be greater than zero")
	g.expect("ringbuf-read", `"device": "r", "size": 100, "format": "base64"`, `"bG8="`)
	g.expect("ringbuf-write", `"device": "r", "data": "aGVsbG8=", "format": "base64"`, "{}")
	g.expect("ringbuf-read", `"device": "r", "size": 100`, `"hello"`)
	g.expect("ringbuf-write", `"device": "r", "data": "!!!", "format": "base64"`, "Base64 data contains invalid characters")
	g.expect("ringbuf-write", `"device": "r", "data": "0123456789abcdefXYZ"`, "{}")
	g.expect("ringbuf-read", `"device": "r", "size": 100`, `"3456789abcdefXYZ"`)
	g.expect("ringbuf-read", `"device": "zz", "size": 1`, "Device 'zz' not found")
	g.expect("ringbuf-write", `"device": "zz", "data": ""`, "Device 'zz' not found")
	g.expect("chardev-remove", `"id": "zz"`, "Chardev 'zz' not found")
	g.expect("chardev-remove", `"id": "m"`, "{}")
	g.expect("chardev-change", `"id": "zz", "backend": {"type": "null", "data": {}}`, "Chardev 'zz' does not exist")
	g.expect("chardev-send-break", `"id": "n"`, "{}")
	g.expect("chardev-send-break", `"id": "zz"`, "Chardev 'zz' not found")
	g.expect("query-chardev", ``, `[{"frontend-open": false, "filename": "null", "label": "n"}, {"frontend-open": false, "filename": "ringbuf", "label": "r"}]`)
}

func TestPTYs(t *testing.T) {
	g := newRig(t)
	pty := regexp.MustCompile(`^{"return": {"pty": "/dev/pts/\d+"}}$`)
	if got := g.run("chardev-add", `"id": "p", "backend": {"type": "pty", "data": {}}`); !pty.MatchString(got) {
		t.Error(got)
	}
	if got := g.run("chardev-change", `"id": "p", "backend": {"type": "pty", "data": {}}`); !pty.MatchString(got) {
		t.Error(got)
	}
	g.expect("chardev-change", `"id": "p", "backend": {"type": "null", "data": {}}`, "{}")
}

// TestBackends has a way to make all that is advertised.
func TestBackends(t *testing.T) {
	g := newRig(t)
	list := g.run("query-chardev-backends", "")
	dir := t.TempDir()
	addr := `"addr": {"type": "unix", "data": {"path": "` + filepath.Join(dir, "s") + `"}}`
	there := map[string]string{
		"null": "", "vc": "", "pty": "", "memory": "", "ringbuf": "", "stdio": `"signal": true`, "serial": `"device": "/dev/null"`,
		"file": `"out": "` + filepath.Join(dir, "f") + `", "logfile": "` + filepath.Join(dir, "l") + `"`, "socket": addr,
		"udp": `"remote": {"type": "inet", "data": {"host": "localhost", "port": "9"}}`, "mux": `"chardev": "null"`, "pipe": `"device": "/dev/null"`,
	}
	for _, kind := range append([]string{"null"}, chardevKinds()...) {
		data, ok := there[kind]
		if !ok || !strings.Contains(list, `{"name": "`+kind+`"}`) {
			t.Errorf("%s is not tried, or not in %s", kind, list)
		}
		if g.r.Has(kind) {
			continue
		}
		got := g.run("chardev-add", fmt.Sprintf(`"id": %q, "backend": {"type": %q, "data": {%s}}`, kind, kind, data))
		if !strings.HasPrefix(got, `{"return"`) {
			t.Errorf("%s: %s", kind, got)
		}
	}
	g.expect("ringbuf-read", `"device": "null", "size": 1`, "null is not a ringbuf device")
}

func chardevKinds() (all []string) {
	for _, k := range chardev.Backends() {
		all = append(all, string(k))
	}
	return all
}
