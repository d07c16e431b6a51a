package dispatch

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"hv/qmp/qapi"
	"hv/qmp/wire"
)

// oobCommand is a command that may run out of band.
var oobCommand = qapi.Command[qapi.Empty, qapi.Empty]{Name: "x-oob", OOB: true}

// silentCommand is a command that is answered only if it fails.
var silentCommand = qapi.Command[qapi.BalloonArgs, qapi.Empty]{Name: "x-silent", Silent: true}

// table returns a table with commands of each kind.
func table() *Table {
	t := NewTable()
	Register(t, qapi.CmdQueryStatus, func(context.Context, qapi.Empty) (qapi.StatusInfo, error) {
		return qapi.StatusInfo{Status: qapi.RunStatePaused}, nil
	})
	Register(t, qapi.CmdBalloon, func(_ context.Context, a qapi.BalloonArgs) (qapi.Empty, error) {
		if a.Value < 0 {
			return qapi.Empty{}, fmt.Errorf("balloon: %w", qapi.Errorf(qapi.QapiErrorClassDeviceNotActive, "no device"))
		}
		return qapi.Empty{}, nil
	})
	Register(t, oobCommand, func(context.Context, qapi.Empty) (qapi.Empty, error) { return qapi.Empty{}, nil })
	Register(t, silentCommand, func(context.Context, qapi.BalloonArgs) (qapi.Empty, error) { return qapi.Empty{}, nil })
	Register(t, qapi.CmdQmpCapabilities, func(context.Context, qapi.QmpCapabilitiesArgs) (qapi.Empty, error) {
		return qapi.Empty{}, nil
	})
	Register(t, qapi.CmdQueryName, func(ctx context.Context, _ qapi.Empty) (qapi.NameInfo, error) {
		return qapi.NameInfo{}, ctx.Err()
	})
	return t
}

func parse(t testing.TB, s string) qapi.Value {
	t.Helper()
	v, err := wire.Parse([]byte(s))
	if err != nil {
		t.Fatalf("%s: %v", s, err)
	}
	return v
}

func answer(t *Table, v qapi.Value, c Client) string {
	e := qapi.NewEncoder(false)
	r := t.Parse(v, c)
	r.Run(context.Background(), e)
	return strings.TrimSuffix(string(e.Bytes()), "\r\n")
}

const (
	generalError = `"error": {"class": "GenericError", "desc": "`
	notFoundErr  = `"error": {"class": "CommandNotFound", "desc": "`
	status       = `"return": {"status": "paused", "singlestep": false, "running": false}`
)

