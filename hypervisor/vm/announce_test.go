package vm

import (
	"math"
	"testing"
	"time"

	"hv/qmp/qapi"
)

// TestPauses is what lies between rounds of an announcement.
func TestPauses(t *testing.T) {
	for _, c := range []struct {
		initial, max, rounds, step int64
		want                       []int64 // milliseconds
	}{
		{50, 550, 5, 100, []int64{50, 150, 250, 350}},
		{50, 200, 5, 100, []int64{50, 150, 200, 200}},
		{100, 550, 4, -40, []int64{100, 60, 20}},
		{10, 300, 4, -40, []int64{10, 300, 300}},
		{0, 0, 3, 0, []int64{1, 1}},
		{-5, -7, 3, math.MinInt64, []int64{1, 1}},
		{1, math.MaxInt64, 3, math.MaxInt64, []int64{1, 24 * 60 * 60 * 1000}},
	} {
		a := &announcement{params: qapi.AnnounceParameters{Initial: c.initial, Max: c.max, Rounds: c.rounds, Step: c.step}, left: c.rounds}
		for i, want := range c.want {
			a.left--
			if got := a.pause(); got != time.Duration(want)*time.Millisecond {
				t.Errorf("%+v, pause %d: %v", c, i, got)
			}
		}
	}
}
