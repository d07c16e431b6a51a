package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"hv/qmp/client"
	"hv/qmp/dispatch"
	"hv/qmp/events"
	"hv/qmp/qapi"
	"hv/qmp/server"
)

// direct runs a server's commands one at a time.
type direct struct{ mu sync.Mutex }

func (d *direct) Do(_ context.Context, f func()) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	f()
	return nil
}

// rig is a folder with the socket of a VM called vm.
type rig struct {
	t      *testing.T
	dir    string
	events *events.Broker
	srv    *server.Server
	stops  chan struct{}
	// What NICs there are, and what their guests want to receive.
	mu      sync.Mutex
	network string
	filters []qapi.RxFilterInfo
}

func newRig(t *testing.T) *rig {
	r := &rig{t: t, dir: t.TempDir(), events: events.NewBroker(), stops: make(chan struct{}, 10)}
	r.srv = server.New(server.Config{Table: r.table(), Events: r.events, Exec: &direct{}, Version: "test"})
	l, err := net.Listen("unix", r.socket())
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- r.srv.Serve(l, server.Monitor{Name: "test"}) }()
	t.Cleanup(func() {
		r.close()
		if err := <-served; err != nil {
			t.Error(err)
		}
		r.events.Close()
	})
	return r
}

// table is the VM's commands.
func (r *rig) table() *dispatch.Table {
	table := dispatch.NewTable()
	dispatch.Register(table, qapi.CmdQueryStatus, func(context.Context, qapi.Empty) (qapi.StatusInfo, error) {
		return qapi.StatusInfo{Running: true, Status: qapi.RunStateRunning}, nil
	})
	dispatch.Register(table, qapi.CmdStop, func(context.Context, qapi.Empty) (qapi.Empty, error) {
		events.Emit(r.events, qapi.EventStop, qapi.Empty{})
		r.stops <- struct{}{}
		return qapi.Empty{}, nil
	})
	dispatch.Register(table, qapi.CmdCont, func(context.Context, qapi.Empty) (qapi.Empty, error) {
		return qapi.Empty{}, errors.New("it cannot go on")
	})
	dispatch.Register(table, qapi.CmdBalloon, func(_ context.Context, a qapi.BalloonArgs) (qapi.Empty, error) {
		events.Emit(r.events, qapi.EventBalloonChange, qapi.BalloonChangeEvent{Actual: a.Value})
		return qapi.Empty{}, nil
	})
	dispatch.Register(table, qapi.CmdHumanMonitorCommand, func(_ context.Context, a qapi.HumanMonitorCommandArgs) (qapi.Text, error) {
		switch a.CommandLine {
		case "bad":
			return "Error: it is bad\r\n", nil
		case "info network":
			r.mu.Lock()
			defer r.mu.Unlock()
			return qapi.Text(strings.ReplaceAll(r.network, "\n", "\r\n")), nil
		}
		return qapi.Text("did " + a.CommandLine + "\r\n"), nil
	})
	dispatch.Register(table, qapi.CmdQueryRxFilter, func(context.Context, qapi.QueryRxFilterArgs) (qapi.RxFilterInfoList, error) {
		r.mu.Lock()
		defer r.mu.Unlock()
		return slices.Clone(r.filters), nil
	})
	return table
}

func (r *rig) socket() string { return filepath.Join(r.dir, "vm.sock") }

func (r *rig) close() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = r.srv.Close(ctx)
}

// run calls the tool.
func (r *rig) run(in string, args ...string) (status int, out, errOut string) {
	var o, e bytes.Buffer
	t := tool{in: strings.NewReader(in), out: &o, errOut: &e, dir: r.dir}
	return t.run(r.t.Context(), args), o.String(), e.String()
}

