// Package vhostuser has another process move the packets of a guest's NIC: a vhost-user back
// end, to which guest memory and the rings are handed over a UNIX socket.
//
// A Link takes one connection after the other. Its goroutine waits for each, asks what the
// back end can do and tells its user that there is one; a second one reads what that says. Close
// ends both and waits. Serve hands rings over, Halt takes them back; a back end that goes away
// in between, or does not answer in time, is an error to whoever asks, and no more: its
// connection is closed, and who watches is told. After one that is no good
// the next has to wait a little. What a back end says is not trusted.
//
// Methods may be called by any goroutine, one request at a time is under way, and none of them
// takes longer than the deadline of one answer.
//
// Follows QEMU's docs/interop/vhost-user.rst, with acknowledgements, several queues, RARP, MTU
// and status. It depends on devices/virtio/vhost and devices/virtio/vhostwire.
package vhostuser

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"hv/devices/virtio/vhost"
	"hv/devices/virtio/vhostwire"
)

// Conn is a connection to a back end.
type Conn interface {
	vhostwire.Conn
	SetWriteDeadline(t time.Time) error
	Close() error
}

// Config says where the back end is.
type Config struct {
	Queues int // pairs
	// Connect waits for the next connection; Stop has it return net.ErrClosed, from then on.
	Connect func() (Conn, error)
	Stop    func()
	// Log is told what was wrong with a back end.
	Log func(error)
	// Patience is how long a back end may take to answer; 0 is five seconds. Pause is how long
	// the next one waits after one that is no good; 0 is a second.
	Patience, Pause time.Duration
}

const (
	patience = 5 * time.Second
	pause    = time.Second
	// maxQueues is QEMU's limit.
	maxQueues = 1024
)

// CheckQueues returns an error for a number of queue pairs that cannot be.
func CheckQueues(n int) error {
	if n < 1 || n > maxQueues {
		return fmt.Errorf("vhost-user number of queues must be in range [1, %d]", maxQueues)
	}
	return nil
}

// Errors of a Link.
var (
	ErrNoBackend = errors.New("there is no vhost-user back end")
	ErrNotShared = errors.New("vhost-user needs guest memory that another process can map, such as -object memory-backend-memfd,share=on")
	errTimeout   = errors.New("the vhost-user back end does not answer")
)

// Link is a network link whose packets another process moves.
type Link struct {
	cfg   Config
	tasks sync.WaitGroup
	over  chan struct{} // closed by Close

	mu      sync.Mutex
	session *session // nil without a back end
	closed  bool
	changed func(up bool)
	offer   uint64   // what the last back end could do
	acked   uint64   // what was accepted of that last
	enabled []bool   // queue pairs
	current *session // the connection, ready or not
}

// Open waits for the first back end, until ctx ends.
func Open(ctx context.Context, c Config) (*Link, error) {
	if err := CheckQueues(c.Queues); err != nil {
		c.Stop()
		return nil, err
	}
	c.Patience, c.Pause = cmp.Or(c.Patience, patience), cmp.Or(c.Pause, pause)
	l := &Link{cfg: c, enabled: make([]bool, c.Queues), over: make(chan struct{})}
	l.enabled[0] = true
	first := make(chan error, 1)
	l.tasks.Go(func() { l.run(first) })
	select {
	case err := <-first:
		if err != nil {
			return nil, errors.Join(err, l.Close())
		}
		return l, nil
	case <-ctx.Done():
		return nil, errors.Join(ctx.Err(), l.Close())
	}
}

// run serves one connection after another. first is told once that there is a back end, or
// that there will be none.
func (l *Link) run(first chan<- error) {
	met := false
	last := ErrNoBackend
	for {
		c, err := l.cfg.Connect()
		if err != nil {
			if !met {
				first <- fmt.Errorf("%w: %w", last, err)
			}
			return
		}
		s := newSession(c, l.cfg.Patience)
		l.tasks.Go(s.read)
		if err := l.meet(s); err != nil {
			last = fmt.Errorf("vhost-user back end: %w", err)
			l.cfg.Log(last)
			l.rest()
			continue
		}
		if !met {
			met = true
			first <- nil
		}
		if err := s.wait(); err != nil {
			l.cfg.Log(fmt.Errorf("vhost-user back end: %w", err))
		}
		l.part(s)
	}
}

