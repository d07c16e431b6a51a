// Package vclock is a clock that stands still until it is told to go on: the time of a
// machine that qtest drives.
//
// Anything may be asked of a Clock from any goroutine, but one at a time may advance
// it: timers run on that one's goroutine, without locks, each at its own time and in
// the order of their times.
//
// It depends on nothing of ours.
package vclock

import (
	"cmp"
	"slices"
	"sync"
	"time"
)

// Clock is a virtual clock.
type Clock struct {
	base time.Time

	mu     sync.Mutex
	now    time.Duration
	timers []*timer // the next first; those of one time in the order they were made
}

type timer struct {
	at  time.Duration
	run func()
}

// New returns a clock that shows base.
func New(base time.Time) *Clock { return &Clock{base: base} }

// Now returns the time that the clock shows.
func (c *Clock) Now() time.Time { return c.base.Add(c.Elapsed()) }

// Elapsed returns how far the clock has gone since it was made.
func (c *Clock) Elapsed() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

// AfterFunc has f run when the clock has gone on by d. The function returned cancels
// that if it has not begun.
func (c *Clock) AfterFunc(d time.Duration, f func()) (stop func() bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	t := &timer{at: later(c.now, max(d, 0)), run: f}
	i, _ := slices.BinarySearchFunc(c.timers, t.at, func(o *timer, at time.Duration) int {
		if o.at <= at {
			return -1
		}
		return cmp.Compare(o.at, at)
	})
	c.timers = slices.Insert(c.timers, i, t)
	return func() bool { return c.cancel(t) }
}

// later adds without going round.
func later(a, b time.Duration) time.Duration {
	if sum := a + b; sum >= a {
		return sum
	}
	return 1<<63 - 1
}

func (c *Clock) cancel(t *timer) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	i := slices.Index(c.timers, t)
	if i >= 0 {
		c.timers = slices.Delete(c.timers, i, i+1)
	}
	return i >= 0
}

// Deadline returns when the next timer is due, on the scale of Elapsed.
func (c *Clock) Deadline() (time.Duration, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.timers) == 0 {
		return 0, false
	}
	return c.timers[0].at, true
}

// Advance moves the clock to a time on the scale of Elapsed and runs what is due on the
// way. To a time that has passed it only runs what is due now.
func (c *Clock) Advance(to time.Duration) {
	for t := c.next(to); t != nil; t = c.next(to) {
		t.run()
	}
}

// next moves the clock to its next timer, and takes that, or to the end.
func (c *Clock) next(to time.Duration) *timer {
	c.mu.Lock()
	defer c.mu.Unlock()
	to = max(to, c.now)
	if len(c.timers) == 0 || c.timers[0].at > to {
		c.now = to
		return nil
	}
	t := c.timers[0]
	c.timers = slices.Delete(c.timers, 0, 1)
	c.now = t.at
	return t
}
