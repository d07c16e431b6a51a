package server

import (
	"bytes"
	"fmt"
	"strings"
	"sync"
	"testing"

	"hv/qmp/events"
	"hv/qmp/qapi"
)

// room is a client's socket that has room for some bytes, and then none until it is read.
type room struct {
	mu   sync.Mutex
	left int
	got  bytes.Buffer
}

func (r *room) TryWrite(b []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := min(len(b), r.left)
	r.left -= n
	return r.got.Write(b[:n])
}

// Write is what would wait.
func (r *room) Write(b []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.got.Write(b)
}

func (r *room) String() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.got.String()
}

// hearer is an outbox for a room, and how often it was told to wait for it.
func hearer(t *tape, left int) (*outbox, *room) {
	r := &room{left: left}
	o := newOutbox(r, 1<<20)
	o.listen(t)
	return o, r
}

func rung(o *outbox) bool {
	select {
	case <-o.wake:
		return true
	default:
		return false
	}
}

// TestCry has a crier go round clients with room, with little and with none.
func TestCry(t *testing.T) {
	tp := newTape(false, 1<<20)
	c := tp.crier
	all, whole := hearer(tp, 100)
	little, part := hearer(tp, 3)
	begun := 0
	little.begin = func() { begun++ }
	writers := newOutbox(nullWriter{}, 100)
	writers.listen(tp)
	write(tp, "first;")
	if !c.begin() || !c.round(nil) || c.begin() {
		t.Fatal("a round is not one round")
	}
	if whole.String() != "first;" || rung(all) {
		t.Errorf("a client with room has %q", whole)
	}
	if part.String() != "fir" || !rung(little) || begun != 1 {
		t.Errorf("a client without room has %q; %d writing goroutines", part, begun)
	}
	if !rung(writers) {
		t.Error("nobody writes to a client that has to be waited for")
	}
	little.owe()
	little.reply([]byte("reply;")) // goes after what was left
	write(tp, "second;")
	all.deafen()
	write(tp, "third;")
	c.begin()
	c.round(nil)
	if !rung(little) || begun != 1 {
		t.Errorf("the writing goroutine is not woken; %d of them", begun)
	}
	little.flush()
	if part.String() != "first;reply;second;third;" || whole.String() != "first;second;" {
		t.Errorf("%q and %q", part, whole)
	}
	write(tp, "fourth;")
	c.begin()
	write(tp, "fifth;")
	little.flush() // has more than the crier's copy
	c.round(nil)
	if want := "first;reply;second;third;fourth;fifth;"; part.String() != want {
		t.Errorf("%q, want %q", part, want)
	}
}

// TestCryAtOnce has who makes an event write it to a few clients, and leave it to the
// crier if that is busy or there are more.
func TestCryAtOnce(t *testing.T) {
	tp := newTape(false, 1<<20)
	news := func() bool { return len(tp.news) > 0 }
	var rooms []*room
	for range few {
		_, r := hearer(tp, 100)
		rooms = append(rooms, r)
	}
	rooms[0].left = 0
	deliver(tp, "first;")
	for i, r := range rooms[1:] {
		if r.String() != "first;" || news() {
			t.Errorf("client %d has %q", i, r)
		}
	}
	tp.crier.busy.Lock()
	deliver(tp, "second;")
	tp.crier.busy.Unlock()
	if r := rooms[1]; r.String() != "first;" || !news() {
		t.Errorf("with a busy crier a client has %q", r)
	}
	<-tp.news
	_, more := hearer(tp, 100)
	deliver(tp, "third;")
	if more.String() != "" || !news() {
		t.Errorf("one of many clients has %q", more)
	}
	tp.crier.begin()
	tp.crier.round(nil)
	if r := rooms[1]; r.String() != "first;second;third;" || more.String() != "third;" {
		t.Errorf("%q and %q", r, more)
	}
}

// TestCryForgotten has the tape forget what a client had no room for.
func TestCryForgotten(t *testing.T) {
	tp := newTape(false, 10)
	o, r := hearer(tp, 0)
	lost := 0
	o.lost = func() { lost++ }
	write(tp, "0123456789;")
	c := tp.crier
	c.begin()
	o.try = during{func() { write(tp, "abcdefghij;"); write(tp, "klmnopqrst;") }}
	c.round(nil)
	o.flush()
	if lost != 1 || r.String() != "" {
		t.Errorf("lost %d times, has %q", lost, r)
	}
}

