package turn

import (
	"runtime"
	"testing"
	"time"
)

// TestPass has another goroutine run on the only slot there is, but not within a turn.
func TestPass(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	var turn Turn
	turn.began = time.Since(start) + time.Hour
	ran := make(chan struct{})
	go close(ran)
	turn.Pass()
	select {
	case <-ran:
		t.Error("others ran within a turn")
	default:
	}
	turn.began = time.Since(start) - length
	turn.Pass()
	select {
	case <-ran:
	default:
		t.Error("others did not run after a turn")
	}
}

// BenchmarkPass is what a busy thread pays for each look.
func BenchmarkPass(b *testing.B) {
	b.ReportAllocs()
	var t Turn
	for b.Loop() {
		t.Pass()
	}
}