func TestCommandLines(t *testing.T) {
	r := newRig(t)
	for _, c := range []struct {
		args     string
		in       string
		status   int
		out, err string
	}{
		{"status vm", "", 0, "running\n", ""},
		{"stop vm", "", 0, "", ""},
		{"cont vm", "", 1, "", "hvctl: it cannot go on\n"},
		{"reset vm", "", 1, "", "hvctl: The command system_reset has not been found\n"},
		{"qmp vm query-status", "", 0, "{\n  \"singlestep\": false,\n  \"status\": \"running\",\n  \"running\": true\n}\n", ""},
		{"qmp vm balloon value=5", "", 0, "{}\n", ""},
		{`qmp vm balloon {"value": 5}`, "", 0, "{}\n", ""},
		{"qmp vm balloon value=five", "", 1, "", "hvctl: Invalid parameter type for 'value', expected: integer\n"},
		{"qmp vm balloon five", "", 2, "", "hvctl: 'five' is not ARG=VALUE\nTry 'hvctl --help'.\n"},
		{"qmp vm nothing", "", 1, "", "hvctl: The command nothing has not been found\n"},
		{"qmp vm", "balloon value=1\n\nquery-status\n", 0, "{}\n{\n  \"singlestep\": false,\n  \"status\": \"running\",\n  \"running\": true\n}\n", ""},
		{"qmp vm", "nothing\nbad\n", 1, "", "hvctl: The command nothing has not been found\n"},
		{"qmp vm human-monitor-command command-line=x", "", 0, "did x\n", ""},
		{"hmp vm info status", "", 0, "did info status\n", ""},
		{"hmp vm", "a b\nc\n", 0, "did a b\ndid c\n", ""},
		{"hmp vm", "bad\nc\n", 1, "Error: it is bad\n", ""},
		{"hmp vm bad", "", 1, "Error: it is bad\n", ""},
		{"list", "", 0, "NAME  STATE    SOCKET\nvm    running  " + r.socket() + "\n", ""},
		{"version", "", 0, "hvctl version unknown\n", ""},
		{"--help", "", 0, usage, ""},
		{"", "", 2, "", "hvctl: which command?\nTry 'hvctl --help'.\n"},
		{"nothing", "", 2, "", "hvctl: there is no command 'nothing'\nTry 'hvctl --help'.\n"},
		{"status", "", 2, "", "hvctl: status: which VM?\nTry 'hvctl --help'.\n"},
		{"status vm x", "", 2, "", "hvctl: status takes a VM only\nTry 'hvctl --help'.\n"},
		{"list x", "", 2, "", "hvctl: list takes no arguments\nTry 'hvctl --help'.\n"},
		{"events vm x", "", 2, "", "hvctl: events takes a VM and --follow\nTry 'hvctl --help'.\n"},
	} {
		status, out, errOut := r.run(c.in, strings.Fields(c.args)...)
		if status != c.status || out != c.out || errOut != c.err {
			t.Errorf("hvctl %s: status %d\n%s%s\nnot %d\n%s%s", c.args, status, out, errOut, c.status, c.out, c.err)
		}
	}
	for _, vm := range []string{r.socket(), "./" + r.socket()[1:]} {
		if status, _, errOut := r.run("", "status", vm); (status == 0) != (vm[0] == '/') {
			t.Errorf("status of %s: %d %s", vm, status, errOut)
		}
	}
	if status, _, errOut := r.run("", "status", "other"); status != 1 || !strings.Contains(errOut, "no such file") {
		t.Errorf("a VM that is not there: %d %s", status, errOut)
	}
	if status, _, _ := r.run("", "status", ""); status != 2 {
		t.Errorf("a VM without a name: %d", status)
	}
}

