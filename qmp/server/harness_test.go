package server

import (
	"bufio"
	"context"
	"errors"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sirupsen/logrus"

	"hv/qmp/dispatch"
	"hv/qmp/events"
	"hv/qmp/qapi"
)

// Commands that the tests block and observe.
var (
	cmdBlock = qapi.Command[qapi.Empty, qapi.Empty]{Name: "x-block"}
	cmdWait  = qapi.Command[qapi.Empty, qapi.Empty]{Name: "x-wait", Concurrent: true}
	cmdOOB   = qapi.Command[qapi.Empty, qapi.Empty]{Name: "x-oob", OOB: true}
)

// control is an executor with a goroutine, as a VM's is.
type control struct {
	work chan call
	done chan struct{}
	over chan struct{}
}

// call is a function that somebody waits for.
type call struct {
	f   func()
	ran chan struct{}
}

// rans are the channels of calls that are over.
var rans = sync.Pool{New: func() any { return make(chan struct{}, 1) }}

var errOver = errors.New("the VM is gone")

func newControl() *control {
	c := &control{work: make(chan call), done: make(chan struct{}), over: make(chan struct{})}
	go func() {
		defer close(c.over)
		for {
			select {
			case x := <-c.work:
				x.f()
				x.ran <- struct{}{}
			case <-c.done:
				return
			}
		}
	}()
	return c
}

func (c *control) Do(ctx context.Context, f func()) error {
	ran := rans.Get().(chan struct{})
	defer rans.Put(ran)
	select {
	case c.work <- call{f, ran}:
		<-ran
		return nil
	case <-c.over:
		return errOver
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (c *control) stop() {
	close(c.done)
	<-c.over
}

// logged collects log lines.
type logged struct{ lines chan string }

func (l *logged) Levels() []logrus.Level { return logrus.AllLevels }

func (l *logged) Fire(e *logrus.Entry) error {
	l.lines <- e.Data["monitor"].(string) + ": " + e.Message
	return nil
}

// rig is a server with a VM that does nothing.
type rig struct {
	t       testing.TB
	srv     *Server
	events  *events.Broker
	control *control
	log     *logged
	entered chan struct{} // x-block or x-wait runs
	release chan struct{} // lets x-block return
	quit    chan struct{} // quit ran
	closed  sync.Once
}

func newRig(t testing.TB, change ...func(*Config)) *rig {
	r := &rig{
		t: t, events: events.NewBroker(), control: newControl(), log: &logged{make(chan string, 2000)},
		entered: make(chan struct{}, 100), release: make(chan struct{}), quit: make(chan struct{}, 1),
	}
	logger := logrus.New()
	logger.SetOutput(nullWriter{})
	logger.AddHook(r.log)
	cfg := Config{Table: r.table(), Events: r.events, Exec: r.control, Version: "hv test", Log: logger}
	for _, f := range change {
		f(&cfg)
	}
	r.srv = New(cfg)
	t.Cleanup(func() { r.close(time.Second) })
	return r
}

type nullWriter struct{}

func (nullWriter) Write(b []byte) (int, error) { return len(b), nil }

func (r *rig) close(d time.Duration) {
	r.closed.Do(func() {
		ctx, cancel := context.WithTimeout(context.Background(), d)
		defer cancel()
		r.srv.Close(ctx)
		r.control.stop()
		r.events.Close()
	})
}

func (r *rig) table() *dispatch.Table {
	t := dispatch.NewTable()
	dispatch.Register(t, qapi.CmdQueryStatus, func(context.Context, qapi.Empty) (qapi.StatusInfo, error) {
		return qapi.StatusInfo{Running: true, Status: qapi.RunStateRunning}, nil
	})
	dispatch.Register(t, qapi.CmdStop, func(context.Context, qapi.Empty) (qapi.Empty, error) {
		events.Emit(r.events, qapi.EventStop, qapi.Empty{})
		return qapi.Empty{}, nil
	})
	dispatch.Register(t, qapi.CmdQuit, func(context.Context, qapi.Empty) (qapi.Empty, error) {
		r.quit <- struct{}{}
		return qapi.Empty{}, nil
	})
	dispatch.Register(t, cmdBlock, func(context.Context, qapi.Empty) (qapi.Empty, error) {
		r.entered <- struct{}{}
		<-r.release
		return qapi.Empty{}, nil
	})
	dispatch.Register(t, cmdWait, func(ctx context.Context, _ qapi.Empty) (qapi.Empty, error) {
		r.entered <- struct{}{}
		<-ctx.Done()
		return qapi.Empty{}, ctx.Err()
	})
	dispatch.Register(t, cmdOOB, func(context.Context, qapi.Empty) (qapi.Empty, error) { return qapi.Empty{}, nil })
	return t
}

// listen serves a unix socket and returns its path.
func (r *rig) listen(m Monitor) string {
	path := filepath.Join(r.t.TempDir(), "qmp")
	l, err := net.Listen("unix", path)
	if err != nil {
		r.t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- r.srv.Serve(l, m) }()
	r.t.Cleanup(func() {
		r.close(time.Second)
		if err := <-served; err != nil {
			r.t.Errorf("Serve: %v", err)
		}
	})
	return path
}

// peer is a client of raw lines.
type peer struct {
	net.Conn
	t testing.TB
	r *bufio.Reader
}

// patience is after what time a test gives up.
const patience = 20 * time.Second

func dial(t testing.TB, path string) *peer {
	t.Helper()
	c, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(patience))
	return &peer{c, t, bufio.NewReader(c)}
}

func (p *peer) send(s string) {
	p.t.Helper()
	if _, err := p.Write([]byte(s)); err != nil {
		p.t.Errorf("send %.60q: %v", s, err)
	}
}

// line returns a line, which must end in CRLF, without that. After an error,
// which fails the test, it returns an empty one.
func (p *peer) line() string {
	p.t.Helper()
	s, err := p.r.ReadString('\n')
	line, ok := strings.CutSuffix(s, "\r\n")
	if err != nil || !ok {
		p.t.Errorf("read: %v after %q", err, s)
		return ""
	}
	return line
}

func (p *peer) expect(want ...string) {
	p.t.Helper()
	for _, w := range want {
		if got := p.line(); !strings.Contains(got, w) {
			p.t.Fatalf("%s, want %s", got, w)
		}
	}
}

// eof reads on to the end of the stream.
func (p *peer) eof() {
	p.t.Helper()
	for {
		if _, err := p.r.ReadString('\n'); err != nil {
			if ne := net.Error(nil); errors.As(err, &ne) && ne.Timeout() {
				p.t.Fatal("the server does not close the connection")
			}
			return
		}
	}
}

// negotiated is dial and negotiation.
func negotiated(t testing.TB, path, args string) *peer {
	t.Helper()
	p := dial(t, path)
	p.send(`{"execute": "qmp_capabilities"` + args + `}`)
	p.expect(`{"QMP": `, `{"return": {}}`)
	return p
}

const enableOOB = `, "arguments": {"enable": ["oob"]}`
