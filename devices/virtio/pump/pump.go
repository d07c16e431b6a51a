// Package pump runs a device's worker: one goroutine that sleeps in poll(2) until a queue
// is kicked, another descriptor is ready, a time has come, or somebody has work for it.
//
// New makes it, Start starts it, Close ends it and waits. Pause returns when no handler
// runs, and none will before Resume. Handlers run on the worker, one at a time; a panic
// in one is caught and reported, and ends the worker. A worker with nothing to do costs
// nothing. Crew keeps the workers of a device, and Gate is the pausing and ending alone,
// for workers that sleep in another way.
//
// It depends on devices/turn.
package pump

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"hv/devices/turn"
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
	gate    *Gate
	worker  sync.WaitGroup
	last    func() // after all handlers of a wake-up, if not nil

	// The worker's own.
	alarm    func() // nil when no time is set
	deadline time.Time
	sleep    unix.Timespec
	turn     turn.Turn
}

// New makes a worker that Start starts. woken, if not nil, is called after each Wake;
// broken is told of a panic. Close is due in any case.
func New(sources []Source, woken func(), broken func(error)) (*Pump, error) {
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("eventfd: %w", err)
	}
	p := &Pump{sources: sources, woken: woken, broken: broken, wake: fd, gate: NewGate()}
	for _, s := range sources {
		f := unix.PollFd{Fd: int32(s.FD), Events: unix.POLLIN}
		if s.Idle {
			f.Fd = -1
		}
		p.fds = append(p.fds, f)
	}
	p.fds = append(p.fds, unix.PollFd{Fd: int32(fd), Events: unix.POLLIN})
	return p, nil
}

// Finally has f called after the handlers of each wake-up, so that it is once for all that was ready. It
// comes before Start.
func (p *Pump) Finally(f func()) { p.last = f }

// Stopping reports whether the worker is wanted to pause or end, for handlers that take long. One that
// has more to do then calls Wake, and returns.
func (p *Pump) Stopping() bool { return p.gate.Asked() != Running }

// Pass gives way if it is time for that, for handlers that take long.
func (p *Pump) Pass() { p.turn.Pass() }

// Start starts the worker, once.
func (p *Pump) Start() { p.worker.Go(p.run) }

// Watch changes what source i is watched for; 0 stops that. Handlers only.
func (p *Pump) Watch(i int, events int16) {
	p.fds[i].Events = events
	p.fds[i].Fd = int32(p.sources[i].FD)
	if events == 0 {
		p.fds[i].Fd = -1
	}
}

// After has f called once, after d, in place of what was to be called before; nil is nothing. Handlers
// only.
func (p *Pump) After(d time.Duration, f func()) { p.alarm, p.deadline = f, time.Now().Add(d) }

// Wake has woken called on the worker. Any goroutine may call it.
func (p *Pump) Wake() { _, _ = unix.Write(p.wake, []byte{1, 0, 0, 0, 0, 0, 0, 0}) }

// Pause makes the worker stand still.
func (p *Pump) Pause() {
	p.ask(Paused)
	p.gate.Await(Paused)
}

// Resume undoes Pause.
func (p *Pump) Resume() { p.ask(Running) }

// Close ends the worker. A nil Pump has ended. Not for handlers.
func (p *Pump) Close() {
	if p == nil {
		return
	}
	p.ask(Ended)
	p.worker.Wait()
	unix.Close(p.wake)
}

func (p *Pump) ask(s State) {
	p.gate.Ask(s)
	p.Wake()
}

// run is the worker. It isn't locked to its thread, as there each Pass is five futex calls and
// as many switches of threads.
func (p *Pump) run() {
	defer p.gate.Leave()
	defer func() {
		if r := recover(); r != nil {
			p.broken(fmt.Errorf("worker: %v", r))
		}
	}()
	for p.gate.Obey() {
		p.Pass()
		if _, err := unix.Ppoll(p.fds, p.timeout(), nil); err != nil && !errors.Is(err, unix.EINTR) {
			p.broken(fmt.Errorf("poll: %w", err))
			return
		}
		p.dispatch()
	}
}

// timeout returns how long the worker may sleep, nil for ever.
func (p *Pump) timeout() *unix.Timespec {
	if p.alarm == nil {
		return nil
	}
	p.sleep = unix.NsecToTimespec(int64(max(0, time.Until(p.deadline))))
	return &p.sleep
}

// dispatch calls the handlers of what is ready. While a pause is asked for nothing
// is taken from the descriptors.
func (p *Pump) dispatch() {
	last := len(p.fds) - 1
	if p.fds[last].Revents != 0 {
		drain(p.wake)
		if p.gate.Asked() != Running {
			p.Wake() // what woke is looked at after Resume
			return
		}
		if p.woken != nil {
			p.woken()
		}
	}
	if f := p.alarm; f != nil && !time.Now().Before(p.deadline) {
		p.alarm = nil
		f()
	}
	for i := range last {
		if e := p.fds[i].Revents; e != 0 && p.fds[i].Fd >= 0 {
			if p.sources[i].Kick {
				drain(p.sources[i].FD)
			}
			p.sources[i].Ready(e)
		}
	}
	if p.last != nil {
		p.last()
	}
}

func drain(fd int) {
	var b [8]byte
	_, _ = unix.Read(fd, b[:])
}
