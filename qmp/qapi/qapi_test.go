package qapi_test

import (
	"errors"
	"fmt"
	"math"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"hv/qmp/qapi"
	"hv/qmp/wire"
)

func parse(t testing.TB, s string) qapi.Value {
	t.Helper()
	v, err := wire.Parse([]byte(s))
	if err != nil {
		t.Fatalf("%s: %v", s, err)
	}
	return v
}

func encode(x qapi.Encodable, pretty bool) string {
	e := qapi.NewEncoder(pretty)
	x.EncodeQAPI(e)
	return string(e.Bytes())
}

// all returns a new value of each wire type.
func all() []codec {
	out := []codec{new(qapi.Empty), new(qapi.Value), new(qapi.NullType), new(qapi.Text)}
	for _, x := range qapi.WireTypes() {
		out = append(out, x)
	}
	return out
}

// examples returns what the reference's examples send and get.
func examples(t testing.TB) []string {
	t.Helper()
	text, err := os.ReadFile("../../docs/qmp-reference.md")
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for line := range strings.Lines(string(text)) {
		text, ok := strings.CutPrefix(line, "-> ")
		if !ok {
			text, ok = strings.CutPrefix(line, "<- ")
		}
		if !ok {
			continue
		}
		message := parse(t, text)
		for _, member := range []string{"arguments", "return", "data"} {
			if v := message.Get(member); v.Kind() != qapi.None {
				out = append(out, encode(&v, false))
			}
		}
	}
	return out
}

type codec interface {
	qapi.Decodable
	qapi.Encodable
}

func ptr[T any](v T) *T { return &v }

// TestRoundTrip writes values as QEMU 7.2 does and reads them back.
func TestRoundTrip(t *testing.T) {
	for _, c := range []struct {
		value codec
		want  string
	}{
		{&qapi.Empty{}, `{}`},
		{&qapi.StatusInfo{Running: true, Status: qapi.RunStateRunning}, `{"status": "running", "singlestep": false, "running": true}`},
		{&qapi.VersionInfo{Qemu: qapi.VersionTriple{Major: 7, Minor: 2}, Package: "p"}, `{"qemu": {"micro": 0, "minor": 2, "major": 7}, "package": "p"}`},
		{&qapi.NameInfo{}, `{}`},
		{&qapi.NameInfo{Name: ptr("vm")}, `{"name": "vm"}`},
		{&qapi.SetActionArgs{Panic: ptr(qapi.PanicActionExitFailure)}, `{"panic": "exit-failure"}`},
		{&qapi.QmpCapabilitiesArgs{Enable: qapi.QMPCapabilityList{}}, `{"enable": []}`},
		{&qapi.QmpCapabilitiesArgs{Enable: qapi.QMPCapabilityList{qapi.QMPCapabilityOob}}, `{"enable": ["oob"]}`},
		{&qapi.CpuInfoFastList{
			{CpuIndex: 1, QomPath: "/p", ThreadId: 9, Target: qapi.SysEmuTargetX8664, Props: &qapi.CpuInstanceProperties{SocketId: ptr[int64](3)}},
			{Target: qapi.SysEmuTargetS390x, S390x: &qapi.CpuInfoS390{CpuState: qapi.CpuS390StateLoad}},
		}, `[{"thread-id": 9, "props": {"socket-id": 3}, "qom-path": "/p", "cpu-index": 1, "target": "x86_64"}, ` +
			`{"thread-id": 0, "cpu-state": "load", "qom-path": "", "cpu-index": 0, "target": "s390x"}]`},
		{&qapi.GuestPanickedEvent{Action: qapi.GuestPanicActionPause, Info: &qapi.GuestPanicInformation{
			Type: qapi.GuestPanicInformationTypeHyperV, HyperV: &qapi.GuestPanicInformationHyperV{Arg1: math.MaxUint64},
		}}, `{"action": "pause", "info": {"arg5": 0, "arg4": 0, "arg3": 0, "arg2": 0, "arg1": 18446744073709551615, "type": "hyper-v"}}`},
	} {
		got := encode(c.value, false)
		if got != c.want {
			t.Errorf("%T: %s, want %s", c.value, got, c.want)
		}
		back := reflect.New(reflect.TypeOf(c.value).Elem()).Interface().(codec)
		if err := back.DecodeQAPI(parse(t, got)); err != nil || !reflect.DeepEqual(back, c.value) {
			t.Errorf("%T: read back %+v, %v", c.value, back, err)
		}
	}
}

