package qtest

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"time"
)

// Server serves the protocol.
type Server struct {
	machine Machine
	log     io.Writer // nil for none

	mu     sync.Mutex
	closed bool
	conn   io.Closer // the connection that is served
}

// New returns a server for a machine. What is received and sent is written to log, if
// that is not nil.
func New(m Machine, log io.Writer) *Server { return &Server{machine: m, log: log} }

// errLineTooLong ends a connection.
var errLineTooLong = fmt.Errorf("a command of more than %d bytes", maxLine)

// Serve serves the connections that next returns, one after the other, until that fails.
// The error is nil when next has come to its end: net.ErrClosed.
func (s *Server) Serve(next func() (io.ReadWriteCloser, error)) error {
	for {
		conn, err := next()
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			return err
		}
		_ = s.serve(conn) // the next client may do better
	}
}

// serve serves a connection to its end and closes it.
func (s *Server) serve(conn io.ReadWriteCloser) error {
	if !s.begin(conn) {
		return conn.Close()
	}
	defer s.end()
	c := &session{s: s, conn: conn, start: time.Now()}
	c.changed.L = &c.mu
	var writer sync.WaitGroup
	writer.Go(c.send)
	c.note("I ", "OPENED")
	err := c.receive()
	c.finish()
	writer.Wait()
	c.note("I +", "CLOSED")
	return err
}

// begin notes what Close has to close, and reports whether it is not too late.
func (s *Server) begin(c io.Closer) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.conn = c
	return !s.closed
}

func (s *Server) end() {
	s.mu.Lock()
	s.conn = nil
	s.mu.Unlock()
}

// Close ends the connection that is served, and those that come.
func (s *Server) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	if s.conn == nil {
		return nil
	}
	return s.conn.Close()
}

// session is one connection.
type session struct {
	s     *Server
	conn  io.ReadWriteCloser
	start time.Time

	mu      sync.Mutex
	changed sync.Cond
	queue   []byte // what waits to be sent
	sending bool
	over    bool
}

// receive runs commands until the client goes.
func (c *session) receive() error {
	e := newExecutor(&c.s.machine, func(text string) { c.say(text, maxQueue) })
	defer e.close()
	r := bufio.NewReader(c.conn)
	for {
		line, err := readLine(r)
		if errors.Is(err, io.EOF) || errors.Is(err, net.ErrClosed) || errors.Is(err, os.ErrClosed) {
			return nil
		}
		if err != nil {
			return err
		}
		c.note("R +", line)
		if err := c.s.machine.Do(func() { c.say(e.execute(line), 0) }); err != nil {
			return err
		}
		if !c.flush() {
			return nil
		}
	}
}

// readLine reads a line of bounded length, without its end.
func readLine(r *bufio.Reader) (string, error) {
	var line []byte
	for {
		part, err := r.ReadSlice('\n')
		line = append(line, part...)
		if err == nil {
			return string(line[:len(line)-1]), nil
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			return "", err
		}
		if len(line) > maxLine {
			return "", errLineTooLong
		}
	}
}

// say queues a line for the client. Beyond a limit, 0 for none, of what waits the
// connection is over.
func (c *session) say(text string, limit int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if limit > 0 && len(c.queue) > limit {
		c.end()
	}
	if c.over {
		return
	}
	c.write("S +", text)
	c.queue = append(append(c.queue, text...), '\n')
	c.changed.Broadcast()
}

// note logs a line.
func (c *session) note(kind, text string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.write(kind, text)
}

// write logs a line with the time since the connection began; mu is held. A log that
// cannot be written is no reason to end a test.
func (c *session) write(kind, text string) {
	if c.s.log != nil {
		fmt.Fprintf(c.s.log, "[%s%.06f] %s\n", kind, time.Since(c.start).Seconds(), text)
	}
}

// flush waits until all is sent, and reports whether the connection goes on.
func (c *session) flush() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for (len(c.queue) > 0 || c.sending) && !c.over {
		c.changed.Wait()
	}
	return !c.over
}

// finish ends the connection.
func (c *session) finish() {
	c.mu.Lock()
	c.end()
	c.mu.Unlock()
}

// end is finish with mu held. Closing ends the read and the write under way.
func (c *session) end() {
	if !c.over {
		c.over = true
		_ = c.conn.Close()
	}
	c.changed.Broadcast()
}

// send writes what is queued until the connection is over.
func (c *session) send() {
	for {
		data, ok := c.take()
		if !ok {
			return
		}
		if _, err := c.conn.Write(data); err != nil {
			c.finish()
		}
	}
}

// take returns what is to be sent next; false is the end.
func (c *session) take() ([]byte, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sending = false
	c.changed.Broadcast()
	for len(c.queue) == 0 && !c.over {
		c.changed.Wait()
	}
	if c.over {
		return nil, false
	}
	data := c.queue
	c.queue, c.sending = nil, true
	return data, true
}