func TestListNamesTheSilent(t *testing.T) {
	r := newRig(t)
	if err := os.WriteFile(filepath.Join(r.dir, "dead.sock"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_, out, _ := r.run("", "list")
	if lines := strings.Split(out, "\n"); len(lines) != 4 || !strings.HasPrefix(lines[1], "dead  no answer  ") {
		t.Errorf("%q", out)
	}
}

func TestEvents(t *testing.T) {
	r := newRig(t)
	out, w := io.Pipe()
	ended := make(chan int, 1)
	go func() {
		ctl := tool{out: w, errOut: io.Discard, dir: r.dir}
		ended <- ctl.run(t.Context(), []string{"events", "vm", "--follow"})
		w.Close()
	}()
	lines := make(chan string)
	go func() {
		defer close(lines)
		buf := make([]byte, 4096)
		for {
			n, err := out.Read(buf)
			if err != nil {
				return
			}
			lines <- string(buf[:n])
		}
	}()
	// Nobody tells when the tool listens, so the event comes until it is seen.
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for seen := false; !seen; {
		select {
		case line := <-lines:
			if seen = strings.HasSuffix(line, " STOP\n"); !seen {
				t.Fatalf("%q", line)
			}
		case <-tick.C:
			events.Emit(r.events, qapi.EventStop, qapi.Empty{})
		case <-time.After(20 * time.Second):
			t.Fatal("no event")
		}
	}
	go func() {
		for range lines { // those that came meanwhile
		}
	}()
	r.close()
	if status := <-ended; status != 0 {
		t.Errorf("status %d at the VM's end", status)
	}
}

func TestArguments(t *testing.T) {
	for line, want := range map[string]string{
		"":                        "null",
		"a=1 b=x c=true d=null":   `{"a":1,"b":"x","c":true,"d":null}`,
		`a="7" b=[1,2] c={"d":1}`: `{"a":"7","b":[1,2],"c":{"d":1}}`,
		"a.b=1 a.c.d=x e=":        `{"a":{"b":1,"c":{"d":"x"}},"e":""}`,
		"a=b=c":                   `{"a":"b=c"}`,
		`{"a": 1}`:                `{"a":1}`,
	} {
		v, err := parseArgs(strings.Fields(line))
		got, _ := json.Marshal(v)
		if err != nil || string(got) != want {
			t.Errorf("%q: %s, %v; not %s", line, got, err, want)
		}
	}
	for _, line := range []string{"a", "=1", "a=1 a=2", "a=1 a.b=2", "a.b=1 a=2", "{a}"} {
		var wrong usageError
		if v, err := parseArgs(strings.Fields(line)); !errors.As(err, &wrong) {
			t.Errorf("%q: %v, %v", line, v, err)
		}
	}
}

func FuzzParseArgs(f *testing.F) {
	f.Add("a.b=1 c=x")
	f.Add(`{"a": 1}`)
	f.Fuzz(func(t *testing.T, line string) {
		v, err := parseArgs(strings.Fields(line))
		if err != nil {
			return
		}
		if _, err := json.Marshal(v); err != nil {
			t.Errorf("%q: %v", line, err)
		}
	})
}

// TestTerminal types at the prompt and sees events come in between.
func TestTerminal(t *testing.T) {
	r := newRig(t)
	c, err := client.Dial(t.Context(), "unix", r.socket())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	keys, typed := io.Pipe()
	screen, shown := io.Pipe()
	s := newShell(t.Context(), c)
	if got := s.complete("query-s"); !slices.Equal(got, []string{"query-status"}) {
		t.Errorf("completes %q", got)
	}
	ended := make(chan error, 1)
	go func() {
		err := terminal(t.Context(), c, struct {
			io.Reader
			io.Writer
		}{keys, shown}, "hello\n", "(QMP) ", s.complete, func(w io.Writer, line string) error {
			return execute(t.Context(), c, w, strings.Fields(line))
		})
		shown.Close()
		ended <- err
	}()
	texts := make(chan string, 1000)
	go func() {
		defer close(texts)
		buf := make([]byte, 4096)
		for {
			n, err := screen.Read(buf)
			if err != nil {
				return
			}
			texts <- string(buf[:n])
		}
	}()
	seen := ""
	expect := func(text string) {
		t.Helper()
		for !strings.Contains(seen, text) {
			select {
			case s := <-texts:
				seen += s
			case <-time.After(20 * time.Second):
				t.Fatalf("no %q in %q", text, seen)
			}
		}
		seen = seen[strings.Index(seen, text)+len(text):]
	}
	expect("hello\r\n(QMP) ")
	io.WriteString(typed, "query-sta\t\r")
	expect("\"status\": \"running\"")
	io.WriteString(typed, "stop\r")
	expect(" STOP")
	io.WriteString(typed, "nothing\r")
	expect("has not been found")
	io.WriteString(typed, "\x04")
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
