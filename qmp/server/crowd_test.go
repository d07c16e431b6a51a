package server

import (
	"os"
	"runtime"
	"testing"
	"time"

	"hv/qmp/events"
	"hv/qmp/qapi"
)

// crowd is how many clients there are of each kind, and what they get to do.
type crowd struct {
	silent, listening, busy int
	rate                    int // events a second
	lasts                   time.Duration
}

// size is the crowd that the tests have: a sample of it, or with HV_SOAK the whole.
func size() crowd {
	if os.Getenv("HV_SOAK") != "" {
		return crowd{silent: 100, listening: 850, busy: 50, rate: 10000, lasts: 10 * time.Second}
	}
	return crowd{silent: 10, listening: 80, busy: 10, rate: 10000, lasts: 2 * time.Second}
}

// TestManyClients has clients that command, clients that only listen and clients that
// never read, while events are raised. Those that never read are dropped; no other
// misses an event or a reply, or gets one out of order, and commands are answered soon.
// Clients are processes of their own, so that what they cost is not taken for the server's.
func TestManyClients(t *testing.T) {
	c := size()
	r := newRig(t)
	path := r.listen(Monitor{})
	for range c.silent {
		negotiated(t, path, "")
	}
	total := int64(c.rate) * int64(c.lasts/time.Second)
	listeners := enter(t, member{Path: path, Listening: c.listening, Last: total - 1})
	commanders := enter(t, member{Path: path, Busy: c.busy, Last: total - 1})
	before := heap()
	began := time.Now()
	peak := raise(r.events, total, c.rate, listeners, commanders)
	took := time.Since(began)
	listeners.leave(t)
	got := commanders.leave(t)
	t.Logf("%d events to %d clients, %.0f a second; %d commands, p50 %v, p99 %v; heap %d KiB, %d at most",
		total, c.listening+c.busy, float64(total)/took.Seconds(), got.Commands, got.P50, got.P99, before>>10, peak>>10)
	if n := len(r.log.lines); n != c.silent {
		t.Errorf("%d clients were dropped, want %d", n, c.silent)
	}
	// The events once, and of each client what is being written and what comes next.
	if limit := uint64(8*DefaultBacklog + (c.listening+c.busy+c.silent)*8*atOnce); peak > before+limit {
		t.Errorf("the heap grew from %d to %d bytes", before, peak)
	}
}

// heap returns the bytes in use after a collection.
func heap() uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// behind is how many events the slowest client that reads may be behind: on a machine
// that is too slow for the rate, events are raised more slowly.
const behind = 4000

// raise emits events at a rate. It returns the largest heap seen.
func raise(b *events.Broker, total int64, rate int, all ...*process) (peak uint64) {
	ev := qapi.EventRtcChange
	ev.RateLimited = false
	ticker := time.NewTicker(time.Millisecond)
	defer ticker.Stop()
	began := time.Now()
	for i := int64(0); i < total; {
		<-ticker.C
		due := min(total, int64(time.Since(began).Seconds()*float64(rate)))
		for _, p := range all {
			due = min(due, p.next.Load()+behind)
		}
		for ; i < due; i++ {
			events.Emit(b, ev, qapi.RtcChangeEvent{Offset: i})
			if i%int64(rate/4) == 0 {
				var m runtime.MemStats
				runtime.ReadMemStats(&m)
				peak = max(peak, m.HeapAlloc)
			}
		}
	}
	return peak
}
