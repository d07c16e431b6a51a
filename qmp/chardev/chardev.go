// Package chardev connects what speaks in characters, such as a guest's serial
// port or a monitor, to the host: the terminal, pseudo-terminals, files, pipes and
// sockets.
//
// A Backend moves bytes for at most one Frontend. Its goroutines are its own:
// Close ends them and waits. Write never blocks: what the other side does not
// take in time is kept up to a bound and dropped beyond it, so that no reader
// can hold up a vCPU. Input is read only as far as the frontend has room.
//
// Follows QEMU's chardev options (qapi/char.json). It depends on nothing of
// ours.
package chardev

import (
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
)

// Event is what happened to the other side of a Backend.
type Event int

// Events.
const (
	Opened Event = iota
	Closed
	Break
)

// Frontend is who uses a Backend. Its methods are called on the Backend's
// goroutines, one at a time.
type Frontend interface {
	// CanReceive returns how many bytes Receive takes now.
	CanReceive() int
	// Receive takes input; it must not keep p.
	Receive(p []byte)
	// Event tells of connections and breaks.
	Event(e Event)
}

// Backend is one character device of the host.
type Backend interface {
	// Write sends p without waiting and returns how much of it was taken; the
	// rest is lost. The error is always nil.
	Write(p []byte) (int, error)
	// Attach gives the backend its frontend, or takes it away with nil.
	Attach(f Frontend)
	// Accept tells the backend that its frontend has room again.
	Accept()
	// Close ends the backend.
	Close() error
}

// Source is a Backend that a monitor can be served on instead of a Frontend:
// Listener for a server socket, Conn for everything else, the other being nil.
type Source interface {
	Listener() net.Listener
	Conn() io.ReadWriteCloser
}

// ErrBusy is returned when a chardev is already in use.
var ErrBusy = errors.New("chardev is in use")

// Registry holds a VM's backends by id. It is safe for concurrent use.
type Registry struct {
	mu    sync.Mutex
	all   map[string]Backend
	users map[string]string
	order []string
}

// Add puts a backend into the registry.
func (r *Registry) Add(id string, b Backend) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.all == nil {
		r.all, r.users = map[string]Backend{}, map[string]string{}
	}
	if r.all[id] != nil {
		return fmt.Errorf("Chardev with id '%s' already exists", id) //nolint:staticcheck // QEMU's words
	}
	r.all[id] = b
	r.order = append(r.order, id)
	return nil
}

// Claim returns the backend with an id for the use of user.
func (r *Registry) Claim(id, user string) (Backend, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	b := r.all[id]
	if b == nil {
		return nil, fmt.Errorf("chardev \"%s\" not found", id)
	}
	if other := r.users[id]; other != "" {
		return nil, fmt.Errorf("%s: chardev \"%s\" is used by %s: %w", user, id, other, ErrBusy)
	}
	r.users[id] = user
	return b, nil
}

// Release undoes Claim.
func (r *Registry) Release(id string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.users, id)
}

// Close closes all backends, the newest first.
func (r *Registry) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	var errs []error
	for i := len(r.order) - 1; i >= 0; i-- {
		if err := r.all[r.order[i]].Close(); err != nil {
			errs = append(errs, fmt.Errorf("chardev %s: %w", r.order[i], err))
		}
	}
	r.all, r.users, r.order = nil, nil, nil
	return errors.Join(errs...)
}

// Null is a Backend that takes everything and gives nothing.
type Null struct{}

// Write discards p.
func (Null) Write(p []byte) (int, error) { return len(p), nil }

// Attach tells the frontend that the other side is there.
func (Null) Attach(f Frontend) {
	if f != nil {
		f.Event(Opened)
	}
}

// Accept does nothing.
func (Null) Accept() {}

// Close does nothing.
func (Null) Close() error { return nil }
