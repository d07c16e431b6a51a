package vclock

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

var epoch = time.Date(2020, 2, 29, 23, 59, 59, 0, time.UTC)

func TestStandsStill(t *testing.T) {
	c := New(epoch)
	c.AfterFunc(0, func() { t.Error("a timer ran though nobody advanced the clock") })
	if _, ok := c.Deadline(); !ok || !c.Now().Equal(epoch) || c.Elapsed() != 0 {
		t.Errorf("shows %v after %v", c.Now(), c.Elapsed())
	}
}

func TestTimersRunInOrderAtTheirTimes(t *testing.T) {
	c := New(epoch)
	var ran []time.Duration
	for range 200 {
		d := time.Duration(rand.IntN(50))
		c.AfterFunc(d, func() {
			if c.Elapsed() != d {
				t.Errorf("a timer of %d ran at %d", d, c.Elapsed())
			}
			ran = append(ran, d)
		})
	}
	c.Advance(20)
	early := len(ran)
	c.Advance(1000)
	if len(ran) != 200 || !slices.IsSorted(ran) || early > 0 && ran[early-1] > 20 || early < 200 && ran[early] <= 20 {
		t.Errorf("%d ran until 20, in all %v", early, ran)
	}
	if c.Elapsed() != 1000 || !c.Now().Equal(epoch.Add(1000)) {
		t.Errorf("ends at %v", c.Elapsed())
	}
}

// TestTimersOfOneTime run in the order in which they were made.
func TestTimersOfOneTime(t *testing.T) {
	c := New(epoch)
	var ran []int
	for i := range 10 {
		c.AfterFunc(5, func() { ran = append(ran, i) })
	}
	c.Advance(5)
	if !slices.Equal(ran, []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}) {
		t.Errorf("ran in order %v", ran)
	}
}

func TestTimersMakeTimers(t *testing.T) {
	c := New(epoch)
	var ran []time.Duration
	var tick func()
	tick = func() {
		ran = append(ran, c.Elapsed())
		c.AfterFunc(10, tick)
	}
	c.AfterFunc(10, tick)
	c.Advance(35)
	if !slices.Equal(ran, []time.Duration{10, 20, 30}) {
		t.Errorf("ticked at %v", ran)
	}
	if at, ok := c.Deadline(); !ok || at != 40 {
		t.Errorf("the next tick is at %v, %v", at, ok)
	}
}

func TestCancel(t *testing.T) {
	c := New(epoch)
	stop := c.AfterFunc(1, func() { t.Error("a cancelled timer ran") })
	var second func() bool
	c.AfterFunc(1, func() {
		if !second() {
			t.Error("a timer due at the same time cannot be cancelled any more")
		}
	})
	second = c.AfterFunc(1, func() { t.Error("a timer ran that one before it cancelled") })
	if !stop() || stop() {
		t.Error("cancelling works not once")
	}
	c.Advance(10)
	if _, ok := c.Deadline(); ok {
		t.Error("a timer is left")
	}
}

func TestNeverGoesBack(t *testing.T) {
	c := New(epoch)
	c.Advance(100)
	ran := false
	c.AfterFunc(-5, func() { ran = true })
	c.Advance(50)
	if !ran || c.Elapsed() != 100 {
		t.Errorf("at %v; what was due ran: %v", c.Elapsed(), ran)
	}
	c.AfterFunc(1<<63-1, func() {})
	if at, _ := c.Deadline(); at != 1<<63-1 {
		t.Errorf("a timer beyond the end of time is due at %v", at)
	}
}
