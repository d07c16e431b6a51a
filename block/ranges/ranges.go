// Package ranges keeps requests apart that must not touch the same bytes at once.
//
// A Lock is for any goroutine; nothing is allocated once as many requests were there
// together as ever will be. It depends on nothing of ours.
package ranges

import "sync"

// Lock is which ranges are in use. Shared users exclude exclusive ones, and those each
// other, where they overlap.
type Lock struct {
	mu    sync.Mutex
	freed sync.Cond
	spans []span
}

type span struct {
	off, end  int64 // end is 0 for none
	exclusive bool
}

// Lock waits until n bytes at off can be had, and returns what to unlock.
func (l *Lock) Lock(off, n int64, exclusive bool) (key int) {
	want := span{off, off + n, exclusive}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.freed.L = &l.mu
	for {
		place, busy := l.look(want)
		if !busy {
			l.spans[place] = want
			return place
		}
		l.freed.Wait()
	}
}

// look returns a free place, or that a span is in the way.
func (l *Lock) look(want span) (place int, busy bool) {
	place = -1
	for i, s := range l.spans {
		switch {
		case s.end == 0:
			place = i
		case s.off < want.end && want.off < s.end && (s.exclusive || want.exclusive):
			return 0, true
		}
	}
	if place < 0 {
		place = len(l.spans)
		l.spans = append(l.spans, span{})
	}
	return place, false
}

// Unlock gives a range up.
func (l *Lock) Unlock(key int) {
	l.mu.Lock()
	l.spans[key] = span{}
	l.mu.Unlock()
	l.freed.Broadcast()
}
