package chardev

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// wire is a Backend whose other side is the test.
type wire struct {
	mu    chan struct{}
	front Frontend
	out   strings.Builder
	pokes atomic.Int32
}

func newWire() *wire {
	w := &wire{mu: make(chan struct{}, 1)}
	w.mu <- struct{}{}
	return w
}

func (w *wire) Write(p []byte) (int, error) {
	<-w.mu
	defer func() { w.mu <- struct{}{} }()
	return w.out.Write(p)
}

func (w *wire) text() string {
	<-w.mu
	defer func() { w.mu <- struct{}{} }()
	return w.out.String()
}

func (w *wire) Attach(f Frontend) {
	<-w.mu
	w.front = f
	w.mu <- struct{}{}
	if f != nil {
		f.Event(Opened)
	}
}

func (w *wire) Accept()      { w.pokes.Add(1) }
func (w *wire) Close() error { return nil }

// muxRig is two consoles on a mux on a wire.
type muxRig struct {
	r     Registry
	w     *wire
	seats [2]*Seat
	users [2]*console
	ended int
}

func newMuxRig(t *testing.T) *muxRig {
	t.Helper()
	g := &muxRig{w: newWire()}
	if err := g.r.Add("w", g.w); err != nil {
		t.Fatal(err)
	}
	if _, err := g.r.Create(context.Background(), "m", Options{Kind: "mux", Base: "w", Host: Host{Terminate: func() { g.ended++ }}}); err != nil {
		t.Fatal(err)
	}
	for i := range g.seats {
		var err error
		if g.seats[i], err = g.r.Claim("m", "user"); err != nil {
			t.Fatal(err)
		}
		g.users[i] = newConsole(100)
		g.seats[i].Attach(g.users[i])
	}
	t.Cleanup(func() {
		if err := g.r.Close(); err != nil {
			t.Error(err)
		}
	})
	return g
}

func (g *muxRig) key(s string) { g.w.front.Receive([]byte(s)) }

func TestMuxFocus(t *testing.T) {
	g := newMuxRig(t)
	a, b := g.users[0], g.users[1]
	a.expect(t, MuxIn)
	a.expect(t, Opened)
	a.expect(t, MuxOut)
	b.expect(t, Opened)
	b.expect(t, MuxIn)
	g.key("for b")
	b.wait(t, "for b")
	g.key("\x01cfor a")
	b.expect(t, MuxOut)
	a.expect(t, MuxIn)
	a.wait(t, "for a")
	g.key("\x01")
	g.key("n\x01\x01!")
	b.wait(t, "for b\x01!")
	g.key("\x01b")
	b.expect(t, MuxIn)
	b.expect(t, Break)
	_, _ = g.seats[0].Write([]byte("A"))
	_, _ = g.seats[1].Write([]byte("B"))
	if s := g.w.text(); s != "AB" {
		t.Errorf("wrote %q", s)
	}
	g.w.front.Event(Closed)
	a.expect(t, MuxOut)
	a.expect(t, Closed)
	b.expect(t, Closed)
}

func TestMuxCommands(t *testing.T) {
	g := newMuxRig(t)
	g.key("\x01h\x01x\x01?\x01q")
	if g.ended != 1 || strings.Count(g.w.text(), "C-a x") != 2 {
		t.Errorf("%d ends, %q", g.ended, g.w.text())
	}
	before := len(g.w.text())
	g.key("\x01t")
	for _, s := range []string{"rest of this line\none", " line\n", "more"} {
		if n, _ := g.seats[0].Write([]byte(s)); n != len(s) {
			t.Errorf("took %d of %q", n, s)
		}
	}
	got := g.w.text()[before:]
	if strings.Count(got, "[00:00:0") != 2 || !strings.HasPrefix(got, "rest") || !strings.Contains(got, "] one line\n[") {
		t.Errorf("with times: %q", got)
	}
}