// TestDecodeErrors compares texts with QEMU 7.2's.
func TestDecodeErrors(t *testing.T) {
	const cpu = `'qom-path':'','thread-id':0,`
	for _, c := range []struct {
		into qapi.Decodable
		in   string
		want string
	}{
		{&qapi.BalloonArgs{}, `{}`, "Parameter 'value' is missing"},
		{&qapi.BalloonArgs{}, `{'value': 'x'}`, "Invalid parameter type for 'value', expected: integer"},
		{&qapi.BalloonArgs{}, `{'value': 1.0}`, "Invalid parameter type for 'value', expected: integer"},
		{&qapi.BalloonArgs{}, `{'value': 9223372036854775808}`, "Invalid parameter type for 'value', expected: integer"},
		{&qapi.BalloonArgs{}, `{'value': 1, 'zz': 2}`, "Parameter 'zz' is unexpected"},
		{&qapi.BalloonArgs{}, `{'value': 1, '': 2}`, "Parameter '' is unexpected"},
		{&qapi.BalloonArgs{}, `{'Value': 1}`, "Parameter 'value' is missing"},
		{&qapi.BalloonArgs{}, `[]`, "Invalid parameter type for '<anonymous>', expected: object"},
		{&qapi.Empty{}, `{'a': 1}`, "Parameter 'a' is unexpected"},
		{&qapi.Empty{}, `1`, "Invalid parameter type for '<anonymous>', expected: object"},
		{&qapi.NameInfo{}, `{'name': null}`, "Invalid parameter type for 'name', expected: string"},
		{&qapi.KvmInfo{}, `{'enabled': 1, 'present': true}`, "Invalid parameter type for 'enabled', expected: boolean"},
		{&qapi.SetActionArgs{}, `{'reboot': 'never'}`, "Parameter 'reboot' does not accept value 'never'"},
		{&qapi.SetActionArgs{}, `{'reboot': ''}`, "Parameter 'reboot' does not accept value ''"},
		{&qapi.SetActionArgs{}, `{'reboot': 1}`, "Invalid parameter type for 'reboot', expected: string"},
		{&qapi.QmpCapabilitiesArgs{}, `{'enable': {}}`, "Invalid parameter type for 'enable', expected: array"},
		{&qapi.QmpCapabilitiesArgs{}, `{'enable': ['x']}`, "Parameter 'null' does not accept value 'x'"},
		{&qapi.QmpCapabilitiesArgs{}, `{'enable': ['oob', 1]}`, "Invalid parameter type for 'enable[1]', expected: string"},
		{&qapi.CommandInfoList{}, `[{'name': 'a'}, {}]`, "Parameter '[1].name' is missing"},
		{&qapi.VersionInfo{}, `{'package': '', 'qemu': {'major': 1}}`, "Parameter 'qemu.minor' is missing"},
		{&qapi.VersionInfo{}, `{'package': '', 'qemu': {'major':1,'minor':1,'micro':1,'x':1}}`, "Parameter 'qemu.x' is unexpected"},
		{&qapi.CpuInfoFast{}, `{` + cpu + `'cpu-index': 0, 'target': 's390x'}`, "Parameter 'cpu-state' is missing"},
		{&qapi.CpuInfoFast{}, `{` + cpu + `'cpu-index': 0, 'target': 'x86_64', 'cpu-state': 'load'}`, "Parameter 'cpu-state' is unexpected"},
		{&qapi.CpuInfoFast{}, `{` + cpu + `'cpu-index': 0, 'target': 'x'}`, "Parameter 'target' does not accept value 'x'"},
		{&qapi.GuestPanicInformationS390{}, `{'core': 4294967296}`, "Parameter 'core' expects uint32_t"},
		{&qapi.GuestPanicInformationS390{}, `{'core': -1}`, "Parameter 'core' expects uint32_t"},
		{&qapi.GuestPanicInformationS390{}, `{'core': 1e3}`, "Parameter 'core' expects uint64"},
	} {
		err := c.into.DecodeQAPI(parse(t, c.in))
		if err == nil || err.Error() != c.want {
			t.Errorf("%T from %s: %v, want %s", c.into, c.in, err, c.want)
		}
	}
}

// TestDecodeNegativeUint checks that unsigned members take negative numbers, as
// QEMU's do for compatibility.
func TestDecodeNegativeUint(t *testing.T) {
	var p qapi.GuestPanicInformationHyperV
	if err := p.DecodeQAPI(parse(t, `{'arg1':-1,'arg2':0,'arg3':0,'arg4':0,'arg5':0}`)); err != nil || p.Arg1 != math.MaxUint64 {
		t.Errorf("%d, %v", p.Arg1, err)
	}
}