// during is a client without room that does something while it is written to.
type during struct{ f func() }

func (d during) TryWrite([]byte) (int, error) {
	d.f()
	return 0, nil
}

// TestCryReply has a reply come while events are written that there is no room for.
func TestCryReply(t *testing.T) {
	tp := newTape(false, 100)
	o, r := hearer(tp, 0)
	write(tp, "event;")
	c := tp.crier
	c.begin()
	o.owe()
	o.try = during{func() { o.reply([]byte("reply;")) }}
	c.round(nil)
	if o.flush(); r.String() != "event;reply;" {
		t.Errorf("has %q", r)
	}
}

// TestCryBusy passes by a client that somebody is writing to, and comes again.
func TestCryBusy(t *testing.T) {
	tp := newTape(false, 1<<20)
	c := tp.crier
	g := newGate()
	o := newOutbox(g, 100)
	o.try = tryGate{g}
	o.listen(tp)
	o.greet([]byte("greeting;"))
	var wg sync.WaitGroup
	wg.Go(func() { o.flush() })
	<-g.entered
	write(tp, "event;")
	c.begin()
	c.round(nil)
	g.pass <- nil
	wg.Wait()
	if !c.begin() || c.begin() {
		t.Error("the crier is not told once that there is more")
	}
	wg.Go(func() { c.round(nil) })
	<-g.entered
	g.pass <- nil
	wg.Wait()
	if g.String() != "greeting;event;" {
		t.Errorf("written %q", g)
	}
}

// tryGate is a gate that is written to without waiting.
type tryGate struct{ g *gate }

func (t tryGate) TryWrite(b []byte) (int, error) { return t.g.Write(b) }

// TestCrierRounds has more clients than a stretch and more events than a round, and a
// client that lags behind.
func TestCrierRounds(t *testing.T) {
	tp := newTape(false, 1<<20)
	late, slow := hearer(tp, 0)
	var rooms []*room
	for range 2*stretch + 1 {
		_, r := hearer(tp, 1<<20)
		rooms = append(rooms, r)
	}
	stop := make(chan struct{})
	var wg sync.WaitGroup
	heard := make(chan struct{})
	last := hearerOf(tp, "end.", heard)
	wg.Go(func() { tp.crier.run(stop) })
	var want strings.Builder
	for i := range 2 * wideRound / 20 {
		s := fmt.Sprintf("event number %6d;", i)
		want.WriteString(s)
		write(tp, s)
	}
	want.WriteString("end.")
	write(tp, "end.")
	<-heard
	// The round in which the last one heard it has an end too.
	close(stop)
	wg.Wait()
	c := newCrier(tp)
	for c.begin() {
		c.round(nil)
	}
	for i, r := range rooms {
		if r.String() != want.String() {
			t.Fatalf("client %d has %d bytes, want %d", i, r.got.Len(), want.Len())
		}
	}
	slow.left = 1 << 20
	late.flush() // as its writing goroutine does when it is read again; the rest is the crier's
	for c.begin() {
		c.round(nil)
	}
	if slow.String() != want.String() {
		t.Errorf("the late client has %d bytes, want %d", slow.got.Len(), want.Len())
	}
	last.leave()
}

// ending is a client that tells when it has got an end.
type ending struct {
	room
	end  string
	once sync.Once
	f    func()
}

func (e *ending) TryWrite(b []byte) (int, error) {
	if bytes.HasSuffix(b, []byte(e.end)) {
		e.once.Do(e.f)
	}
	return len(b), nil
}

func hearerOf(t *tape, end string, heard chan struct{}) *outbox {
	o := newOutbox(&ending{end: end, f: func() { close(heard) }}, 1<<20)
	o.listen(t)
	return o
}

// BenchmarkEvent is an event to clients that wait for it.
func BenchmarkEvent(b *testing.B) {
	for _, n := range []int{1, 10} {
		b.Run(fmt.Sprintf("clients=%d", n), func(b *testing.B) {
			r := newRig(b)
			path := r.listen(Monitor{})
			var all []*peer
			for range n {
				all = append(all, negotiated(b, path, ""))
			}
			ev := qapi.EventRtcChange
			ev.RateLimited = false
			b.ReportAllocs()
			for b.Loop() {
				events.Emit(r.events, ev, qapi.RtcChangeEvent{Offset: 1})
				for _, p := range all {
					if _, err := p.r.ReadSlice('\n'); err != nil {
						b.Fatal(err)
					}
				}
			}
		})
	}
}
