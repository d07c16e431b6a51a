// Package ioloop is I/O threads: a locked thread that serves the queues of many devices.
//
// A Loop serves those of its tasks that may have work. When all have none it looks for more
// as long as that has paid lately (devices/virtio/spin), and then sleeps in epoll until a
// descriptor of a task is signalled. Tasks are added, removed and served on the thread; Do
// brings a function there. A task must not wait for anything that another task of the loop does.
//
// Names and meanings of properties are those of QEMU's iothread objects. It depends on
// devices/virtio/spin and devices/turn.
package ioloop

import (
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"hv/devices/turn"
	"hv/devices/virtio/spin"
)

// Outcome is what a task says of itself when it was served.
type Outcome int

// What there is.
const (
	Worked  Outcome = iota // there may be more at once
	Waiting                // it has work under way, of which a descriptor will tell
	Quiet                  // it has nothing under way
)

// Task is a queue that the loop serves. Methods run on the loop's thread.
type Task interface {
	// Serve does what there is to do without waiting for more.
	Serve() Outcome
	// Ready reports whether there is something new. It is cheap.
	Ready() bool
	// Sleep has the task's descriptors tell of what is new, and reports whether nothing was
	// up to then; otherwise the task is served again.
	Sleep() bool
	// Descriptors returns what becomes readable when there is something to do, and a number
	// that changes when they are others.
	Descriptors() (fds []int, version int, err error)
}

// entry is a task of a loop.
type entry struct {
	task    Task
	awake   bool
	fds     []int
	version int
}

// Loop is a thread.
type Loop struct {
	epoll, wake int
	tid         int
	ended       sync.WaitGroup

	mu    sync.Mutex
	calls []func()
	over  bool
	rule  spin.Rule
	fresh bool // rule was set
	batch atomic.Int64

	// The thread's own.
	spin    spin.Spin
	entries []*entry
	events  []unix.EpollEvent
	ready   func() bool
}

// maxEvents is how many descriptors are heard at once.
const maxEvents = 64

// New starts a thread.
func New(rule spin.Rule) (*Loop, error) {
	epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("epoll: %w", err)
	}
	wake, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("eventfd: %w", err), unix.Close(epoll))
	}
	l := &Loop{epoll: epoll, wake: wake, rule: rule, fresh: true, events: make([]unix.EpollEvent, maxEvents)}
	l.ready = l.anyReady
	if err := l.watch(wake); err != nil {
		return nil, errors.Join(err, unix.Close(wake), unix.Close(epoll))
	}
	started := make(chan struct{})
	l.ended.Go(func() { l.run(started) })
	<-started
	return l, nil
}

// Close ends the thread, which has no tasks any more.
func (l *Loop) Close() error {
	l.mu.Lock()
	l.over = true
	l.mu.Unlock()
	l.signal()
	l.ended.Wait()
	return errors.Join(unix.Close(l.wake), unix.Close(l.epoll))
}

// ThreadID returns the thread's number on the host.
func (l *Loop) ThreadID() int { return l.tid }

// SetRule says anew how long the thread looks for work before it sleeps.
func (l *Loop) SetRule(r spin.Rule) {
	l.mu.Lock()
	l.rule, l.fresh = r, true
	l.mu.Unlock()
	l.signal()
}

// SetBatch has tasks take no more requests at once than that; 0 is for as many as there are.
func (l *Loop) SetBatch(n int64) { l.batch.Store(n) }

// Batch returns how many requests a task takes at once.
func (l *Loop) Batch() int { return int(l.batch.Load()) }

// Do runs a function on the thread and returns when it is done.
func (l *Loop) Do(f func()) {
	done := make(chan struct{})
	l.mu.Lock()
	l.calls = append(l.calls, func() { defer close(done); f() })
	l.mu.Unlock()
	l.signal()
	<-done
}

// one is what an eventfd is told.
var one = []byte{1, 0, 0, 0, 0, 0, 0, 0}

