// Package spin decides how long a queue's worker looks for work before it sleeps.
//
// A guest that answers a completion at once with its next request would otherwise pay for an
// exit to kick the worker, and the worker for being woken. The time is learnt: it grows
// while work comes soon after falling asleep, and is nothing once the guest is slow, so
// that an idle VM costs nothing. The rule and the bound are those of QEMU's I/O threads
// (poll-max-ns).
//
// Looking that finds little does harm where processors are scarce: whoever is to make the
// work may be waiting for the one that is spent on looking, so that what comes soon after
// looking has ended teaches to look on. So looks are judged by what they cost too, and not
// taken for a while if that is too much.
//
// A Spin belongs to one worker. It depends on nothing.
package spin

import "time"

// Max is the longest time that is spent looking, unless a Rule says otherwise, and first the shortest.
const (
	Max   = 32768 * time.Nanosecond
	first = 4 * time.Microsecond
)

// Rule says how the time is learnt.
type Rule struct {
	Max    time.Duration // 0 never looks
	Grow   int64         // by what the time is multiplied that was too short, 2 if it is 0
	Shrink int64         // by what it is divided when sleeps are long; 0 has it be nothing
}

// Spin is what a worker has learnt. Its zero value is ready for use.
type Spin struct {
	limit time.Duration
	began time.Time // of the look for work that is under way
	rule  *Rule     // nil for that of a worker of its own
	trial trial
}

// trial is how the latest looks went.
type trial struct {
	looks, found int
	spent        time.Duration
	skip         int // looks that are not taken any more
	pause        int // how many those were first
}

const (
	// trialLooks is after how many looks they are judged.
	trialLooks = 32
	// minPause and maxPause are how many looks are not taken after a trial that went badly, and
	// after many.
	minPause, maxPause = 256, 16384
)

// ended notes a look, and judges if it is time for that: what is found may cost as much as
// the longest look.
func (t *trial) ended(found bool, spent, most time.Duration) {
	t.looks++
	t.spent += spent
	if found {
		t.found++
	}
	if t.looks < trialLooks {
		return
	}
	pause := 0
	if t.spent > time.Duration(t.found)*most {
		pause = min(max(2*t.pause, minPause), maxPause)
	}
	*t = trial{skip: pause, pause: pause}
}

// SetRule has the spin learn by another rule.
func (s *Spin) SetRule(r Rule) {
	s.rule = &r
	s.limit = min(s.limit, r.Max)
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
	if s.trial.skip > 0 {
		s.trial.skip--
		return false
	}
	if s.limit == 0 {
		return false
	}
	found, spent := s.look(ready)
	s.trial.ended(found, spent, s.bounds().Max)
	return found
}

// look looks for work until there is some or the time is over, and returns how long that took.
func (s *Spin) look(ready func() bool) (found bool, spent time.Duration) {
	for {
		for range looks {
			if ready() {
				return true, time.Since(s.began)
			}
		}
		if spent = time.Since(s.began); spent >= s.limit {
			return false, spent
		}
	}
}

// bounds is the rule.
func (s *Spin) bounds() Rule {
	if s.rule != nil {
		return *s.rule
	}
	return Rule{Max: Max}
}

// Woke learns from a sleep that followed For and ended just now with work to do.
func (s *Spin) Woke() {
	if s.began.IsZero() {
		return
	}
	rule := s.bounds()
	switch waited := time.Since(s.began); {
	case waited <= s.limit:
	case waited > rule.Max && rule.Shrink > 0:
		s.limit /= time.Duration(rule.Shrink)
	case waited > rule.Max:
		s.limit = 0
	default:
		s.limit = min(max(s.limit*time.Duration(rule.grow()), first), rule.Max)
	}
	s.began = time.Time{}
}

func (r *Rule) grow() int64 {
	if r.Grow <= 0 {
		return 2
	}
	return min(r.Grow, 1<<20)
}
