package machine

import (
	"testing"
)

func TestLayout(t *testing.T) {
	const mib = 1 << 20
	for _, c := range []struct {
		size, max           uint64
		low, high, window64 uint64
	}{
		{256 * mib, 0, 256 * mib, 0, 4 * gib},
		{lowRAMMax, 0, lowRAMMax, 0, 4 * gib},
		{lowRAMMax + mib, 0, 2 * gib, lowRAMMax + mib - 2*gib, 5 * gib},
		{6 * gib, 0, 2 * gib, 4 * gib, 8 * gib},
		{1 * gib, 16 * gib, 1 * gib, 0, 19 * gib},
		{6 * gib, 6 * gib, 2 * gib, 4 * gib, 8 * gib},
	} {
		l := NewLayout(c.size, c.max)
		if l.Low != c.low || l.High != c.high || l.Window64 != c.window64 {
			t.Errorf("NewLayout(%#x, %#x) = %+v", c.size, c.max, l)
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
