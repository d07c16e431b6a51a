package server

import (
	"context"
	"io"
	"sync"
)

// outbox holds what waits to be written to a client, in order. Anybody may add
// to it and nobody waits for that. At most one goroutine writes at a time, all
// that is there in one call.
type outbox struct {
	w     io.Writer
	limit int
	wake  chan struct{} // tells the writing goroutine that there is something

	mu       sync.Mutex
	changed  sync.Cond // signalled when less waits, or less is owed
	pending  []byte
	spare    []byte // the buffer that was written last
	flying   int    // bytes being written
	owed     int    // commands taken and not answered yet
	draining bool   // no more commands are taken
	closed   bool   // nothing more is written
}

// keepBuffer is what is kept of a buffer that was written.
const keepBuffer = 64 << 10

func newOutbox(w io.Writer, limit int) *outbox {
	o := &outbox{w: w, limit: limit, wake: make(chan struct{}, 1)}
	o.changed.L = &o.mu
	return o
}

// owe notes that a command was taken, for which a reply will be added. It
// returns false if none may be taken any more.
func (o *outbox) owe() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.draining {
		return false
	}
	o.owed++
	return true
}

// reply adds the reply to a command that was taken. It returns how much waits.
func (o *outbox) reply(msg []byte) int {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.owed--
	if !o.closed {
		o.pending = append(o.pending, msg...)
	}
	if o.draining {
		o.ring()
		o.changed.Broadcast()
	}
	return len(o.pending) + o.flying
}

// event adds an event, and has it written. It returns false if the client is too
// far behind.
func (o *outbox) event(msg []byte) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed {
		return true
	}
	if len(o.pending)+o.flying > o.limit {
		return false
	}
	o.pending = append(o.pending, msg...)
	if o.flying == 0 {
		o.ring()
	}
	return true
}

// ring asks the writing goroutine to flush.
func (o *outbox) ring() {
	select {
	case o.wake <- struct{}{}:
	default:
	}
}

// flush writes what is there, unless somebody else is writing, after which the
// rest is left to the writing goroutine. After an error nothing more is written,
// but what the client has sent before it went still counts.
func (o *outbox) flush() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.flying > 0 || o.closed || len(o.pending) == 0 {
		return
	}
	b := o.pending
	o.pending, o.spare = o.spare[:0], nil
	o.flying = len(b)
	o.mu.Unlock()
	_, err := o.w.Write(b)
	o.mu.Lock()
	if cap(b) <= keepBuffer {
		o.spare = b
	}
	o.flying = 0
	if err != nil {
		o.closed, o.pending = true, nil
	}
	if len(o.pending) > 0 {
		o.ring()
	}
	o.changed.Broadcast()
}

// waitBelow returns when at most n bytes wait, or the outbox is closed.
func (o *outbox) waitBelow(n int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for !o.closed && len(o.pending)+o.flying > n {
		o.changed.Wait()
	}
}

// drain takes no more commands, and waits until those taken are answered and all
// is written, the outbox is closed or ctx is done, which closes it.
func (o *outbox) drain(ctx context.Context) {
	defer context.AfterFunc(ctx, o.close)()
	o.mu.Lock()
	defer o.mu.Unlock()
	o.draining = true
	o.ring()
	for !o.closed && (o.owed > 0 || len(o.pending)+o.flying > 0) {
		o.changed.Wait()
	}
}

// close takes no more commands, and drops what waits and all that is added later.
func (o *outbox) close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.draining, o.closed, o.pending = true, true, nil
	o.changed.Broadcast()
}
