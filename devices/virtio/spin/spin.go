// Package spin decides how long a queue's worker looks for work before it sleeps.
//
// A guest that answers a completion at once with its next request would otherwise pay for an
// exit to kick the worker, and the worker for being woken. The time is learnt: it grows
// while work comes soon after falling asleep, and is nothing once the guest is slow, so
// that an idle VM costs nothing. The rule and the bound are those of QEMU's I/O threads
// (poll-max-ns).
//
// A Spin belongs to one worker. It depends on nothing.
package spin

import "time"

// Max is the longest time that is spent looking, and first the shortest.
const (
	Max   = 32768 * time.Nanosecond
	first = 4 * time.Microsecond
)

// Spin is what a worker has learnt. Its zero value is ready for use.
type Spin struct {
	limit time.Duration
	began time.Time // of the look for work that is under way
}

// looks is how often work is looked for between two looks at the clock.
const looks = 32

// For looks for work until there is some, and returns false when it is time to
// sleep. ready must be cheap.
func (s *Spin) For(ready func() bool) bool {
	if ready() {
		return true
	}
	s.began = time.Now()
	for s.limit > 0 {
		for range looks {
			if ready() {
				return true
			}
		}
		if time.Since(s.began) >= s.limit {
			break
		}
	}
	return false
}

// Woke learns from a sleep that followed For and ended just now with work to do.
func (s *Spin) Woke() {
	if s.began.IsZero() {
		return
	}
	switch waited := time.Since(s.began); {
	case waited <= s.limit:
	case waited > Max:
		s.limit = 0
	default:
		s.limit = min(max(2*s.limit, first), Max)
	}
	s.began = time.Time{}
}
