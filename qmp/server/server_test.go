package server

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"hv/qmp/events"
	"hv/qmp/qapi"
)

const running = `{"return": {"status": "running", "singlestep": false, "running": true}`

func TestNegotiation(t *testing.T) {
	p := dial(t, newRig(t).listen(Monitor{}))
	if got, want := p.line(), `{"QMP": {"version": {"qemu": {"micro": 0, "minor": 2, "major": 7}, "package": "hv test"}, "capabilities": ["oob"]}}`; got != want {
		t.Errorf("greeting %s, want %s", got, want)
	}
	p.send(`{"execute": "query-status", "id": 1}`)
	p.expect(`{"id": 1, "error": {"class": "CommandNotFound", "desc": "Expecting capabilities negotiation with 'qmp_capabilities'"}}`)
	p.send(`{"exec-oob": "x-oob"}`)
	p.expect(`QMP input member 'exec-oob' is unexpected`)
	p.send(`{"execute": "qmp_capabilities", "arguments": {"enable": ["x"]}}`)
	p.expect(`Parameter 'null' does not accept value 'x'`)
	p.send(`{"execute": "qmp_capabilities"}`)
	p.expect(`{"return": {}}`)
	p.send(`{"execute": "qmp_capabilities"}`)
	p.expect(`{"error": {"class": "CommandNotFound", "desc": "Capabilities negotiation is already complete, command ignored"}}`)
	p.send(`{"execute": "query-status"}`)
	p.expect(running)
	p.send(`{"execute": "query-version"}`)
	p.expect(`{"return": {"qemu": {"micro": 0, "minor": 2, "major": 7}, "package": "hv test"}}`)
	p.send(`{"execute": "query-commands"}`)
	p.expect(`{"return": [{"name": "qmp_capabilities"}, {"name": "query-commands"}, {"name": "query-qmp-schema"}, {"name": "query-status"}, {"name": "query-version"}, ` +
		`{"name": "quit"}, {"name": "stop"}, {"name": "x-block"}, {"name": "x-oob"}, {"name": "x-wait"}]}`)
}

func TestGarbageInBetween(t *testing.T) {
	p := negotiated(t, newRig(t).listen(Monitor{}), "")
	p.send("{'execute': 'query-\xff{'execute': 'query-status', 'id': 'é'} nonsense [1}]\n")
	p.expect("stray", running+`, "id": "\u00E9"}`, "invalid keyword 'nonsense'", "expected separator in list", "expecting value")
}

func TestPretty(t *testing.T) {
	r := newRig(t)
	p := dial(t, r.listen(Monitor{Pretty: true}))
	p.expect("{", `    "QMP": {`)
	for s := p.line(); s != "}" && s != ""; s = p.line() {
	}
	p.send(`{"execute": "qmp_capabilities"}`)
	p.expect("{", `    "return": {`, `    }`, `}`)
	p.send(`{"execute": "stop"}`)
	p.expect("{", `    "timestamp": {`, `        "seconds": `, `        "microseconds": `, `    },`, `    "event": "STOP"`, `}`, `{`, `    "return": {`)
}

// TestOrder sends commands in one piece and expects replies and events in order.
func TestOrder(t *testing.T) {
	p := negotiated(t, newRig(t).listen(Monitor{}), "")
	var s strings.Builder
	const n = 2000
	for i := range n {
		fmt.Fprintf(&s, "{'execute':'query-status','id':%d}{'execute':'stop','id':%d}", i, i)
	}
	go p.Write([]byte(s.String()))
	for i := range n {
		p.expect(fmt.Sprintf(`%s, "id": %d}`, running, i), `"event": "STOP"}`, fmt.Sprintf(`{"return": {}, "id": %d}`, i))
	}
}

// TestEventsAreForNegotiated sends events to the clients that negotiated, before
// the reply to the command that caused them.
func TestEventsAreForNegotiated(t *testing.T) {
	path := newRig(t).listen(Monitor{})
	fresh, a, b := dial(t, path), negotiated(t, path, ""), negotiated(t, path, "")
	fresh.expect("QMP")
	a.send(`{"execute": "stop"}`)
	a.expect(`"event": "STOP"}`, `{"return": {}}`)
	b.expect(`"event": "STOP"}`)
	b.send(`{"execute": "query-status"}`)
	b.expect(running)
	fresh.send(`{"execute": "qmp_capabilities"}`)
	fresh.expect(`{"return": {}}`)
}

func TestOutOfBandOvertakes(t *testing.T) {
	r := newRig(t)
	p := negotiated(t, r.listen(Monitor{}), enableOOB)
	p.send(`{"execute": "x-block", "id": 1} {"execute": } {"execute": "query-status", "id": 2} {"exec-oob": "x-oob", "id": 3} {"exec-oob": "stop", "id": 4}`)
	p.expect(`{"return": {}, "id": 3}`, `{"id": 4, "error": {"class": "GenericError", "desc": "The command stop does not support OOB"}}`)
	close(r.release)
	p.expect(`{"return": {}, "id": 1}`, "expecting value", running+`, "id": 2}`)
}

// TestQueueIsBounded fills the queue of commands in band; the rest waits in the
// socket and is executed in its turn.
func TestQueueIsBounded(t *testing.T) {
	r := newRig(t)
	p := negotiated(t, r.listen(Monitor{}), enableOOB)
	p.send(`{"execute": "x-block", "id": -1}`)
	<-r.entered
	const n = 5 * queueLength
	for i := range n {
		p.send(fmt.Sprintf(`{"execute": "query-status", "id": %d}`, i))
	}
	close(r.release)
	p.expect(`{"return": {}, "id": -1}`)
	for i := range n {
		p.expect(fmt.Sprintf(`, "id": %d}`, i))
	}
}

