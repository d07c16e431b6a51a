package server

import (
	"slices"
	"sync"
	"time"
)

// crier writes the events of a tape to all clients that can be written to without waiting.
// It goes round them with one copy of the latest events, so that what a client costs is a
// system call, and commands never find more than one processor busy with events. It has a
// goroutine; for a few clients, who makes an event does the round.
type crier struct {
	t    *tape
	rest *time.Timer

	busy sync.Mutex // held by who goes round, taken before the locks of outboxes and the tape

	buf      []byte // the events of this round
	from, to uint64 // positions
	hasty    bool   // there is more than that
	own      []byte // events of one client that lags behind
	members  []*outbox
}

// A round goes from one stretch of clients to the next. In a crowd of more than one
// stretch the crier rests after each for as long as it took, so that commands come before
// events even where there is one processor; but not for long, nor if there is more than a
// round takes, since the events must be got rid of on a machine that is busy otherwise, too.
const (
	stretch  = 64
	longRest = 2 * time.Millisecond
)

// wideRound is how much of the events a round has at most.
const wideRound = 64 << 10

func newCrier(t *tape) *crier {
	c := &crier{t: t, rest: time.NewTimer(0)}
	c.rest.Stop()
	return c
}

// run goes round whenever there is news, until stop is closed.
func (c *crier) run(stop <-chan struct{}) {
	defer c.rest.Stop()
	for {
		select {
		case <-c.t.news:
		case <-stop:
			return
		}
		if !c.rounds(stop) {
			return
		}
	}
}

// rounds goes round until nothing is new, and tells whether that is done before the end.
func (c *crier) rounds(stop <-chan struct{}) bool {
	c.busy.Lock()
	defer c.busy.Unlock()
	for c.begin() {
		if !c.round(stop) {
			return false
		}
	}
	return true
}

// tryRound goes round once, unless somebody does already.
func (c *crier) tryRound() bool {
	if !c.busy.TryLock() {
		return false
	}
	defer c.busy.Unlock()
	return !c.begin() || c.round(nil) && !c.hasty
}

// begin takes what is new, and tells whether there is something.
func (c *crier) begin() bool {
	t := c.t
	t.mu.Lock()
	defer t.mu.Unlock()
	start := t.end - uint64(len(t.buf))
	c.from = max(c.to, start)
	c.to = min(c.from+wideRound, t.end)
	c.hasty = c.to < t.end
	c.buf = append(c.buf[:0], t.buf[c.from-start:c.to-start]...)
	again := t.nudged
	t.nudged = false
	if !again && len(c.buf) == 0 {
		return false
	}
	// Like QEMU's monitors, the latest is the first to hear.
	c.members = append(c.members, t.members...)
	slices.Reverse(c.members)
	return true
}

// round writes to all, and tells whether that is done before the end.
func (c *crier) round(stop <-chan struct{}) bool {
	defer func() {
		clear(c.members)
		c.members = c.members[:0]
	}()
	for left := c.members; ; {
		n := min(stretch, len(left))
		began := time.Now()
		for _, o := range left[:n] {
			o.cry(c)
		}
		if len(c.members) > stretch && !c.hasty {
			c.rest.Reset(min(time.Since(began), longRest))
			select {
			case <-c.rest.C:
			case <-stop:
				return false
			}
		}
		if left = left[n:]; len(left) == 0 {
			return true
		}
	}
}

// events takes what an outbox has not got of this round's events, or of earlier ones. The
// caller has the outbox's lock.
func (c *crier) events(o *outbox) []byte {
	t := c.t
	t.mu.Lock()
	defer t.mu.Unlock()
	if !o.member {
		return nil
	}
	end := c.to
	if o.stops {
		end = min(end, o.last)
	}
	if o.at >= end {
		return nil
	}
	if o.at < c.from {
		end = min(end, o.at+wideRound)
		start := t.end - uint64(len(t.buf))
		c.own = append(c.own[:0], t.buf[o.at-start:end-start]...)
		o.at = end
		return c.own
	}
	b := c.buf[o.at-c.from : end-c.from]
	o.at = end
	return b
}
