package throttle

import (
	"errors"
	"slices"
	"sync/atomic"
)

// Groups is all groups of a VM, by name. It belongs to one goroutine.
type Groups struct {
	Clock Clock
	// OnWait is called when a request begins to wait, unless it is nil. It must neither block
	// nor ask for admission.
	OnWait func()

	all     []*Group
	waiting atomic.Int64
}

// Waiting returns how many requests wait. It may be called from any goroutine.
func (s *Groups) Waiting() int { return int(s.waiting.Load()) }

// Find returns the group with a name, nil if there is none.
func (s *Groups) Find(name string) *Group {
	i := slices.IndexFunc(s.all, func(g *Group) bool { return g.name == name })
	if i < 0 {
		return nil
	}
	return s.all[i]
}

// get returns a group, which is made if there is none, and stays until put.
func (s *Groups) get(name string) *Group {
	g := s.Find(name)
	if g == nil {
		g = newGroup(name, s)
		s.all = append(s.all, g)
	}
	g.refs++
	return g
}

// put gives a group up.
func (s *Groups) put(g *Group) {
	if g.refs--; g.refs == 0 {
		s.all = slices.DeleteFunc(s.all, func(x *Group) bool { return x == g })
	}
}

// Join makes a member, which is in no group, one of the group with a name.
func (s *Groups) Join(m *Member, name string) *Group {
	g := s.get(name)
	m.join(g)
	return g
}

// Leave ends a membership, if there is one. What waits goes on.
func (s *Groups) Leave(m *Member) {
	if g := m.leave(); g != nil {
		s.put(g)
	}
}

// Add makes a group that stays without members.
func (s *Groups) Add(name string, l Limits) (*Group, error) {
	if s.Find(name) != nil {
		return nil, errors.New("A group with this name already exists")
	}
	if err := l.Check(); err != nil {
		return nil, err
	}
	g := s.get(name)
	g.object = true
	g.SetLimits(l)
	return g, nil
}

// Remove takes a group away that Add made and nobody is in.
func (s *Groups) Remove(g *Group) bool {
	if !g.object || g.refs > 1 {
		return false
	}
	g.object = false
	s.put(g)
	return true
}
