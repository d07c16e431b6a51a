package server

import (
	"hv/qmp/dispatch"
	"hv/qmp/qapi"
)

// lane executes the commands of a client one after the other. What it needs for
// one it uses again for the next.
type lane struct {
	s       *session
	e       *qapi.Encoder
	req     dispatch.Request
	waiting int    // bytes that wait for the client
	fds     *batch // that came with the command
	f       func() // execute
}

func newLane(s *session) *lane {
	l := &lane{s: s, e: qapi.NewEncoder(s.monitor.Pretty)}
	l.f = l.execute
	return l
}

func isOOB(doc *qapi.Document) bool { return dispatch.IsOOB(doc.Root()) }

// run has a command executed and answered. While the client lags behind with
// reading it waits, so that no client can make replies pile up.
func (l *lane) run(in *input) {
	s := l.s
	l.fds = in.fds
	defer func() {
		in.fds.release()
		in.fds, l.fds = nil, nil
	}()
	if in.err != nil {
		l.req = dispatch.Fail(in.err)
	} else {
		l.req = s.srv.cfg.Table.Parse(in.doc.Root(), dispatch.Client{Negotiated: s.caps.Load() != nil, OOB: s.oob()})
	}
	if l == s.outOfBand || l.req.Concurrent() {
		l.execute()
	} else if err := s.srv.cfg.Exec.Do(s.ctx, l.f); err != nil {
		l.req.Refuse(err)
		l.execute()
	}
	if half := s.srv.cfg.Backlog / 2; l.waiting > half {
		s.out.flush()
		s.out.waitBelow(half)
	}
}

// execute runs the command and adds its reply at once, so that the reply keeps
// its place among the events that the VM's control goroutine makes.
func (l *lane) execute() {
	l.e.Reset()
	l.req.Run(l.s.ctx, l.e)
	l.waiting = l.s.replied(l.e.Bytes())
	if l == l.s.inBand && len(l.s.asked) > 0 {
		l.s.srv.once.answered(l.s)
	}
}
