package machine

import (
	"testing"
)

func TestLayout(t *testing.T) {
	const mib = 1 << 20
	for _, c := range []struct {
		size, max                   uint64
		slots                       int
		low, high, device, window64 uint64
	}{
		{256 * mib, 0, 0, 256 * mib, 0, 0, 4 * gib},
		{lowRAMMax, 0, 0, lowRAMMax, 0, 0, 4 * gib},
		{lowRAMMax + mib, 0, 0, 2 * gib, lowRAMMax + mib - 2*gib, 0, 5 * gib},
		{6 * gib, 0, 0, 2 * gib, 4 * gib, 0, 8 * gib},
		{1 * gib, 16 * gib, 0, 1 * gib, 0, 4 * gib, 19 * gib},
		{1 * gib, 16 * gib, 3, 1 * gib, 0, 4 * gib, 22 * gib},
		{3*gib + mib, 4 * gib, 0, 2 * gib, gib + mib, 6 * gib, 7 * gib},
		{6 * gib, 6 * gib, 2, 2 * gib, 4 * gib, 0, 8 * gib},
	} {
		l := NewLayout(c.size, c.max, c.slots)
		if l.Low != c.low || l.High != c.high || l.Device != c.device || l.Window64 != c.window64 {
			t.Errorf("NewLayout(%#x, %#x, %d) = %+v", c.size, c.max, c.slots, l)
		}
		if room := c.max - c.size + uint64(c.slots)*gib; c.max > c.size && l.DeviceSize != room {
			t.Errorf("%#x bytes for memory devices, not %#x", l.DeviceSize, room)
		}
		if l.Low > ecamBase || l.Low+l.High != c.size {
			t.Errorf("NewLayout(%#x, %#x) loses RAM or covers ECAM: %+v", c.size, c.max, l)
		}
	}
}

func TestRegionsCoverTheMapping(t *testing.T) {
	data := make([]byte, 64<<10)
	l := Layout{Low: 16 << 10, High: 48 << 10}
	r := l.Regions(data, 7)
	if len(r) != 2 || &r[1].Data[0] != &data[16<<10] || r[1].Offset != 16<<10 || r[1].Base != 4*gib || r[0].FD != 7 {
		t.Errorf("regions %+v", r)
	}
}

func TestLookup(t *testing.T) {
	for name, want := range map[string]string{
		"": "pc-q35-7.2", "q35": "pc-q35-7.2", "pc": "pc-q35-7.2", "pc-q35-5.0": "pc-q35-7.2", "pc-q35-7.2": "pc-q35-7.2",
		"microvm": "microvm", "none": "none",
	} {
		got, err := Lookup(name)
		if err != nil || got.Name != want {
			t.Errorf("Lookup(%q) = %v, %v", name, got, err)
		}
	}
	for _, name := range []string{"q36", "pc-q35-", "isapc", "pcx", "pc-q35-7.2x"} {
		if got, err := Lookup(name); err == nil {
			t.Errorf("Lookup(%q) = %v", name, got)
		}
	}
}
