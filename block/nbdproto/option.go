package nbdproto

import (
	"bytes"
	"errors"
	"fmt"
	"io"
)

// errShort is an option, or a reply to one, that ends too early.
var errShort = errors.New("ends too early")

// cursor takes a message apart.
type cursor struct {
	b   []byte
	err error
}

func (c *cursor) take(n uint32) []byte {
	if c.err == nil && uint64(n) > uint64(len(c.b)) {
		c.err = errShort
	}
	if c.err != nil {
		return nil
	}
	x := c.b[:n]
	c.b = c.b[n:]
	return x
}

func (c *cursor) u16() uint16 {
	if x := c.take(2); x != nil {
		return be.Uint16(x)
	}
	return 0
}

func (c *cursor) u32() uint32 {
	if x := c.take(4); x != nil {
		return be.Uint32(x)
	}
	return 0
}

func (c *cursor) u64() uint64 {
	if x := c.take(8); x != nil {
		return be.Uint64(x)
	}
	return 0
}

// text takes a string that its length precedes.
func (c *cursor) text() string {
	n := c.u32()
	if n > MaxString {
		if c.err == nil {
			c.err = fmt.Errorf("Invalid name length: %d", n)
		}
		return ""
	}
	x := c.take(n)
	if bytes.IndexByte(x, 0) >= 0 {
		c.err = errors.New("embedded NUL")
	}
	return string(x)
}

// infoRequest is what comes with INFO and GO.
type infoRequest struct {
	name  string
	kinds []uint16
}

func parseInfo(b []byte) (r infoRequest, err error) {
	c := cursor{b: b}
	r.name = c.text()
	n := c.u16()
	if c.err == nil && int(n)*2 > len(c.b) {
		c.err = errShort
	}
	for range n {
		if c.err != nil {
			break
		}
		r.kinds = append(r.kinds, c.u16())
	}
	if c.err == nil && len(c.b) > 0 {
		c.err = errors.New("too long")
	}
	return r, c.err
}

func (r *infoRequest) append(b []byte) []byte {
	b = appendText(b, r.name)
	b = be.AppendUint16(b, uint16(len(r.kinds)))
	for _, k := range r.kinds {
		b = be.AppendUint16(b, k)
	}
	return b
}

// metaRequest is what comes with LIST_META_CONTEXT and SET_META_CONTEXT.
type metaRequest struct {
	name    string
	queries []string
}

func parseMeta(b []byte) (r metaRequest, err error) {
	c := cursor{b: b}
	r.name = c.text()
	n := c.u32()
	if n > maxQueries {
		return r, errors.Join(c.err, fmt.Errorf("%d queries are too many", n))
	}
	for range n {
		if c.err != nil {
			break
		}
		// What is longer than any context is none that there is.
		if x := c.take(c.u32()); len(x) <= MaxString {
			r.queries = append(r.queries, string(x))
		}
	}
	if c.err == nil && len(c.b) > 0 {
		c.err = errors.New("too long")
	}
	return r, c.err
}

func (r *metaRequest) append(b []byte) []byte {
	b = be.AppendUint32(appendText(b, r.name), uint32(len(r.queries)))
	for _, q := range r.queries {
		b = appendText(b, q)
	}
	return b
}

func appendText(b []byte, s string) []byte {
	return append(be.AppendUint32(b, uint32(len(s))), s...)
}

// readOption reads one of a client's options.
func readOption(r io.Reader) (Option, []byte, error) {
	var h [16]byte
	if _, err := io.ReadFull(r, h[:]); err != nil {
		return 0, nil, err
	}
	if be.Uint64(h[:]) != MagicOption {
		return 0, nil, errors.New("Bad magic received")
	}
	n := be.Uint32(h[12:])
	if n > maxOption {
		return 0, nil, fmt.Errorf("len (%d) is larger than max len (%d)", n, maxOption)
	}
	b := make([]byte, n)
	_, err := io.ReadFull(r, b)
	return Option(be.Uint32(h[8:])), b, err
}

func appendOption(b []byte, o Option, payload []byte) []byte {
	b = be.AppendUint64(b, MagicOption)
	b = be.AppendUint32(b, uint32(o))
	return append(be.AppendUint32(b, uint32(len(payload))), payload...)
}

// reply is a reply to an option.
type reply struct {
	typ     replyType
	payload []byte
}

func (r *reply) append(b []byte, o Option) []byte {
	b = be.AppendUint64(b, magicReply)
	b = be.AppendUint32(b, uint32(o))
	b = be.AppendUint32(b, uint32(r.typ))
	return append(be.AppendUint32(b, uint32(len(r.payload))), r.payload...)
}

// readReply reads a reply to an option.
func readReply(r io.Reader, to Option) (reply, error) {
	var h [20]byte
	if _, err := io.ReadFull(r, h[:]); err != nil {
		return reply{}, err
	}
	if be.Uint64(h[:]) != magicReply {
		return reply{}, errors.New("Unexpected option reply magic")
	}
	if o := Option(be.Uint32(h[8:])); o != to {
		return reply{}, fmt.Errorf("Unexpected option type %d (%s), expected %d (%s)", o, o, to, to)
	}
	n := be.Uint32(h[16:])
	if n > maxOption {
		return reply{}, fmt.Errorf("reply of %d bytes to option %d (%s) is too long", n, to, to)
	}
	x := reply{replyType(be.Uint32(h[12:])), make([]byte, n)}
	_, err := io.ReadFull(r, x.payload)
	return x, err
}
