package virtioballoon

import (
	"encoding/binary"
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

// TestObject asks for statistics through the property of the object.
func TestObject(t *testing.T) {
	dev, d, _, _ := balloon(t, Config{}, virtiotest.Options{})
	o := qom.New("virtio-balloon-device", dev.QOM()...)
	at := d.Alloc(16)
	b := binary.LittleEndian.AppendUint64(binary.LittleEndian.AppendUint16(nil, 4), 12345)
	copy(d.Bytes(at, len(b)), b)
	d.Add(queueStats, virtiotest.Buf{Addr: at, Len: uint32(len(b))})
	d.Kick(queueStats)
	for value, want := range map[string]qom.Getter{"negative": qom.Int(-1), "integer": qom.Str("1"), "too big": qom.Int(1 << 40)} {
		if err := o.Set("guest-stats-polling-interval", qapi.NewValue(want)); err == nil || !strings.Contains(err.Error(), value) {
			t.Errorf("%s: %v", value, err)
		}
	}
	if err := o.Set("guest-stats-polling-interval", qapi.NewValue(qom.Int(1))); err != nil {
		t.Fatal(err)
	}
	d.Wait(queueStats)
	v, err := o.Get("guest-stats")
	if err != nil || !strings.Contains(text(v), `"stat-free-memory": 12345`) || !strings.Contains(text(v), `"stat-swap-in": 18446744073709551615`) {
		t.Errorf("%s, %v", text(v), err)
	}
	if last, ok := v.Get("last-update").Int64(); !ok || last == 0 {
		t.Error("no time of the update")
	}
	if v, err := o.Get("guest-stats-polling-interval"); err != nil || text(v) != "1" {
		t.Errorf("interval %s, %v", text(v), err)
	}
}
