// Package turn spares Go's scheduler the watching of busy threads.
//
// A goroutine that is not rescheduled for 10 ms loses its slot whenever the runtime's monitor
// finds it in a system call, for as long as it goes on; and a monitor that found something
// looks again after 20 µs, which takes some 6% of a processor. A worker or vCPU that takes
// turns is left alone.
//
// It depends on nothing.
package turn

import (
	"runtime"
	"time"
)

// length is how long a turn is at least. What is left of the 10 ms is for what a thread does
// between two looks; a goroutine on a locked thread pays some 25 µs for each pass.
const length = 7 * time.Millisecond

// start is what turns are timed from: one look at the monotonic clock is cheaper than a
// time.Now.
var start = time.Now()

// Turn belongs to one goroutine. Its zero value is ready for use.
type Turn struct{ began time.Duration }

// Pass lets others run if the turn is over.
func (t *Turn) Pass() {
	if t.over(time.Since(start)) {
		runtime.Gosched()
	}
}

// over reports whether the turn is over, and begins another one then.
func (t *Turn) over(now time.Duration) bool {
	if now-t.began < length {
		return false
	}
	t.began = now
	return true
}