// TestMuxRoom has a frontend without room: input waits, and the keys still work.
func TestMuxRoom(t *testing.T) {
	g := newMuxRig(t)
	b := g.users[1]
	b.mu.Lock()
	b.room = 3
	b.mu.Unlock()
	g.key("abcdef")
	b.wait(t, "abc")
	if room := g.w.front.CanReceive(); room <= 0 || room > maxTyped {
		t.Errorf("room for %d", room)
	}
	g.key("\x01cxyz")
	g.users[0].wait(t, "xyz")
	b.mu.Lock()
	b.room = 6
	b.mu.Unlock()
	g.seats[1].Accept()
	b.wait(t, "abcdef")
	g.key("\x01c" + strings.Repeat("-", 2*maxTyped))
	if n := g.w.front.CanReceive(); n < 0 {
		t.Errorf("room for %d", n)
	}
}

func TestMuxUsersComeAndGo(t *testing.T) {
	g := newMuxRig(t)
	if err := g.seats[1].Close(); err != nil {
		t.Fatal(err)
	}
	g.key("to who is left")
	g.users[0].wait(t, "to who is left")
	var more []*Seat
	for {
		s, err := g.r.Claim("m", "more")
		if err != nil {
			if !errors.Is(err, ErrBusy) {
				t.Error(err)
			}
			break
		}
		more = append(more, s)
	}
	if len(more) != maxPorts-1 {
		t.Errorf("%d more users", len(more))
	}
	if err := g.seats[0].Close(); err != nil {
		t.Error(err)
	}
	g.key("nobody is there")
	if err := g.r.Remove("m"); err == nil || err.Error() != "Chardev 'm' is busy" {
		t.Error(err)
	}
	if err := g.r.Remove("w"); err == nil || err.Error() != "Chardev 'w' is busy" {
		t.Error(err)
	}
}

// TestMuxOption makes the shared backend under another name.
func TestMuxOption(t *testing.T) {
	var r Registry
	defer r.Close()
	if _, err := r.Create(context.Background(), "c", Options{Kind: "null", Mux: true}); err != nil {
		t.Fatal(err)
	}
	if l := r.List(); len(l) != 2 || l[0] != (Info{"c-base", "null", false}) || l[1] != (Info{"c", "mux", false}) {
		t.Errorf("%+v", l)
	}
	s, err := r.Claim("c", "x")
	if err != nil {
		t.Fatal(err)
	}
	u := newConsole(1)
	s.Attach(u)
	u.expect(t, MuxIn)
	u.expect(t, Opened)
	if l := r.List(); !l[0].Open || l[1].Open {
		t.Errorf("%+v", l)
	}
	if err := r.SendBreak("c"); err != nil {
		t.Error(err)
	}
	u.expect(t, Break)
	if _, err := r.Create(context.Background(), "m", Options{Kind: "mux", Base: "none"}); err == nil || err.Error() != "mux: base chardev none not found" {
		t.Error(err)
	}
	if _, err := r.Create(context.Background(), "m", Options{Kind: "mux", Base: "c-base"}); !errors.Is(err, ErrBusy) {
		t.Error(err)
	}
}

func FuzzMux(f *testing.F) {
	f.Add([]byte("a\x01cb\x01\x01\x01h\x01t\x01b\x01x"))
	f.Fuzz(func(t *testing.T, keys []byte) {
		w := newWire()
		m := NewMux(&Seat{backend: w, leave: func() error { return nil }}, func() {})
		defer m.Close()
		for range 2 {
			p, err := m.port()
			if err != nil {
				t.Fatal(err)
			}
			p.Attach(deafUser{})
		}
		m.Receive(keys)
		if n := m.CanReceive(); n < 0 || n > maxTyped {
			t.Errorf("room for %d", n)
		}
	})
}

// deafUser is a Frontend that takes nothing.
type deafUser struct{}

func (deafUser) CanReceive() int { return 0 }
func (deafUser) Receive([]byte)  {}
func (deafUser) Event(Event)     {}

const patience = 10 * time.Second
