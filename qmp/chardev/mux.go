package chardev

import (
	"errors"
	"fmt"
	"sync"
	"time"
)

// escapeKey is Ctrl-A, which makes the next key a command for a Mux.
const escapeKey = 1

// maxPorts is how many frontends a Mux has at most, maxTyped what waits for one of them.
const (
	maxPorts = 4
	maxTyped = 4096
)

// muxHelp is what Ctrl-A h shows.
const muxHelp = "\n\r" +
	"C-a h    this list\n\r" +
	"C-a x    end the VM\n\r" +
	"C-a b    send a break\n\r" +
	"C-a c    go to the next of those that share the terminal\n\r" +
	"C-a t    times before lines of output, on or off\n\r" +
	"C-a C-a  send C-a\n\r"

// Mux is a Backend for several frontends, which share another one. All may write;
// input goes to the one that has the focus. Its one goroutine is what calls them.
type Mux struct {
	base *Seat
	end  func() // ends the VM

	mu      sync.Mutex
	cond    *sync.Cond // for the goroutine
	ports   []*muxPort
	focus   *muxPort // nil without ports
	armed   bool     // after Ctrl-A
	isOpen  bool     // base's other side is there
	started bool
	ended   bool
	stamps  bool // times before lines
	since   time.Time
	midLine bool
	pokes   int // how often the goroutine was woken
	work    sync.WaitGroup
}

// muxPort is the Backend of one of a Mux's frontends. The Mux's lock is its.
type muxPort struct {
	mux    *Mux
	front  Frontend
	typed  []byte  // input that waits
	events []Event // to be told
}

// NewMux returns a Mux of the chardev that base is a seat at. end is called for the key
// that ends the VM, and may be nil.
func NewMux(base *Seat, end func()) *Mux {
	m := &Mux{base: base, end: end}
	m.cond = sync.NewCond(&m.mu)
	base.Pin()
	m.work.Go(m.run)
	return m
}

// Filename returns "mux".
func (m *Mux) Filename() string { return "mux" }

// errShared is what using a Mux without a port of it leads to; Claim gives ports.
var errShared = errors.New("a mux has a port for each of its users")

// Write writes to the shared backend.
func (m *Mux) Write(p []byte) (int, error) { return m.base.Write(p) }

// Attach is for ports only; a Mux itself has no frontend.
func (m *Mux) Attach(f Frontend) {
	if f != nil {
		panic(errShared)
	}
}

// Accept wakes the goroutine.
func (m *Mux) Accept() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.poke()
}

// poke has the goroutine look for work. The caller has the lock.
func (m *Mux) poke() {
	m.pokes++
	m.cond.Broadcast()
}

// Close ends the goroutine and gives the shared backend back.
func (m *Mux) Close() error {
	m.mu.Lock()
	m.ended = true
	m.cond.Broadcast()
	m.mu.Unlock()
	err := m.base.Close()
	m.work.Wait()
	return err
}

// port adds a frontend's place.
func (m *Mux) port() (*muxPort, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.ports) == maxPorts {
		return nil, fmt.Errorf("too many users: %d at most: %w", maxPorts, ErrBusy)
	}
	p := &muxPort{mux: m}
	m.ports = append(m.ports, p)
	return p, nil
}

// CanReceive returns the room of the frontend with the focus.
func (m *Mux) CanReceive() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.focus == nil {
		return maxTyped
	}
	return maxTyped - len(m.focus.typed)
}

// Receive takes commands out of input and queues the rest.
func (m *Mux) Receive(p []byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, c := range p {
		switch {
		case m.armed && c != escapeKey:
			m.armed = false
			m.command(c)
		case !m.armed && c == escapeKey:
			m.armed = true
		default:
			m.armed = false
			if m.focus != nil && len(m.focus.typed) < maxTyped {
				m.focus.typed = append(m.focus.typed, c)
			}
		}
	}
	m.poke()
}

// command obeys a key after Ctrl-A.
func (m *Mux) command(c byte) {
	switch c {
	case 'h', '?':
		_, _ = m.base.Write([]byte(muxHelp))
	case 'x':
		_, _ = m.base.Write([]byte("hv: ended by the terminal\n\r"))
		if m.end != nil {
			m.end()
		}
	case 'b':
		m.tell(m.focus, Break)
	case 'c', 'n':
		m.next()
	case 't':
		m.stamps, m.since, m.midLine = !m.stamps, time.Now(), true
	}
}

