package pump

import "sync"

// State is what a worker is asked to do, and does.
type State int

// States of a worker. Ended is final.
const (
	Running State = iota
	Paused
	Ended
)

// Gate is between a worker and who owns it: the owner asks, and the worker obeys when it
// has nothing under way. A new Gate is of a running worker.
type Gate struct {
	mu   sync.Mutex
	cond *sync.Cond
	want State
	is   State
}

// NewGate returns a gate.
func NewGate() *Gate {
	g := &Gate{}
	g.cond = sync.NewCond(&g.mu)
	return g
}

// Ask says what the worker is to do. The owner has to wake it where it sleeps.
func (g *Gate) Ask(s State) {
	g.mu.Lock()
	if g.want != Ended {
		g.want = s
	}
	g.cond.Broadcast()
	g.mu.Unlock()
}

// Await returns when the worker does s, or has ended.
func (g *Gate) Await(s State) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for g.is != s && g.is != Ended {
		g.cond.Wait()
	}
}

// Asked returns what the worker is to do.
func (g *Gate) Asked() State {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.want
}

// Obey is called by the worker when it has nothing under way. It returns after a pause,
// and reports whether the worker goes on.
func (g *Gate) Obey() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	for g.want == Paused {
		g.is = Paused
		g.cond.Broadcast()
		g.cond.Wait()
	}
	g.is = Running
	return g.want == Running
}

// Follow is Obey for a worker that shares its thread and so must not wait: it is as asked from
// now on, and is told what that is.
func (g *Gate) Follow() State {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.is = g.want
	g.cond.Broadcast()
	return g.want
}

// Leave is the worker's last call.
func (g *Gate) Leave() {
	g.mu.Lock()
	g.is = Ended
	g.cond.Broadcast()
	g.mu.Unlock()
}
