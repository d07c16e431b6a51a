package server

import (
	"context"
	"sync"

	"hv/qmp/events"
)

// once hands out the events of which each client is told once: who was told of one
// hears of the next when it has asked for what the event is about. It is armed when
// its reply is on its way, so that what happens meanwhile comes after that.
type once struct {
	mu      sync.Mutex
	clients map[*session]struct{} // those that listen
	told    map[events.Key]*hearers
}

// hearers are the clients that were told of something.
type hearers struct {
	state  map[*session]*hearing
	asking int // how many of them wait for their reply
}

// hearing is what there is about a client that was told, or is being answered.
type hearing struct {
	asking bool
	held   []byte // an event that came before the reply, nil for none
}

func newOnce() *once {
	return &once{clients: map[*session]struct{}{}, told: map[events.Key]*hearers{}}
}

// Wants implements events.Chooser.
func (o *once) Wants(k events.Key) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	h := o.told[k]
	return h == nil && len(o.clients) > 0 || h != nil && (h.asking > 0 || len(h.state) < len(o.clients))
}

// Forget implements events.Chooser.
func (o *once) Forget(k events.Key) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.told, k)
}

// Deliver implements events.Sink.
func (o *once) Deliver(m events.Message) {
	o.mu.Lock()
	defer o.mu.Unlock()
	h := o.hearers(m.Once)
	for s := range o.clients {
		msg := m.Compact
		if s.monitor.Pretty {
			msg = m.Pretty
		}
		switch st := h.state[s]; {
		case st == nil:
			h.state[s] = &hearing{}
			s.out.add(msg)
		case st.asking && st.held == nil:
			st.held = append([]byte(nil), msg...)
		}
	}
}

func (o *once) hearers(k events.Key) *hearers {
	h := o.told[k]
	if h == nil {
		h = &hearers{state: map[*session]*hearing{}}
		o.told[k] = h
	}
	return h
}

// join adds a client that listens to events from now on.
func (o *once) join(s *session) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.clients[s] = struct{}{}
}

// leave forgets a client.
func (o *once) leave(s *session) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.clients, s)
	for k, h := range o.told {
		o.drop(k, h, s)
	}
}

// drop makes a client one that has not been told.
func (o *once) drop(k events.Key, h *hearers, s *session) {
	if st := h.state[s]; st != nil && st.asking {
		h.asking--
	}
	if delete(h.state, s); len(h.state) == 0 {
		delete(o.told, k)
	}
}

// ask notes that a client is being told how things are.
func (o *once) ask(s *session, k events.Key) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if _, listens := o.clients[s]; !listens {
		return
	}
	h := o.hearers(k)
	st := h.state[s]
	if st == nil {
		st = &hearing{}
		h.state[s] = st
	}
	if !st.asking {
		st.asking = true
		h.asking++
		s.asked = append(s.asked, k)
	}
}

// answered notes that the client has its reply: it is told of what came since it asked,
// or hears of what comes next.
func (o *once) answered(s *session) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, k := range s.asked {
		h := o.told[k]
		if h == nil || h.state[s] == nil {
			continue // what it asked about is gone, or the client
		}
		if st := h.state[s]; st.held != nil {
			s.out.add(st.held)
			h.asking--
			*st = hearing{}
			continue
		}
		o.drop(k, h, s)
	}
	s.asked = s.asked[:0]
}

// Arm has the client whose command has the context ctx hear of the next event of a key,
// of which clients are told once. The handler calls it before it looks at what the event
// is about, so that no change falls in between; the client hears of such a change after
// the reply. A client that has no session hears of none. The command must be one in band.
func Arm(ctx context.Context, k events.Key) {
	if s, ok := ctx.Value(sessionKey{}).(*session); ok {
		s.srv.once.ask(s, k)
	}
}