// TestManyMembers decodes more members than fit a word of the set of used ones.
func TestManyMembers(t *testing.T) {
	var s strings.Builder
	for i := range 200 {
		fmt.Fprintf(&s, "'m%d': 1, ", i)
	}
	err := new(qapi.BalloonArgs).DecodeQAPI(parse(t, "{"+s.String()+"'value': 1}"))
	if err == nil || err.Error() != "Parameter 'm0' is unexpected" {
		t.Error(err)
	}
	var d qapi.Document
	d.SetLenient()
	var p wire.Parser
	if _, done, err := p.Feed([]byte("{"+s.String()+"'value': 7}"), &d); !done || err != nil {
		t.Fatal(done, err)
	}
	var a qapi.BalloonArgs
	if err := a.DecodeQAPI(d.Root()); err != nil || a.Value != 7 {
		t.Errorf("lenient: %+v, %v", a, err)
	}
}

func TestErrorClass(t *testing.T) {
	cause := errors.New("cause")
	err := fmt.Errorf("outer: %w", qapi.Errorf(qapi.QapiErrorClassDeviceNotFound, "device %s: %w", "d", cause))
	if qapi.ClassOf(err) != qapi.QapiErrorClassDeviceNotFound || !errors.Is(err, cause) || err.Error() != "outer: device d: cause" {
		t.Errorf("class %s, text %s", qapi.ClassOf(err), err)
	}
	if qapi.ClassOf(cause) != qapi.QapiErrorClassGenericError {
		t.Errorf("class %s of a plain error", qapi.ClassOf(cause))
	}
}

// TestEncoderValue writes what was read, as QEMU 7.2 echoes an id.
func TestEncoderValue(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{`null`, `null`},
		{`[true,false]`, `[true, false]`},
		{`-0`, `0`},
		{`18446744073709551615`, `18446744073709551615`},
		{`-9223372036854775808`, `-9223372036854775808`},
		{`18446744073709551616`, `1.8446744073709552e+19`},
		{`-9223372036854775809`, `-9.2233720368547758e+18`},
		{`1.5`, `1.5`},
		{`0.1`, `0.10000000000000001`},
		{`1e5`, `100000`},
		{`1e-7`, `9.9999999999999995e-08`},
		{`1e22`, `1e+22`},
		{`1e999`, `1e999`},
		{`-1e999`, `-1e999`},
		{`{'b':1,'a':{}}`, `{"a": {}, "b": 1}`},
		{`"a\"'\\\/\b\f\n\r\té\u007f\u0000"`, `"a\"'\\/\b\f\n\r\t\u00E9\u007F\u0000"`},
		{`"\ud83d\ude00 😀"`, `"\uD83D\uDE00 \uD83D\uDE00"`},
	} {
		e := qapi.NewEncoder(false)
		e.Value(parse(t, c.in))
		if string(e.Bytes()) != c.want {
			t.Errorf("%s: %s, want %s", c.in, e.Bytes(), c.want)
		}
	}
}

// TestEncoderBadText writes what is no text as replacement characters, one for a
// sequence as QEMU counts them.
func TestEncoderBadText(t *testing.T) {
	for in, want := range map[string]string{
		"a\xffb":       `"a\uFFFDb"`,
		"\xc3":         `"\uFFFD"`,
		"\xe2\x82x":    `"\uFFFDx"`,
		"\xed\xa0\x80": `"\uFFFD"`,
		"\x80\x80":     `"\uFFFD\uFFFD"`,
		"\ufdd0\uffff": `"\uFFFD\uFFFD"`,
		"\U0001fffe":   `"\uFFFD"`,
		"\U0010fffd":   `"\uDBFF\uDFFD"`,
	} {
		e := qapi.NewEncoder(false)
		e.String(in)
		if string(e.Bytes()) != want {
			t.Errorf("%q: %s, want %s", in, e.Bytes(), want)
		}
	}
}

func TestEncoderPretty(t *testing.T) {
	want := strings.ReplaceAll(`[
    {
    },
    [
    ],
    {
        "a": 1,
        "b": [
            null
        ]
    }
]`, "\n", "\r\n")
	e := qapi.NewEncoder(true)
	e.Value(parse(t, `[{}, [], {'a': 1, 'b': [null]}]`))
	if string(e.Bytes()) != want {
		t.Errorf("%s", e.Bytes())
	}
}

