package nbdproto

import (
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
)

// Export is what a server tells of an export.
type Export struct {
	Name, Description string
	Size              uint64
	Flags             uint16
	// MinBlock is the size of the blocks that clients are to use who ask for it.
	MinBlock uint32
	// Contexts are the metadata contexts it has. Their numbers are their places here.
	Contexts []string
	// Of is whatever the server has for it.
	Of any
}

// Directory is the exports of a server.
type Directory interface {
	// Exports returns all.
	Exports() []*Export
	// Export returns the one with a name, nil if there is none.
	Export(name string) *Export
	// Choose keeps an export for a client, before that hears of it; false if it has gone.
	Choose(e *Export) bool
}

// Session is what a server and a client agreed on.
type Session struct {
	Conn       net.Conn // with TLS, if that was asked for
	Export     *Export
	Structured bool
	Contexts   []int // what was chosen, in order
}

// Accept is the server's side of the handshake. With startTLS set the client must use TLS
// before it does anything else. ErrAborted is a client that said that it leaves. With an error,
// too, the session has the export that was chosen, if one was.
func Accept(conn net.Conn, d Directory, startTLS func(net.Conn) (net.Conn, error)) (*Session, error) {
	s := &acceptor{Session: Session{Conn: conn}, dir: d, startTLS: startTLS}
	b := be.AppendUint64(nil, Magic)
	b = be.AppendUint64(b, MagicOption)
	if _, err := conn.Write(be.AppendUint16(b, flagFixedNewstyle|flagNoZeroes)); err != nil {
		return &s.Session, err
	}
	var flags [4]byte
	if _, err := io.ReadFull(conn, flags[:]); err != nil {
		return &s.Session, err
	}
	f := be.Uint32(flags[:])
	s.fixed, s.noZeroes = f&flagFixedNewstyle != 0, f&flagNoZeroes != 0
	if f&^(flagFixedNewstyle|flagNoZeroes) != 0 {
		return &s.Session, fmt.Errorf("Unknown client flags 0x%x received", f)
	}
	for range maxOptions {
		o, payload, err := readOption(s.Conn)
		if err != nil {
			return &s.Session, err
		}
		if done, err := s.option(o, payload); done || err != nil {
			return &s.Session, err
		}
	}
	return &s.Session, errors.New("the client negotiates without end")
}

// acceptor is a handshake under way.
type acceptor struct {
	Session
	dir             Directory
	startTLS        func(net.Conn) (net.Conn, error)
	secure          bool
	fixed, noZeroes bool
	chosenFor       *Export // what Contexts are of
}

// send replies to an option.
func (s *acceptor) send(o Option, t replyType, payload ...byte) error {
	r := reply{t, payload}
	_, err := s.Conn.Write(r.append(nil, o))
	return err
}

func (s *acceptor) refuse(o Option, t replyType, format string, args ...any) error {
	return s.send(o, t, fmt.Appendf(nil, format, args...)...)
}

// option answers an option; with done set the transmission phase begins.
func (s *acceptor) option(o Option, payload []byte) (done bool, err error) {
	plain := s.startTLS != nil && !s.secure
	switch {
	case !s.fixed && o != OptExportName:
		return false, fmt.Errorf("Unsupported option %d (%s)", o, o)
	case plain && o == OptExportName:
		return false, fmt.Errorf("Option 0x%x not permitted before TLS", uint32(o))
	case o == OptAbort && plain:
		_ = s.refuse(o, repErrTLSReqd, "Option 0x%x not permitted before TLS", uint32(o))
		return false, ErrAborted
	case plain && o != OptStartTLS:
		return false, s.refuse(o, repErrTLSReqd, "Option 0x%x not permitted before TLS", uint32(o))
	case o == OptAbort:
		_ = s.send(o, repAck) // it may be gone already
		return false, ErrAborted
	case o == OptExportName:
		return true, s.exportName(payload)
	case o == OptInfo, o == OptGo:
		return s.info(o, payload)
	case o == OptListMetaContext, o == OptSetMetaContext:
		return false, s.meta(o, payload)
	case o == OptList, o == OptStartTLS, o == OptStructuredReply:
		return false, s.simple(o, payload)
	}
	return false, s.refuse(o, repErrUnsup, "Unsupported option %d (%s)", o, o)
}

// simple answers options without a payload.
func (s *acceptor) simple(o Option, payload []byte) error {
	switch {
	case len(payload) > 0 && o == OptStartTLS && s.startTLS != nil && !s.secure:
		return errors.Join(s.refuse(o, repErrInvalid, "option '%s' has unexpected length", o), fmt.Errorf("option '%s' has unexpected length", o))
	case len(payload) > 0:
		return s.refuse(o, repErrInvalid, "option '%s' has unexpected length", o)
	case o == OptList:
		return s.list()
	case o == OptStructuredReply && s.Structured:
		return s.refuse(o, repErrInvalid, "structured reply already negotiated")
	case o == OptStructuredReply:
		s.Structured = true
		return s.send(o, repAck)
	case s.startTLS == nil:
		return s.refuse(o, repErrPolicy, "TLS not configured")
	case s.secure:
		return s.refuse(o, repErrInvalid, "TLS already enabled")
	}
	if err := s.send(o, repAck); err != nil {
		return err
	}
	conn, err := s.startTLS(s.Conn)
	if err != nil {
		return err
	}
	s.Conn, s.secure = conn, true
	return nil
}

