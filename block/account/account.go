// Package account counts what a disk does: requests, bytes and time by kind, the same over
// the last seconds, and how many requests took how long.
//
// Each queue has a Counts, which one goroutine adds to without locks, and others read;
// everybody else adds to the Stats itself. Averages over time and histograms take a lock
// for each request, if there are any. What is counted is what QEMU counts
// (block/accounting.c, docs and qapi/block-core.json there). Nothing is allocated for a
// request. It depends on nothing of ours.
package account

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Kind is a kind of requests that are counted together.
type Kind int

// The kinds. Zeroes count as writes.
const (
	Read Kind = iota
	Write
	Flush
	Unmap
	kinds
)

// Count is what was counted of a kind.
type Count struct{ Bytes, Operations, Time, Failed, Invalid int64 }

// Clock is the time that is counted by.
type Clock interface{ Elapsed() time.Duration }

// Config says what is counted.
type Config struct {
	// Clock is nil for the host's.
	Clock Clock
	// Latency is what each request takes, rather than what the clock says; 0 for that.
	Latency time.Duration
	// Intervals are the times over which averages are wanted.
	Intervals []time.Duration
	// SkipInvalid has requests that cannot be carried out not end the time of idleness.
	SkipInvalid bool
	// SkipFailed has those that failed neither end it, nor count for times.
	SkipFailed bool
}

// Stats is what was counted of a disk.
type Stats struct {
	clock                   Clock
	latency                 time.Duration
	begun                   time.Time
	skipInvalid, skipFailed atomic.Bool
	detailed                atomic.Bool // there are intervals or histograms

	mu         sync.Mutex
	own        Counts
	queues     []*Counts
	intervals  []*interval
	histograms [kinds]*histogram
}

// New returns statistics in which nothing is counted yet.
func New(cfg Config) *Stats {
	s := &Stats{clock: cfg.Clock, latency: cfg.Latency, begun: time.Now()}
	s.own.stats = s
	s.skipInvalid.Store(cfg.SkipInvalid)
	s.skipFailed.Store(cfg.SkipFailed)
	for _, d := range cfg.Intervals {
		s.intervals = slices.Insert(s.intervals, 0, newInterval(d, s.Now()))
	}
	s.detailed.Store(len(cfg.Intervals) > 0)
	return s
}

// Now returns the time, which goes on from some point.
func (s *Stats) Now() time.Duration {
	if s.clock != nil {
		return s.clock.Elapsed()
	}
	return time.Since(s.begun)
}

// Skips reports which requests do not end the time of idleness.
func (s *Stats) Skips() (invalid, failed bool) { return s.skipInvalid.Load(), s.skipFailed.Load() }

// SetSkips changes what Skips reports.
func (s *Stats) SetSkips(invalid, failed bool) {
	s.skipInvalid.Store(invalid)
	s.skipFailed.Store(failed)
}

// Queue returns what one goroutine counts in, until it is ended.
func (s *Stats) Queue() *Counts {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := &Counts{stats: s}
	s.queues = append(s.queues, c)
	return c
}

// Done counts a request that began at a time, and ends now.
func (s *Stats) Done(k Kind, bytes int64, began time.Duration, failed bool) {
	s.mu.Lock()
	detail := s.own.done(k, bytes, began, s.Now(), failed)
	s.mu.Unlock()
	if detail > 0 {
		s.detail(k, detail, failed)
	}
}

// Invalid counts a request that cannot be carried out.
func (s *Stats) Invalid(k Kind) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.own.Invalid(k)
}

// Total returns what was counted so far of a kind.
func (s *Stats) Total(k Kind) Count {
	s.mu.Lock()
	defer s.mu.Unlock()
	sum := s.own.kinds[k].load()
	for _, q := range s.queues {
		c := q.kinds[k].load()
		sum.Bytes += c.Bytes
		sum.Operations += c.Operations
		sum.Time += c.Time
		sum.Failed += c.Failed
		sum.Invalid += c.Invalid
	}
	return sum
}

// Idle returns how long ago the last request ended; false if there was none.
func (s *Stats) Idle() (time.Duration, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	last := s.own.last.Load()
	for _, q := range s.queues {
		last = max(last, q.last.Load())
	}
	return s.Now() - time.Duration(last), last > 0
}

// Counts is what one goroutine counts.
type Counts struct {
	stats *Stats
	kinds [kinds]counters
	last  atomic.Int64 // when the last request ended
}

type counters struct{ bytes, operations, time, failed, invalid atomic.Int64 }

func (c *counters) load() Count {
	return Count{c.bytes.Load(), c.operations.Load(), c.time.Load(), c.failed.Load(), c.invalid.Load()}
}

// Done counts a request that has ended.
func (c *Counts) Done(k Kind, bytes int64, began, now time.Duration, failed bool) {
	if detail := c.done(k, bytes, began, now, failed); detail > 0 {
		c.stats.detail(k, detail, failed)
	}
}

// done counts, and returns how long the request took if anybody wants to know.
func (c *Counts) done(k Kind, bytes int64, began, now time.Duration, failed bool) (detail time.Duration) {
	took := now - began
	if c.stats.latency > 0 {
		took = c.stats.latency
	}
	x := &c.kinds[k]
	if failed {
		add(&x.failed, 1)
	} else {
		add(&x.bytes, bytes)
		add(&x.operations, 1)
	}
	if !failed || !c.stats.skipFailed.Load() {
		add(&x.time, int64(took))
		c.last.Store(int64(now))
	}
	if c.stats.detailed.Load() {
		return max(took, 1)
	}
	return 0
}

// add is for the one goroutine that adds: it need not be atomic towards others.
func add(to *atomic.Int64, n int64) { to.Store(to.Load() + n) }

// Invalid counts a request that cannot be carried out.
func (c *Counts) Invalid(k Kind) {
	add(&c.kinds[k].invalid, 1)
	if !c.stats.skipInvalid.Load() {
		c.last.Store(int64(c.stats.Now()))
	}
}

// End hands what was counted over: nothing more comes.
func (c *Counts) End() {
	s := c.stats
	s.mu.Lock()
	defer s.mu.Unlock()
	s.queues = slices.DeleteFunc(s.queues, func(x *Counts) bool { return x == c })
	for k := range c.kinds {
		to, from := &s.own.kinds[k], c.kinds[k].load()
		add(&to.bytes, from.Bytes)
		add(&to.operations, from.Operations)
		add(&to.time, from.Time)
		add(&to.failed, from.Failed)
		add(&to.invalid, from.Invalid)
	}
	s.own.last.Store(max(s.own.last.Load(), c.last.Load()))
}
