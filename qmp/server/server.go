// Package server speaks QMP with clients: any number at once, each with its own
// negotiation, capabilities, order and events.
//
// A session has a goroutine that reads, parses, sees commands executed one after
// the other and writes their replies; a client that enabled out-of-band execution has
// one more, for its commands in band. In-band commands of all sessions run serialised
// by the Executor, except those that wait. A reply joins the session's outbox where
// the command ran, after the events until then, so a client sees things in the order
// in which they happened.
//
// Events are kept once for all clients, on a tape for each form of output. Who makes one
// writes it at once to a few clients, one goroutine a tape to many, as far as they can be
// written to without waiting; a client that has to be waited for gets a writing
// goroutine of its own. A client that stops reading stops its own commands at half of
// the backlog, and is disconnected when it is further behind the events than that;
// nobody else waits for it. Close ends and waits for all goroutines.
//
// Implements sections 2 to 4 of the QMP specification. It depends on qmp/qapi,
// qmp/wire, qmp/dispatch and qmp/events.
package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"slices"
	"sync"

	"github.com/sirupsen/logrus"

	"hv/qmp/dispatch"
	"hv/qmp/events"
	"hv/qmp/qapi"
)

// DefaultBacklog is how many bytes of events are kept at least for clients that lag
// behind, once for all of them and at most twice this; and how many bytes may wait for
// one client, besides what its socket holds: replies up to half of it and one message,
// and a few pages of events. Only a client that sends commands while it does not read
// can have all events copied for it.
const DefaultBacklog = 1 << 20

// Executor runs functions one at a time, on the VM's control goroutine.
type Executor interface {
	// Do runs f and returns when that is done. If it returns an error, f has
	// not run and will not.
	Do(ctx context.Context, f func()) error
}

// Config is what a server needs. All but Backlog and Log must be set.
type Config struct {
	// Table has the VM's commands; New adds those of the protocol itself.
	Table  *dispatch.Table
	Events *events.Broker
	Exec   Executor
	// Version is our own name and version, such as "hv 1.0".
	Version string
	// Backlog bounds what waits for a client, in bytes; 0 means DefaultBacklog.
	Backlog int
	// Log hears of dropped clients; nil means silence.
	Log logrus.FieldLogger
}

// qemu is the QEMU whose interface we have.
var qemu = qapi.VersionTriple{Major: 7, Minor: 2, Micro: 0}

// Monitor is how one monitor differs from another.
type Monitor struct {
	Name   string // for the log, such as the socket's path
	Pretty bool   // output over many lines
}

// Server is a VM's or a daemon's QMP.
type Server struct {
	cfg    Config
	ctx    context.Context // of handlers, until Close
	cancel context.CancelFunc

	compact, pretty *tape    // events, in both forms
	once            *once    // those of which each client is told once
	deaf            []func() // ends them
	criers          sync.WaitGroup
	hush            func() // ends those

	mu        sync.Mutex
	closed    bool
	listeners map[net.Listener]struct{}
	sessions  map[*session]struct{}
	wg        sync.WaitGroup
}

// ErrClosed is returned for connections to a server that was closed.
var ErrClosed = errors.New("QMP server closed")

// New returns a server, and registers qmp_capabilities, query-version,
// query-commands and query-qmp-schema in its table. A table has one server.
func New(cfg Config) *Server {
	if cfg.Backlog == 0 {
		cfg.Backlog = DefaultBacklog
	}
	if cfg.Log == nil {
		l := logrus.New()
		l.SetOutput(io.Discard)
		cfg.Log = l
	}
	s := &Server{cfg: cfg, listeners: map[net.Listener]struct{}{}, sessions: map[*session]struct{}{}}
	s.compact, s.pretty = newTape(false, cfg.Backlog), newTape(true, cfg.Backlog)
	over := make(chan struct{})
	s.hush = sync.OnceFunc(func() { close(over) })
	for _, t := range []*tape{s.compact, s.pretty} {
		s.deaf = append(s.deaf, cfg.Events.Subscribe(t))
		s.criers.Go(func() { t.crier.run(over) })
	}
	s.once = newOnce()
	s.deaf = append(s.deaf, cfg.Events.Subscribe(s.once))
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.register()
	return s
}

