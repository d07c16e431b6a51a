package chardev

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"time"
)

// Socket is a backend that is connected at times.
type Socket struct {
	port
	listener net.Listener
	dial     func(ctx context.Context) (net.Conn, error)
	retry    time.Duration
	stop     context.CancelFunc
	start    sync.Once
	ctx      context.Context
	first    net.Conn // what Open waited for or dialled
}

// openSocket listens or connects as o says.
func openSocket(ctx context.Context, o Options, log io.WriteCloser) (Backend, error) {
	s := &Socket{retry: o.Reconnect}
	s.init()
	s.log = log
	if o.Escape {
		s.input = (&escape{terminate: o.Terminate, event: s.event}).filter
	}
	s.ctx, s.stop = context.WithCancel(context.Background())
	network, address := "tcp", net.JoinHostPort(o.Host, o.Port)
	if o.Path != "" {
		if network, address = "unix", o.Path; o.Abstract {
			address = "@" + o.Path
		}
	}
	var err error
	switch {
	case o.FD > 0:
		err = s.adopt(o)
	case o.Server:
		err = s.listen(ctx, network, address, o)
	default:
		err = s.connect(ctx, network, address)
	}
	if err != nil {
		s.stop()
		return nil, fmt.Errorf("socket %s: %w", address, err)
	}
	if o.Server && o.Wait && s.listener != nil {
		s.first, err = s.listener.Accept()
		if err != nil {
			return nil, errors.Join(err, s.Close())
		}
	}
	return s, nil
}

func (s *Socket) event(e Event) {
	s.mu.Lock()
	f := s.front
	s.mu.Unlock()
	if f != nil {
		f.Event(e)
	}
}

// adopt uses an inherited descriptor: a listening socket for a server, a
// connected one otherwise.
func (s *Socket) adopt(o Options) (err error) {
	f := os.NewFile(uintptr(o.FD), "socket")
	if f == nil {
		return fmt.Errorf("bad descriptor %d", o.FD)
	}
	defer f.Close()
	if o.Server {
		s.listener, err = net.FileListener(f)
	} else {
		s.first, err = net.FileConn(f)
	}
	return err
}

// listen binds a server; a unix socket that nobody listens on any more is
// replaced.
func (s *Socket) listen(ctx context.Context, network, address string, o Options) error {
	if network == "unix" && !o.Abstract {
		if c, err := net.Dial(network, address); err == nil {
			c.Close()
			return errors.New("somebody listens there already")
		}
		if st, err := os.Lstat(address); err == nil && st.Mode()&os.ModeSocket != 0 {
			os.Remove(address)
		}
	}
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, network, address)
	s.listener = l
	return err
}

// connect dials now, or again and again if reconnect says so.
func (s *Socket) connect(ctx context.Context, network, address string) error {
	s.dial = func(ctx context.Context) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, network, address)
	}
	c, err := s.dial(ctx)
	if err != nil && s.retry > 0 {
		return nil
	}
	s.first = c
	return err
}

// Listener returns the server's listener, for a monitor's use instead of Attach.
func (s *Socket) Listener() net.Listener { return s.listener }

// Conn returns a client's connection, for a monitor's use instead of Attach.
func (s *Socket) Conn() io.ReadWriteCloser {
	if s.first == nil {
		return nil
	}
	return s.first
}

// Attach starts serving connections with the first frontend.
func (s *Socket) Attach(f Frontend) {
	s.port.Attach(f)
	if f != nil {
		s.start.Do(func() { s.work.Go(s.run) })
	}
}

// run serves one connection after another.
func (s *Socket) run() {
	for c := s.next(); c != nil; c = s.next() {
		s.serve(c)
		if s.listener == nil && s.retry == 0 {
			return
		}
	}
}

// next returns the next connection, nil at the end.
func (s *Socket) next() net.Conn {
	if c := s.first; c != nil {
		s.first = nil
		return c
	}
	if s.listener != nil {
		c, _ := s.listener.Accept()
		return c
	}
	for s.ctx.Err() == nil && s.dial != nil {
		if c, err := s.dial(s.ctx); err == nil {
			return c
		}
		wait := time.NewTimer(s.retry)
		select {
		case <-wait.C:
		case <-s.ctx.Done():
			wait.Stop()
		}
	}
	return nil
}

// Close stops listening and ends the connection.
func (s *Socket) Close() error {
	s.stop()
	var err error
	if s.listener != nil {
		err = s.listener.Close()
		if errors.Is(err, net.ErrClosed) {
			err = nil
		}
	}
	if s.first != nil && !s.started() {
		s.first.Close()
	}
	return errors.Join(err, s.end(nil))
}

func (s *Socket) started() bool {
	fresh := false
	s.start.Do(func() { fresh = true })
	return !fresh
}
