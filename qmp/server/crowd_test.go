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

// The whole crowd is what is measured, and with HV_SOAK tested too; a sample of it is
// tested always.
var (
	wholeCrowd = crowd{silent: 100, listening: 850, busy: 50, rate: 10000, lasts: 10 * time.Second}
	someCrowd  = crowd{silent: 10, listening: 80, busy: 10, rate: 10000, lasts: 2 * time.Second}
)

// gathering is what came of a crowd.
type gathering struct {
	events         int64
	took           time.Duration
	commands       account
	dropped        int
	before, memory uint64 // bytes of heap, at most
}

// gather has a crowd's clients connect, events raised and commands executed. No client that
// reads misses an event or a reply, or gets one out of order. Clients are processes of
// their own, so that what they cost is not taken for the server's.
func (c crowd) gather(t testing.TB) gathering {
	r := newRig(t)
	path := r.listen(Monitor{})
	for range c.silent {
		negotiated(t, path, "")
	}
	total := int64(c.rate) * int64(c.lasts/time.Second)
	listeners := enter(t, member{Path: path, Listening: c.listening, Last: total - 1})
	commanders := enter(t, member{Path: path, Busy: c.busy, Last: total - 1})
	g := gathering{events: total, before: heap()}
	began := time.Now()
	g.memory = raise(r.events, total, c.rate, listeners, commanders)
	g.took = time.Since(began)
	listeners.leave(t)
	g.commands = commanders.leave(t)
	g.dropped = len(r.log.lines)
	return g
}

// TestManyClients has clients that command, clients that only listen and clients that
// never read, which are dropped.
func TestManyClients(t *testing.T) {
	c := someCrowd
	if os.Getenv("HV_SOAK") != "" {
		c = wholeCrowd
	}
	g := c.gather(t)
	t.Logf("%d events to %d clients, %.0f a second; %d commands, p50 %v, p99 %v; heap %d KiB, %d at most",
		g.events, c.listening+c.busy, float64(g.events)/g.took.Seconds(), g.commands.Commands, g.commands.P50, g.commands.P99, g.before>>10, g.memory>>10)
	if g.dropped != c.silent {
		t.Errorf("%d clients were dropped, want %d", g.dropped, c.silent)
	}
	// The events once, and of each client what is being written and what comes next.
	if limit := uint64(8*DefaultBacklog + (c.busy+c.listening+c.silent)*8*atOnce); g.memory > g.before+limit {
		t.Errorf("the heap grew from %d to %d bytes", g.before, g.memory)
	}
}

// BenchmarkManyClients is how long commands take in the whole crowd.
func BenchmarkManyClients(b *testing.B) {
	for b.Loop() {
		g := wholeCrowd.gather(b)
		b.ReportMetric(float64(g.events)/g.took.Seconds(), "events/s")
		b.ReportMetric(g.commands.P50.Seconds()*1e3, "p50-ms")
		b.ReportMetric(g.commands.P99.Seconds()*1e3, "p99-ms")
		b.ReportMetric(float64(g.memory)/(1<<20), "MiB")
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
