package nbdproto

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
)

// Wish is what a client asks of a server.
type Wish struct {
	Export  string
	Context string // of block status; empty for none
	// StartTLS is nil for none.
	StartTLS func(net.Conn) (net.Conn, error)
}

// Offer is what a server gives a client.
type Offer struct {
	Conn       net.Conn
	Size       uint64
	Flags      uint16
	Structured bool
	Context    bool   // the one that was asked for
	ContextID  uint32 // its number
	// Sizes of blocks: what requests are aligned to, what is best, and what they may have.
	MinBlock, Preferred, MaxBlock uint32
}

// Connect is the client's side of the handshake.
func Connect(conn net.Conn, w Wish) (*Offer, error) {
	c := &connector{Offer: Offer{Conn: conn, MinBlock: 1, Preferred: 4096, MaxBlock: MaxPayload}, wish: w}
	if len(w.Export) > MaxString {
		return nil, errors.New("export name too long to send to server")
	}
	if len(w.Context) > MaxString {
		return nil, errors.New("x-dirty-bitmap query too long to send to server")
	}
	return &c.Offer, c.run()
}

// connector is a handshake under way.
type connector struct {
	Offer
	wish     Wish
	noZeroes bool
}

// abort tells the server that it is over.
func (c *connector) abort() { _, _ = c.Conn.Write(appendOption(nil, OptAbort, nil)) }

// read reads n bytes, which are the server's.
func (c *connector) read(what string, n int) ([]byte, error) {
	b := make([]byte, n)
	if _, err := io.ReadFull(c.Conn, b); err != nil {
		return b, fmt.Errorf("Failed to read %s: %w", what, err)
	}
	return b, nil
}

func (c *connector) run() error {
	b, err := c.read("initial magic", 16)
	if err != nil {
		return err
	}
	if m := binary.BigEndian.Uint64(b); m != Magic {
		return fmt.Errorf("Bad initial magic received: 0x%x", m)
	}
	switch m := be.Uint64(b[8:]); m {
	case MagicOption:
		return c.newstyle()
	case magicOld:
		return c.oldstyle()
	default:
		return fmt.Errorf("Bad server magic received: 0x%x", m)
	}
}

// oldstyle takes the one export there is.
func (c *connector) oldstyle() error {
	if c.wish.StartTLS != nil {
		return errors.New("Server does not support STARTTLS")
	}
	if c.wish.Export != "" {
		return errors.New("Server does not support non-empty export names")
	}
	b, err := c.read("export", 8+4+124)
	c.Size, c.Flags = be.Uint64(b), uint16(be.Uint32(b[8:]))
	return errors.Join(err, c.check())
}

func (c *connector) newstyle() error {
	b, err := c.read("server flags", 2)
	if err != nil {
		return err
	}
	flags := be.Uint16(b) & (flagFixedNewstyle | flagNoZeroes)
	c.noZeroes = flags&flagNoZeroes != 0
	if _, err := c.Conn.Write(be.AppendUint32(nil, uint32(flags))); err != nil {
		return fmt.Errorf("Failed to send clientflags field: %w", err)
	}
	if flags&flagFixedNewstyle == 0 {
		if c.wish.StartTLS != nil {
			return errors.New("Server does not support STARTTLS")
		}
		return c.exportName()
	}
	if err := c.options(); err != nil {
		c.abort()
		return err
	}
	return nil
}

func (c *connector) options() error {
	if c.wish.StartTLS != nil {
		if err := c.startTLS(); err != nil {
			return err
		}
	}
	ok, err := c.simple(OptStructuredReply, false)
	if err != nil {
		return err
	}
	if c.Structured = ok; ok && c.wish.Context != "" {
		if err := c.context(); err != nil {
			return err
		}
	}
	if ok, err := c.goOn(); ok || err != nil {
		return errors.Join(err, c.check())
	}
	if err := c.listed(); err != nil {
		return err
	}
	return c.exportName()
}

func (c *connector) startTLS() error {
	ok, err := c.simple(OptStartTLS, true)
	if err != nil {
		return err
	}
	if !ok {
		return errors.New("Server don't support STARTTLS option")
	}
	conn, err := c.wish.StartTLS(c.Conn)
	if err == nil {
		c.Conn = conn
	}
	return err
}

func (c *connector) send(o Option, payload []byte) error {
	if _, err := c.Conn.Write(appendOption(nil, o, payload)); err != nil {
		return fmt.Errorf("Failed to send option request header: %w", err)
	}
	return nil
}

// optionErrors says what errors of a server's mean.
var optionErrors = map[replyType]string{
	repErrPolicy: "Denied by server for option %d (%s)", repErrInvalid: "Invalid parameters for option %d (%s)",
	repErrPlatform: "Server lacks support for option %d (%s)", repErrTLSReqd: "TLS negotiation required before option %d (%s)",
	repErrShutdown: "Server shutting down before option %d (%s)", repErrBlockSizeReqd: "Server requires INFO_BLOCK_SIZE for option %d (%s)",
}

// failure returns the error that a reply is, if it is one and not that the option is unknown
// to the server. If not strict, all errors are that.
func (r *reply) failure(o Option, strict bool) (unknown bool, err error) {
	switch {
	case r.typ&repErr == 0:
		return false, nil
	case r.typ == repErrUnsup || !strict:
		return true, nil
	case r.typ == repErrUnknown:
		return false, errors.New("Requested export not available")
	}
	if f, ok := optionErrors[r.typ]; ok {
		return false, fmt.Errorf(f, o, o)
	}
	return false, fmt.Errorf("Unknown error code when asking for option %d (%s)", o, o)
}