func (l *Loop) signal() { _, _ = unix.Write(l.wake, one) }

// watch has epoll tell when a descriptor is signalled.
func (l *Loop) watch(fd int) error {
	e := unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLET&(1<<32-1), Fd: int32(fd)}
	if err := unix.EpollCtl(l.epoll, unix.EPOLL_CTL_ADD, fd, &e); err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("epoll: %w", err)
	}
	return nil
}

// Add has the loop serve a task. On the loop's thread only.
func (l *Loop) Add(t Task) error {
	e := &entry{task: t, awake: true}
	if err := l.follow(e); err != nil {
		return err
	}
	l.entries = append(l.entries, e)
	return nil
}

// Remove has the loop forget a task, before its descriptors are closed. On the loop's thread
// only.
func (l *Loop) Remove(t Task) {
	i := slices.IndexFunc(l.entries, func(e *entry) bool { return e.task == t })
	if i < 0 {
		return
	}
	l.unfollow(l.entries[i])
	l.entries = slices.Delete(l.entries, i, i+1)
}

// follow watches the descriptors that a task has now.
func (l *Loop) follow(e *entry) error {
	fds, version, err := e.task.Descriptors()
	if err != nil || e.fds != nil && version == e.version {
		return err
	}
	l.unfollow(e)
	e.fds, e.version = append(e.fds[:0], fds...), version
	for _, fd := range e.fds {
		if err := l.watch(fd); err != nil {
			return err
		}
	}
	return nil
}

// unfollow no longer watches a task's descriptors, of which some may be closed.
func (l *Loop) unfollow(e *entry) {
	for _, fd := range e.fds {
		_ = unix.EpollCtl(l.epoll, unix.EPOLL_CTL_DEL, fd, nil)
	}
	e.fds = e.fds[:0]
}

// run is the thread.
func (l *Loop) run(started chan<- struct{}) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	l.tid = unix.Gettid()
	close(started)
	var t turn.Turn
	for l.obey() {
		t.Pass()
		switch outcome := l.serve(); {
		case outcome == Worked, outcome == Quiet && l.spin.For(l.ready), !l.sleep():
		default:
			l.await()
		}
	}
}

// obey runs what was brought by Do, and reports whether the thread goes on.
func (l *Loop) obey() bool {
	l.mu.Lock()
	calls, over := l.calls, l.over
	l.calls = nil
	if l.fresh {
		l.fresh = false
		l.spin.SetRule(l.rule)
	}
	l.mu.Unlock()
	for _, f := range calls {
		f()
	}
	return !over
}

// serve serves all tasks that are awake.
func (l *Loop) serve() Outcome {
	all := Quiet
	for _, e := range l.entries {
		if !e.awake {
			continue
		}
		all = min(all, e.task.Serve())
		if err := l.follow(e); err != nil {
			all = Worked // again
		}
	}
	return all
}

func (l *Loop) anyReady() bool {
	for _, e := range l.entries {
		if e.awake && e.task.Ready() {
			return true
		}
	}
	return false
}

// sleep has all tasks tell of what is new by their descriptors; false if there was something.
func (l *Loop) sleep() bool {
	nothing := true
	for _, e := range l.entries {
		if e.awake {
			e.awake = !e.task.Sleep()
			nothing = nothing && !e.awake
		}
	}
	return nothing
}

// await sleeps until a descriptor is signalled.
func (l *Loop) await() {
	n, err := unix.EpollWait(l.epoll, l.events, -1)
	if err != nil {
		return // a signal
	}
	for _, ev := range l.events[:n] {
		if int(ev.Fd) == l.wake {
			var b [8]byte
			_, _ = unix.Read(l.wake, b[:])
			continue
		}
		for _, e := range l.entries {
			e.awake = e.awake || slices.Contains(e.fds, int(ev.Fd))
		}
	}
	l.spin.Woke()
}
