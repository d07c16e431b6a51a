package chardev

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
)

// ErrBusy is returned when a chardev is already in use.
var ErrBusy = errors.New("chardev is in use")

// Registry holds a VM's backends by id. It is safe for concurrent use.
type Registry struct {
	mu  sync.Mutex
	all []*entry // in the order in which they came
	// making has the ids of backends that are being opened.
	making map[string]bool
	closed bool
}

// entry is a backend with an id and its user.
type entry struct {
	id      string
	backend Backend
	seat    *Seat // nil if nobody uses it; a Mux has its seats itself
}

// Info describes a chardev.
type Info struct {
	Label, Filename string
	Open            bool // its user listens
}

func (r *Registry) find(id string) *entry {
	i := slices.IndexFunc(r.all, func(e *entry) bool { return e.id == id })
	if i < 0 {
		return nil
	}
	return r.all[i]
}

// Has tells whether there is a chardev with an id.
func (r *Registry) Has(id string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.find(id) != nil
}

// Create opens a backend and adds it. With o.Mux it is shared: a Mux has the id, and
// the backend itself the id with "-base".
func (r *Registry) Create(ctx context.Context, id string, o Options) (Backend, error) {
	if err := r.reserve(id); err != nil {
		return nil, err
	}
	defer r.unreserve(id)
	if o.Kind == "mux" {
		return r.createMux(id, o.Base, o.Host)
	}
	if err := r.oneTerminal(o.Kind); err != nil {
		return nil, err
	}
	if !o.Mux {
		b, err := Open(ctx, o)
		if err != nil {
			return nil, err
		}
		return b, r.add(id, b)
	}
	base := id + "-base"
	o.Mux = false
	b, err := r.Create(ctx, base, o)
	if err != nil {
		return nil, err
	}
	if _, err := r.createMux(id, base, o.Host); err != nil {
		return nil, errors.Join(err, r.Remove(base))
	}
	return b, nil
}

// oneTerminal refuses to use standard input for two backends.
func (r *Registry) oneTerminal(kind string) error {
	if kind != "stdio" {
		return nil
	}
	for _, i := range r.List() {
		if i.Filename == kind {
			return errors.New("cannot use stdio by multiple character devices")
		}
	}
	return nil
}

func (r *Registry) createMux(id, base string, h Host) (Backend, error) {
	r.mu.Lock()
	there := r.find(base) != nil
	r.mu.Unlock()
	if !there {
		return nil, fmt.Errorf("mux: base chardev %s not found", base)
	}
	seat, err := r.Claim(base, id)
	if err != nil {
		return nil, err
	}
	m := NewMux(seat, h.Terminate)
	return m, r.add(id, m)
}

// reserve keeps an id for a backend that is being opened.
func (r *Registry) reserve(id string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.find(id) != nil || r.making[id] {
		return errExists(id)
	}
	if r.making == nil {
		r.making = map[string]bool{}
	}
	r.making[id] = true
	return nil
}

func (r *Registry) unreserve(id string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.making, id)
}

func errExists(id string) error { return fmt.Errorf("Chardev with id '%s' already exists", id) }

// Add puts a backend into the registry, which closes it at last.
func (r *Registry) Add(id string, b Backend) error {
	if err := r.reserve(id); err != nil {
		return err
	}
	defer r.unreserve(id)
	return r.add(id, b)
}

func (r *Registry) add(id string, b Backend) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return errors.Join(errors.New("the VM is ending"), b.Close())
	}
	r.all = append(r.all, &entry{id: id, backend: b})
	return nil
}

// Claim returns a seat at the chardev with an id for the use of user.
func (r *Registry) Claim(id, user string) (*Seat, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	e := r.find(id)
	switch {
	case e == nil:
		return nil, fmt.Errorf("chardev \"%s\" not found", id)
	case e.seat != nil:
		return nil, fmt.Errorf("%s: chardev \"%s\" is used by %s: %w", user, id, e.seat.user, ErrBusy)
	}
	if m, ok := e.backend.(*Mux); ok {
		p, err := m.port()
		if err != nil {
			return nil, fmt.Errorf("chardev \"%s\": %w", id, err)
		}
		s := &Seat{user: user, backend: p}
		s.leave = p.Close
		return s, nil
	}
	s := &Seat{user: user, backend: e.backend}
	s.leave = func() error {
		r.mu.Lock()
		defer r.mu.Unlock()
		e.seat = nil
		return nil
	}
	e.seat = s
	return s, nil
}