// rest keeps back ends that are no good from coming as fast as they can.
func (l *Link) rest() {
	t := time.NewTimer(l.cfg.Pause)
	defer t.Stop()
	select {
	case <-t.C:
	case <-l.over:
	}
}

// meet asks a new back end what it can do, and makes it the one.
func (l *Link) meet(s *session) error {
	l.mu.Lock()
	l.current = s
	if l.closed {
		s.end(nil)
	}
	l.mu.Unlock()
	err := s.negotiate()
	l.mu.Lock()
	switch {
	case err != nil:
	case s.queues < l.cfg.Queues:
		err = fmt.Errorf("you are asking more queues than supported: %d", s.queues)
	case l.acked&^s.features != 0:
		err = fmt.Errorf("vhost lacks feature mask 0x%x for backend", l.acked&^s.features)
	default:
		l.session, l.offer = s, s.features
	}
	changed := l.changed
	l.mu.Unlock()
	if err != nil {
		s.end(nil)
		return err
	}
	if changed != nil {
		changed(true)
	}
	return nil
}

// part forgets a back end that is gone.
func (l *Link) part(s *session) {
	l.mu.Lock()
	was := l.session == s
	if was {
		l.session = nil
	}
	changed := l.changed
	l.mu.Unlock()
	if was && changed != nil {
		changed(false)
	}
}

// Watch has changed called when a back end has come or gone, on the Link's goroutine: it must not
// wait. It returns whether there is one now.
func (l *Link) Watch(changed func(up bool)) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.changed = changed
	return l.session != nil
}

// Close ends the connection, and lets no other in.
func (l *Link) Close() error {
	l.cfg.Stop()
	l.mu.Lock()
	if !l.closed {
		close(l.over)
	}
	l.closed, l.changed = true, nil
	if l.current != nil {
		l.current.end(nil)
	}
	l.mu.Unlock()
	l.tasks.Wait()
	return nil
}

// Queues returns the number of queue pairs.
func (l *Link) Queues() int { return l.cfg.Queues }

// QueueFD returns -1: packets do not come this way.
func (l *Link) QueueFD(int) int { return -1 }

// SetOffload does nothing: the back end knows what the guest accepted.
func (l *Link) SetOffload(_, _, _, _, _ bool) error { return nil }

// Abilities tells that the back end understands headers, as its features say in detail.
func (l *Link) Abilities() (header, ufo, uso bool) { return true, true, false }

// LongQueues tells that transmit queues may have more than 256 entries.
func (l *Link) LongQueues() bool { return true }

// EnableQueue has the back end use a queue pair or not.
func (l *Link) EnableQueue(i int, on bool) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.enabled[i] = on
	if l.session == nil || ringsPerPair*i >= l.session.serving {
		return nil // it will be so when there are rings
	}
	return l.session.enable(i, on)
}

// Announce has a back end that can do so tell the network where a NIC is.
func (l *Link) Announce(mac [6]byte) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.session == nil || l.session.protocol&vhostwire.ProtocolRARP == 0 {
		return nil
	}
	return l.session.rarp(mac)
}

// Limit returns those of the features that the back end can do, or could when there was one. Offloads cannot
// be switched while it is at work.
func (l *Link) Limit(features uint64) uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return features &^ (userFeatures &^ l.offer) &^ featureCtrlOffloads
}

// Serve hands rings over, receive and transmit of each queue pair in turn.
func (l *Link) Serve(s vhost.Setup) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.session == nil {
		return ErrNoBackend
	}
	table, fds, err := memory(s.Memory)
	if err != nil {
		return err
	}
	l.acked = s.Features & userFeatures
	if err := l.session.serve(s, table, fds, l.enabled); err != nil {
		l.session.end(nil) // it has some of the rings, perhaps
		return fmt.Errorf("vhost-user: %w", err)
	}
	return nil
}

// Halt takes the rings back. After an error nobody can say how far they were served: the back
// end is gone or is sent away.
func (l *Link) Halt() ([]uint32, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.session == nil || l.session.serving == 0 {
		return nil, ErrNoBackend // who had the rings is gone
	}
	bases, err := l.session.halt()
	if err != nil {
		l.session.end(nil) // it may be at work on them still
		return nil, fmt.Errorf("vhost-user: %w", err)
	}
	return bases, nil
}
