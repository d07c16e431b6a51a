package ioloop

import (
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"hv/devices/virtio/spin"
)

// counter is a task that has work when its descriptor is signalled.
type counter struct {
	fd      [1]int
	version int
	want    atomic.Int64
	done    atomic.Int64
	served  atomic.Int64
}

func newCounter(t testing.TB) *counter {
	t.Helper()
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	return &counter{fd: [1]int{fd}}
}

func (c *counter) Serve() Outcome {
	c.served.Add(1)
	if c.done.Load() < c.want.Load() {
		c.done.Add(1)
		return Worked
	}
	return Quiet
}

func (c *counter) Ready() bool                      { return c.done.Load() < c.want.Load() }
func (c *counter) Sleep() bool                      { return !c.Ready() }
func (c *counter) Descriptors() ([]int, int, error) { return c.fd[:], c.version, nil }

func (c *counter) add(n int64) {
	c.want.Add(n)
	_, _ = unix.Write(c.fd[0], one)
}

func (c *counter) await(t testing.TB) {
	t.Helper()
	for limit := time.Now().Add(time.Minute); c.done.Load() < c.want.Load(); {
		if time.Now().After(limit) {
			t.Fatalf("%d of %d are done", c.done.Load(), c.want.Load())
		}
	}
}

func loop(t testing.TB, rule spin.Rule) *Loop {
	t.Helper()
	l, err := New(rule)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	return l
}

func join(t testing.TB, l *Loop, tasks ...*counter) {
	t.Helper()
	for _, c := range tasks {
		l.Do(func() {
			if err := l.Add(c); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestTasks(t *testing.T) {
	for what, rule := range map[string]spin.Rule{"sleeps": {}, "looks": {Max: time.Millisecond, Grow: 4, Shrink: 2}} {
		t.Run(what, func(t *testing.T) {
			l := loop(t, rule)
			if l.ThreadID() <= 0 || l.ThreadID() == unix.Gettid() {
				t.Errorf("thread %d", l.ThreadID())
			}
			a, b := newCounter(t), newCounter(t)
			join(t, l, a, b)
			for range 200 {
				a.add(3)
				b.add(1)
				a.await(t)
				b.await(t)
			}
			// Who has nothing to do is left alone.
			l.SetRule(spin.Rule{})
			for asleep := false; !asleep; {
				l.Do(func() { asleep = !l.entries[1].awake })
			}
			before := b.served.Load()
			for range 50 {
				a.add(1)
				a.await(t)
			}
			if n := b.served.Load() - before; n > 10 {
				t.Errorf("a task without work was served %d times", n)
			}
			l.Do(func() { l.Remove(a); l.Remove(a) })
			a.add(1)
			b.add(1)
			b.await(t)
			if a.done.Load() == a.want.Load() {
				t.Error("a task that was removed is served")
			}
		})
	}
}

// TestOtherDescriptors has a task change what it is woken by.
func TestOtherDescriptors(t *testing.T) {
	l := loop(t, spin.Rule{})
	c, other := newCounter(t), newCounter(t)
	join(t, l, c)
	c.add(1)
	c.await(t)
	l.Do(func() { c.fd, c.version = other.fd, 1 })
	// It is asked when it was served.
	unixWake(l, c)
	for range 20 {
		c.add(1)
		c.await(t)
	}
	l.Do(func() { l.Remove(c) })
}

// unixWake has a task be served once.
func unixWake(l *Loop, c *counter) {
	l.Do(func() {
		for _, e := range l.entries {
			e.awake = e.awake || e.task == Task(c)
		}
	})
	l.Do(func() {})
}

func TestBatch(t *testing.T) {
	l := loop(t, spin.Rule{})
	if l.Batch() != 0 {
		t.Error(l.Batch())
	}
	l.SetBatch(7)
	if l.Batch() != 7 {
		t.Error(l.Batch())
	}
}

func BenchmarkWake(b *testing.B) {
	l := loop(b, spin.Rule{})
	c := newCounter(b)
	join(b, l, c)
	b.ReportAllocs()
	for b.Loop() {
		c.add(1)
		for c.done.Load() < c.want.Load() {
		}
	}
}
