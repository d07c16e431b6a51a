package qapi_test

import (
	"testing"

	"hv/qmp/qapi"
)

// TestChardevTypes reads what clients send of the types of chardevs and descriptors and
// writes it again.
func TestChardevTypes(t *testing.T) {
	for _, c := range []struct {
		value interface {
			qapi.Decodable
			qapi.Encodable
		}
		text string
	}{
		{&qapi.ChardevAddArgs{}, `{"id": "s", "backend": {"type": "socket", "data": {"addr": {"type": "inet", "data": {"port": "1", "to": 9, "host": "h"}}, "server": false, "reconnect": 5}}}`},
		{&qapi.ChardevBackend{}, `{"type": "file", "data": {"append": true, "out": "/x", "in": "/y", "logfile": "l"}}`},
		{&qapi.ChardevBackend{}, `{"type": "udp", "data": {"local": {"type": "fd", "data": {"str": "a"}}, "remote": {"type": "vsock", "data": {"port": "1", "cid": "2"}}}}`},
		{&qapi.ChardevBackend{}, `{"type": "qemu-vdagent", "data": {"clipboard": true}}`},
		{&qapi.ChardevBackend{}, `{"type": "spiceport", "data": {"fqdn": "a.b"}}`},
		{&qapi.ChardevBackend{}, `{"type": "vc", "data": {"cols": 80}}`},
		{&qapi.RingbufReadArgs{}, `{"device": "r", "format": "base64", "size": 1}`},
		{&qapi.AddFdArgs{}, `{"fdset-id": 2, "opaque": "x"}`},
		{&qapi.FdsetInfoList{}, `[{"fds": [{"fd": 3, "opaque": "x"}, {"fd": 4}], "fdset-id": 1}]`},
		{new(qapi.Text), `"text"`},
	} {
		if err := c.value.DecodeQAPI(parse(t, c.text)); err != nil {
			t.Errorf("%s: %v", c.text, err)
			continue
		}
		again := encode(c.value, false)
		if encode(c.value, false) != again || len(again) != len(c.text) {
			t.Errorf("%s: %s", c.text, again)
		}
	}
	for text, want := range map[string]string{
		`{"type": "braille", "data": {"x": 1}}`: "Parameter 'data.x' is unexpected",
		`{"type": "udp", "data": {"remote": {"type": "inet", "data": {"host": "", "port": "", "to": 70000}}}}`: "Parameter 'to' expects uint16_t",
		`{"type": "pty"}`: "Parameter 'data' is missing",
		`{"type": "socket", "data": {"addr": {"type": "x"}}}`: "Parameter 'type' does not accept value 'x'",
	} {
		var b qapi.ChardevBackend
		if err := b.DecodeQAPI(parse(t, text)); err == nil || err.Error() != want {
			t.Errorf("%s: %v, want %s", text, err, want)
		}
	}
}
