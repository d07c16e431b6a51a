package chardev

import (
	"context"
	"io"
	"net"
	"sync"
)

// lineRoom bounds what a Line keeps of its input.
const lineRoom = 4096

// Line is a monitor's Frontend: it makes connections of a chardev, one after the other,
// each lasting from when the other side comes until it goes.
type Line struct {
	seat *Seat
	// quiet has output wait while the focus of a Mux is elsewhere.
	quiet bool

	mu     sync.Mutex
	cond   *sync.Cond
	open   bool
	visits int // how often the other side has come
	served int // the visit that had a connection last
	in     []byte
	conn   *lineConn // the present one
	away   bool      // the focus is elsewhere
	events int       // how many there were
	ended  bool
}

// NewLine returns a monitor's Line at a seat. With quiet set, what the monitor writes
// while another one has the focus of a Mux is held back until it has it.
func NewLine(s *Seat, quiet bool) *Line {
	l := &Line{seat: s, quiet: quiet}
	l.cond = sync.NewCond(&l.mu)
	s.Pin()
	s.Attach(l)
	return l
}

// Next returns the next connection once the one before was closed, and net.ErrClosed
// after Close.
func (l *Line) Next() (io.ReadWriteCloser, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	// Who came and went already, such as a short input, is served too.
	for !l.ended && (l.conn != nil || !l.open && l.served == l.visits) {
		l.cond.Wait()
	}
	if l.ended {
		return nil, net.ErrClosed
	}
	l.served = l.visits
	l.conn = &lineConn{line: l, visit: l.visits}
	return l.conn, nil
}

// Close ends Next. It leaves a connection alone.
func (l *Line) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ended = true
	l.cond.Broadcast()
	return nil
}

// CanReceive returns the room for input; there is none without a connection.
func (l *Line) CanReceive() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return lineRoom - len(l.in)
}

// Receive takes input.
func (l *Line) Receive(p []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.in = append(l.in, p...)
	l.cond.Broadcast()
}

// Event begins and ends connections.
func (l *Line) Event(e Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch e {
	case Opened:
		if !l.open {
			l.open, l.in = true, nil
			l.visits++
		}
	case Closed:
		l.open = false
	case MuxIn:
		l.away = false
	case MuxOut:
		l.away = true
	}
	l.events++
	l.cond.Broadcast()
}

// lineConn is one visit of the other side.
type lineConn struct {
	line   *Line
	visit  int
	closed bool
}

// Settle returns when what was written has gone.
func (c *lineConn) Settle(ctx context.Context) { c.line.seat.Settle(ctx) }

// Read returns input, and io.EOF when the other side has gone.
func (c *lineConn) Read(p []byte) (int, error) {
	l := c.line
	l.mu.Lock()
	here := func() bool { return !c.closed && c.visit == l.visits }
	for here() && l.open && len(l.in) == 0 {
		l.cond.Wait()
	}
	if !here() || len(l.in) == 0 {
		l.mu.Unlock()
		return 0, io.EOF
	}
	n := copy(p, l.in)
	l.in = l.in[:copy(l.in, l.in[n:])]
	l.mu.Unlock()
	l.seat.Accept()
	return n, nil
}

// Write waits until all of p is taken. What is written for somebody who has gone is
// lost.
func (c *lineConn) Write(p []byte) (int, error) {
	l := c.line
	for done := 0; done < len(p); {
		l.mu.Lock()
		for l.quiet && l.away && !c.closed {
			l.cond.Wait()
		}
		events, closed := l.events, c.closed
		l.mu.Unlock()
		if closed {
			return done, net.ErrClosed
		}
		n, _ := l.seat.Write(p[done:])
		if done += n; done == len(p) {
			break
		}
		l.mu.Lock()
		for l.events == events && !c.closed {
			l.cond.Wait()
		}
		l.mu.Unlock()
	}
	return len(p), nil
}

// Close makes way for the next connection.
func (c *lineConn) Close() error {
	l := c.line
	l.mu.Lock()
	defer l.mu.Unlock()
	c.closed = true
	if l.conn == c {
		l.conn = nil
	}
	l.cond.Broadcast()
	return nil
}
