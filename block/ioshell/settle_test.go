package ioshell

import (
	"testing"
	"time"

	"hv/block/graph"
)

// TestSettle: it waits for requests that need nobody else, and for others only so long.
func TestSettle(t *testing.T) {
	b := newBench(t, image(t), graph.Options{})
	b.waits = false
	none := func() int { return 0 }
	b.shell.Settle(none, 0)
	for range 50 {
		b.run(t, "aio_write 0 64k")
		b.shell.Settle(none, time.Minute)
		if b.shell.mu.Lock(); b.shell.busy != 0 {
			t.Errorf("%d requests are under way", b.shell.busy)
		}
		b.shell.mu.Unlock()
	}
	b.run(t, "break pwritev A")
	b.run(t, "aio_write 0 512")
	b.run(t, "wait_break A")
	began := time.Now()
	b.shell.Settle(none, 50*time.Millisecond)
	if took := time.Since(began); took < 50*time.Millisecond {
		t.Errorf("it waited %v for a request that is held", took)
	}
	b.shell.Settle(func() int { return 1 }, time.Minute)
	settled := make(chan struct{})
	go func() {
		b.shell.Settle(none, time.Minute)
		close(settled)
	}()
	b.run(t, "resume A")
	<-settled
}
