package server

import (
	"bytes"
	"context"
	"io"
	"math"
	"net"
	"sync"
	"syscall"

	"hv/qmp/trywrite"
)

// outbox holds what waits to be written to a client, in order. Anybody may add
// to it and nobody waits for that. At most one goroutine writes at a time, until
// there is nothing left: the client's own, for its replies; the tape's crier, which
// does not wait for clients; or a writing goroutine, for clients that have to be
// waited for.
type outbox struct {
	w     io.Writer
	try   tryWriter // writes to w, nil if that has to be waited for
	limit int
	wake  chan struct{} // tells the writing goroutine that there is something
	begin func()        // called, once, to start the writing goroutine
	lost  func()        // called, once, for a client that is too far behind; it must not wait

	// These are the tape's: whether we read it, the position on it, and whether and where we
	// stop.
	member bool
	at     uint64
	stops  bool
	last   uint64

	mu       sync.Mutex
	changed  sync.Cond // signalled when less waits, or less is owed
	pending  []byte
	spare    []byte // the buffer that was written last
	flying   int    // bytes being written
	owed     int    // commands taken and not answered yet
	begun    bool   // there is a writing goroutine
	draining bool   // no more commands are taken
	closed   bool   // nothing more is written
	tape     *tape  // of events, nil for none
}

// tryWriter writes what there is room for without waiting.
type tryWriter interface {
	TryWrite(p []byte) (int, error)
}

// keepBuffer is what is kept of a buffer that was written.
const keepBuffer = 32 << 10

// atOnce is how much of the events is written at once, so that clients that lag behind
// do not each have a copy of what all of them still have to read.
const atOnce = 16 << 10

func newOutbox(w io.Writer, limit int) *outbox {
	o := &outbox{w: w, try: trier(w), limit: limit, wake: make(chan struct{}, 1), begin: func() {}}
	o.changed.L = &o.mu
	return o
}

// trier returns what writes to w without waiting, or nil.
func trier(w io.Writer) tryWriter {
	switch c := w.(type) {
	case tryWriter:
		return c
	case *net.UnixConn, *net.TCPConn:
		if t, err := trywrite.New(c.(syscall.Conn)); err == nil {
			return t
		}
	}
	return nil
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

// listen has the outbox take events from a tape.
func (o *outbox) listen(t *tape) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.closed {
		o.tape = t
		t.join(o)
	}
}

// deafen ends that, after the events that there are.
func (o *outbox) deafen() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.tape != nil {
		o.tape.stop(o)
	}
}

func (o *outbox) leave() {
	if o.tape != nil {
		o.tape.leave(o)
		o.tape = nil
	}
}

// pull takes the events that came, or as many of them as should be written at once.
func (o *outbox) pull(all bool) {
	room := max(0, atOnce-len(o.pending))
	if all {
		room = math.MaxInt
	}
	if o.tape != nil {
		o.pending = o.tape.read(o, o.pending, room, len(o.pending)+o.flying > o.limit)
	}
}

// reply adds the reply to a command that was taken, after the events that came
// before. It returns how much waits.
func (o *outbox) reply(msg []byte) int {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.owed--
	o.pull(true)
	if !o.closed {
		o.pending = append(o.pending, msg...)
	}
	if o.draining {
		o.ring()
		o.changed.Broadcast()
	}
	return len(o.pending) + o.flying
}

// add adds what is no reply, after the events that came before, and has it written.
func (o *outbox) add(msg []byte) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.pull(true)
	if !o.closed {
		o.pending = append(o.pending, msg...)
		o.ring()
	}
}

// greet adds what comes first, which the caller flushes.
func (o *outbox) greet(msg []byte) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.pending = append(o.pending, msg...)
}

// ring asks the writing goroutine to flush. The caller has the lock.
func (o *outbox) ring() {
	if o.closed {
		return
	}
	if !o.begun {
		o.begun = true
		o.begin()
	}
	select {
	case o.wake <- struct{}{}:
	default:
	}
}

// flush writes what is pending, unless somebody else is writing, who then goes on with
// it. Events beyond what is written at once are the crier's again, if it can write to the
// client. After an error nothing more is written, but what the client has sent before it
// went still counts.
func (o *outbox) flush() {
	o.mu.Lock()
	defer o.mu.Unlock()
	for wrote := false; o.flying == 0 && !o.closed; wrote = true {
		if wrote && len(o.pending) == 0 && o.try != nil && !o.draining {
			if o.tape != nil {
				o.tape.nudge(o)
			}
			return
		}
		o.pull(false)
		if len(o.pending) == 0 {
			return
		}
		o.sendPending(o.w.Write)
	}
}

// cry writes what is there as far as that needs no waiting; what is left is the
// writing goroutine's. Events come from the crier's own copy.
func (o *outbox) cry(c *crier) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.try == nil {
		o.ring()
		return
	}
	for o.flying == 0 && !o.closed {
		var rest []byte
		shared := len(o.pending) == 0
		if shared {
			b := c.events(o)
			if len(b) == 0 {
				return
			}
			rest = o.send(b, o.try.TryWrite)
		} else {
			rest = o.sendPending(o.try.TryWrite)
		}
		if len(rest) > 0 && !o.closed {
			o.resume(rest, shared)
			return
		}
	}
}

// resume leaves what was not written to the writing goroutine. Shared events are best left
// on the tape, if no reply has come after them.
func (o *outbox) resume(rest []byte, shared bool) {
	if shared && len(o.pending) == 0 {
		o.tape.unread(o, len(rest))
	} else {
		o.pending = append(bytes.Clone(rest), o.pending...)
	}
	o.ring()
}

// sendPending is send for what is pending.
func (o *outbox) sendPending(write func([]byte) (int, error)) (rest []byte) {
	b := o.pending
	o.pending, o.spare = o.spare[:0], nil
	rest = o.send(b, write)
	if cap(b) <= keepBuffer {
		o.spare = b
	}
	return rest
}

// send writes without the lock, which the caller has, and returns what was not written.
func (o *outbox) send(b []byte, write func([]byte) (int, error)) (rest []byte) {
	o.flying = len(b)
	o.mu.Unlock()
	n, err := write(b)
	o.mu.Lock()
	o.flying = 0
	if err != nil {
		o.leave()
		o.closed, o.pending = true, nil
	}
	o.changed.Broadcast()
	return b[n:]
}

// waitBelow returns when at most n bytes wait, or the outbox is closed.
func (o *outbox) waitBelow(n int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for !o.closed && len(o.pending)+o.flying > n {
		o.changed.Wait()
	}
}

// settle writes what there is, and returns when that is done, the outbox is closed or ctx
// is done.
func (o *outbox) settle(ctx context.Context) {
	defer context.AfterFunc(ctx, func() {
		o.mu.Lock()
		defer o.mu.Unlock()
		o.changed.Broadcast()
	})()
	o.flush()
	o.mu.Lock()
	defer func() {
		o.mu.Unlock()
		if w, ok := o.w.(interface{ Settle(ctx context.Context) }); ok {
			w.Settle(ctx)
		}
	}()
	for !o.closed && ctx.Err() == nil && len(o.pending)+o.flying > 0 {
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
	o.pull(false)
	o.ring()
	for !o.closed && (o.owed > 0 || len(o.pending)+o.flying > 0) {
		o.changed.Wait()
	}
}

// close takes no more commands, and drops what waits and all that is added later.
func (o *outbox) close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.leave()
	o.draining, o.closed, o.pending = true, true, nil
	o.changed.Broadcast()
}
