package client

import (
	"context"
	"errors"
	"io"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"hv/qmp/dispatch"
	"hv/qmp/events"
	"hv/qmp/qapi"
	"hv/qmp/server"
)

// inline executes at once, one function after the other.
type inline struct{ mu sync.Mutex }

func (x *inline) Do(_ context.Context, f func()) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	f()
	return nil
}

var cmdOOB = qapi.Command[qapi.Empty, qapi.Empty]{Name: "x-oob", OOB: true}

// serve runs a server until the test ends and returns its socket and broker.
func serve(t *testing.T) (string, *events.Broker) {
	b, table := events.NewBroker(), dispatch.NewTable()
	dispatch.Register(table, qapi.CmdQueryStatus, func(context.Context, qapi.Empty) (qapi.StatusInfo, error) {
		return qapi.StatusInfo{Running: true, Status: qapi.RunStateRunning}, nil
	})
	dispatch.Register(table, qapi.CmdBalloon, func(_ context.Context, a qapi.BalloonArgs) (qapi.Empty, error) {
		if a.Value == 0 {
			return qapi.Empty{}, qapi.Errorf(qapi.QapiErrorClassDeviceNotActive, "no balloon")
		}
		events.Emit(b, qapi.EventBalloonChange, qapi.BalloonChangeEvent{Actual: a.Value})
		return qapi.Empty{}, nil
	})
	dispatch.Register(table, cmdOOB, func(context.Context, qapi.Empty) (qapi.Empty, error) { return qapi.Empty{}, nil })
	srv := server.New(server.Config{Table: table, Events: b, Exec: &inline{}, Version: "hv test"})
	path := filepath.Join(t.TempDir(), "qmp")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	go srv.Serve(l, server.Monitor{Name: path})
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		srv.Close(ctx)
		b.Close()
	})
	return path, b
}