// TestConcurrentCommandBlocksNobody lets a command wait that runs beside others.
func TestConcurrentCommandBlocksNobody(t *testing.T) {
	r := newRig(t)
	path := r.listen(Monitor{})
	a, b := negotiated(t, path, ""), negotiated(t, path, "")
	a.send(`{"execute": "x-wait"}`)
	<-r.entered
	b.send(`{"execute": "query-status"}`)
	b.expect(running)
	r.close(patience)
	a.expect("context canceled")
}

func TestExecutorGone(t *testing.T) {
	r := newRig(t, func(c *Config) { c.Exec = gone{} })
	p := negotiated(t, r.listen(Monitor{}), "")
	p.send(`{"execute": "query-status", "id": 1}`)
	p.expect(`{"id": 1, "error": {"class": "GenericError", "desc": "the VM is gone"}}`)
}

type gone struct{}

func (gone) Do(context.Context, func()) error { return errOver }

// TestSilentClientIsDropped raises events that a client does not read: it is
// dropped with a line in the log, and another one misses nothing.
func TestSilentClientIsDropped(t *testing.T) {
	r := newRig(t, func(c *Config) { c.Backlog = 16 << 10 })
	path := r.listen(Monitor{Name: "m"})
	silent, good := negotiated(t, path, ""), negotiated(t, path, "")
	sent := 0
	for len(r.log.lines) == 0 {
		events.Emit(r.events, qapi.EventReset, qapi.ResetEvent{Reason: qapi.ShutdownCauseHostQmpSystemReset})
		sent++
		good.expect("RESET")
		if sent > 1e6 {
			t.Fatal("the client is not dropped")
		}
	}
	if got := <-r.log.lines; got != "m: dropped a QMP client that does not read: 16384 bytes wait for it" {
		t.Error(got)
	}
	silent.eof()
	good.send(`{"execute": "query-status"}`)
	good.expect(running)
}

// TestRepliesDoNotPileUp sends commands without reading: the server stops taking
// them, and goes on when the client reads.
func TestRepliesDoNotPileUp(t *testing.T) {
	r := newRig(t, func(c *Config) { c.Backlog = 8 << 10 })
	client, server := net.Pipe()
	go r.srv.ServeConn(server, Monitor{})
	defer client.Close()
	client.SetDeadline(time.Now().Add(patience))
	const n = 5000
	go func() {
		io.WriteString(client, `{"execute": "qmp_capabilities"}`)
		for i := range n {
			fmt.Fprintf(client, `{"execute": "query-status", "id": %d}`, i)
		}
	}()
	p := &peer{client, t, bufio.NewReader(client)}
	p.expect("QMP", `{"return": {}}`)
	for i := range n {
		p.expect(fmt.Sprintf(`, "id": %d}`, i))
	}
	if len(r.log.lines) != 0 {
		t.Error(<-r.log.lines)
	}
}

// TestQuitIsAnswered closes the server as soon as quit runs, as a VM does.
func TestQuitIsAnswered(t *testing.T) {
	for range 20 {
		r := newRig(t)
		p := negotiated(t, r.listen(Monitor{}), "")
		p.send(`{"execute": "quit", "id": "q"}`)
		<-r.quit
		r.close(patience)
		p.expect(`{"return": {}, "id": "q"}`)
		p.eof()
	}
}

// TestCloseDoesNotWaitForSilentClients has a client that never reads.
func TestCloseDoesNotWaitForSilentClients(t *testing.T) {
	r := newRig(t)
	client, server := net.Pipe()
	defer client.Close()
	ended := make(chan error, 1)
	go func() { ended <- r.srv.ServeConn(server, Monitor{}) }()
	b := make([]byte, 1)
	if _, err := io.ReadFull(client, b); err != nil { // it is served
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := r.srv.Close(ctx); !errors.Is(err, context.Canceled) {
		t.Error("Close:", err)
	}
	if err := <-ended; err != nil {
		t.Error("ServeConn:", err)
	}
	if err := r.srv.ServeConn(nopConn{}, Monitor{}); !errors.Is(err, ErrClosed) {
		t.Error("ServeConn after Close:", err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := r.srv.Serve(l, Monitor{}); !errors.Is(err, ErrClosed) {
		t.Error("Serve after Close:", err)
	}
}

type nopConn struct{ io.ReadWriter }

func (nopConn) Close() error { return nil }

// TestHalfClosed answers a client that ends its input at once, as pipes do.
func TestHalfClosed(t *testing.T) {
	for _, args := range []string{"", enableOOB} {
		p := dial(t, newRig(t).listen(Monitor{}))
		p.send(`{"execute": "qmp_capabilities"` + args + `}{"execute": "stop"}{"execute": "query-status"}`)
		if err := p.Conn.(*net.UnixConn).CloseWrite(); err != nil {
			t.Fatal(err)
		}
		p.expect("QMP", `{"return": {}}`, "STOP", `{"return": {}}`, running)
		p.eof()
	}
}

// TestGoneClientsCommandsCount executes what a client sent before it went.
func TestGoneClientsCommandsCount(t *testing.T) {
	r := newRig(t)
	p := dial(t, r.listen(Monitor{}))
	p.send(`{"execute": "qmp_capabilities"}{"execute": "query-status"}{"execute": "quit"}`)
	p.Close()
	select {
	case <-r.quit:
	case <-time.After(patience):
		t.Error("quit was not executed")
	}
}

func TestServeFails(t *testing.T) {
	r := newRig(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	if err := r.srv.Serve(l, Monitor{Name: "m"}); err == nil || !strings.Contains(err.Error(), "accept QMP client on m") {
		t.Error(err)
	}
}