// TestAnswers compares replies with QEMU 7.2's.
func TestAnswers(t *testing.T) {
	var (
		fresh   = Client{}
		inBand  = Client{Negotiated: true}
		withOOB = Client{Negotiated: true, OOB: true}
	)
	for _, c := range []struct {
		client   Client
		in, want string
	}{
		{inBand, `{'execute': 'query-status'}`, `{` + status + `}`},
		{inBand, `{'execute': 'query-status', 'arguments': {}, 'id': null}`, `{` + status + `, "id": null}`},
		{inBand, `{'id': [1.5, {'b': 1, 'a': 2}], 'execute': 'query-status'}`, `{` + status + `, "id": [1.5, {"a": 2, "b": 1}]}`},
		{inBand, `{'execute': 'balloon', 'arguments': {'value': 1}}`, `{"return": {}}`},
		{inBand, `{'execute': 'balloon', 'arguments': {'value': -1}, 'id': 7}`, `{"id": 7, "error": {"class": "DeviceNotActive", "desc": "balloon: no device"}}`},
		{inBand, `{'execute': 'balloon'}`, `{` + generalError + `Parameter 'value' is missing"}}`},
		{inBand, `{'execute': 'balloon', 'arguments': []}`, `{` + generalError + `QMP input member 'arguments' must be an object"}}`},
		{inBand, `{'execute': 'x-silent', 'arguments': {'value': 1}, 'id': 7}`, ``},
		{inBand, `{'execute': 'x-silent'}`, `{` + generalError + `Parameter 'value' is missing"}}`},
		{inBand, `1`, `{` + generalError + `QMP input must be a JSON object"}}`},
		{inBand, `{'id': 1}`, `{"id": 1, ` + generalError + `QMP input lacks member 'execute'"}}`},
		{inBand, `{'execute': 1}`, `{` + generalError + `QMP input member 'execute' must be a string"}}`},
		{inBand, `{'execute': 'query-status', 'x': 1}`, `{` + generalError + `QMP input member 'x' is unexpected"}}`},
		{inBand, `{'b': 1, 'device': 1, 'a': 1}`, `{` + generalError + `QMP input member 'device' is unexpected"}}`},
		{inBand, `{'execute': 'nope'}`, `{` + notFoundErr + `The command nope has not been found"}}`},
		{inBand, `{'exec-oob': 'x-oob'}`, `{` + generalError + `QMP input member 'exec-oob' is unexpected"}}`},
		{withOOB, `{'exec-oob': 'x-oob', 'id': 1}`, `{"return": {}, "id": 1}`},
		{withOOB, `{'execute': 'x-oob'}`, `{"return": {}}`},
		{withOOB, `{'exec-oob': 'query-status'}`, `{` + generalError + `The command query-status does not support OOB"}}`},
		{withOOB, `{'exec-oob': 'x-oob', 'execute': 'x-oob'}`, `{` + generalError + `QMP input member 'execute' clashes with 'exec-oob'"}}`},
		{fresh, `{'execute': 'query-status'}`, `{` + notFoundErr + `Expecting capabilities negotiation with 'qmp_capabilities'"}}`},
		{fresh, `{'execute': 'nope', 'id': 1}`, `{"id": 1, ` + notFoundErr + `Expecting capabilities negotiation with 'qmp_capabilities'"}}`},
		{fresh, `{'execute': 'qmp_capabilities'}`, `{"return": {}}`},
		{fresh, `{'execute': 'qmp_capabilities', 'arguments': {'enable': ['x']}}`, `{` + generalError + `Parameter 'null' does not accept value 'x'"}}`},
	} {
		if got := answer(table(), parse(t, c.in), c.client); got != c.want {
			t.Errorf("%s:\n%s\nwant\n%s", c.in, got, c.want)
		}
	}
}

func TestPreconfig(t *testing.T) {
	tab := table()
	tab.SetPreconfig(true)
	c := Client{Negotiated: true}
	if got := answer(tab, parse(t, `{'execute': 'query-status'}`), c); got != `{`+status+`}` {
		t.Error(got)
	}
	balloon := parse(t, `{'execute': 'balloon', 'arguments': {'value': 1}}`)
	want := `{` + generalError + `The command 'balloon' is permitted only after machine initialization has completed"}}`
	if got := answer(tab, balloon, c); got != want {
		t.Error(got)
	}
	tab.SetPreconfig(false)
	if got := answer(tab, balloon, c); got != `{"return": {}}` {
		t.Error(got)
	}
}

func TestIsOOB(t *testing.T) {
	for in, want := range map[string]bool{
		`{'exec-oob': 1}`: true, `{'execute': 'a'}`: false, `{'exec-oob': 'a', 'execute': 'a'}`: false, `{}`: false, `[]`: false,
	} {
		if IsOOB(parse(t, in)) != want {
			t.Errorf("%s: %v", in, !want)
		}
	}
}

func TestConcurrent(t *testing.T) {
	tab, c := table(), Client{Negotiated: true}
	for in, want := range map[string]bool{
		`{'execute': 'query-status'}`: false, `{'execute': 'qmp_capabilities'}`: true, `{'execute': 'nope'}`: true,
	} {
		if r := tab.Parse(parse(t, in), c); r.Concurrent() != want {
			t.Errorf("%s: %v", in, !want)
		}
	}
}

