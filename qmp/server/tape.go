package server

import (
	"slices"
	"sync"

	"hv/qmp/events"
)

// tape holds the latest events, once for all clients that are written to in one
// form. Each client's outbox reads on from where it was when it has time for that,
// so that what an event costs hardly depends on how many clients there are, nor
// what is kept on how many of them do not read.
type tape struct {
	pretty bool
	limit  int // bytes that are kept at least

	news  chan struct{} // tells the crier that there is something
	crier *crier

	mu      sync.Mutex
	buf     []byte
	end     uint64    // position after buf
	nudged  bool      // members that the crier passed by have more to be written
	members []*outbox // in the order in which they joined
}

func newTape(pretty bool, limit int) *tape {
	t := &tape{pretty: pretty, limit: limit, news: make(chan struct{}, 1)}
	t.crier = newCrier(t)
	return t
}

// few is for how many clients who makes an event writes it at once, which spares them the
// waking of another goroutine. It is not made to do that for a crowd.
const few = 4

// Deliver implements events.Sink.
func (t *tape) Deliver(m events.Message) {
	if n := t.record(m); n > 0 && (n > few || !t.crier.tryRound()) {
		t.tell()
	}
}

// record appends an event, and returns how many members there are to read it.
func (t *tape) record(m events.Message) int {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.members) == 0 {
		return 0
	}
	msg := m.Compact
	if t.pretty {
		msg = m.Pretty
	}
	if len(t.buf)+len(msg) > 2*t.limit {
		t.trim()
	}
	t.buf = append(t.buf, msg...)
	t.end += uint64(len(msg))
	return len(t.members)
}

// tell wakes the crier.
func (t *tape) tell() {
	select {
	case t.news <- struct{}{}:
	default:
	}
}

// nudge has the crier go round again if there is more for an outbox, which was busy when
// it came by.
func (t *tape) nudge(o *outbox) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if o.member && o.at < t.end && !o.stops {
		t.nudged = true
		t.tell()
	}
}

// trim forgets the older half, and gives up members that have not read that.
func (t *tape) trim() {
	t.buf = append(t.buf[:0], t.buf[max(0, len(t.buf)-t.limit):]...)
	for _, o := range slices.Clone(t.members) {
		if o.at < t.end-uint64(len(t.buf)) {
			t.lose(o)
		}
	}
}

func (t *tape) lose(o *outbox) {
	t.remove(o)
	o.lost()
}

func (t *tape) remove(o *outbox) {
	if !o.member {
		return
	}
	o.member = false
	i := slices.Index(t.members, o)
	t.members = slices.Delete(t.members, i, i+1)
	if len(t.members) == 0 {
		t.buf = nil
	}
}

// join makes an outbox read from here on.
func (t *tape) join(o *outbox) {
	t.mu.Lock()
	defer t.mu.Unlock()
	o.member = true
	t.members = append(t.members, o)
	o.at = t.end
}

// stop makes the outbox read no further than here.
func (t *tape) stop(o *outbox) {
	t.mu.Lock()
	defer t.mu.Unlock()
	o.stops, o.last = true, t.end
}

// leave makes it read nothing more.
func (t *tape) leave(o *outbox) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.remove(o)
}

// unread makes an outbox read its last n bytes again.
func (t *tape) unread(o *outbox, n int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !o.member {
		return
	}
	o.at -= uint64(n)
	if o.at < t.end-uint64(len(t.buf)) { // forgotten meanwhile
		t.lose(o)
	}
}

// read appends to b what an outbox has not read yet, up to room bytes, which may end
// within an event. If it is to have no more at all the outbox is given up.
func (t *tape) read(o *outbox, b []byte, room int, full bool) []byte {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !o.member {
		return b
	}
	end := t.end
	if o.stops {
		end = o.last
	}
	n := min(int(end-o.at), room)
	if n > 0 && full {
		t.lose(o)
		return b
	}
	if n > 0 {
		from := t.buf[len(t.buf)-int(t.end-o.at):]
		b = append(b, from[:n]...)
		o.at += uint64(n)
	}
	return b
}
