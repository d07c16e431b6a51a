package virtiomem

import (
	"strings"
	"testing"

	"hv/devices/qom"
	"hv/devices/virtio/virtiotest"
	"hv/qmp/qapi"
)

func text(v qapi.Value) string {
	e := qapi.NewEncoder(false)
	e.Value(v)
	return string(e.Bytes())
}

// TestObject reads and sets sizes through the properties of the object.
func TestObject(t *testing.T) {
	r := newRig(t, virtiotest.Options{}, func(c *Config) { c.Requested = 4 * block })
	r.want(reqPlug, 0, 1, respACK)
	o := qom.New("virtio-mem-device", r.dev.QOM()...)
	if err := o.Set("requested-size", qapi.NewValue(qom.Uint(2*block))); err != nil {
		t.Fatal(err)
	}
	r.d.AwaitConfigChange(1)
	for name, want := range map[string]string{"size": "2097152", "requested-size": "4194304", "block-size": "2097152", "memaddr": "4294967296"} {
		if v, err := o.Get(name); err != nil || text(v) != want {
			t.Errorf("%s is %s, %v", name, text(v), err)
		}
	}
	for _, x := range []struct {
		name  string
		value qom.Getter
		want  string
	}{
		{"requested-size", qom.Str("1G"), "expects uint64"},
		{"requested-size", qom.Int(-1), "expects uint64"},
		{"requested-size", qom.Uint(1), "multiples of 'block-size'"},
		{"block-size", qom.Uint(mib), "'block-size' cannot be changed"},
		{"size", qom.Uint(0), "not writable"},
	} {
		if err := o.Set(x.name, qapi.NewValue(x.value)); err == nil || !strings.Contains(err.Error(), x.want) {
			t.Errorf("set %s: %v, want %q", x.name, err, x.want)
		}
	}
}
