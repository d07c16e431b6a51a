// Package fanout carries out the parts of a request at the same time.
//
// A Pool's goroutines belong to it: Close ends them and waits. Do may be called from any
// goroutine, also concurrently, and allocates nothing once there are enough of them. A part
// may wait for anything but another part.
package fanout

import "sync"

// Parts is a request with several parts.
type Parts interface{ Part(i int) }

// keep is how many goroutines wait for work at most.
const keep = 64

// Pool is goroutines that carry out parts. Its zero value is ready.
type Pool struct {
	once    sync.Once
	tasks   chan task
	ended   chan struct{}
	running sync.WaitGroup
	groups  sync.Pool // of *sync.WaitGroup

	mu   sync.Mutex
	idle int
}

type task struct {
	parts Parts
	i     int
	done  *sync.WaitGroup
}

func (p *Pool) start() {
	p.tasks, p.ended = make(chan task), make(chan struct{})
	p.groups.New = func() any { return new(sync.WaitGroup) }
}

// Do carries out the parts 0 to n-1 and returns when all are done.
func (p *Pool) Do(parts Parts, n int) {
	p.once.Do(p.start)
	done := p.groups.Get().(*sync.WaitGroup)
	done.Add(n - 1)
	for i := 1; i < n; i++ {
		t := task{parts, i, done}
		select {
		case p.tasks <- t:
		default:
			p.running.Go(func() { p.work(t) })
		}
	}
	parts.Part(0)
	done.Wait()
	p.groups.Put(done)
}

// work carries out one part after the other.
func (p *Pool) work(t task) {
	for {
		t.parts.Part(t.i)
		t.done.Done()
		if !p.rest(1) {
			return
		}
		select {
		case t = <-p.tasks:
			p.rest(-1)
		case <-p.ended:
			return
		}
	}
}

// rest counts those that wait for work; false if there are enough.
func (p *Pool) rest(change int) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.idle+change > keep {
		return false
	}
	p.idle += change
	return true
}

// Close ends the goroutines. No request may be under way.
func (p *Pool) Close() {
	p.once.Do(p.start)
	close(p.ended)
	p.running.Wait()
}
