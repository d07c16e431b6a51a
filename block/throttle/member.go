package throttle

import (
	"slices"
	"sync"
	"sync/atomic"
)

// Request is a request that may have to wait. It can be used again once it is admitted.
type Request struct {
	// Admitted is called when one may go on that had to wait. It must neither block nor
	// ask for admission.
	Admitted func()

	size int64
	next *Request
}

func (r *Request) admit() { r.Admitted() }

// queue is requests that wait, the first first.
type queue struct{ first, last *Request }

func (q *queue) push(r *Request) {
	if q.last == nil {
		q.first = r
	} else {
		q.last.next = r
	}
	q.last = r
}

func (q *queue) pop() *Request {
	r := q.first
	q.first, r.next = r.next, nil
	if q.first == nil {
		q.last = nil
	}
	return r
}

// Member is who makes requests: a disk or a node. The zero value is in no group, and is
// not held back.
type Member struct {
	group atomic.Pointer[Group]

	// These are guarded by the group.
	queues [2]queue
	lifted int // those that have limits lifted

	// lifts is lifted while there is no group; it belongs to those who change groups.
	lifts sync.Mutex
}

// Enter asks for admission. If the answer is false, r.Admitted is called once it is there.
func (m *Member) Enter(r *Request, isWrite bool, size int64) bool {
	d := read
	if isWrite {
		d = write
	}
	for {
		g := m.group.Load()
		if g == nil || !g.limited.Load() {
			return true
		}
		if admitted, ok := g.enter(m, r, d, size); ok {
			return admitted
		}
	}
}

// enter is Enter for a member of a group, if it still is one.
func (g *Group) enter(m *Member, r *Request, d direction, size int64) (admitted, ok bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if m.group.Load() != g {
		return false, false
	}
	s := &g.sides[d]
	if m.lifted > 0 {
		g.count(d, size)
		return true, true
	}
	if s.waiting == 0 {
		w := g.wait(d)
		if w == 0 {
			s.turn = m
			g.count(d, size)
			return true, true
		}
		s.turn = m
		g.arm(d, w)
	}
	r.size = size
	m.queues[d].push(r)
	s.waiting++
	g.all.waiting.Add(1)
	if g.all.OnWait != nil {
		g.all.OnWait()
	}
	return false, true
}

// Group returns what the member is in, nil for none.
func (m *Member) Group() *Group { return m.group.Load() }

// Lift lets everything through that waits, and comes until Drop.
func (m *Member) Lift() {
	m.lifts.Lock()
	defer m.lifts.Unlock()
	g := m.group.Load()
	if g == nil {
		m.lifted++
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	m.lifted++
	g.release(m)
}

// Drop takes a Lift back.
func (m *Member) Drop() {
	m.lifts.Lock()
	defer m.lifts.Unlock()
	if g := m.group.Load(); g != nil {
		g.mu.Lock()
		defer g.mu.Unlock()
	}
	m.lifted--
}

// release lets all of a member's requests through.
func (g *Group) release(m *Member) {
	for d := range direction(len(g.sides)) {
		if m.queues[d].first == nil {
			continue
		}
		for m.queues[d].first != nil {
			g.admit(m, d)
		}
		// What others have may have waited for the same timer.
		g.disarm(d)
		g.serve(d)
	}
}

// join makes the member one of a group, the one whose turn is next.
func (m *Member) join(g *Group) {
	m.lifts.Lock()
	defer m.lifts.Unlock()
	g.mu.Lock()
	defer g.mu.Unlock()
	g.members = slices.Insert(g.members, 0, m)
	m.group.Store(g)
}

// leave lets everything through that waits, and ends the membership.
func (m *Member) leave() *Group {
	m.lifts.Lock()
	defer m.lifts.Unlock()
	g := m.group.Load()
	if g == nil {
		return nil
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	m.group.Store(nil)
	g.release(m)
	for d := range g.sides {
		if g.sides[d].turn == m {
			g.sides[d].turn = nil
		}
	}
	g.members = slices.DeleteFunc(g.members, func(x *Member) bool { return x == m })
	return g
}

// waits is for those that block until they are admitted.
var waits = sync.Pool{New: func() any {
	w := &wait{ready: make(chan struct{}, 1)}
	w.request.Admitted = func() { w.ready <- struct{}{} }
	return w
}}

type wait struct {
	request Request
	ready   chan struct{}
}

// Wait returns once a request of a size may go on.
func (m *Member) Wait(isWrite bool, size int64) {
	if g := m.group.Load(); g == nil || !g.limited.Load() {
		return
	}
	w := waits.Get().(*wait)
	if !m.Enter(&w.request, isWrite, size) {
		<-w.ready
	}
	waits.Put(w)
}
