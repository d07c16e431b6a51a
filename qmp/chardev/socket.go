package chardev

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"syscall"
	"time"

	"hv/qmp/sockaddr"
	"hv/qmp/trywrite"
)

// Socket is a backend that is connected at times. As a device's it has one connection
// after the other (Attach); a monitor may have several of a server's at once (Next).
type Socket struct {
	port
	opt      Options
	listener net.Listener
	dial     func(ctx context.Context) (net.Conn, error)
	stop     context.CancelFunc
	start    sync.Once
	ctx      context.Context
	first    net.Conn // what Open waited for or dialled

	at      sync.Mutex // for what follows
	clients int
	latest  string // the address of the last client, as Filename gives it
	gone    *sync.Cond
}

// openSocket listens or connects as o says.
func openSocket(ctx context.Context, o Options, log io.WriteCloser) (Backend, error) {
	s := &Socket{opt: o}
	s.init()
	s.log = log
	s.gone = sync.NewCond(&s.at)
	s.ctx, s.stop = context.WithCancel(context.Background())
	var err error
	switch {
	case o.Socket == nil:
		err = errors.New("chardev: socket: no address given")
	case o.Server:
		s.listener, err = sockaddr.Listen(o.Socket, o.Host.descriptor)
	default:
		err = s.connect(ctx)
	}
	if err == nil && o.Server && o.Wait {
		err = s.await(ctx)
	}
	if err != nil {
		s.log = nil // the caller's, as there is no socket
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// await waits for the first client.
func (s *Socket) await(ctx context.Context) error {
	s.opt.Host.notify("waiting for connection on: %s", s.Filename())
	defer context.AfterFunc(ctx, func() { s.listener.Close() })()
	c, err := s.listener.Accept()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	s.first = c
	return err
}

// connect dials now, or again and again if reconnect says so.
func (s *Socket) connect(ctx context.Context) (err error) {
	s.dial = func(ctx context.Context) (net.Conn, error) {
		return sockaddr.Dial(ctx, s.opt.Socket, s.opt.Host.descriptor)
	}
	s.first, err = s.dial(ctx)
	if err != nil && s.opt.Reconnect > 0 {
		s.opt.Host.notify("chardev: %v; trying again every %s", err, s.opt.Reconnect)
		return nil
	}
	return err
}

// Filename describes the socket and, if there is one, its client.
func (s *Socket) Filename() string {
	s.at.Lock()
	defer s.at.Unlock()
	if s.clients > 0 {
		return s.latest
	}
	return "disconnected:" + s.opt.name(s.listener)
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
		s.serve(s.welcome(c, func() { s.event(Break) }))
		if s.once() {
			return
		}
	}
}

// once tells whether there is no connection but the first.
func (s *Socket) once() bool { return s.listener == nil && s.opt.Reconnect == 0 }

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
		wait := time.NewTimer(s.opt.Reconnect)
		select {
		case <-wait.C:
		case <-s.ctx.Done():
			wait.Stop()
		}
	}
	return nil
}

// Next returns a monitor's next connection, instead of Attach: the next client of a
// server, or a new connection once the one before was closed. It returns net.ErrClosed
// when there is none any more.
func (s *Socket) Next() (io.ReadWriteCloser, error) {
	s.start.Do(func() {})
	s.at.Lock()
	for s.listener == nil && s.clients > 0 && s.ctx.Err() == nil {
		s.gone.Wait()
	}
	spent := s.once() && s.first == nil
	s.at.Unlock()
	if spent || s.ctx.Err() != nil {
		return nil, net.ErrClosed
	}
	c := s.next()
	if c == nil {
		return nil, net.ErrClosed
	}
	return s.welcome(c, nil), nil
}

// PassesDescriptors reports whether connections can carry descriptors: whether it is a UNIX socket, and no
// telnet.
func (s *Socket) PassesDescriptors() bool {
	local := s.opt.Socket.Unix != nil
	switch {
	case s.listener != nil:
		local = s.listener.Addr().Network() == "unix"
	case s.first != nil:
		local = s.first.LocalAddr().Network() == "unix"
	}
	return local && !s.opt.Telnet
}

