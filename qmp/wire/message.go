package wire

import (
	"time"

	"hv/qmp/qapi"
)

// The messages' members are written in the order in which QEMU prints them.

// WriteGreeting writes what a server says first.
func WriteGreeting(e *qapi.Encoder, version qapi.VersionInfo, capabilities qapi.QMPCapabilityList) {
	g := qapi.Greeting{QMP: qapi.GreetingInfo{Version: version, Capabilities: capabilities}}
	g.EncodeQAPI(e)
	e.EndLine()
}

// BeginReturn begins the reply to a command that succeeded; what it returned
// comes next, and then EndReturn.
func BeginReturn(e *qapi.Encoder) {
	e.BeginObject()
	e.Key("return")
}

// EndReturn ends the reply. The command's id is None if it had none.
func EndReturn(e *qapi.Encoder, id qapi.Value) {
	if id.Kind() != qapi.None {
		e.Key("id")
		e.Value(id)
	}
	e.EndObject()
	e.EndLine()
}

// WriteError writes the reply to a command that failed.
func WriteError(e *qapi.Encoder, err error, id qapi.Value) {
	info := qapi.ErrorInfo{Class: qapi.ClassOf(err), Desc: err.Error()}
	e.BeginObject()
	if id.Kind() != qapi.None {
		e.Key("id")
		e.Value(id)
	}
	e.Key("error")
	info.EncodeQAPI(e)
	e.EndObject()
	e.EndLine()
}

// BeginEvent begins an event. Its data may come next, after Key("data"), and
// then EndEvent.
func BeginEvent(e *qapi.Encoder, name string, at time.Time) {
	us := at.UnixMicro()
	ts := qapi.Timestamp{Seconds: us / 1e6, Microseconds: us % 1e6}
	e.BeginObject()
	e.Key("timestamp")
	ts.EncodeQAPI(e)
	e.Key("event")
	e.String(name)
}

// EndEvent ends an event.
func EndEvent(e *qapi.Encoder) {
	e.EndObject()
	e.EndLine()
}
