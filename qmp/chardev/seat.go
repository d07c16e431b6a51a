package chardev

import (
	"context"
	"sync"
)

// Seat is the use of a chardev by somebody: the Backend of a Frontend, under which the
// chardev can be exchanged.
type Seat struct {
	user  string
	leave func() error

	mu        sync.Mutex
	backend   Backend
	front     Frontend
	open      bool // the frontend listens
	fixed     bool // the frontend cannot be moved to another backend
	connected bool // the backend's other side is there
	// moving keeps Attach and an exchange apart.
	moving sync.Mutex
}

// inlet is what a seat is to its backend.
type inlet struct{ *Seat }

func (i inlet) frontend() Frontend {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.front
}

// CanReceive asks the frontend; without one there is no room.
func (i inlet) CanReceive() int {
	if f := i.frontend(); f != nil {
		return f.CanReceive()
	}
	return 0
}

// Receive passes input on.
func (i inlet) Receive(p []byte) {
	if f := i.frontend(); f != nil {
		f.Receive(p)
	}
}

// Event passes an event on.
func (i inlet) Event(e Event) {
	i.mu.Lock()
	switch e {
	case Opened:
		i.connected = true
	case Closed:
		i.connected = false
	}
	f := i.front
	i.mu.Unlock()
	if f != nil {
		f.Event(e)
	}
}

func (s *Seat) current() Backend {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.backend
}

// Write implements Backend.
func (s *Seat) Write(p []byte) (int, error) { return s.current().Write(p) }

// settler is a Backend that knows when what it took is written.
type settler interface{ Settle(ctx context.Context) }

// Settle returns when what was written has gone, as far as the backend knows.
func (s *Seat) Settle(ctx context.Context) {
	if b, ok := s.current().(settler); ok {
		b.Settle(ctx)
	}
}

// Accept implements Backend.
func (s *Seat) Accept() { s.current().Accept() }

// Attach implements Backend. A frontend listens, until SetOpen says otherwise.
func (s *Seat) Attach(f Frontend) {
	s.moving.Lock()
	defer s.moving.Unlock()
	s.mu.Lock()
	s.front, s.open = f, f != nil
	b := s.backend
	s.mu.Unlock()
	if f == nil {
		b.Attach(nil)
		return
	}
	b.Attach(inlet{s})
}

// Close gives the chardev back.
func (s *Seat) Close() error {
	s.Attach(nil)
	return s.leave()
}

// SetOpen says whether the frontend listens, as query-chardev tells.
func (s *Seat) SetOpen(open bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.open = open
}

func (s *Seat) isOpen() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.open
}

// Pin says that the user cannot be moved to another backend.
func (s *Seat) Pin() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fixed = true
}

func (s *Seat) movable() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.fixed
}

// Socket returns the socket that the chardev is, nil if it is none.
func (s *Seat) Socket() *Socket {
	b, _ := s.current().(*Socket)
	return b
}

// exchange moves the frontend to another backend and closes the old one.
func (s *Seat) exchange(b Backend) error {
	s.moving.Lock()
	defer s.moving.Unlock()
	s.mu.Lock()
	old, was := s.backend, s.connected
	s.backend, s.connected = b, false
	f := s.front
	s.mu.Unlock()
	old.Attach(nil)
	err := old.Close()
	if f == nil {
		return err
	}
	b.Attach(inlet{s})
	s.mu.Lock()
	closed := was && !s.connected
	s.mu.Unlock()
	if closed {
		f.Event(Closed)
	}
	return err
}
