// Package throttle holds requests back so that they keep to limits of bytes and
// operations a second: leaky buckets, which several members of a group share.
//
// A request asks for admission and either has it at once, or is told later, from a timer's
// goroutine or that of another request. Requests of a member are admitted in their order,
// reads and writes apart; members take turns. Everything may be called from any
// goroutine, but changes of who is a member of what belong to one. The numbers and their
// meaning are those of QEMU (docs/throttle.txt there). Nothing is allocated for a request.
// It depends on qmp/qapi.
package throttle

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// direction is that of data: reads and writes wait apart.
type direction int

const (
	read direction = iota
	write
)

// Group is limits that its members share.
type Group struct {
	name   string
	clock  Clock
	all    *Groups
	refs   int  // of the goroutine that changes groups
	object bool // it stays without members

	limited atomic.Bool // there are limits

	mu      sync.Mutex
	limits  Limits
	buckets [rates]bucket
	leaked  time.Duration // when the buckets last leaked
	members []*Member
	sides   [2]side
}

// side is what a group knows of the requests of one direction.
type side struct {
	turn    *Member // who was served last
	waiting int     // of all members
	armed   bool    // timer will run
	timer   timer
}

// newGroup makes a group without limits.
func newGroup(name string, all *Groups) *Group {
	clock := all.Clock
	g := &Group{name: name, clock: clock, all: all, limits: None(), leaked: now(clock)}
	for i := range g.sides {
		g.sides[i].timer = timer{clock: clock, run: func() { g.due(direction(i)) }}
	}
	return g
}

// Name returns the group's name.
func (g *Group) Name() string { return g.name }

// Limits returns the limits.
func (g *Group) Limits() Limits {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.limits
}

// SetLimits changes the limits, which are checked. What was used before does not count.
func (g *Group) SetLimits(l Limits) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.limits, g.buckets, g.leaked = l, [rates]bucket{}, now(g.clock)
	g.limited.Store(l.Enabled())
	for d := range g.sides {
		g.disarm(direction(d))
		g.serve(direction(d))
	}
}

// leak has the time go by that went by.
func (g *Group) leak() {
	t := now(g.clock)
	if d := t - g.leaked; d > 0 {
		for i := range g.buckets {
			g.buckets[i].leak(&g.limits.Rates[i], d)
		}
	}
	g.leaked = t
}

// wait returns how long nothing may go through.
func (g *Group) wait(d direction) (longest time.Duration) {
	g.leak()
	for _, i := range [...]int{BytesTotal, OpsTotal, BytesRead + int(d), OpsRead + int(d)} {
		longest = max(longest, g.buckets[i].wait(&g.limits.Rates[i]))
	}
	return longest
}

// count has a request go through.
func (g *Group) count(d direction, size int64) {
	ops := 1.0
	if per := g.limits.OpSize; per > 0 && uint64(size) > per {
		ops = float64(size) / float64(per)
	}
	for _, i := range [...]int{BytesTotal, BytesRead + int(d)} {
		g.buckets[i].add(&g.limits.Rates[i], float64(size))
	}
	for _, i := range [...]int{OpsTotal, OpsRead + int(d)} {
		g.buckets[i].add(&g.limits.Rates[i], ops)
	}
}

// next returns the member whose turn it is, of those that have something waiting; nil if
// there is none.
func (g *Group) next(d direction) *Member {
	if g.sides[d].waiting == 0 {
		return nil
	}
	at := slices.Index(g.members, g.sides[d].turn)
	for i := range g.members {
		if m := g.members[(at+1+i)%len(g.members)]; m.queues[d].first != nil {
			return m
		}
	}
	return nil
}

// serve lets requests through that need not wait, and sets the timer for the first that
// does.
func (g *Group) serve(d direction) {
	s := &g.sides[d]
	for !s.armed {
		m := g.next(d)
		if m == nil {
			return
		}
		if w := g.wait(d); w > 0 {
			g.arm(d, w)
			return
		}
		g.admit(m, d)
	}
}

// admit lets the first request of a member through that waits.
func (g *Group) admit(m *Member, d direction) {
	s := &g.sides[d]
	s.turn = m
	s.waiting--
	g.all.waiting.Add(-1)
	r := m.queues[d].pop()
	g.count(d, r.size)
	r.admit()
}

func (g *Group) arm(d direction, w time.Duration) {
	s := &g.sides[d]
	s.armed = true
	s.timer.set(w)
}

func (g *Group) disarm(d direction) {
	if s := &g.sides[d]; s.armed {
		s.armed = false
		s.timer.cancel()
	}
}

// due is called when something may go through again.
func (g *Group) due(d direction) {
	g.mu.Lock()
	defer g.mu.Unlock()
	s := &g.sides[d]
	if !s.armed {
		return // it was cancelled too late
	}
	// One that came too early, because it was set anew meanwhile, is set again.
	s.armed = false
	g.serve(d)
}
