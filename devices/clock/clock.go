// Package clock is where devices take time from: the host's clock, or one that a test or
// the qtest protocol moves. Its methods may be called concurrently. It depends on nothing.
package clock

import "time"

// Clock tells the time and runs functions later.
type Clock interface {
	// Now returns the time.
	Now() time.Time
	// AfterFunc runs f on its own goroutine after d. The function returned cancels that
	// if it has not begun.
	AfterFunc(d time.Duration, f func()) (stop func() bool)
}

// Host is the host's clock.
type Host struct{}

// Now returns the host's time.
func (Host) Now() time.Time { return time.Now() }

// AfterFunc runs f after d of the host's time.
func (Host) AfterFunc(d time.Duration, f func()) (stop func() bool) {
	return time.AfterFunc(d, f).Stop
}