func dial(t *testing.T, path string, enable ...qapi.QMPCapability) *Client {
	t.Helper()
	c, err := Dial(t.Context(), "unix", path, enable...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func TestExecute(t *testing.T) {
	path, _ := serve(t)
	c, ctx := dial(t, path), t.Context()
	if v := c.Greeting().QMP.Version; v.Package != "hv test" || v.Qemu.Major != 7 {
		t.Errorf("greeting %+v", v)
	}
	info, err := Call(ctx, c, qapi.CmdQueryStatus, qapi.Empty{})
	if err != nil || !info.Running || info.Status != qapi.RunStateRunning {
		t.Errorf("typed: %+v, %v", info, err)
	}
	var loose map[string]any
	if err := c.Execute(ctx, "query-status", nil, &loose); err != nil || loose["status"] != "running" {
		t.Errorf("map: %v, %v", loose, err)
	}
	var raw qapi.Value
	if err := c.Execute(ctx, "query-status", map[string]any{}, &raw); err != nil || string(raw.Get("status").Text()) != "running" {
		t.Errorf("value: %v", err)
	}
	if err := c.Execute(ctx, "balloon", map[string]any{"value": 1 << 40}, nil); err != nil {
		t.Error("balloon:", err)
	}
}

func TestErrors(t *testing.T) {
	path, _ := serve(t)
	c, ctx := dial(t, path), t.Context()
	_, err := Call(ctx, c, qapi.CmdBalloon, qapi.BalloonArgs{})
	if qapi.ClassOf(err) != qapi.QapiErrorClassDeviceNotActive || err.Error() != "no balloon" {
		t.Error("balloon:", err)
	}
	if err := c.Execute(ctx, "nope", nil, nil); qapi.ClassOf(err) != qapi.QapiErrorClassCommandNotFound {
		t.Error("nope:", err)
	}
	if err := c.Execute(ctx, "balloon", func() {}, nil); err == nil || !strings.Contains(err.Error(), "send QMP command balloon") {
		t.Error("arguments that are no JSON:", err)
	}
	var wrong qapi.BalloonInfo
	if err := c.Execute(ctx, "query-status", nil, &wrong); err == nil {
		t.Error("a result of another type was read")
	}
	done, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := Dial(done, "unix", path); !errors.Is(err, context.Canceled) {
		t.Error("Dial:", err)
	}
	if _, err := Dial(ctx, "unix", path+"-not"); err == nil {
		t.Error("Dial found a server that is not there")
	}
}

func TestOutOfBand(t *testing.T) {
	path, _ := serve(t)
	if err := dial(t, path, qapi.QMPCapabilityOob).ExecuteOOB(t.Context(), "x-oob", nil, nil); err != nil {
		t.Error(err)
	}
	if err := dial(t, path).ExecuteOOB(t.Context(), "x-oob", nil, nil); err == nil {
		t.Error("executed out of band without negotiation")
	}
}

func TestEvents(t *testing.T) {
	path, b := serve(t)
	c := dial(t, path)
	before := time.Now().Add(-time.Second)
	events.Emit(b, qapi.EventStop, qapi.Empty{})
	if _, err := Call(t.Context(), c, qapi.CmdBalloon, qapi.BalloonArgs{Value: 5}); err != nil {
		t.Fatal(err)
	}
	stop, balloon := <-c.Events(), <-c.Events()
	if stop.Name != "STOP" || stop.Data.Kind() != qapi.None || stop.Time.Before(before) {
		t.Errorf("%+v", stop)
	}
	var data qapi.BalloonChangeEvent
	if err := data.DecodeQAPI(balloon.Data); err != nil || balloon.Name != "BALLOON_CHANGE" || data.Actual != 5 {
		t.Errorf("%+v, %v", data, err)
	}
	c.Close()
	if _, open := <-c.Events(); open {
		t.Error("the channel is not closed")
	}
}

func TestConcurrentCommands(t *testing.T) {
	path, _ := serve(t)
	c := dial(t, path)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 100 {
				if _, err := Call(t.Context(), c, qapi.CmdQueryStatus, qapi.Empty{}); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
}

// fake is the server's end of a connection on which the client has negotiated.
func fake(t *testing.T) (*Client, net.Conn) {
	t.Helper()
	near, far := net.Pipe()
	t.Cleanup(func() { far.Close() })
	go func() {
		io.WriteString(far, `{"QMP": {"version": {"qemu": {"micro": 0, "minor": 0, "major": 9}, "package": "", "new": 1}, "capabilities": []}}`)
		far.Read(make([]byte, 1000))
		io.WriteString(far, `{"return": {}, "id": 1}`)
	}()
	c, err := New(t.Context(), near)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c, far
}

// TestServerGoes ends the connection while a command waits.
func TestServerGoes(t *testing.T) {
	c, far := fake(t)
	go func() {
		far.Read(make([]byte, 1000))
		far.Close()
	}()
	if _, err := Call(t.Context(), c, qapi.CmdQueryStatus, qapi.Empty{}); !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
	if err := c.Execute(t.Context(), "stop", nil, nil); !errors.Is(err, ErrClosed) {
		t.Error("later:", err)
	}
}

func TestGivingUp(t *testing.T) {
	c, far := fake(t)
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		far.Read(make([]byte, 1000))
		cancel()
	}()
	if err := c.Execute(ctx, "stop", nil, nil); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// TestBadServer sends what no server should.
func TestBadServer(t *testing.T) {
	for _, s := range []string{"]", `{"return": {}}`, `{"event": "X", "timestamp": 1}`} {
		c, far := fake(t)
		go io.WriteString(far, s)
		if _, open := <-c.Events(); open {
			t.Errorf("%s: an event", s)
		}
		if err := c.Execute(t.Context(), "stop", nil, nil); err == nil {
			t.Errorf("%s was taken", s)
		}
	}
}

// TestUnreadEvents has a user that never takes events.
func TestUnreadEvents(t *testing.T) {
	c, far := fake(t)
	go func() {
		for range maxEvents + 1 {
			io.WriteString(far, `{"event": "X", "timestamp": {"seconds": 1, "microseconds": 2}}`)
		}
	}()
	c.wg.Wait()
	if err := c.Execute(t.Context(), "stop", nil, nil); err == nil || !strings.Contains(err.Error(), "nobody takes them") {
		t.Error(err)
	}
}

// TestNoServer talks to what is no QMP server.
func TestNoServer(t *testing.T) {
	for _, s := range []string{"HTTP/1.1 200", "{}", ""} {
		near, far := net.Pipe()
		go func() {
			io.WriteString(far, s)
			far.Close()
		}()
		if _, err := New(t.Context(), near); err == nil {
			t.Errorf("%q: greeted", s)
		}
	}
}