// simple sends an option without a payload, and reports whether the server agrees.
func (c *connector) simple(o Option, strict bool) (bool, error) {
	if err := c.send(o, nil); err != nil {
		return false, err
	}
	r, err := readReply(c.Conn, o)
	if err != nil {
		return false, err
	}
	if unknown, err := r.failure(o, strict); unknown || err != nil {
		return false, err
	}
	switch {
	case r.typ != repAck:
		return false, fmt.Errorf("Server answered option %d (%s) with unexpected reply %d", o, o, r.typ)
	case len(r.payload) > 0:
		return false, fmt.Errorf("Option %d ('%s') response length is %d (it should be zero)", o, o, len(r.payload))
	}
	return true, nil
}

// each hands replies to take until the one that ends them. It returns false if the server
// does not know the option.
func (c *connector) each(o Option, strict bool, take func(*reply) error) (bool, error) {
	for range maxReplies {
		r, err := readReply(c.Conn, o)
		if err != nil {
			return false, err
		}
		if unknown, err := r.failure(o, strict); unknown || err != nil {
			return false, err
		}
		if r.typ == repAck {
			if len(r.payload) > 0 {
				return false, fmt.Errorf("server sent invalid NBD_REP_ACK to option %d (%s)", o, o)
			}
			return true, nil
		}
		if err := take(&r); err != nil {
			return false, err
		}
	}
	return false, fmt.Errorf("the server answers option %d (%s) without end", o, o)
}

// context asks for the metadata context.
func (c *connector) context() error {
	m := metaRequest{c.wish.Export, []string{c.wish.Context}}
	if err := c.send(OptSetMetaContext, m.append(nil)); err != nil {
		return err
	}
	_, err := c.each(OptSetMetaContext, false, func(r *reply) error {
		switch {
		case r.typ != repMetaContext || len(r.payload) <= 4:
			return fmt.Errorf("Unexpected reply type %d to a choice of contexts", r.typ)
		case string(r.payload[4:]) != c.wish.Context:
			return fmt.Errorf("Failed to negotiate meta context '%s', server answered with different context '%s'", c.wish.Context, sane(string(r.payload[4:])))
		case c.Context:
			return errors.New("Server answered with more than one context")
		}
		c.Context, c.ContextID = true, be.Uint32(r.payload)
		return nil
	})
	return err
}

// goOn asks for the export and what there is to know of it. It returns false if the server
// does not know that way.
func (c *connector) goOn() (bool, error) {
	q := infoRequest{c.wish.Export, []uint16{infoBlockSize}}
	if err := c.send(OptGo, q.append(nil)); err != nil {
		return false, err
	}
	told := false
	ok, err := c.each(OptGo, true, func(r *reply) error {
		if r.typ != repInfo {
			return fmt.Errorf("unexpected reply type %d, expected %d", r.typ, repInfo)
		}
		return c.take(r.payload, &told)
	})
	if ok && !told {
		err = errors.New("broken server omitted NBD_INFO_EXPORT")
	}
	return ok, err
}

// take reads a piece of information.
func (c *connector) take(b []byte, told *bool) error {
	x := cursor{b: b}
	switch kind := x.u16(); kind {
	case infoExport:
		c.Size, c.Flags, *told = x.u64(), x.u16(), true
	case infoBlockSize:
		c.MinBlock, c.Preferred, c.MaxBlock = x.u32(), x.u32(), x.u32()
	default:
		return x.err
	}
	if x.err != nil || len(x.b) > 0 {
		return fmt.Errorf("export info of %d bytes has a wrong size", len(b))
	}
	return nil
}

// listed returns an error if the export is not among those that the server lists.
func (c *connector) listed() error {
	if err := c.send(OptList, nil); err != nil {
		return err
	}
	any, found := false, false
	_, err := c.each(OptList, false, func(r *reply) error {
		x := cursor{b: r.payload}
		name := x.text()
		if r.typ != repServer || x.err != nil {
			return errors.New("incorrect name length in server's list response")
		}
		any, found = true, found || name == c.wish.Export
		return nil
	})
	if err == nil && any && !found {
		err = fmt.Errorf("No export with name '%s' available", c.wish.Export)
	}
	return err
}

// exportName takes the export in the way that every server knows.
func (c *connector) exportName() error {
	if err := c.send(OptExportName, []byte(c.wish.Export)); err != nil {
		return err
	}
	n := 10
	if !c.noZeroes {
		n += 124
	}
	b, err := c.read("export", n)
	if err != nil {
		return err
	}
	c.Size, c.Flags = be.Uint64(b), be.Uint16(b[8:])
	return c.check()
}

// maxBlock is the largest block that requests are aligned to.
const maxBlock = 64 << 10

// check looks at what the server said of the export.
func (c *connector) check() error {
	power := func(n uint32) bool { return n > 0 && n&(n-1) == 0 }
	switch {
	case c.Size > 1<<62:
		return fmt.Errorf("export size %d is too large", c.Size)
	case !power(c.MinBlock) || c.MinBlock > maxBlock:
		return fmt.Errorf("server minimum block size %d is not a power of two that is no larger than %d", c.MinBlock, maxBlock)
	case !power(c.Preferred) || c.Preferred < c.MinBlock:
		return fmt.Errorf("server preferred block size %d is not valid", c.Preferred)
	case c.MaxBlock < c.MinBlock:
		return fmt.Errorf("server maximum block size %d is not valid", c.MaxBlock)
	case c.Size%uint64(c.MinBlock) != 0:
		return fmt.Errorf("export size %d is not multiple of minimum block size %d", c.Size, c.MinBlock)
	}
	c.MaxBlock = min(c.MaxBlock, MaxPayload) &^ (c.MinBlock - 1)
	return nil
}
