package fanout

import (
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
)

// meeting is a request whose parts wait for each other.
type meeting struct {
	all  sync.WaitGroup
	seen [8]atomic.Int32
}

func (m *meeting) Part(i int) {
	m.seen[i].Add(1)
	m.all.Done()
	m.all.Wait()
}

// TestTogether has parts that end only if all run at the same time, for many requests at
// once, and leaves no goroutine behind.
func TestTogether(t *testing.T) {
	before := runtime.NumGoroutine()
	var p Pool
	var users sync.WaitGroup
	for range 40 {
		users.Go(func() {
			for n := 1; n <= 8; n++ {
				var m meeting
				m.all.Add(n)
				p.Do(&m, n)
				for i := range n {
					if m.seen[i].Load() != 1 {
						t.Errorf("part %d of %d was done %d times", i, n, m.seen[i].Load())
					}
				}
			}
		})
	}
	users.Wait()
	p.Close()
	after := runtime.NumGoroutine()
	for i := 0; i < 1e5 && after > before; i++ { // they are done, but may not have gone yet
		runtime.Gosched()
		after = runtime.NumGoroutine()
	}
	if after > before {
		t.Errorf("%d goroutines, %d before", after, before)
	}
	var unused Pool
	unused.Close()
}

type counter struct{ n atomic.Int64 }

func (c *counter) Part(int) { c.n.Add(1) }

func BenchmarkDo(b *testing.B) {
	var p Pool
	defer p.Close()
	var c counter
	b.ReportAllocs()
	for b.Loop() {
		p.Do(&c, 3)
	}
	if c.n.Load()%3 != 0 {
		b.Error("parts are missing")
	}
}
