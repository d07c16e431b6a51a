package rxfilter

import (
	"testing"
)

func mac(t testing.TB, text string) MAC {
	t.Helper()
	m, err := ParseMAC(text)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// What a guest's change costs on a real link, by kind.
func BenchmarkLink(b *testing.B) {
	for _, mode := range []string{"bridge", "passthru"} {
		s := newSpace(b)
		s.macvtap(mode)
		l := s.open("tap0")
		if _, err := l.Read(); err != nil {
			b.Fatal(err)
		}
		for _, c := range []struct {
			name string
			ops  []Op
		}{
			{"address", []Op{{SetMAC, mac(b, "52:54:00:00:00:02")}, {SetMAC, mac(b, "52:54:00:00:00:03")}}},
			{"group", []Op{{AddMulticast, mac(b, "33:33:00:00:00:42")}, {DelMulticast, mac(b, "33:33:00:00:00:42")}}},
			{"promiscuous", []Op{{Verb: PromiscOn}, {Verb: PromiscOff}}},
			{"all-groups", []Op{{Verb: AllMultiOn}, {Verb: AllMultiOff}}},
		} {
			b.Run(mode+"/"+c.name, func(b *testing.B) {
				for i := 0; b.Loop(); i++ {
					if err := l.Apply(c.ops[i%len(c.ops)]); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
		b.Run(mode+"/read", func(b *testing.B) {
			for b.Loop() {
				if _, err := l.Read(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
