package server

import (
	"context"
	"io"
	"testing"
)

// TestSteadyStateAllocs reads a command, executes it and writes its reply.
func TestSteadyStateAllocs(t *testing.T) {
	for _, args := range []string{"", enableOOB} {
		p := negotiated(t, newRig(t).listen(Monitor{}), args)
		cmd := []byte(`{"execute": "query-status", "id": "libvirt-17"}` + "\n")
		if n := testing.AllocsPerRun(500, func() {
			if _, err := p.Write(cmd); err != nil {
				t.Fatal(err)
			}
			if _, err := p.r.ReadSlice('\n'); err != nil {
				t.Fatal(err)
			}
		}); n != 0 {
			t.Errorf("%q: %v allocations a command", args, n)
		}
	}
}

// loop is a connection that sends a command over and over and counts replies.
type loop struct {
	left    int
	command string
	at      int
}

func (l *loop) Read(b []byte) (int, error) {
	n := 0
	for n < len(b) && l.left > 0 {
		m := copy(b[n:], l.command[l.at:])
		n, l.at = n+m, l.at+m
		if l.at == len(l.command) {
			l.at = 0
			l.left--
		}
	}
	if n == 0 {
		return 0, io.EOF
	}
	return n, nil
}

func (l *loop) Write(b []byte) (int, error) { return len(b), nil }

func (l *loop) Close() error { return nil }

// BenchmarkPipelined is reading, executing and answering without a socket.
func BenchmarkPipelined(b *testing.B) {
	r := newRig(b, func(c *Config) { c.Exec = inline{} })
	b.ReportAllocs()
	l := &loop{left: b.N, command: `{"execute": "query-status", "id": 17}`}
	pre := &prefix{loop: l, s: `{"execute": "qmp_capabilities"}`}
	if err := r.srv.ServeConn(pre, Monitor{}); err != nil {
		b.Fatal(err)
	}
}

// inline executes at once.
type inline struct{}

func (inline) Do(_ context.Context, f func()) error {
	f()
	return nil
}

// prefix is a loop that begins with something else.
type prefix struct {
	*loop
	s string
}

func (p *prefix) Read(b []byte) (int, error) {
	if p.s != "" {
		n := copy(b, p.s)
		p.s = p.s[n:]
		return n, nil
	}
	return p.loop.Read(b)
}

// BenchmarkRoundTrip is query-status over a unix socket, one at a time, with a
// control goroutine.
func BenchmarkRoundTrip(b *testing.B) {
	p := negotiated(b, newRig(b).listen(Monitor{}), "")
	cmd := []byte(`{"execute": "query-status", "id": 17}` + "\n")
	b.ReportAllocs()
	for b.Loop() {
		if _, err := p.Write(cmd); err != nil {
			b.Fatal(err)
		}
		if _, err := p.r.ReadSlice('\n'); err != nil {
			b.Fatal(err)
		}
	}
}
