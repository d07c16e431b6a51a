package chardev

// escapeKey is Ctrl-A.
const escapeKey = 1

// escape looks for Ctrl-A in input: x ends the VM, b sends a break, a second Ctrl-A is
// one.
type escape struct {
	terminate func()
	event     func(Event)
	armed     bool
}

// filter takes commands out of p, in place.
func (e *escape) filter(p []byte) []byte {
	out := p[:0]
	for _, c := range p {
		switch {
		case e.armed:
			e.armed = false
			switch c {
			case 'x':
				e.terminate()
			case 'b':
				e.event(Break)
			case escapeKey:
				out = append(out, c)
			}
		case c == escapeKey:
			e.armed = true
		default:
			out = append(out, c)
		}
	}
	return out
}
