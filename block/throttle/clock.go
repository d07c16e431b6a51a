package throttle

import "time"

// Clock is the time that limits are kept by. A nil one is the host's.
type Clock interface {
	// Elapsed returns how far the clock has gone since some point.
	Elapsed() time.Duration
	// AfterFunc has f run when the clock has gone on by d.
	AfterFunc(d time.Duration, f func()) (stop func() bool)
}

var started = time.Now()

// now returns what a clock shows.
func now(c Clock) time.Duration {
	if c == nil {
		return time.Since(started)
	}
	return c.Elapsed()
}

// timer runs a function later, again and again without allocation on the host's clock.
type timer struct {
	clock Clock
	run   func()
	host  *time.Timer
	stop  func() bool
}

func (t *timer) set(d time.Duration) {
	switch {
	case t.clock != nil:
		t.stop = t.clock.AfterFunc(d, t.run)
	case t.host == nil:
		t.host = time.AfterFunc(d, t.run)
	default:
		t.host.Reset(d)
	}
}

// cancel has the function not run, unless it runs already.
func (t *timer) cancel() {
	if t.stop != nil {
		t.stop()
	}
	if t.host != nil {
		t.host.Stop()
	}
}
