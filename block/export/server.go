package export

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"

	"hv/block/nbdproto"
	"hv/block/tlscreds"
	"hv/qmp/qapi"
	"hv/qmp/sockaddr"
)

// ServerConfig is how an NBD server is reached.
type ServerConfig struct {
	Addr           *qapi.SocketAddress
	Creds, Authz   *string
	MaxConnections uint32 // 0 for any number
}

// server is the NBD server of a VM.
type server struct {
	host     *Host
	listener net.Listener
	creds    *tlscreds.Creds
	authz    *string
	max      uint32
	seats    chan struct{} // nil for any number
	closing  chan struct{}
	tasks    sync.WaitGroup

	mu      sync.Mutex
	exports []*nbdExport
	conns   map[net.Conn]struct{} // that negotiate
}

// StartNBD starts the server.
func (r *Registry) StartNBD(c ServerConfig) error {
	if r.nbd != nil {
		return errors.New("NBD server already running")
	}
	s := &server{host: &r.host, authz: c.Authz, max: c.MaxConnections, closing: make(chan struct{}), conns: map[net.Conn]struct{}{}}
	l, err := sockaddr.Listen(c.Addr, r.host.Descriptors)
	if err != nil {
		return err
	}
	s.listener = l
	if c.Creds != nil {
		if s.creds, err = r.host.Credentials(*c.Creds); err != nil {
			return errors.Join(err, l.Close())
		}
	}
	if s.max > 0 {
		s.seats = make(chan struct{}, s.max)
	}
	s.tasks.Go(s.accept)
	r.nbd = s
	return nil
}

// StopNBD ends the server and all its exports.
func (r *Registry) StopNBD() error {
	s := r.nbd
	if s == nil {
		return errors.New("NBD server not running")
	}
	r.nbd = nil
	close(s.closing)
	err := s.listener.Close()
	r.end(func(e *export) bool { return e.typ == qapi.BlockExportTypeNbd })
	s.mu.Lock()
	for c := range s.conns {
		_ = c.Close()
	}
	s.conns = nil
	s.mu.Unlock()
	s.tasks.Wait()
	return err
}

// sit waits until there may be one more connection.
func (s *server) sit() bool {
	if s.seats == nil {
		return true
	}
	select {
	case s.seats <- struct{}{}:
		return true
	case <-s.closing:
		return false
	}
}

func (s *server) rise() {
	if s.seats != nil {
		<-s.seats
	}
}

func (s *server) accept() {
	for s.sit() {
		c, err := s.listener.Accept()
		if err != nil {
			if !errors.Is(err, net.ErrClosed) {
				s.host.Log(fmt.Errorf("NBD server: %w", err))
			}
			return
		}
		if !s.note(c) {
			_ = c.Close()
			return
		}
		s.tasks.Go(func() {
			defer s.rise()
			if err := s.serve(c); err != nil && !errors.Is(err, nbdproto.ErrAborted) {
				s.host.Log(fmt.Errorf("NBD client: %w", err))
			}
		})
	}
}

// note remembers a connection that negotiates.
func (s *server) note(c net.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conns == nil {
		return false
	}
	s.conns[c] = struct{}{}
	return true
}

// serve is the life of a connection.
func (s *server) serve(c net.Conn) error {
	defer c.Close()
	session, err := nbdproto.Accept(c, s, s.startTLS())
	s.mu.Lock()
	delete(s.conns, c)
	s.mu.Unlock()
	if session.Export == nil {
		return err
	}
	e := session.Export.Of.(*nbdExport)
	conn := newConn(e, session)
	defer e.left(conn)
	if err != nil || !e.enter(conn) {
		return err
	}
	return conn.run()
}

// startTLS returns how to begin TLS, nil for not at all.
func (s *server) startTLS() func(net.Conn) (net.Conn, error) {
	if s.creds == nil {
		return nil
	}
	var allow func(string) bool
	if s.authz != nil {
		allow = func(name string) bool { return s.host.Authorized(*s.authz, name) }
	}
	return func(c net.Conn) (net.Conn, error) { return s.creds.Accept(c, allow) }
}

// Exports returns what a client may see.
func (s *server) Exports() []*nbdproto.Export {
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []*nbdproto.Export
	for _, e := range s.exports {
		list = append(list, &e.Export)
	}
	return list
}

// Export returns the one with a name.
func (s *server) Export(name string) *nbdproto.Export {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range s.exports {
		if e.Name == name {
			return &e.Export
		}
	}
	return nil
}

// Choose keeps an export for a client.
func (s *server) Choose(p *nbdproto.Export) bool {
	e := s.exportOf(p)
	return e != nil && e.keep()
}

// exportOf returns the export that a client chose, if it is still there.
func (s *server) exportOf(p *nbdproto.Export) *nbdExport {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := slices.IndexFunc(s.exports, func(e *nbdExport) bool { return &e.Export == p })
	if i < 0 {
		return nil
	}
	return s.exports[i]
}

func (s *server) remove(e *nbdExport) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.exports = slices.DeleteFunc(s.exports, func(x *nbdExport) bool { return x == e })
}
