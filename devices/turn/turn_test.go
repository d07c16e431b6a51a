package turn

import (
	"runtime"
	"testing"
	"time"
)

// TestOver goes through two turns.
func TestOver(t *testing.T) {
	turn := Turn{began: time.Second}
	for _, c := range []struct {
		at   time.Duration
		over bool
	}{{time.Second, false}, {time.Second + length - 1, false}, {time.Second + length, true}, {time.Second + 2*length - 1, false}, {time.Second + 2*length, true}} {
		if over := turn.over(c.at); over != c.over {
			t.Errorf("after %s: over is %v", c.at-time.Second, over)
		}
	}
}

// TestPass has another goroutine run on the only slot there is, within a few turns: the
// scheduler may well give the first back to who passed it.
func TestPass(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	ran := make(chan struct{})
	go close(ran)
	for range 100 {
		turn := Turn{began: time.Since(start) - length}
		turn.Pass()
		select {
		case <-ran:
			return
		default:
		}
	}
	t.Error("nobody else ran in a hundred turns")
}

// BenchmarkPass is what a busy thread pays for each look.
func BenchmarkPass(b *testing.B) {
	b.ReportAllocs()
	var t Turn
	for b.Loop() {
		t.Pass()
	}
}
