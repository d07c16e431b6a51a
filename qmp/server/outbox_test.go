package server

import (
	"bytes"
	"context"
	"errors"
	"sync"
	"testing"
)

// gate is a writer that lets one write through for each value it is sent.
type gate struct {
	mu      sync.Mutex
	got     bytes.Buffer
	entered chan struct{}
	pass    chan error
}

func newGate() *gate { return &gate{entered: make(chan struct{}, 10), pass: make(chan error)} }

func (g *gate) Write(b []byte) (int, error) {
	g.entered <- struct{}{}
	if err := <-g.pass; err != nil {
		return 0, err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.got.Write(b)
}

func (g *gate) String() string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.got.String()
}

// TestOutboxDoesNotBlock adds while a write hangs.
func TestOutboxDoesNotBlock(t *testing.T) {
	g := newGate()
	o := newOutbox(g, 100)
	o.add([]byte("a"))
	var wg sync.WaitGroup
	wg.Go(func() { o.flush() })
	<-g.entered
	o.owe()
	if n := o.reply([]byte("b")); n != 2 {
		t.Errorf("%d bytes wait, want the one being written and the new one", n)
	}
	o.flush() // somebody is writing: returns at once
	g.pass <- nil
	<-g.entered // who writes goes on with what came meanwhile
	g.pass <- nil
	wg.Wait()
	if g.String() != "ab" {
		t.Errorf("written %q", g)
	}
}

// TestOutboxSettle waits for what is being written, but no longer than its context.
func TestOutboxSettle(t *testing.T) {
	g := newGate()
	o := newOutbox(g, 100)
	o.add([]byte("a"))
	go func() {
		<-g.entered
		g.pass <- nil
	}()
	o.settle(t.Context())
	if g.String() != "a" {
		t.Errorf("written %q", g)
	}
	o.add([]byte("b"))
	written := make(chan struct{})
	go func() {
		o.flush()
		close(written)
	}()
	<-g.entered
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	o.settle(ctx)
	g.pass <- nil
	<-written
}

func TestOutboxDrain(t *testing.T) {
	g := newGate()
	o := newOutbox(g, 100)
	o.owe()
	drained := make(chan struct{})
	go func() {
		o.drain(context.Background())
		close(drained)
	}()
	<-o.wake
	if o.owe() {
		t.Error("a command is taken while draining")
	}
	o.reply([]byte("x"))
	<-o.wake
	go o.flush()
	<-g.entered
	select {
	case <-drained:
		t.Error("drained before the reply is written")
	default:
	}
	g.pass <- nil
	<-drained
	if g.String() != "x" {
		t.Errorf("written %q", g)
	}
}

// TestOutboxWriteError drops output, but not the commands that came before.
func TestOutboxWriteError(t *testing.T) {
	g := newGate()
	o := newOutbox(g, 100)
	o.add([]byte("a"))
	go func() { g.pass <- errors.New("broken pipe") }()
	o.flush()
	o.add([]byte("b"))
	o.flush()
	o.waitBelow(0)
	if !o.owe() {
		t.Error("no commands are taken after a failed write")
	}
	o.reply([]byte("c"))
	o.drain(context.Background())
	if o.owe() || g.String() != "" {
		t.Errorf("written %q", g)
	}
}

// TestOutboxKeepsLittle writes a large message.
func TestOutboxKeepsLittle(t *testing.T) {
	g := newGate()
	o := newOutbox(g, 1<<20)
	o.add(make([]byte, keepBuffer+1))
	go func() { g.pass <- nil }()
	o.flush()
	if cap(o.spare) > keepBuffer || cap(o.pending) > keepBuffer {
		t.Errorf("%d and %d bytes are kept", cap(o.spare), cap(o.pending))
	}
}
