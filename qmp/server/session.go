package server

import (
	"context"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"hv/qmp/events"
	"hv/qmp/qapi"
	"hv/qmp/wire"
)

// queueLength is how many in-band commands at most wait for execution, or are
// executed, of a client with out-of-band execution (QMP specification 2.3.1).
const queueLength = 8

// drainTime is what a client that ends its input gets to take the last replies.
const drainTime = time.Second

// session is a client.
type session struct {
	srv     *Server
	rwc     io.ReadWriteCloser
	monitor Monitor
	ctx     context.Context
	out     *outbox
	done    chan struct{} // closed when the session has ended
	stop    chan struct{} // closed when it is to end
	shut    func()        // ends it, once

	caps    atomic.Pointer[capabilities] // nil until negotiated
	listens bool                         // to events

	asked []events.Key // what commands in band asked about, of what a client is told once

	came   *batch // the descriptors that came last, nil for none; for the reading goroutine
	oobBuf []byte // for them

	inBand, outOfBand *lane
	free              []*input    // for the reading goroutine
	queue             chan *input // for the lane in band, nil without out-of-band execution
	back              chan *input // from it
	lanes, wg         sync.WaitGroup
}

// capabilities is what was negotiated.
type capabilities struct{ oob bool }

// input is a value as it came, or what was wrong with it.
type input struct {
	doc qapi.Document
	err error
	fds *batch // that came with it, or nil
}

// sessionKey finds the session in a handler's context.
type sessionKey struct{}

func newSession(srv *Server, rwc io.ReadWriteCloser, m Monitor) *session {
	s := &session{
		srv: srv, rwc: rwc, monitor: m,
		out:  newOutbox(rwc, srv.cfg.Backlog),
		done: make(chan struct{}), stop: make(chan struct{}),
		free: []*input{{}},
	}
	s.ctx = context.WithValue(srv.ctx, sessionKey{}, s)
	s.inBand, s.outOfBand = newLane(s), newLane(s)
	s.out.lost = s.drop
	s.out.begin = func() { s.wg.Go(s.write) }
	s.shut = sync.OnceFunc(func() {
		s.out.close()
		close(s.stop)
		s.rwc.Close()
	})
	return s
}

// run serves the client until it goes.
func (s *session) run() {
	defer close(s.done)
	defer s.srv.forget(s)
	s.greet()
	s.read()
	if s.queue != nil {
		close(s.queue)
	}
	s.lanes.Wait()
	s.came.release()
	// A client whose input ends with quit hears how the VM ends, too.
	_ = s.srv.cfg.Exec.Do(s.ctx, func() {})
	s.srv.once.leave(s)
	s.out.deafen()
	ctx, cancel := context.WithTimeout(context.Background(), drainTime)
	s.out.drain(ctx)
	cancel()
	s.shut()
	s.wg.Wait()
}

func (s *session) greet() {
	e := qapi.NewEncoder(s.monitor.Pretty)
	wire.WriteGreeting(e, s.srv.version(), qapi.QMPCapabilityList{qapi.QMPCapabilityOob})
	s.out.greet(e.Bytes())
}

// write writes what a client has to be waited for.
func (s *session) write() {
	for {
		select {
		case <-s.out.wake:
			s.out.flush()
		case <-s.stop:
			return
		}
	}
}

// Read implements io.Reader for the session's wire.Reader. Before it waits for
// the client it has everything written, and if the client lags behind it waits
// for that first.
func (s *session) Read(b []byte) (int, error) {
	s.out.flush()
	s.out.waitBelow(s.srv.cfg.Backlog / 2)
	return s.receive(b)
}

// read takes values and has them executed until the client goes.
func (s *session) read() {
	reader := wire.NewReader(s)
	for {
		in := s.input()
		in.err = reader.Next(&in.doc)
		if in.err != nil && !wire.IsSyntax(in.err) || !s.out.owe() {
			return
		}
		in.fds = s.came.hold()
		s.take(in)
	}
}

// input returns room for a value. With out-of-band execution that waits while
// too many commands do.
func (s *session) input() *input {
	if len(s.free) == 0 {
		return <-s.back
	}
	in := s.free[len(s.free)-1]
	s.free = s.free[:len(s.free)-1]
	return in
}

// take has a value executed where it should be.
func (s *session) take(in *input) {
	switch {
	case s.queue == nil:
		s.inBand.run(in)
		s.free = append(s.free, in)
		if s.oob() {
			s.startLane()
		}
	case in.err == nil && isOOB(&in.doc):
		s.outOfBand.run(in)
		s.free = append(s.free, in)
	default:
		s.queue <- in
	}
}

// startLane moves commands in band to a goroutine of their own.
func (s *session) startLane() {
	s.queue, s.back = make(chan *input, queueLength), make(chan *input, queueLength)
	for len(s.free) < queueLength+1 { // one is being read while the others wait
		s.free = append(s.free, &input{})
	}
	s.lanes.Go(func() {
		for in := range s.queue {
			s.inBand.run(in)
			s.back <- in
			if len(s.queue) == 0 {
				s.out.flush()
			}
		}
	})
}

func (s *session) oob() bool {
	c := s.caps.Load()
	return c != nil && c.oob
}

// negotiate is the handler of qmp_capabilities.
func negotiate(ctx context.Context, args qapi.QmpCapabilitiesArgs) (qapi.Empty, error) {
	s := ctx.Value(sessionKey{}).(*session)
	if s.caps.Load() != nil {
		return qapi.Empty{}, qapi.Errorf(qapi.QapiErrorClassCommandNotFound,
			"Capabilities negotiation is already complete, command ignored")
	}
	s.caps.Store(&capabilities{oob: len(args.Enable) > 0}) // there is no other one
	return qapi.Empty{}, nil
}

// replied adds a reply. Events come after the one that ends negotiation.
func (s *session) replied(msg []byte) (waiting int) {
	waiting = s.out.reply(msg)
	if !s.listens && s.caps.Load() != nil {
		s.listens = true
		s.out.listen(s.srv.tape(s.monitor.Pretty))
		s.srv.once.join(s)
	}
	return waiting
}

// drop disconnects a client that does not read.
func (s *session) drop() {
	s.wg.Go(func() {
		s.shut()
		s.srv.cfg.Log.WithField("monitor", s.monitor.Name).
			Warnf("dropped a QMP client that does not read: %d bytes wait for it", s.srv.cfg.Backlog)
	})
}