func TestRefuseAndFail(t *testing.T) {
	e := qapi.NewEncoder(false)
	r := table().Parse(parse(t, `{'execute': 'query-status', 'id': 3}`), Client{Negotiated: true})
	r.Refuse(errors.New("going away"))
	r.Run(context.Background(), e)
	f := Fail(errors.New("bad"))
	f.Run(context.Background(), e)
	want := `{"id": 3, ` + generalError + "going away\"}}\r\n{" + generalError + "bad\"}}\r\n"
	if string(e.Bytes()) != want {
		t.Errorf("%s", e.Bytes())
	}
}

func TestHandlerContext(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	e := qapi.NewEncoder(false)
	r := table().Parse(parse(t, `{'execute': 'query-name'}`), Client{Negotiated: true})
	if r.Run(ctx, e); !strings.Contains(string(e.Bytes()), "context canceled") {
		t.Errorf("%s", e.Bytes())
	}
}

func TestNames(t *testing.T) {
	want := []string{"balloon", "qmp_capabilities", "query-name", "query-status", "x-oob", "x-silent"}
	if got := table().Names(); !slices.Equal(got, want) {
		t.Error(got)
	}
}

func TestRegisterTwice(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("a command was registered twice")
		}
	}()
	tab := table()
	Register(tab, oobCommand, func(context.Context, qapi.Empty) (qapi.Empty, error) { return qapi.Empty{}, nil })
}

// TestFramesAreClean checks that a call sees nothing of the one before.
func TestFramesAreClean(t *testing.T) {
	tab := NewTable()
	var seen []bool
	Register(tab, qapi.CmdSetAction, func(_ context.Context, a qapi.SetActionArgs) (qapi.Empty, error) {
		seen = append(seen, a.Panic != nil)
		return qapi.Empty{}, nil
	})
	c := Client{Negotiated: true}
	for _, in := range []string{`{'execute':'set-action','arguments':{'panic':'none'}}`, `{'execute':'set-action'}`} {
		answer(tab, parse(t, in), c)
	}
	if !slices.Equal(seen, []bool{true, false}) {
		t.Error(seen)
	}
}

// FuzzRequest sends any value: there is always one reply, and it is an object.
func FuzzRequest(f *testing.F) {
	for _, s := range []string{`{"execute":"query-status"}`, `{"exec-oob":"x-oob","id":1}`, `[]`, `{"execute":"balloon","arguments":{"value":2}}`} {
		f.Add(s, true)
	}
	tab := table()
	f.Fuzz(func(t *testing.T, s string, negotiated bool) {
		v, err := wire.Parse([]byte(s))
		if err != nil {
			return
		}
		got := answer(tab, v, Client{Negotiated: negotiated, OOB: negotiated})
		r := parse(t, got)
		if (r.Get("return").Kind() == qapi.None) == (r.Get("error").Kind() == qapi.None) {
			t.Errorf("%q: %s", s, got)
		}
	})
}

func run(t testing.TB, tab *Table, v qapi.Value, e *qapi.Encoder) {
	e.Reset()
	r := tab.Parse(v, Client{Negotiated: true})
	r.Run(context.Background(), e)
	if len(e.Bytes()) < 60 {
		t.Fatalf("%s", e.Bytes())
	}
}

const query = `{"execute": "query-status", "id": "a-17"}`

func TestDispatchAllocs(t *testing.T) {
	tab, v, e := table(), parse(t, query), qapi.NewEncoder(false)
	if n := testing.AllocsPerRun(1000, func() { run(t, tab, v, e) }); n != 0 {
		t.Errorf("%v allocations to dispatch query-status", n)
	}
}

func BenchmarkDispatch(b *testing.B) {
	tab, v, e := table(), parse(b, query), qapi.NewEncoder(false)
	b.ReportAllocs()
	for b.Loop() {
		run(b, tab, v, e)
	}
}
