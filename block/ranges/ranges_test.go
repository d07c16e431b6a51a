package ranges

import (
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
)

// TestLock: wherever one is alone, it is alone; and all get their turn.
func TestLock(t *testing.T) {
	var l Lock
	var users [64]atomic.Int64 // exclusive ones count 1000
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 500 {
				off := rand.Int64N(63)
				n := 1 + rand.Int64N(64-off)
				exclusive := rand.IntN(3) == 0
				add := int64(1)
				if exclusive {
					add = 1000
				}
				key := l.Lock(off, n, exclusive)
				for i := range n {
					if sum := users[off+i].Add(add); exclusive && sum != 1000 || sum > 1000 {
						t.Errorf("byte %d has users %d", off+i, sum)
					}
				}
				for i := range n {
					users[off+i].Add(-add)
				}
				l.Unlock(key)
			}
		})
	}
	wg.Wait()
	if len(l.spans) > 8 {
		t.Errorf("%d places for 8 users", len(l.spans))
	}
}

func BenchmarkLock(b *testing.B) {
	b.ReportAllocs()
	var l Lock
	for b.Loop() {
		l.Unlock(l.Lock(0, 512, false))
	}
}