func (s *Server) version() qapi.VersionInfo {
	return qapi.VersionInfo{Qemu: qemu, Package: s.cfg.Version}
}

// tape returns the events in the form that a monitor wants.
func (s *Server) tape(pretty bool) *tape {
	if pretty {
		return s.pretty
	}
	return s.compact
}

// register adds the protocol's own commands.
func (s *Server) register() {
	dispatch.Register(s.cfg.Table, qapi.CmdQmpCapabilities, negotiate)
	dispatch.Register(s.cfg.Table, qapi.CmdQueryVersion, func(context.Context, qapi.Empty) (qapi.VersionInfo, error) {
		return s.version(), nil
	})
	dispatch.Register(s.cfg.Table, qapi.CmdQueryCommands, func(context.Context, qapi.Empty) (qapi.CommandInfoList, error) {
		list := qapi.CommandInfoList{}
		for _, name := range s.cfg.Table.Names() {
			list = append(list, qapi.CommandInfo{Name: name})
		}
		return list, nil
	})
	dispatch.Register(s.cfg.Table, qapi.CmdQueryQmpSchema, func(context.Context, qapi.Empty) (qapi.SchemaInfoList, error) {
		return qapi.Schema(s.cfg.Table.Names()), nil
	})
}

// Serve accepts clients until the listener fails or the server is closed, in
// which case it returns nil. It closes the listener.
func (s *Server) Serve(l net.Listener, m Monitor) error {
	defer l.Close()
	if !s.addListener(l) {
		return ErrClosed
	}
	for {
		conn, err := l.Accept()
		if err != nil {
			if s.removeListener(l) {
				return nil
			}
			return fmt.Errorf("accept QMP client on %s: %w", m.Name, err)
		}
		if _, err := s.start(conn, m); err != nil {
			conn.Close()
		}
	}
}

func (s *Server) addListener(l net.Listener) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.listeners[l] = struct{}{}
	return true
}

// removeListener tells whether the server is closed.
func (s *Server) removeListener(l net.Listener) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.listeners, l)
	return s.closed
}

// ServeConn serves one client until it goes or the server is closed. It closes
// rwc, whose Close must make a blocked Read and Write return.
func (s *Server) ServeConn(rwc io.ReadWriteCloser, m Monitor) error {
	sess, err := s.start(rwc, m)
	if err != nil {
		rwc.Close()
		return err
	}
	<-sess.done
	return nil
}

// start begins a session.
func (s *Server) start(rwc io.ReadWriteCloser, m Monitor) (*session, error) {
	sess := newSession(s, rwc, m)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, ErrClosed
	}
	s.sessions[sess] = struct{}{}
	s.wg.Go(sess.run)
	return sess, nil
}

func (s *Server) forget(sess *session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.sessions, sess)
}

// Close ends the server: it accepts no more clients and commands, cancels the
// context of handlers, and gives clients until ctx is done to be answered and to
// take what was sent to them, such as the reply to quit. Then it disconnects
// them and waits for all goroutines. It returns ctx's error if that was done.
//
// A command that is being executed must be able to end: the control goroutine
// must not call Close, nor may a handler.
func (s *Server) Close(ctx context.Context) error {
	sessions := s.refuse()
	s.cancel()
	var drained sync.WaitGroup
	for _, sess := range sessions {
		drained.Go(func() {
			sess.out.drain(ctx)
			sess.shut()
		})
	}
	drained.Wait()
	s.wg.Wait()
	for _, f := range s.deaf {
		f()
	}
	s.hush()
	s.criers.Wait()
	return ctx.Err()
}

// refuse accepts no more clients and returns those that there are.
func (s *Server) refuse() []*session {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	for l := range s.listeners {
		l.Close()
	}
	return slices.Collect(maps.Keys(s.sessions))
}
