package pci

import "testing"

func TestParseAddr(t *testing.T) {
	for s, want := range map[string]Addr{
		"3": {3, 0}, "0x1.0x1": {1, 1}, "03.1": {3, 1}, "1f.7": {31, 7}, "0X1F": {31, 0}, "0": {},
	} {
		if got, err := ParseAddr(s); err != nil || got != want {
			t.Errorf("%q: %v, %v", s, got, err)
		}
	}
	for _, s := range []string{"", ".", "20", "1.8", "1.", ".1", "g", "1.1.1", "-1", "+1", "0x", "1 ", "100000000000000003", "0x0x1"} {
		if got, err := ParseAddr(s); err == nil {
			t.Errorf("%q is %v", s, got)
		}
	}
}

func TestAddrDevfn(t *testing.T) {
	for n := range 256 {
		if a := AddrOf(uint8(n)); a.Devfn() != uint8(n) {
			t.Errorf("%d becomes %v and %d", n, a, a.Devfn())
		}
	}
	if s := (Addr{31, 2}).String(); s != "1f.2" {
		t.Error(s)
	}
}

func FuzzParseAddr(f *testing.F) {
	for _, s := range []string{"3", "0x1.0x1", "03.1", "1f.7", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		a, err := ParseAddr(s)
		if err != nil {
			return
		}
		if again, err := ParseAddr(a.String()); err != nil || again != a {
			t.Errorf("%q is %v, then %v, %v", s, a, again, err)
		}
	})
}