// Listener returns what Next returns as a listener, for a server; nil for a client.
// Closing it is Stop.
func (s *Socket) Listener() net.Listener {
	if s.listener == nil {
		return nil
	}
	return clients{s}
}

type clients struct{ s *Socket }

func (c clients) Close() error   { return c.s.Stop() }
func (c clients) Addr() net.Addr { return c.s.listener.Addr() }

func (c clients) Accept() (net.Conn, error) {
	c.s.start.Do(func() {})
	conn := c.s.next()
	if conn == nil {
		return nil, net.ErrClosed
	}
	return c.s.welcome(conn, nil), nil
}

// Stop lets no more clients in and ends Next. Connections that there are stay.
func (s *Socket) Stop() error {
	s.stop()
	s.at.Lock()
	s.gone.Broadcast()
	s.at.Unlock()
	if s.listener == nil {
		return nil
	}
	if err := s.listener.Close(); !errors.Is(err, net.ErrClosed) {
		return err
	}
	return nil
}

// welcome makes a client's connection what o says and counts it until it is closed.
func (s *Socket) welcome(c net.Conn, broken func()) net.Conn {
	if t, ok := c.(*net.TCPConn); ok {
		_ = t.SetNoDelay(s.opt.NoDelay)
	}
	s.at.Lock()
	s.clients++
	s.latest = s.opt.peer(c)
	s.at.Unlock()
	v := visit{leave: sync.OnceFunc(s.leave), record: s.record}
	if s.opt.Telnet {
		_, _ = c.Write(telnetHello)
		return &visitor{&telnetConn{Conn: c, filter: telnetFilter{broken: broken}}, v}
	}
	sc, ok := c.(syscall.Conn)
	if !ok {
		return &visitor{c, v}
	}
	try, err := trywrite.New(sc)
	if err != nil {
		return &visitor{c, v}
	}
	v.try = try
	if u, ok := c.(*net.UnixConn); ok {
		return &localVisitor{u, v}
	}
	return &directVisitor{visitor{c, v}}
}

func (s *Socket) leave() {
	s.at.Lock()
	defer s.at.Unlock()
	s.clients--
	s.gone.Broadcast()
}

// record writes what is sent to a monitor's client to the log; a device's output is
// there already.
func (s *Socket) record(p []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.log != nil && s.front == nil {
		_, _ = s.log.Write(p)
	}
}

// visit is what a connection does beside moving bytes.
type visit struct {
	leave  func()
	record func(p []byte)
	try    *trywrite.Writer // nil if what is sent is not what is written
}

// tryWrite writes as much as there is room for.
func (v *visit) tryWrite(p []byte) (int, error) {
	n, err := v.try.TryWrite(p)
	v.record(p[:n])
	return n, err
}

type visitor struct {
	net.Conn
	visit
}

func (v *visitor) Write(p []byte) (int, error) {
	v.record(p)
	return v.Conn.Write(p)
}

func (v *visitor) Close() error {
	v.leave()
	return v.Conn.Close()
}

// directVisitor is a visitor whose output goes as it is.
type directVisitor struct{ visitor }

// TryWrite writes as much as there is room for.
func (v *directVisitor) TryWrite(p []byte) (int, error) { return v.tryWrite(p) }

// localVisitor is a visitor that can pass descriptors.
type localVisitor struct {
	*net.UnixConn
	visit
}

func (v *localVisitor) Write(p []byte) (int, error) {
	v.record(p)
	return v.UnixConn.Write(p)
}

// TryWrite writes as much as there is room for.
func (v *localVisitor) TryWrite(p []byte) (int, error) { return v.tryWrite(p) }

func (v *localVisitor) Close() error {
	v.leave()
	return v.UnixConn.Close()
}

// Close stops listening and ends the connection.
func (s *Socket) Close() error {
	err := s.Stop()
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
