package account

import (
	"slices"
	"sync"
	"testing"
	"time"
)

// still is a clock that tests move.
type still struct{ now time.Duration }

func (c *still) Elapsed() time.Duration { return c.now }

// TestCounts: queues and others add up, also once a queue has ended.
func TestCounts(t *testing.T) {
	clock := &still{time.Second}
	s := New(Config{Clock: clock})
	if _, ok := s.Idle(); ok {
		t.Error("idle before anything was done")
	}
	q := s.Queue()
	q.Done(Read, 512, 0, 100, false)
	q.Done(Read, 1024, 100, 300, true)
	s.Done(Read, 512, time.Second-5, false)
	q.Invalid(Write)
	s.Invalid(Write)
	check := func() {
		t.Helper()
		if got, want := s.Total(Read), (Count{Bytes: 1024, Operations: 2, Time: 305, Failed: 1}); got != want {
			t.Errorf("reads %+v, want %+v", got, want)
		}
		if got, want := s.Total(Write), (Count{Invalid: 2}); got != want {
			t.Errorf("writes %+v, want %+v", got, want)
		}
	}
	check()
	clock.now += time.Minute
	if idle, ok := s.Idle(); !ok || idle != time.Minute {
		t.Errorf("idle for %v, %v", idle, ok)
	}
	q.End()
	check()
}

// TestSkips: what does not count neither takes time nor ends idleness.
func TestSkips(t *testing.T) {
	for _, skip := range []bool{false, true} {
		clock := &still{time.Second}
		s := New(Config{Clock: clock, Latency: time.Millisecond, Intervals: []time.Duration{time.Second}, SkipInvalid: skip, SkipFailed: skip})
		s.Invalid(Read)
		if _, ok := s.Idle(); ok == skip {
			t.Errorf("skip %v: an invalid request ends idleness: %v", skip, ok)
		}
		s.Done(Write, 1, 0, true)
		want := Count{Failed: 1, Time: int64(time.Millisecond)}
		if skip {
			want.Time = 0
		}
		if got := s.Total(Write); got != want {
			t.Errorf("skip %v: %+v, want %+v", skip, got, want)
		}
		if got := s.Intervals()[0].Kinds[Write].Max; (got == 0) != skip {
			t.Errorf("skip %v: the longest write took %v", skip, got)
		}
		s.SetSkips(!skip, !skip)
		if invalid, failed := s.Skips(); invalid == skip || failed == skip {
			t.Errorf("skips %v, %v", invalid, failed)
		}
	}
}

// TestIntervals: averages are of what ended within the time, and no more.
func TestIntervals(t *testing.T) {
	clock := &still{time.Hour}
	s := New(Config{Clock: clock, Intervals: []time.Duration{10 * time.Second, time.Minute}})
	all := s.Intervals()
	if len(all) != 2 || all[0].Length != time.Minute || all[1].Length != 10*time.Second {
		t.Fatalf("intervals %+v", all)
	}
	at := func() Average { return s.Intervals()[1].Kinds[Read] }
	if at() != (Average{}) {
		t.Errorf("before anything was done: %+v", at())
	}
	for _, took := range []time.Duration{time.Second, 3 * time.Second, 2 * time.Second} {
		s.Done(Read, 512, clock.now-took, false)
	}
	clock.now += 4 * time.Second
	if got := at(); got.Min != time.Second || got.Max != 3*time.Second || got.Mean != 2*time.Second || got.Depth <= 0 {
		t.Errorf("soon after: %+v", got)
	}
	clock.now += 4 * time.Second
	if got := at(); got.Mean != 2*time.Second {
		t.Errorf("8 s after: %+v", got)
	}
	clock.now += 20 * time.Second
	if at() != (Average{}) {
		t.Errorf("long after: %+v", at())
	}
	if got := s.Intervals()[0].Kinds[Read].Mean; got != 2*time.Second {
		t.Errorf("over a minute: %v", got)
	}
}

func TestHistogram(t *testing.T) {
	s := New(Config{Clock: &still{time.Hour}})
	if _, ok := s.Histogram(Read); ok {
		t.Error("a histogram that nobody asked for")
	}
	for _, bad := range [][]uint64{{0}, {1, 1}, {2, 1}} {
		if s.SetHistogram(Read, bad) == nil {
			t.Errorf("boundaries %v were taken", bad)
		}
	}
	if err := s.SetHistogram(Read, []uint64{10, 50, 100}); err != nil {
		t.Fatal(err)
	}
	q := s.Queue()
	for _, took := range []time.Duration{0, 9, 10, 49, 50, 99, 100, time.Hour} {
		q.Done(Read, 512, 0, took, false)
	}
	q.Done(Write, 512, 0, 1, false)
	if h, ok := s.Histogram(Read); !ok || !slices.Equal(h.Bins, []uint64{2, 2, 2, 2}) || len(h.Boundaries) != 3 {
		t.Errorf("histogram %v, %v", h, ok)
	}
	if err := s.SetHistogram(Read, nil); err != nil {
		t.Fatal(err)
	}
	q.Done(Read, 512, 0, 1, false)
	if h, _ := s.Histogram(Read); !slices.Equal(h.Bins, []uint64{1}) {
		t.Errorf("one bin: %v", h)
	}
	s.ClearHistograms()
	if _, ok := s.Histogram(Read); ok {
		t.Error("a histogram stays")
	}
}

// TestTogether: all may be called at once.
func TestTogether(t *testing.T) {
	s := New(Config{Intervals: []time.Duration{time.Second}})
	if err := s.SetHistogram(Write, []uint64{1}); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			q := s.Queue()
			for range 1000 {
				q.Done(Write, 1, 0, s.Now(), false)
				s.Done(Write, 1, s.Now(), false)
			}
			q.End()
		})
	}
	for range 100 {
		s.Total(Write)
		s.Idle()
		s.Intervals()
		s.Histogram(Write)
	}
	wg.Wait()
	if got := s.Total(Write).Operations; got != 8000 {
		t.Errorf("%d operations, want 8000", got)
	}
}

func BenchmarkDone(b *testing.B) {
	for _, x := range []struct {
		name string
		cfg  Config
	}{{"plain", Config{}}, {"intervals", Config{Intervals: []time.Duration{time.Second, time.Minute}}}} {
		b.Run(x.name, func(b *testing.B) {
			b.ReportAllocs()
			s := New(x.cfg)
			q := s.Queue()
			for b.Loop() {
				q.Done(Read, 4096, 0, 1000, false)
			}
		})
	}
}