// next gives the focus to the next port that is in use.
func (m *Mux) next() {
	at := 0
	for i, p := range m.ports {
		if p == m.focus {
			at = i
		}
	}
	for i := range m.ports {
		if p := m.ports[(at+1+i)%len(m.ports)]; p.front != nil {
			m.setFocus(p)
			return
		}
	}
}

func (m *Mux) setFocus(p *muxPort) {
	if p == m.focus {
		return
	}
	m.tell(m.focus, MuxOut)
	m.focus = p
	m.tell(p, MuxIn)
}

func (m *Mux) tell(p *muxPort, e Event) {
	if p != nil && p.front != nil {
		p.events = append(p.events, e)
		m.poke()
	}
}

// Event passes on what happened to the shared backend: a break to the frontend with the
// focus, all else to everybody.
func (m *Mux) Event(e Event) {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch e {
	case Break:
		m.tell(m.focus, e)
		return
	case Opened, Closed:
		if m.isOpen == (e == Opened) {
			return
		}
		m.isOpen = e == Opened
	}
	for _, p := range m.ports {
		m.tell(p, e)
	}
}

// run tells frontends what there is to tell until the end.
func (m *Mux) run() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for !m.ended {
		pokes := m.pokes
		if !m.serve() && pokes == m.pokes && !m.ended {
			m.cond.Wait()
		}
	}
}

// serve tells one frontend one thing, and whether there was any. It lets go of the lock
// meanwhile, since a frontend may write.
func (m *Mux) serve() bool {
	for _, p := range m.ports {
		f := p.front
		switch {
		case f == nil:
		case len(p.events) > 0:
			e := p.events[0]
			p.events = p.events[1:]
			m.mu.Unlock()
			f.Event(e)
			m.mu.Lock()
			return true
		case len(p.typed) > 0:
			b := p.typed
			m.mu.Unlock()
			n := min(f.CanReceive(), len(b))
			if n > 0 {
				f.Receive(b[:n])
			}
			m.mu.Lock()
			if n <= 0 {
				continue
			}
			if p.front == f {
				p.typed = p.typed[n:]
			}
			// There is room for the shared backend's input again.
			m.mu.Unlock()
			m.base.Accept()
			m.mu.Lock()
			return true
		}
	}
	return false
}

// Write implements Backend.
func (p *muxPort) Write(b []byte) (int, error) {
	m := p.mux
	m.mu.Lock()
	stamps := m.stamps
	m.mu.Unlock()
	if !stamps {
		return m.base.Write(b)
	}
	_, err := m.base.Write(m.stamped(b))
	return len(b), err
}

// stamped puts the time before each line.
func (m *Mux) stamped(b []byte) []byte {
	m.mu.Lock()
	defer m.mu.Unlock()
	d := time.Since(m.since)
	stamp := fmt.Appendf(nil, "[%02d:%02d:%02d.%03d] ", int(d.Hours()), int(d.Minutes())%60, int(d.Seconds())%60, d.Milliseconds()%1000)
	var out []byte
	for _, c := range b {
		if !m.midLine {
			out = append(out, stamp...)
		}
		out = append(out, c)
		m.midLine = c != '\n'
	}
	return out
}

// Attach implements Backend. Who comes has the focus.
func (p *muxPort) Attach(f Frontend) {
	m := p.mux
	m.mu.Lock()
	p.front, p.events, p.typed = f, nil, nil
	first := f != nil && !m.started
	if f != nil {
		m.started = true
		if m.isOpen {
			m.tell(p, Opened)
		}
		m.setFocus(p)
	} else if m.focus == p {
		m.focus = nil
		m.next()
	}
	m.mu.Unlock()
	if first {
		m.base.Attach(m)
	}
}

// Accept implements Backend.
func (p *muxPort) Accept() { p.mux.Accept() }

// Close gives the port back.
func (p *muxPort) Close() error {
	p.Attach(nil)
	m := p.mux
	m.mu.Lock()
	defer m.mu.Unlock()
	for i, q := range m.ports {
		if q == p {
			m.ports = append(m.ports[:i:i], m.ports[i+1:]...)
			break
		}
	}
	return nil
}