// Remove closes a chardev that nobody uses.
func (r *Registry) Remove(id string) error {
	r.mu.Lock()
	e := r.find(id)
	if e == nil {
		r.mu.Unlock()
		return errNotFound(id)
	}
	if _, mux := e.backend.(*Mux); mux || e.seat != nil {
		r.mu.Unlock()
		return fmt.Errorf("Chardev '%s' is busy", id)
	}
	r.all = slices.DeleteFunc(r.all, func(x *entry) bool { return x == e })
	r.mu.Unlock()
	return e.backend.Close()
}

func errNotFound(id string) error { return fmt.Errorf("Chardev '%s' not found", id) }

// Change opens a backend that takes the place of the one with an id. Its user stays,
// and sees the line close if it was open and the new one is not.
func (r *Registry) Change(id string, open func() (Backend, error)) (Backend, error) {
	if err := r.changeable(id); err != nil {
		return nil, err
	}
	b, err := open()
	if err != nil {
		return nil, err
	}
	r.mu.Lock()
	e := r.find(id)
	if e == nil || r.closed {
		r.mu.Unlock()
		return nil, errors.Join(fmt.Errorf("Chardev '%s' does not exist", id), b.Close())
	}
	old, seat := e.backend, e.seat
	e.backend = b
	r.mu.Unlock()
	if seat == nil {
		return b, old.Close()
	}
	return b, seat.exchange(b)
}

// changeable says why the backend with an id cannot be exchanged.
func (r *Registry) changeable(id string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	e := r.find(id)
	if e == nil {
		return fmt.Errorf("Chardev '%s' does not exist", id)
	}
	if _, ok := e.backend.(*Mux); ok {
		return errors.New("Mux device hotswap not supported yet")
	}
	if e.seat != nil && !e.seat.movable() {
		return errors.New("Chardev user does not support chardev hotswap")
	}
	return nil
}

// SendBreak has the user of a chardev see a break.
func (r *Registry) SendBreak(id string) error {
	r.mu.Lock()
	e := r.find(id)
	r.mu.Unlock()
	if e == nil {
		return errNotFound(id)
	}
	if m, ok := e.backend.(*Mux); ok {
		m.Event(Break)
	} else if e.seat != nil {
		inlet{e.seat}.Event(Break)
	}
	return nil
}

// Ringbuf returns the ring buffer with an id.
func (r *Registry) Ringbuf(id string) (*Ringbuf, error) {
	r.mu.Lock()
	e := r.find(id)
	r.mu.Unlock()
	if e == nil {
		return nil, fmt.Errorf("Device '%s' not found", id)
	}
	b, ok := e.backend.(*Ringbuf)
	if !ok {
		return nil, fmt.Errorf("%s is not a ringbuf device", id)
	}
	return b, nil
}

// List describes all chardevs.
func (r *Registry) List() []Info {
	r.mu.Lock()
	defer r.mu.Unlock()
	var all []Info
	for _, e := range r.all {
		info := Info{Label: e.id}
		if n, ok := e.backend.(named); ok {
			info.Filename = n.Filename()
		}
		if e.seat != nil {
			info.Open = e.seat.isOpen()
		}
		all = append(all, info)
	}
	return all
}

// Close closes all backends, the newest first.
func (r *Registry) Close() error {
	r.mu.Lock()
	all := r.all
	r.all, r.closed = nil, true
	r.mu.Unlock()
	var errs []error
	for _, e := range slices.Backward(all) {
		if err := e.backend.Close(); err != nil {
			errs = append(errs, fmt.Errorf("chardev %s: %w", e.id, err))
		}
	}
	return errors.Join(errs...)
}