func TestValue(t *testing.T) {
	v := parse(t, `{'s': 'x', 'i': -1, 'u': 18446744073709551615, 'f': 1.5, 'a': [1, [2, {'k': 'v'}], 'long']}`)
	if i, ok := v.Get("i").Int64(); !ok || i != -1 {
		t.Error("i", i, ok)
	}
	if _, ok := v.Get("i").Uint64(); ok {
		t.Error("a negative number is unsigned")
	}
	if u, ok := v.Get("u").Uint64(); !ok || u != math.MaxUint64 {
		t.Error("u", u, ok)
	}
	for name, want := range map[string]float64{"i": -1, "u": 1 << 63 * 2, "f": 1.5} {
		if f, ok := v.Get(name).Float64(); !ok || f != want {
			t.Error(name, f, ok)
		}
	}
	if _, ok := v.Get("s").Float64(); ok {
		t.Error("a string is a number")
	}
	if v.Len() != 5 || v.Get("a").Len() != 3 || v.Get("s").Len() != 0 {
		t.Error("lengths", v.Len(), v.Get("a").Len())
	}
	e := qapi.NewEncoder(false)
	e.Value(v.Get("a").Clone())
	if got := string(e.Bytes()); got != `[1, [2, {"k": "v"}], "long"]` {
		t.Error("clone", got)
	}
	for m := range v.Get("a").Elements() {
		if m.Kind() != qapi.Int {
			t.Error("first element", m.Kind())
		}
		break
	}
}

// FuzzDecode decodes any value into all types: what is accepted can be written
// and read again without change.
func FuzzDecode(f *testing.F) {
	for _, s := range examples(f) {
		f.Add(s)
	}
	for _, x := range all() {
		f.Add(encode(x, false))
	}
	f.Add(`{"value": 1}`)
	f.Add(`{"one": 0.5, "two": [{"id": "", "letter": "c"}], "many": ["a", {"id": "x", "letter": "b", "deep-2": 4}]}`)
	f.Add(`[{"thread-id": 9, "props": {"socket-id": 3}, "qom-path": "/p", "cpu-index": 1, "target": "x86_64"}]`)
	f.Fuzz(func(t *testing.T, s string) {
		v, err := wire.Parse([]byte(s))
		if err != nil {
			return
		}
		for i, x := range all() {
			if x.DecodeQAPI(v) != nil {
				continue
			}
			first := encode(x, false)
			y := all()[i]
			if err := y.DecodeQAPI(parse(t, first)); err != nil || !same(x, y) {
				t.Errorf("%T from %q: %v, %s", x, s, err, first)
			}
		}
	})
}

// same compares what is written of two values. Where any members may be in them,
// those with the same hash change places each time, as with QEMU.
func same(x, y codec) bool {
	if holdsAny(reflect.TypeOf(x), map[reflect.Type]bool{}) {
		return len(encode(x, true)) == len(encode(y, true))
	}
	return encode(x, true) == encode(y, true)
}

// holdsAny tells whether there may be a qapi.Value in a type.
func holdsAny(t reflect.Type, seen map[reflect.Type]bool) bool {
	if seen[t] {
		return false
	}
	seen[t] = true
	switch t.Kind() {
	case reflect.Pointer, reflect.Slice:
		return holdsAny(t.Elem(), seen)
	case reflect.Struct:
		for i := range t.NumField() {
			if holdsAny(t.Field(i).Type, seen) {
				return true
			}
		}
		return t == reflect.TypeFor[qapi.Value]()
	}
	return false
}

// TestExamples decodes each of the reference's examples: it is of some type.
func TestExamples(t *testing.T) {
	for _, s := range examples(t) {
		v := parse(t, s)
		if !slices.ContainsFunc(all()[4:], func(x codec) bool { return x.DecodeQAPI(v) == nil }) && v.Len() > 0 {
			t.Errorf("%s is of no type", s)
		}
	}
}

func TestCodecAllocs(t *testing.T) {
	v := parse(t, `{'status': 'running', 'singlestep': false, 'running': true}`)
	e := qapi.NewEncoder(false)
	var info qapi.StatusInfo
	if n := testing.AllocsPerRun(100, func() {
		e.Reset()
		if err := info.DecodeQAPI(v); err != nil {
			t.Fatal(err)
		}
		info.EncodeQAPI(e)
	}); n != 0 {
		t.Errorf("%v allocations to decode and encode a StatusInfo", n)
	}
}

func BenchmarkEncode(b *testing.B) {
	e := qapi.NewEncoder(false)
	info := qapi.StatusInfo{Running: true, Status: qapi.RunStateRunning}
	b.ReportAllocs()
	for b.Loop() {
		e.Reset()
		info.EncodeQAPI(e)
	}
}

func BenchmarkDecode(b *testing.B) {
	v := parse(b, `{'status': 'running', 'singlestep': false, 'running': true}`)
	var info qapi.StatusInfo
	b.ReportAllocs()
	for b.Loop() {
		if err := info.DecodeQAPI(v); err != nil {
			b.Fatal(err)
		}
	}
}