func (s *acceptor) list() error {
	for _, e := range s.dir.Exports() {
		if err := s.send(OptList, repServer, append(appendText(nil, e.Name), e.Description...)...); err != nil {
			return err
		}
	}
	return s.send(OptList, repAck)
}

// flags returns an export's flags for this client.
func (s *acceptor) flags(e *Export) uint16 {
	if s.Structured {
		return e.Flags | SendDF
	}
	return e.Flags
}

// choose makes an export that of the session, if it is still there.
func (s *acceptor) choose(e *Export) bool {
	if !s.dir.Choose(e) {
		return false
	}
	s.Export = e
	if e != s.chosenFor {
		s.Contexts = nil
	}
	return true
}

// exportName chooses an export, for clients who know no better way. There is no reply to
// say no with.
func (s *acceptor) exportName(name []byte) error {
	if len(name) > MaxString {
		return errors.New("Bad length received")
	}
	e := s.dir.Export(string(name))
	if e == nil {
		return errors.New("export not found")
	}
	b := be.AppendUint16(be.AppendUint64(nil, e.Size), s.flags(e))
	if !s.noZeroes {
		b = append(b, make([]byte, 124)...)
	}
	if !s.choose(e) {
		return errors.New("export not found")
	}
	_, err := s.Conn.Write(b)
	return err
}

// sane shortens a name for an error.
func sane(name string) string {
	if len(name) < 80 {
		return name
	}
	return name[:80] + "..."
}

// invalid refuses an option that cannot be read.
func (s *acceptor) invalid(o Option, err error) error {
	if errors.Is(err, errShort) {
		return s.refuse(o, repErrInvalid, "Inconsistent lengths in option %s", o)
	}
	return s.refuse(o, repErrInvalid, "option %s: %v", o, err)
}

// info tells of an export, and with GO chooses it.
func (s *acceptor) info(o Option, payload []byte) (bool, error) {
	r, err := parseInfo(payload)
	if err != nil {
		return false, s.invalid(o, err)
	}
	e := s.dir.Export(r.name)
	if e == nil {
		return false, s.refuse(o, repErrUnknown, "export '%s' not present", sane(r.name))
	}
	if slices.Contains(r.kinds, infoName) {
		if err := s.send(o, repInfo, append(be.AppendUint16(nil, infoName), r.name...)...); err != nil {
			return false, err
		}
	}
	if e.Description != "" {
		if err := s.send(o, repInfo, append(be.AppendUint16(nil, infoDescription), e.Description...)...); err != nil {
			return false, err
		}
	}
	heeds := slices.Contains(r.kinds, infoBlockSize)
	least := e.MinBlock
	if o == OptGo && !heeds {
		least = 1
	}
	b := be.AppendUint32(be.AppendUint16(nil, infoBlockSize), least)
	b = be.AppendUint32(be.AppendUint32(b, max(4096, least)), MaxPayload)
	if err := s.send(o, repInfo, b...); err != nil {
		return false, err
	}
	b = be.AppendUint64(be.AppendUint16(nil, infoExport), e.Size)
	if err := s.send(o, repInfo, be.AppendUint16(b, s.flags(e))...); err != nil {
		return false, err
	}
	if o == OptInfo && !heeds && least > 1 {
		return false, s.refuse(o, repErrBlockSizeReqd, "request NBD_INFO_BLOCK_SIZE to use this export")
	}
	if o == OptGo && !s.choose(e) {
		return false, s.refuse(o, repErrUnknown, "export '%s' not present", sane(r.name))
	}
	return o == OptGo, s.send(o, repAck)
}

// meta lists contexts, or chooses them.
func (s *acceptor) meta(o Option, payload []byte) error {
	if o == OptSetMetaContext {
		if !s.Structured {
			return s.refuse(o, repErrInvalid, "request option '%s' when structured reply is not negotiated", o)
		}
		s.Contexts, s.chosenFor = nil, nil
	}
	r, err := parseMeta(payload)
	if err != nil {
		return s.invalid(o, err)
	}
	e := s.dir.Export(r.name)
	if e == nil {
		return s.refuse(o, repErrUnknown, "export '%s' not present", sane(r.name))
	}
	var chosen []int
	for i, name := range e.Contexts {
		if !r.wants(name, o == OptListMetaContext) {
			continue
		}
		if err := s.send(o, repMetaContext, append(be.AppendUint32(nil, uint32(i)), name...)...); err != nil {
			return err
		}
		chosen = append(chosen, i)
	}
	if o == OptSetMetaContext {
		s.Contexts, s.chosenFor = chosen, e
	}
	return s.send(o, repAck)
}

// wants reports whether a context is asked for. A list may be asked for with parts of
// names, or for all.
func (r *metaRequest) wants(name string, list bool) bool {
	if list && len(r.queries) == 0 {
		return true
	}
	return slices.ContainsFunc(r.queries, func(q string) bool {
		return q == name || list && strings.HasSuffix(q, ":") && strings.HasPrefix(name, q)
	})
}
