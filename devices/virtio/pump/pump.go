// Package pump runs a device's worker: one goroutine on a locked thread that sleeps in
// poll(2) until a queue is kicked, another descriptor is ready, or somebody has work
// for it.
//
// Start makes it, Close ends it and waits. Pause returns when no handler runs, and
// none will before Resume. Handlers run on the worker, one at a time; a panic in one is
// caught and reported, and ends the worker. A worker with nothing to do costs
// nothing.
//
// It depends on nothing of ours.
package pump

import (
	"errors"
	"fmt"
	"runtime"
	"sync"

	"golang.org/x/sys/unix"
)

// Source is a descriptor that the worker watches.
type Source struct {
	FD int
	// Kick says that the descriptor is an eventfd, to be emptied before Ready.
	Kick bool
	// Ready is called when the descriptor is ready, with poll's events.
	Ready func(events int16)
	// Idle keeps the source from being watched at the start.
	Idle bool
}

// Pump is a worker.
type Pump struct {
	sources []Source
	woken   func()
	broken  func(error)
	fds     []unix.PollFd
	wake    int

	mu     sync.Mutex
	cond   *sync.Cond
	want   state
	is     state
	worker sync.WaitGroup
}

type state int

const (
	running state = iota
	paused
	ended
)

// Start starts a worker. woken, if not nil, is called after each Wake; broken
// is told of a panic. All sources are looked at once to begin with.
func Start(sources []Source, woken func(), broken func(error)) (*Pump, error) {
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("eventfd: %w", err)
	}
	p := &Pump{sources: sources, woken: woken, broken: broken, wake: fd}
	p.cond = sync.NewCond(&p.mu)
	for _, s := range sources {
		f := unix.PollFd{Fd: int32(s.FD), Events: unix.POLLIN}
		if s.Idle {
			f.Fd = -1
		}
		p.fds = append(p.fds, f)
	}
	p.fds = append(p.fds, unix.PollFd{Fd: int32(fd), Events: unix.POLLIN})
	p.worker.Go(p.run)
	return p, nil
}

// Watch changes what source i is watched for; 0 stops that. Handlers only.
func (p *Pump) Watch(i int, events int16) {
	p.fds[i].Events = events
	p.fds[i].Fd = int32(p.sources[i].FD)
	if events == 0 {
		p.fds[i].Fd = -1
	}
}

// Wake has woken called on the worker. Any goroutine may call it.
func (p *Pump) Wake() { _, _ = unix.Write(p.wake, []byte{1, 0, 0, 0, 0, 0, 0, 0}) }

// Pause makes the worker stand still.
func (p *Pump) Pause() {
	p.ask(paused)
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.is == running {
		p.cond.Wait()
	}
}

// Resume undoes Pause.
func (p *Pump) Resume() { p.ask(running) }

// Close ends the worker. A nil Pump has ended. Not for handlers.
func (p *Pump) Close() {
	if p == nil {
		return
	}
	p.ask(ended)
	p.worker.Wait()
	unix.Close(p.wake)
}

func (p *Pump) ask(s state) {
	p.mu.Lock()
	p.want = s
	p.cond.Broadcast()
	p.mu.Unlock()
	p.Wake()
}

func (p *Pump) run() {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	defer p.set(ended)
	defer func() {
		if r := recover(); r != nil {
			p.broken(fmt.Errorf("worker: %v", r))
		}
	}()
	for p.obey() {
		if _, err := unix.Poll(p.fds, -1); err != nil && !errors.Is(err, unix.EINTR) {
			p.broken(fmt.Errorf("poll: %w", err))
			return
		}
		p.dispatch()
	}
}

func (p *Pump) set(s state) {
	p.mu.Lock()
	p.is = s
	p.cond.Broadcast()
	p.mu.Unlock()
}

// obey waits while the worker is paused and reports whether it goes on.
func (p *Pump) obey() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.want == paused {
		p.is = paused
		p.cond.Broadcast()
		p.cond.Wait()
	}
	p.is = running
	return p.want == running
}

// dispatch calls the handlers of what is ready. While a pause is asked for nothing
// is taken from the descriptors.
func (p *Pump) dispatch() {
	last := len(p.fds) - 1
	if p.fds[last].Revents != 0 {
		drain(p.wake)
		if !p.going() {
			p.Wake() // what woke is looked at after Resume
			return
		}
		if p.woken != nil {
			p.woken()
		}
	}
	for i := range last {
		if e := p.fds[i].Revents; e != 0 && p.fds[i].Fd >= 0 {
			if p.sources[i].Kick {
				drain(p.sources[i].FD)
			}
			p.sources[i].Ready(e)
		}
	}
}

func (p *Pump) going() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.want == running
}

func drain(fd int) {
	var b [8]byte
	_, _ = unix.Read(fd, b[:])
}
