package chardev

import (
	"bytes"
	"net"
)

// Bytes of the telnet protocol (RFC 854, and 856 to 858 for the options).
const (
	telnetSE     = 240
	telnetBreak  = 243
	telnetSB     = 250
	telnetWill   = 251
	telnetDo     = 253
	telnetDont   = 254
	telnetIAC    = 255
	optionBinary = 0
	optionEcho   = 1
	optionNoGA   = 3
)

// telnetHello asks the client to send each key at once and as it is.
var telnetHello = []byte{
	telnetIAC, telnetWill, optionEcho, telnetIAC, telnetWill, optionNoGA,
	telnetIAC, telnetWill, optionBinary, telnetIAC, telnetDo, optionBinary,
}

// telnetConn is a connection whose client speaks telnet.
type telnetConn struct {
	net.Conn
	filter telnetFilter
}

// Read reads what is no protocol.
func (c *telnetConn) Read(p []byte) (int, error) {
	for {
		n, err := c.Conn.Read(p)
		if out := c.filter.apply(p[:n]); len(out) > 0 || err != nil || n == 0 {
			return len(out), err
		}
	}
}

// Write writes p so that nothing in it is taken for protocol.
func (c *telnetConn) Write(p []byte) (int, error) {
	if bytes.IndexByte(p, telnetIAC) < 0 {
		return c.Conn.Write(p)
	}
	if _, err := c.Conn.Write(bytes.ReplaceAll(p, []byte{telnetIAC}, []byte{telnetIAC, telnetIAC})); err != nil {
		return 0, err
	}
	return len(p), nil
}

// telnetFilter takes the protocol out of a stream.
type telnetFilter struct {
	state  telnetState
	broken func() // sees a break; may be nil
}

type telnetState int

const (
	telnetData    telnetState = iota
	telnetCommand             // after IAC
	telnetOption              // after WILL, WONT, DO or DONT
	telnetSub                 // in a subnegotiation
	telnetSubIAC              // after IAC in one
)

// apply returns what of p is data, in p's place.
func (f *telnetFilter) apply(p []byte) []byte {
	out := p[:0]
	for _, c := range p {
		if f.step(c) {
			out = append(out, c)
		}
	}
	return out
}

// step takes a byte and tells whether it is data.
func (f *telnetFilter) step(c byte) bool {
	switch f.state {
	case telnetCommand:
		return f.command(c)
	case telnetOption:
		f.state = telnetData
	case telnetSub:
		if c == telnetIAC {
			f.state = telnetSubIAC
		}
	case telnetSubIAC:
		if f.state = telnetSub; c == telnetSE {
			f.state = telnetData
		}
	default:
		if c != telnetIAC {
			return true
		}
		f.state = telnetCommand
	}
	return false
}

// command takes what follows IAC.
func (f *telnetFilter) command(c byte) bool {
	f.state = telnetData
	switch {
	case c == telnetIAC:
		return true // it stands for itself
	case c == telnetSB:
		f.state = telnetSub
	case c >= telnetWill && c <= telnetDont:
		f.state = telnetOption
	case c == telnetBreak && f.broken != nil:
		f.broken()
	}
	return false
}
