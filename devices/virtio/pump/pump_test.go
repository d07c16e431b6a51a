package pump

import (
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const patience = 20 * time.Second

func eventfd(t testing.TB) int {
	t.Helper()
	fd, err := unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	return fd
}

func ring(fd int) { _, _ = unix.Write(fd, []byte{1, 0, 0, 0, 0, 0, 0, 0}) }

func await[T any](t testing.TB, what string, c <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-c:
	case <-time.After(patience):
		t.Fatalf("no %s", what)
	}
	return v
}

// worker starts a pump on one eventfd; kicks and wakes are counted by channels.
func worker(t testing.TB) (p *Pump, fd int, kicks, wakes chan struct{}) {
	t.Helper()
	fd, kicks, wakes = eventfd(t), make(chan struct{}, 100), make(chan struct{}, 100)
	p, err := New([]Source{{FD: fd, Kick: true, Ready: func(int16) { kicks <- struct{}{} }}},
		func() { wakes <- struct{}{} }, func(err error) { t.Errorf("broken: %v", err) })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	p.Start()
	return p, fd, kicks, wakes
}

func TestKickAndWake(t *testing.T) {
	p, fd, kicks, wakes := worker(t)
	for range 100 {
		ring(fd)
		await(t, "kick", kicks)
		p.Wake()
		await(t, "wake", wakes)
	}
	var b [8]byte
	if _, err := unix.Read(fd, b[:]); err != unix.EAGAIN {
		t.Error("a kick was not taken from its descriptor")
	}
}

// TestPause: after Pause no handler runs, and what came meanwhile is not lost.
func TestPause(t *testing.T) {
	p, fd, kicks, wakes := worker(t)
	for range 50 {
		p.Pause()
		p.Pause()
		ring(fd)
		p.Wake()
		for len(wakes) > 0 {
			<-wakes // of the resume before
		}
		if len(kicks) != 0 {
			t.Fatal("a handler ran while paused")
		}
		p.Resume()
		await(t, "kick after resume", kicks)
		await(t, "wake after resume", wakes)
	}
}

func TestCloseWhilePaused(t *testing.T) {
	p, _, _, _ := worker(t)
	p.Pause()
	closed := make(chan struct{})
	q, err := New(nil, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	q.Start()
	q.Pause()
	go func() {
		q.Close()
		close(closed)
	}()
	await(t, "end of a paused worker", closed)
	(*Pump)(nil).Close()
}

// TestWatch changes what is watched from a handler.
func TestWatch(t *testing.T) {
	kick, data := eventfd(t), eventfd(t)
	var p *Pump
	got := make(chan int16, 10)
	var err error
	p, err = New([]Source{
		{FD: kick, Kick: true, Ready: func(int16) { p.Watch(1, unix.POLLIN) }},
		{FD: data, Idle: true, Ready: func(e int16) {
			got <- e
			p.Watch(1, 0)
		}},
	}, nil, func(err error) { t.Error(err) })
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	p.Start()
	ring(data)
	p.Wake()
	for range 3 {
		if len(got) > 0 {
			t.Fatal("an idle source was watched")
		}
		ring(kick)
		if e := await(t, "event", got); e&unix.POLLIN == 0 {
			t.Errorf("events %#x", e)
		}
	}
}

// TestPanic reports a panic of a handler, once, and ends the worker.
func TestPanic(t *testing.T) {
	fd, broken := eventfd(t), make(chan error, 2)
	p, err := New([]Source{{FD: fd, Kick: true, Ready: func(int16) { panic("oops") }}}, nil, func(err error) { broken <- err })
	if err != nil {
		t.Fatal(err)
	}
	p.Start()
	ring(fd)
	if err := await(t, "report", broken); !strings.Contains(err.Error(), "oops") {
		t.Error(err)
	}
	p.Pause() // does not wait for a worker that has ended
	p.Close()
}

// TestAfter: the last time that was set counts, and once.
func TestAfter(t *testing.T) {
	rang := make(chan string, 10)
	var p *Pump
	p, err := New(nil, func() {
		p.After(time.Hour, func() { rang <- "replaced" })
		p.After(time.Millisecond, func() {
			rang <- "first"
			p.After(0, func() { rang <- "second" })
		})
	}, func(err error) { t.Error(err) })
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	p.Start()
	p.Wake()
	for _, want := range []string{"first", "second"} {
		if got := await(t, want, rang); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
	if p.timeout() != nil {
		t.Error("a time is set that has passed")
	}
}

// TestCrew pauses, wakes and ends workers together; none is no trouble.
func TestCrew(t *testing.T) {
	var c Crew
	c.Pause()
	c.Resume()
	c.WakeWorkers()
	woken := make(chan int, 10)
	var pumps []*Pump
	for i := range 3 {
		p, err := New(nil, func() { woken <- i }, func(err error) { t.Error(err) })
		if err != nil {
			t.Fatal(err)
		}
		pumps = append(pumps, p)
	}
	c.StartWorkers(pumps...)
	for range 3 {
		await(t, "first look", woken)
	}
	c.Pause()
	c.WakeWorkers()
	if len(woken) != 0 {
		t.Error("a worker moved while paused")
	}
	c.Resume()
	for range 3 {
		await(t, "wake", woken)
	}
	c.EndWorkers()
	c.EndWorkers()
}

// BenchmarkKick is a kick and its handler.
func BenchmarkKick(b *testing.B) {
	fd, kicks := eventfd(b), make(chan struct{}, 1)
	p, err := New([]Source{{FD: fd, Kick: true, Ready: func(int16) { kicks <- struct{}{} }}}, nil, nil)
	if err != nil {
		b.Fatal(err)
	}
	defer p.Close()
	p.Start()
	b.ReportAllocs()
	for b.Loop() {
		ring(fd)
		<-kicks
	}
}

// TestFinally: what is ready at the same time is handled, and then once more is looked at all of it. A worker
// that began paused has done nothing before it is resumed.
func TestFinally(t *testing.T) {
	a, b := eventfd(t), eventfd(t)
	ends, seen := make(chan int, 10), 0
	ready := func(int16) { seen++ }
	p, err := New([]Source{{FD: a, Kick: true, Ready: ready}, {FD: b, Kick: true, Ready: ready}}, nil, func(err error) { t.Errorf("broken: %v", err) })
	if err != nil {
		t.Fatal(err)
	}
	p.Finally(func() {
		if p.Stopping() {
			p.Wake()
			return
		}
		ends <- seen
	})
	ring(a)
	ring(b)
	var c Crew
	c.StartPaused(p)
	defer c.EndWorkers()
	c.Pause()
	if len(ends) != 0 {
		t.Error("a worker that began paused did something")
	}
	c.Resume()
	if n := await(t, "end", ends); n != 2 {
		t.Errorf("%d were handled before the end", n)
	}
}
