package server

import (
	"bytes"
	"os"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
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
func TestManyClients(t *testing.T) {
	c := size()
	r := newRig(t)
	path := r.listen(Monitor{})
	for range c.silent {
		negotiated(t, path, "")
	}
	var (
		wg    sync.WaitGroup
		over  atomic.Bool
		mu    sync.Mutex
		trips []time.Duration
	)
	total := int64(c.rate) * int64(c.lasts/time.Second)
	var all []*listener
	for range c.listening {
		l := &listener{peer: dialFor(t, path, ""), last: total - 1}
		all = append(all, l)
		wg.Go(l.listen)
	}
	for range c.busy {
		l := &listener{peer: dialFor(t, path, enableOOB), last: total - 1}
		all = append(all, l)
		wg.Go(func() {
			d := l.command(&over)
			mu.Lock()
			defer mu.Unlock()
			trips = append(trips, d...)
		})
	}
	before := heap()
	began := time.Now()
	peak := raise(r.events, total, c.rate, all)
	took := time.Since(began)
	over.Store(true)
	wg.Wait()
	slices.Sort(trips)
	p99 := trips[len(trips)*99/100]
	t.Logf("%d events to %d clients, %.0f a second; %d commands, p50 %v, p99 %v; heap %d KiB, %d at most",
		total, len(all), float64(total)/took.Seconds(), len(trips), trips[len(trips)/2], p99, before>>10, peak>>10)
	if n := len(r.log.lines); n != c.silent {
		t.Errorf("%d clients were dropped, want %d", n, c.silent)
	}
	// The events once, and of each client what is being written and what comes next.
	if limit := uint64(8*DefaultBacklog + (len(all)+c.silent)*8*atOnce); peak > before+limit {
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
func raise(b *events.Broker, total int64, rate int, all []*listener) (peak uint64) {
	ev := qapi.EventRtcChange
	ev.RateLimited = false
	ticker := time.NewTicker(time.Millisecond)
	defer ticker.Stop()
	began := time.Now()
	for i := int64(0); i < total; {
		<-ticker.C
		due := min(total, int64(time.Since(began).Seconds()*float64(rate)))
		for _, l := range all {
			due = min(due, l.next.Load()+behind)
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

// listener is a client that knows which events must come. It looks at the first
// and the last offset of what it has read and at how many lines lie between, so
// that a thousand of them leave the processor to the server.
type listener struct {
	*peer
	buf     []byte
	have    int          // bytes in buf
	next    atomic.Int64 // event
	last    int64
	sent    int // commands
	replies int
}

// dialFor is negotiated, for a client that lives as long as it takes.
func dialFor(t *testing.T, path, args string) *peer {
	t.Helper()
	p := negotiated(t, path, args)
	if err := p.SetDeadline(time.Time{}); err != nil {
		t.Fatal(err)
	}
	return p
}

// read takes what there is. It returns false after a failure.
func (l *listener) read() bool {
	if l.buf == nil {
		l.buf = make([]byte, 16<<10)
	}
	n, err := l.Read(l.buf[l.have:])
	if l.have += n; err != nil {
		l.t.Errorf("after event %d: %v", l.next.Load()-1, err)
		l.next.Store(1 << 60)
		return false
	}
	end := bytes.LastIndexByte(l.buf[:l.have], '\n') + 1
	ok := end == 0 || l.check(l.buf[:end])
	l.have = copy(l.buf, l.buf[end:l.have])
	return ok
}

// key is before an event's number.
var key = []byte(`"offset": `)

// check takes whole lines.
func (l *listener) check(b []byte) bool {
	lines, events, next := int64(bytes.Count(b, []byte("\n"))), int64(0), l.next.Load()
	if at := bytes.Index(b, key); at >= 0 {
		first, last := number(b[at:]), number(b[bytes.LastIndex(b, key):])
		if events = last - first + 1; first != next || events < 1 {
			l.t.Errorf("events %d to %d, want them from %d", first, last, next)
			l.next.Store(1 << 60)
			return false
		}
		l.next.Store(next + events)
	}
	l.replies += int(lines - events)
	if l.replies > l.sent || events > lines {
		l.t.Errorf("%d replies to %d commands, %d lines for %d events from %d", l.replies, l.sent, lines, events, next)
		l.next.Store(1 << 60)
		return false
	}
	return true
}

// number returns the number of the event whose key b begins with.
func number(b []byte) int64 {
	b = b[len(key):]
	n, err := strconv.ParseInt(string(b[:bytes.IndexByte(b, ',')]), 10, 64)
	if err != nil {
		return -1
	}
	return n
}

// listen reads all events.
func (l *listener) listen() {
	for l.next.Load() <= l.last && l.read() {
	}
}

// command sends commands one after the other until it is over, reads their replies
// among events, and returns how long each took.
func (l *listener) command(over *atomic.Bool) (trips []time.Duration) {
	for !over.Load() {
		began := time.Now()
		l.sent++
		l.send(`{"execute": "query-status"}`)
		for l.replies < l.sent {
			if !l.read() {
				return trips
			}
		}
		trips = append(trips, time.Since(began))
		pause(10 * time.Millisecond)
	}
	l.listen()
	return trips
}

// pause lets a client think.
func pause(d time.Duration) { <-time.After(d) }
