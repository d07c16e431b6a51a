package spin

import (
	"testing"
	"time"
)

func never() bool { return false }

// slept is a Spin whose look for work began so long ago.
func slept(limit, ago time.Duration) *Spin {
	return &Spin{limit: limit, began: time.Now().Add(-ago)}
}

func TestLearning(t *testing.T) {
	for what, c := range map[string]struct{ limit, ago, min, max time.Duration }{
		"work comes soon":       {0, time.Microsecond, first, first},
		"and sooner than that":  {Max, 0, Max, Max},
		"again, a little later": {first, 10 * time.Microsecond, 2 * first, 2 * first},
		"up to the bound":       {Max - 1, Max - time.Microsecond, Max - 1, Max},
		"the guest is idle":     {Max, time.Second, 0, 0},
	} {
		s := slept(c.limit, c.ago)
		s.Woke()
		// A test that is held up by the machine sees an idle guest.
		if s.limit != 0 && (s.limit < c.min || s.limit > c.max) {
			t.Errorf("%s: %s", what, s.limit)
		}
		if c.max == 0 && s.limit != 0 {
			t.Errorf("%s: still looks for %s", what, s.limit)
		}
	}
	s := &Spin{limit: first}
	s.Woke() // of a sleep that nobody looked before
	if s.limit != first {
		t.Error("learnt from nothing")
	}
}

func TestFor(t *testing.T) {
	s := &Spin{}
	calls := 0
	if s.For(func() bool { calls++; return false }) || calls != 1 {
		t.Errorf("a worker that has learnt nothing looked %d times", calls)
	}
	s.limit = Max
	calls = 0
	if !s.For(func() bool { calls++; return calls == 3 }) || calls != 3 {
		t.Errorf("looked %d times for work that was there", calls)
	}
	if s.For(never) {
		t.Error("found nothing to do, and does it")
	}
}

// TestTrial: looks that find too little for what they cost are not taken for a while, longer
// each time, until they find enough again.
func TestTrial(t *testing.T) {
	var tr trial
	looks := func(found int, each time.Duration) {
		for i := range trialLooks {
			tr.ended(i < found, each, Max)
		}
	}
	for i, c := range []struct {
		found int
		each  time.Duration
		pause int
	}{
		{trialLooks, Max, 0},
		{trialLooks / 2, Max / 2, 0},
		{trialLooks / 2, Max, minPause},
		{1, Max, 2 * minPause},
		{trialLooks, 1, 0},
		{0, 1, minPause},
	} {
		if looks(c.found, c.each); tr.skip != c.pause || tr.looks != 0 {
			t.Errorf("trial %d: %d looks are not taken, in place of %d", i, tr.skip, c.pause)
		}
	}
	for range 20 {
		looks(0, 1)
	}
	if tr.skip != maxPause {
		t.Errorf("%d looks are not taken after many bad trials", tr.skip)
	}
}

// TestSkip: a worker that does not look sees what is there already.
func TestSkip(t *testing.T) {
	s := &Spin{limit: Max, trial: trial{skip: 2}}
	for range 2 {
		calls := 0
		if s.For(func() bool { calls++; return false }) || calls != 1 {
			t.Errorf("looked %d times", calls)
		}
	}
	calls := 0
	if !s.For(func() bool { calls++; return calls == 3 }) {
		t.Error("does not look again")
	}
	s.trial.skip = 1
	if !s.For(func() bool { return true }) {
		t.Error("does not see what is there")
	}
}

func BenchmarkNothing(b *testing.B) {
	s := &Spin{}
	b.ReportAllocs()
	for b.Loop() {
		s.For(never)
		s.Woke()
		s.limit = 0
	}
}
