// Package chardev connects what speaks in characters, such as a guest's serial
// port or a monitor, to the host: the terminal, pseudo-terminals, files, pipes,
// sockets, and memory.
//
// A Backend moves bytes for at most one Frontend. Its goroutines are its own:
// Close ends them and waits. Write never blocks: what the other side does not
// take in time is kept up to a bound and dropped beyond it, so that no reader
// can hold up a vCPU. Input is read only as far as the frontend has room.
//
// A Registry holds backends by id. Who claims one gets a Seat, under which the
// backend can be exchanged; a Mux has any number of seats. Monitors, which are
// not Frontends, speak through a Line, or to each client of a Socket.
//
// Follows QEMU's chardev options (qapi/char.json). It depends on qmp/qapi,
// qmp/sockaddr and qmp/strerror.
package chardev

import "cmp"

// Event is what happened to the other side of a Backend.
type Event int

// Events.
const (
	Opened Event = iota
	Closed
	Break
	// MuxIn and MuxOut say that input goes to this frontend of a Mux, or to
	// another one.
	MuxIn
	MuxOut
	// Drained says that output is taken again after some was not.
	Drained
)

// Frontend is who uses a Backend. Its methods are called on the Backend's
// goroutines, those for input one at a time. They must not call the Backend but for
// Write.
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

// named is a Backend that knows what query-chardev calls it.
type named interface{ Filename() string }

// Null is a Backend that takes everything and gives nothing.
type Null struct{ Name string }

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

// Filename returns the name, null by default.
func (n Null) Filename() string { return cmp.Or(n.Name, "null") }
