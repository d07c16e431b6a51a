package events

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"hv/qmp/qapi"
)

// fakeClock is a clock that moves when told.
type fakeClock struct {
	now    time.Time
	timers []*fakeTimer
}

type fakeTimer struct {
	at   time.Time
	f    func()
	done bool
}

func (c *fakeClock) Now() time.Time { return c.now }

func (c *fakeClock) AfterFunc(d time.Duration, f func()) func() bool {
	t := &fakeTimer{at: c.now.Add(d), f: f}
	c.timers = append(c.timers, t)
	return func() bool {
		was := !t.done
		t.done = true
		return was
	}
}

// advance moves the clock and runs what is due.
func (c *fakeClock) advance(d time.Duration) {
	c.now = c.now.Add(d)
	for _, t := range slices.Clone(c.timers) {
		if !t.done && !t.at.After(c.now) {
			t.done = true
			t.f()
		}
	}
}

func (c *fakeClock) pending() (n int) {
	for _, t := range c.timers {
		if !t.done {
			n++
		}
	}
	return n
}

// record is a sink that keeps what it gets.
type record struct {
	mu     sync.Mutex
	lines  []string
	pretty []string
}

func (r *record) Deliver(m Message) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lines = append(r.lines, strings.TrimSuffix(string(m.Compact), "\r\n"))
	r.pretty = append(r.pretty, string(m.Pretty))
}

func newTest() (*Broker, *fakeClock, *record) {
	c := &fakeClock{now: time.UnixMicro(1_000_000_000_000_250)}
	b, r := NewBrokerWithClock(c), &record{}
	b.Subscribe(r)
	return b, c, r
}

func balloon(b *Broker, actual int64) {
	Emit(b, qapi.EventBalloonChange, qapi.BalloonChangeEvent{Actual: actual})
}

func vserport(b *Broker, id string, open bool) {
	Emit(b, qapi.EventVserportChange, qapi.VserportChangeEvent{Id: id, Open: open})
}

func expect(t *testing.T, r *record, want ...string) {
	t.Helper()
	if len(r.lines) != len(want) {
		t.Fatalf("%d events, want %d: %q", len(r.lines), len(want), r.lines)
	}
	for i, w := range want {
		if !strings.Contains(r.lines[i], w) {
			t.Errorf("event %d is %s, want %s", i, r.lines[i], w)
		}
	}
	r.lines = nil
}

func TestEmit(t *testing.T) {
	b, _, r := newTest()
	Emit(b, qapi.EventStop, qapi.Empty{})
	Emit(b, qapi.EventShutdown, qapi.ShutdownEvent{Guest: true, Reason: qapi.ShutdownCauseGuestReset})
	const ts = `{"timestamp": {"seconds": 1000000000, "microseconds": 250}, `
	want := []string{
		ts + `"event": "STOP"}`,
		ts + `"event": "SHUTDOWN", "data": {"guest": true, "reason": "guest-reset"}}`,
	}
	if !slices.Equal(r.lines, want) {
		t.Errorf("%q, want %q", r.lines, want)
	}
	if !strings.HasPrefix(r.pretty[0], "{\r\n    \"timestamp\": {\r\n        \"seconds\"") {
		t.Errorf("pretty: %s", r.pretty[0])
	}
}

// TestRateLimit follows QEMU: the first at once, the last of a second at its end.
func TestRateLimit(t *testing.T) {
	b, c, r := newTest()
	balloon(b, 1)
	expect(t, r, `"actual": 1}`)
	c.advance(300 * time.Millisecond)
	balloon(b, 2)
	c.advance(300 * time.Millisecond)
	balloon(b, 3)
	expect(t, r)
	c.advance(400 * time.Millisecond)
	expect(t, r, `{"seconds": 1000000000, "microseconds": 600250}, "event": "BALLOON_CHANGE", "data": {"actual": 3}}`)
	balloon(b, 4) // the held event began another second
	expect(t, r)
	c.advance(time.Second)
	expect(t, r, `"actual": 4}`)
	c.advance(time.Second)
	expect(t, r)
	if c.pending() != 0 || len(b.limits) != 0 {
		t.Errorf("%d timers and %d limits are left", c.pending(), len(b.limits))
	}
	balloon(b, 5)
	expect(t, r, `"actual": 5}`)
}

func TestRateLimitBySource(t *testing.T) {
	b, c, r := newTest()
	vserport(b, "a", true)
	vserport(b, "b", true)
	vserport(b, "a", false)
	balloon(b, 1)
	expect(t, r, `"a"`, `"b"`, `"actual"`)
	c.advance(time.Second)
	expect(t, r, `{"open": false, "id": "a"}`)
}

func TestOtherEventsAreNotLimited(t *testing.T) {
	b, _, r := newTest()
	for range 3 {
		Emit(b, qapi.EventReset, qapi.ResetEvent{Reason: qapi.ShutdownCauseHostQmpSystemReset})
	}
	expect(t, r, "RESET", "RESET", "RESET")
}

func TestCancel(t *testing.T) {
	b, _, r := newTest()
	second := &record{}
	cancel := b.Subscribe(second)
	Emit(b, qapi.EventStop, qapi.Empty{})
	cancel()
	cancel()
	Emit(b, qapi.EventResume, qapi.Empty{})
	expect(t, second, "STOP")
	expect(t, r, "STOP", "RESUME")
}

func TestClose(t *testing.T) {
	b, c, r := newTest()
	balloon(b, 1)
	balloon(b, 2)
	fire := c.timers[0].f
	b.Close()
	if c.pending() != 0 {
		t.Error("a timer runs after Close")
	}
	fire() // as if it had been about to
	Emit(b, qapi.EventStop, qapi.Empty{})
	balloon(b, 3)
	expect(t, r, `"actual": 1}`)
}

// TestHostClock sees the real clock hold an event back for about its interval.
func TestHostClock(t *testing.T) {
	b := NewBroker()
	defer b.Close()
	got := make(chan time.Time, 2)
	b.Subscribe(sinkFunc(func(Message) { got <- time.Now() }))
	balloon(b, 1)
	balloon(b, 2)
	first := <-got
	if d := (<-got).Sub(first); d < qapi.EventInterval*time.Second/2 {
		t.Errorf("the second event came after %v", d)
	}
}

type sink struct{ f func(Message) }

func (s *sink) Deliver(m Message) { s.f(m) }

func sinkFunc(f func(Message)) Sink { return &sink{f} }

// TestConcurrent emits from many goroutines: every sink sees the same order.
func TestConcurrent(t *testing.T) {
	b, _, r := newTest()
	other := &record{}
	b.Subscribe(other)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for j := range 50 {
				Emit(b, qapi.EventGuestPanicked, qapi.GuestPanickedEvent{Action: qapi.GuestPanicActionRun})
				vserport(b, fmt.Sprint(i, j), true)
			}
		})
	}
	wg.Wait()
	if len(r.lines) != 800 || !slices.Equal(r.lines, other.lines) {
		t.Errorf("%d and %d events", len(r.lines), len(other.lines))
	}
}

type count int

func (c *count) Deliver(m Message) { *c += count(len(m.Compact)) }

func BenchmarkEmit(b *testing.B) {
	br := NewBroker()
	for range 10 {
		br.Subscribe(new(count))
	}
	b.ReportAllocs()
	for b.Loop() {
		Emit(br, qapi.EventStop, qapi.Empty{})
	}
}
