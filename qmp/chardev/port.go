package chardev

import (
	"bytes"
	"context"
	"errors"
	"io"
	"sync"
	"time"
)

// Output waits for the rest of its line until there are flushSize bytes of it, or for
// flushDelay.
const (
	flushSize  = 256
	flushDelay = time.Millisecond
)

// maxBacklog bounds, in bytes, what waits for a slow reader.
const maxBacklog = 1 << 20

// port is the common part of backends: the frontend, its room for input, and
// the connection of the moment with its two goroutines.
type port struct {
	mu    sync.Mutex
	cond  *sync.Cond // room for input, output to send, or the end
	front Frontend
	conn  io.ReadWriteCloser
	out   []byte
	flush *time.Timer // wakes the sender for what is no line yet
	timed bool        // flush is running
	due   bool        // what is queued is to be sent
	short bool        // some output was not taken
	deaf  bool        // the connection's input has ended
	pokes int         // how often the frontend got room
	log   io.WriteCloser
	ended bool
	sends bool // output is being written
	work  sync.WaitGroup
}

func (p *port) init() {
	p.cond = sync.NewCond(&p.mu)
	p.flush = time.AfterFunc(flushDelay, p.flushNow)
}

func (p *port) flushNow() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.timed, p.due = false, true
	p.cond.Broadcast()
}

// Write queues b for the connection there is, if any.
func (p *port) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.log != nil {
		_, _ = p.log.Write(b)
	}
	if p.conn == nil {
		return len(b), nil
	}
	n := min(len(b), maxBacklog-len(p.out))
	if n > 0 {
		p.out = append(p.out, b[:n]...)
		p.wakeSender(b[:n])
	}
	p.short = p.short || n < len(b)
	return max(n, 0), nil
}

// wakeSender has the sender send what is queued: at once when b, the latest, ends a line
// or much has come together, else a little later. A guest writes its console byte by
// byte, and waking somebody for each costs more than all the rest.
func (p *port) wakeSender(b []byte) {
	switch {
	case len(p.out) >= flushSize || bytes.IndexByte(b, '\n') >= 0:
		p.due = true
		p.cond.Broadcast()
	case !p.timed:
		p.timed = true
		p.flush.Reset(flushDelay)
	}
}

// Attach sets the frontend and tells it whether somebody is connected.
func (p *port) Attach(f Frontend) {
	p.mu.Lock()
	p.front = f
	open := p.conn != nil && !p.deaf
	p.pokes++
	p.cond.Broadcast()
	p.mu.Unlock()
	if f != nil && open {
		f.Event(Opened)
	}
}

// Accept wakes the reader.
func (p *port) Accept() {
	p.mu.Lock()
	p.pokes++
	p.cond.Broadcast()
	p.mu.Unlock()
}

// event tells the frontend, if there is one.
func (p *port) event(e Event) {
	p.mu.Lock()
	f := p.front
	p.mu.Unlock()
	if f != nil {
		f.Event(e)
	}
}

// serve runs a connection until it ends.
func (p *port) serve(conn io.ReadWriteCloser) {
	p.mu.Lock()
	if p.ended {
		p.mu.Unlock()
		conn.Close()
		return
	}
	p.conn, p.out, p.deaf = conn, nil, false
	p.mu.Unlock()
	p.event(Opened)
	var writer sync.WaitGroup
	writer.Go(func() { p.send(conn) })
	p.receive(conn)
	p.drop(conn)
	writer.Wait()
	p.event(Closed)
}

// drop forgets a connection and closes it.
func (p *port) drop(conn io.ReadWriteCloser) {
	p.mu.Lock()
	if p.conn == conn {
		p.conn = nil
	}
	p.cond.Broadcast()
	p.mu.Unlock()
	conn.Close()
}

// Settle returns when what was queued is written, the connection goes or ctx is done.
func (p *port) Settle(ctx context.Context) {
	defer context.AfterFunc(ctx, func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.cond.Broadcast()
	})()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.due = true
	p.cond.Broadcast()
	for ctx.Err() == nil && p.conn != nil && (len(p.out) > 0 || p.sends) {
		p.cond.Wait()
	}
}

// send writes what is queued until the connection goes.
func (p *port) send(conn io.Writer) {
	var batch []byte
	for {
		p.mu.Lock()
		for p.conn == conn && !(p.due && len(p.out) > 0) {
			p.cond.Wait()
		}
		if len(p.out) == 0 {
			p.mu.Unlock()
			return
		}
		batch, p.out, p.due = p.out, batch[:0], false
		drained := p.short
		p.short, p.sends = false, true
		p.mu.Unlock()
		if drained {
			p.event(Drained)
		}
		_, err := conn.Write(batch)
		p.mu.Lock()
		p.sends = false
		p.cond.Broadcast()
		p.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// receive hands input to the frontend as it has room, until the connection ends or has
// no more.
func (p *port) receive(conn io.Reader) {
	buf := make([]byte, 4096)
	for {
		front, room := p.waitRoom(conn)
		if front == nil {
			return
		}
		n, err := conn.Read(buf[:min(room, len(buf))])
		if !p.deliver(conn, buf[:n]) {
			return
		}
		if errors.Is(err, errNoInput) {
			p.waitGone(conn)
		}
		if err != nil {
			return
		}
	}
}

// deliver hands over b, to whoever is the frontend now. It is false if the connection
// went before.
func (p *port) deliver(conn io.Reader, b []byte) bool {
	for len(b) > 0 {
		front, room := p.waitRoom(conn)
		if front == nil {
			return false
		}
		n := min(room, len(b))
		front.Receive(b[:n])
		b = b[n:]
	}
	return true
}

// waitGone waits until a connection without input is dropped.
func (p *port) waitGone(conn io.Reader) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.conn == conn {
		p.cond.Wait()
	}
}

// waitRoom waits for a frontend with room; nil means that the connection is
// gone.
func (p *port) waitRoom(conn io.Reader) (Frontend, int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.conn == conn {
		pokes := p.pokes
		if front := p.front; front != nil {
			p.mu.Unlock()
			room := front.CanReceive()
			p.mu.Lock()
			if p.conn != conn {
				return nil, 0
			}
			if room > 0 {
				return front, room
			}
		}
		if p.pokes == pokes {
			p.cond.Wait()
		}
	}
	return nil, 0
}

// end stops the port and waits for its goroutines.
func (p *port) end(flush func()) error {
	p.mu.Lock()
	p.ended = true
	p.flush.Stop()
	conn := p.conn
	rest := p.out
	p.conn, p.out = nil, nil
	p.cond.Broadcast()
	p.mu.Unlock()
	if flush != nil {
		flush()
	}
	if conn != nil && len(rest) > 0 {
		_, _ = conn.Write(rest)
	}
	if conn != nil {
		conn.Close()
	}
	p.work.Wait()
	if p.log != nil {
		return p.log.Close()
	}
	return nil
}
