package server

import (
	"bytes"
	"context"
	"io"
	"runtime"
	"strings"
	"testing"
	"time"

	"hv/qmp/dispatch"
	"hv/qmp/qapi"
	"hv/qmp/wire"
)

// script is a client that sends bytes, ends its input and keeps what it is sent.
type script struct {
	in  io.Reader
	out bytes.Buffer
}

func (s *script) Read(b []byte) (int, error) { return s.in.Read(b) }

func (s *script) Write(b []byte) (int, error) { return s.out.Write(b) }

func (s *script) Close() error { return nil }

// messages splits what was sent; each message must be one JSON object on a line.
func messages(t *testing.T, b []byte) (all []qapi.Value) {
	t.Helper()
	for line := range strings.Lines(string(b)) {
		v, err := wire.Parse([]byte(line))
		if err != nil || v.Kind() != qapi.Object || !strings.HasSuffix(line, "\r\n") {
			t.Fatalf("sent %q: %v", line, err)
		}
		if strings.ContainsFunc(line, func(r rune) bool { return r > '~' }) {
			t.Fatalf("sent %q: not ASCII", line)
		}
		all = append(all, v)
	}
	return all
}

// FuzzSession sends any bytes. Each value and each mistake gets one answer, and
// the session ends.
func FuzzSession(f *testing.F) {
	for _, s := range []string{
		`{"execute":"qmp_capabilities"}{"execute":"stop","id":1}`,
		`{"execute":"qmp_capabilities","arguments":{"enable":["oob"]}}{"exec-oob":"x-oob","id":1}{"execute":"stop"}`,
		"{'execute': 'query-\xff{'execute': 1}[",
		`{"id":{"a":[1.5e300]},"execute":"quit","arguments":{"x":1}}`,
	} {
		f.Add([]byte(s))
	}
	r := newRig(f, func(c *Config) { c.Exec, c.Table = inline{}, dispatch.NewTable() })
	none := func(context.Context, qapi.Empty) (qapi.Empty, error) { return qapi.Empty{}, nil }
	for _, cmd := range []qapi.Command[qapi.Empty, qapi.Empty]{qapi.CmdStop, qapi.CmdQuit, cmdOOB} {
		dispatch.Register(r.srv.cfg.Table, cmd, none)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		c := &script{in: bytes.NewReader(b)}
		if err := r.srv.ServeConn(c, Monitor{}); err != nil {
			t.Fatal(err)
		}
		sent := messages(t, c.out.Bytes())
		replies := 0
		for _, m := range sent[1:] {
			if m.Get("event").Kind() == qapi.None {
				replies++
			}
		}
		if want := count(b); replies != want {
			t.Errorf("%d replies to %d values in %q", replies, want, b)
		}
	})
}

// count returns how many values and mistakes b holds.
func count(b []byte) (n int) {
	var doc qapi.Document
	for reader := wire.NewReader(bytes.NewReader(b)); ; n++ {
		if err := reader.Next(&doc); err != nil && !wire.IsSyntax(err) {
			return n
		}
	}
}

// TestNoGoroutineIsLeft counts goroutines after clients of each kind have gone.
func TestNoGoroutineIsLeft(t *testing.T) {
	before := runtime.NumGoroutine()
	r := newRig(t)
	path := r.listen(Monitor{})
	for range 10 {
		dial(t, path)
		negotiated(t, path, "").Close()
		p := negotiated(t, path, enableOOB)
		p.send(`{"execute": "query-status"}`)
		p.expect(running)
	}
	r.close(patience)
	if len(r.srv.sessions) != 0 {
		t.Errorf("%d sessions are left", len(r.srv.sessions))
	}
	deadline := time.Now().Add(patience)
	for runtime.NumGoroutine() > before+1 && time.Now().Before(deadline) { // the one that accepts is the test's
		runtime.Gosched()
	}
	if n := runtime.NumGoroutine(); n > before+1 {
		t.Errorf("%d goroutines, %d before", n, before)
	}
}
