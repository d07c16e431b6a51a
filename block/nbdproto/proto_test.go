package nbdproto

import (
	"bytes"
	"errors"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"time"
)

// shelf is a directory of exports.
type shelf []*Export

func (s shelf) Exports() []*Export { return s }
func (s shelf) Export(name string) *Export {
	i := slices.IndexFunc(s, func(e *Export) bool { return e.Name == name })
	if i < 0 {
		return nil
	}
	return s[i]
}

func (s shelf) Choose(*Export) bool { return true }

func books() shelf {
	return shelf{
		{Name: "one", Description: "the first", Size: 1 << 20, Flags: HasFlags | CanMultiConn, MinBlock: 1, Contexts: []string{BaseAllocation, "qemu:dirty-bitmap:b"}},
		{Name: "", Size: 4096, Flags: HasFlags | ReadOnly, MinBlock: 512},
	}
}

// same has TLS change nothing.
func same(c net.Conn) (net.Conn, error) { return c, nil }

// meet runs both sides of a handshake.
func meet(t *testing.T, w Wish, startTLS func(net.Conn) (net.Conn, error)) (*Offer, error, *Session, error) {
	t.Helper()
	a, b := net.Pipe()
	defer a.Close()
	type accepted struct {
		s   *Session
		err error
	}
	ch := make(chan accepted)
	go func() {
		s, err := Accept(b, books(), startTLS)
		b.Close()
		ch <- accepted{s, err}
	}()
	o, err := Connect(a, w)
	a.Close()
	got := <-ch
	return o, err, got.s, got.err
}

func TestHandshake(t *testing.T) {
	o, err, s, serr := meet(t, Wish{Export: "one", Context: "qemu:dirty-bitmap:b"}, nil)
	if err != nil || serr != nil {
		t.Fatal(err, serr)
	}
	if o.Size != 1<<20 || o.Flags != HasFlags|CanMultiConn|SendDF || !o.Structured || !o.Context || o.ContextID != 1 || o.MinBlock != 1 || o.MaxBlock != MaxPayload {
		t.Errorf("%+v", o)
	}
	if s.Export.Name != "one" || !s.Structured || !slices.Equal(s.Contexts, []int{1}) {
		t.Errorf("%+v", s)
	}
	if o, err, _, _ := meet(t, Wish{Export: "", Context: BaseAllocation, StartTLS: same}, same); err != nil || o.Context || o.MinBlock != 512 {
		t.Errorf("%+v, %v", o, err)
	}
	for _, c := range []struct {
		w    Wish
		tls  func(net.Conn) (net.Conn, error)
		want string
	}{
		{Wish{Export: "three"}, nil, "Requested export not available"},
		{Wish{Export: "one"}, same, "TLS negotiation required before option 7 (go)"},
		{Wish{Export: "one", StartTLS: same}, nil, "Denied by server for option 5 (starttls)"},
		{Wish{Export: strings.Repeat("x", 5000)}, nil, "export name too long to send to server"},
		{Wish{Context: strings.Repeat("x", 5000)}, nil, "x-dirty-bitmap query too long to send to server"},
	} {
		_, err, _, serr := meet(t, c.w, c.tls)
		if err == nil || err.Error() != c.want || serr == nil {
			t.Errorf("%v, want %s; the server: %v", err, c.want, serr)
		}
	}
}

// played is a connection on which the other side has said all that it will.
type played struct {
	net.Conn
	in  *bytes.Reader
	out bytes.Buffer
}

func play(b []byte) *played                     { return &played{in: bytes.NewReader(b)} }
func (p *played) Read(b []byte) (int, error)    { return p.in.Read(b) }
func (p *played) Write(b []byte) (int, error)   { return p.out.Write(b) }
func (p *played) Close() error                  { return nil }
func (p *played) SetDeadline(t time.Time) error { return nil }
func client(flags uint32, options ...[]byte) []byte {
	return append(be.AppendUint32(nil, flags), bytes.Join(options, nil)...)
}

func info(name string, kinds ...uint16) []byte {
	q := infoRequest{name, kinds}
	return q.append(nil)
}

func meta(name string, queries ...string) []byte {
	q := metaRequest{name, queries}
	return q.append(nil)
}

// answers runs a server on what a client says, and returns its replies.
func answers(t *testing.T, said []byte, startTLS func(net.Conn) (net.Conn, error)) ([]reply, error) {
	t.Helper()
	p := play(said)
	_, err := Accept(p, books(), startTLS)
	p.out.Next(18)
	var all []reply
	for p.out.Len() >= 20 && be.Uint64(p.out.Bytes()) == magicReply {
		h := p.out.Next(20)
		all = append(all, reply{replyType(be.Uint32(h[12:])), bytes.Clone(p.out.Next(int(be.Uint32(h[16:]))))})
	}
	return all, err
}

func TestOptions(t *testing.T) {
	fixed := uint32(flagFixedNewstyle | flagNoZeroes)
	opt := func(o Option, payload []byte) []byte { return appendOption(nil, o, payload) }
	ask := func(tls func(net.Conn) (net.Conn, error), want string, types []replyType, options ...[]byte) {
		t.Helper()
		got, err := answers(t, client(fixed, options...), tls)
		var seen []replyType
		var text string
		for _, r := range got {
			seen = append(seen, r.typ)
			if r.typ&repErr != 0 {
				text = string(r.payload)
			}
		}
		if !slices.Equal(seen, types) || want != "" && text != want {
			t.Errorf("%x %q, want %x %q (%v)", seen, text, types, want, err)
		}
	}
	ask(nil, "", []replyType{repServer, repServer, repAck}, opt(OptList, nil))
	ask(nil, "option 'list' has unexpected length", []replyType{repErrInvalid}, opt(OptList, []byte{1}))
	ask(nil, "Unsupported option 77 (<unknown>)", []replyType{repErrUnsup}, opt(77, nil))
	ask(nil, "structured reply already negotiated", []replyType{repAck, repErrInvalid}, opt(OptStructuredReply, nil), opt(OptStructuredReply, nil))
	ask(nil, "TLS not configured", []replyType{repErrPolicy}, opt(OptStartTLS, nil))
	ask(same, "TLS already enabled", []replyType{repAck, repErrInvalid}, opt(OptStartTLS, nil), opt(OptStartTLS, nil))
	ask(same, "Option 0x3 not permitted before TLS", []replyType{repErrTLSReqd}, opt(OptList, nil))
	ask(same, "Option 0x2 not permitted before TLS", []replyType{repErrTLSReqd}, opt(OptAbort, nil))
	ask(same, "option 'starttls' has unexpected length", []replyType{repErrInvalid}, opt(OptStartTLS, []byte{1}))
	ask(nil, "", []replyType{repAck}, opt(OptAbort, nil), opt(OptList, nil))
	ask(nil, "", []replyType{repInfo, repInfo, repInfo, repInfo, repAck}, opt(OptInfo, info("one", infoName, infoBlockSize)))
	ask(nil, "request NBD_INFO_BLOCK_SIZE to use this export", []replyType{repInfo, repInfo, repErrBlockSizeReqd}, opt(OptInfo, info("")))
	ask(nil, "export '"+strings.Repeat("y", 80)+"...' not present", []replyType{repErrUnknown}, opt(OptGo, info(strings.Repeat("y", 100))))
	ask(nil, "Inconsistent lengths in option go", []replyType{repErrInvalid}, opt(OptGo, []byte{0, 0, 0, 9}))
	ask(nil, "option info: Invalid name length: 5000", []replyType{repErrInvalid}, opt(OptInfo, info(strings.Repeat("y", 5000))))
	ask(nil, "option info: embedded NUL", []replyType{repErrInvalid}, opt(OptInfo, info("a\x00")))
	ask(nil, "request option 'set meta context' when structured reply is not negotiated", []replyType{repErrInvalid}, opt(OptSetMetaContext, meta("one")))
	ask(nil, "", []replyType{repMetaContext, repMetaContext, repAck}, opt(OptListMetaContext, meta("one")))
	ask(nil, "", []replyType{repMetaContext, repAck}, opt(OptListMetaContext, meta("one", "qemu:")))
	ask(nil, "", []replyType{repMetaContext, repAck}, opt(OptListMetaContext, meta("one", "qemu:dirty-bitmap:", strings.Repeat("z", 6000))))
	ask(nil, "", []replyType{repAck, repAck}, opt(OptStructuredReply, nil), opt(OptSetMetaContext, meta("one", "qemu:", "base:")))
	ask(nil, "export 'no' not present", []replyType{repErrUnknown}, opt(OptListMetaContext, meta("no")))
	for said, want := range map[string]string{
		string(client(8)):                                              "Unknown client flags 0x8 received",
		string(client(0, opt(OptList, nil))):                           "Unsupported option 3 (list)",
		string(client(fixed, opt(OptExportName, []byte("x")))):         "export not found",
		string(client(fixed, []byte("0123456789abcdef"))):              "Bad magic received",
		string(client(fixed, opt(1, nil)[:12], []byte{0xff, 0, 0, 0})): "len (4278190080) is larger than max len (65536)",
		string(client(fixed, opt(OptAbort, nil))):                      ErrAborted.Error(),
		string(client(fixed)):                                          io.EOF.Error(),
	} {
		if _, err := answers(t, []byte(said), nil); err == nil || err.Error() != want {
			t.Errorf("%q: %v, want %s", said, err, want)
		}
	}
	if _, err := answers(t, client(fixed, opt(OptExportName, []byte("one"))), same); err == nil {
		t.Error("an export without TLS")
	}
	p := play(client(flagFixedNewstyle, opt(OptExportName, []byte("one"))))
	if s, err := Accept(p, books(), nil); err != nil || s.Export.Name != "one" || p.out.Len() != 18+134 {
		t.Errorf("%v, %d bytes", err, p.out.Len())
	}
	// Contexts of one export are not those of another.
	p = play(client(fixed, opt(OptStructuredReply, nil), opt(OptSetMetaContext, meta("one", BaseAllocation)), opt(OptGo, info(""))))
	if s, err := Accept(p, books(), nil); err != nil || s.Export.Size != 4096 || s.Contexts != nil {
		t.Errorf("%+v, %v", s, err)
	}
}

// server returns what a server says that gives replies to options.
func server(flags uint16, said ...[]byte) []byte {
	b := be.AppendUint64(be.AppendUint64(nil, Magic), MagicOption)
	return append(be.AppendUint16(b, flags), bytes.Join(said, nil)...)
}

func rep(o Option, t replyType, payload ...byte) []byte {
	r := reply{t, payload}
	return r.append(nil, o)
}

func exportInfo(size uint64) []byte {
	return be.AppendUint16(be.AppendUint64(be.AppendUint16(nil, infoExport), size), HasFlags)
}

func blockInfo(least, best, most uint32) []byte {
	b := be.AppendUint32(be.AppendUint16(nil, infoBlockSize), least)
	return be.AppendUint32(be.AppendUint32(b, best), most)
}

// TestServers has the client meet servers that are old, odd or hostile.
func TestServers(t *testing.T) {
	fixed := uint16(flagFixedNewstyle | flagNoZeroes)
	simple := rep(OptStructuredReply, repErrUnsup)
	old := append(be.AppendUint64(nil, 8192), make([]byte, 2+124)...)
	oldest := append(be.AppendUint64(be.AppendUint64(be.AppendUint64(nil, Magic), magicOld), 512), make([]byte, 4+124)...)
	many := bytes.Repeat(rep(OptGo, repInfo, 0, 9), maxReplies+1)
	long := rep(OptGo, repInfo)
	be.PutUint32(long[16:], 1<<30)
	for _, c := range []struct {
		name string
		said []byte
		w    Wish
		want string
	}{
		{"newstyle, not fixed", server(0, old), Wish{Export: "x"}, ""},
		{"oldstyle", oldest, Wish{}, ""},
		{"oldstyle with a name", oldest, Wish{Export: "x"}, "Server does not support non-empty export names"},
		{"oldstyle with TLS", oldest, Wish{StartTLS: same}, "Server does not support STARTTLS"},
		{"no TLS", server(0), Wish{StartTLS: same}, "Server does not support STARTTLS"},
		{"TLS unknown", server(fixed, rep(OptStartTLS, repErrUnsup)), Wish{StartTLS: same}, "Server don't support STARTTLS option"},
		{"no GO", server(fixed, simple, rep(OptGo, repErrUnsup), rep(OptList, repServer, appendText(nil, "x")...), rep(OptList, repAck), old[:10]), Wish{Export: "x"}, ""},
		{"not in the list", server(fixed, simple, rep(OptGo, repErrUnsup), rep(OptList, repServer, appendText(nil, "y")...), rep(OptList, repAck)), Wish{Export: "x"},
			"No export with name 'x' available"},
		{"bad list", server(fixed, simple, rep(OptGo, repErrUnsup), rep(OptList, repServer, 9)), Wish{}, "incorrect name length in server's list response"},
		{"GO", server(fixed, simple, rep(OptGo, repInfo, exportInfo(4096)...), rep(OptGo, repInfo, blockInfo(512, 4096, 65536)...), rep(OptGo, repAck)), Wish{}, ""},
		{"no info", server(fixed, simple, rep(OptGo, repAck)), Wish{}, "broken server omitted NBD_INFO_EXPORT"},
		{"GO with odd reply", server(fixed, simple, rep(OptGo, repServer)), Wish{}, "unexpected reply type 2, expected 3"},
		{"short info", server(fixed, simple, rep(OptGo, repInfo, 0, 0, 1)), Wish{}, "export info of 3 bytes has a wrong size"},
		{"long ack", server(fixed, simple, rep(OptGo, repAck, 1)), Wish{}, "server sent invalid NBD_REP_ACK to option 7 (go)"},
		{"without end", server(fixed, simple, many), Wish{}, "the server answers option 7 (go) without end"},
		{"too long", server(fixed, simple, long), Wish{}, "reply of 1073741824 bytes to option 7 (go) is too long"},
		{"wrong option", server(fixed, rep(OptGo, repAck)), Wish{}, "Unexpected option type 7 (go), expected 8 (structured reply)"},
		{"wrong magic", server(fixed, make([]byte, 20)), Wish{}, "Unexpected option reply magic"},
		{"odd answer", server(fixed, rep(OptStructuredReply, repInfo)), Wish{}, "Server answered option 8 (structured reply) with unexpected reply 3"},
		{"long answer", server(fixed, rep(OptStructuredReply, repAck, 1)), Wish{}, "Option 8 ('structured reply') response length is 1 (it should be zero)"},
		{"huge", server(fixed, simple, rep(OptGo, repInfo, exportInfo(1<<63)...), rep(OptGo, repAck)), Wish{}, "export size 9223372036854775808 is too large"},
		{"odd block", server(fixed, simple, rep(OptGo, repInfo, blockInfo(3, 4096, 65536)...), rep(OptGo, repInfo, exportInfo(3)...), rep(OptGo, repAck)), Wish{},
			"server minimum block size 3 is not a power of two that is no larger than 65536"},
		{"odd preference", server(fixed, simple, rep(OptGo, repInfo, blockInfo(512, 511, 65536)...), rep(OptGo, repInfo, exportInfo(512)...), rep(OptGo, repAck)), Wish{},
			"server preferred block size 511 is not valid"},
		{"odd maximum", server(fixed, simple, rep(OptGo, repInfo, blockInfo(512, 512, 1)...), rep(OptGo, repInfo, exportInfo(512)...), rep(OptGo, repAck)), Wish{},
			"server maximum block size 1 is not valid"},
		{"odd size", server(fixed, simple, rep(OptGo, repInfo, blockInfo(512, 512, 512)...), rep(OptGo, repInfo, exportInfo(513)...), rep(OptGo, repAck)), Wish{},
			"export size 513 is not multiple of minimum block size 512"},
		{"other context", server(fixed, rep(OptStructuredReply, repAck), rep(OptSetMetaContext, repMetaContext, 0, 0, 0, 1, 'x')), Wish{Context: "y"},
			"Failed to negotiate meta context 'y', server answered with different context 'x'"},
		{"two contexts", server(fixed, rep(OptStructuredReply, repAck), bytes.Repeat(rep(OptSetMetaContext, repMetaContext, 0, 0, 0, 1, 'y'), 2)), Wish{Context: "y"},
			"Server answered with more than one context"},
		{"context of no name", server(fixed, rep(OptStructuredReply, repAck), rep(OptSetMetaContext, repMetaContext, 0)), Wish{Context: "y"}, "Unexpected reply type 4 to a choice of contexts"},
		{"no magic", make([]byte, 18), Wish{}, "Bad initial magic received: 0x0"},
		{"half of it", append(be.AppendUint64(nil, Magic), make([]byte, 8)...), Wish{}, "Bad server magic received: 0x0"},
		{"nothing", nil, Wish{}, "Failed to read initial magic: EOF"},
		{"refusal", server(fixed, simple, rep(OptGo, repErrShutdown)), Wish{}, "Server shutting down before option 7 (go)"},
		{"unknown refusal", server(fixed, simple, rep(OptGo, repErr|55)), Wish{}, "Unknown error code when asking for option 7 (go)"},
	} {
		_, err := Connect(play(c.said), c.w)
		switch {
		case c.want == "" && err != nil:
			t.Errorf("%s: %v", c.name, err)
		case c.want != "" && (err == nil || err.Error() != c.want):
			t.Errorf("%s: %v, want %s", c.name, err, c.want)
		}
	}
}

func TestMessages(t *testing.T) {
	q := Request{FUA | NoHole, CmdWriteZeroes, 7, 1 << 40, 4096}
	var b [RequestSize]byte
	q.Put(&b)
	if got, err := ParseRequest(&b); err != nil || got != q {
		t.Errorf("%+v, %v", got, err)
	}
	b[0]++
	if _, err := ParseRequest(&b); err == nil {
		t.Error("wrong magic")
	}
	head := func(m []byte) (Reply, error) {
		r, err := ParseSimple((*[SimpleSize]byte)(m))
		if err == nil && r.Structured {
			err = r.ParseLength((*[4]byte)(m[SimpleSize:]))
		}
		return r, err
	}
	for _, c := range []struct {
		m    []byte
		want Reply
	}{
		{AppendSimple(nil, 3, EIO), Reply{Cookie: 3, Errno: EIO, Done: true}},
		{AppendDone(nil, 4), Reply{Structured: true, Cookie: 4, Done: true}},
		{AppendData(nil, 5, 6, 7, false), Reply{Structured: true, Cookie: 5, Type: ChunkData, Length: 15}},
		{AppendHole(nil, 5, 6, 7, true), Reply{Structured: true, Cookie: 5, Type: ChunkHole, Length: 12, Done: true}},
		{AppendError(nil, 5, EPERM, "no"), Reply{Structured: true, Cookie: 5, Type: ChunkError, Length: 8, Done: true}},
		{AppendExtents(nil, 5, 1, []Extent{{4096, 1}, {512, 0}}, true), Reply{Structured: true, Cookie: 5, Type: ChunkBlockStatus, Length: 20, Done: true}},
	} {
		if got, err := head(c.m); err != nil || got != c.want {
			t.Errorf("%+v, %v, want %+v", got, err, c.want)
		}
	}
	for _, r := range []Reply{
		{Type: ChunkNone}, {Type: ChunkData, Done: true}, {Type: ChunkHole}, {Type: ChunkBlockStatus}, {Type: ChunkError},
	} {
		if err := r.ParseLength(&[4]byte{0, 0, 0, 3}); err == nil {
			t.Errorf("%+v: 3 bytes are right", r)
		}
		if err := r.ParseLength(&[4]byte{0xff}); err == nil {
			t.Errorf("%+v: 4 GiB are right", r)
		}
	}
	if err := (&Reply{Done: true}).ParseLength(&[4]byte{0, 0, 0, 1}); err == nil {
		t.Error("an end with a payload")
	}
	hole := AppendHole(nil, 0, 1000, 24, true)[ChunkSize:]
	if at, n, err := ParseHole((*[12]byte)(hole), 900, 200); err != nil || at != 100 || n != 24 {
		t.Errorf("%d, %d, %v", at, n, err)
	}
	for _, c := range [][2]uint64{{1001, 200}, {900, 123}, {0, 1000}} {
		if _, _, err := ParseHole((*[12]byte)(hole), c[0], uint32(c[1])); err == nil {
			t.Errorf("a hole at 1000 lies in %v", c)
		}
	}
	if _, _, err := ParseHole(&[12]byte{}, 0, 10); err == nil {
		t.Error("a hole of nothing")
	}
	if at, err := DataPlace((*[8]byte)(hole), 24, 900, 200); err != nil || at != 100 {
		t.Errorf("%d, %v", at, err)
	}
	ext := AppendExtents(nil, 0, 9, []Extent{{4096, 2}}, true)[ChunkSize:]
	if id, e, err := ParseExtents(ext, 1024); id != 9 || e != (Extent{1024, 2}) || err != nil {
		t.Errorf("%d, %+v, %v", id, e, err)
	}
	if _, _, err := ParseExtents(ext[:8], 1024); err == nil {
		t.Error("half an extent")
	}
	if e, text, err := ParseError(AppendError(nil, 0, ENOSPC, "full")[ChunkSize:]); e != ENOSPC || text != "full" || err != nil {
		t.Errorf("%d, %q, %v", e, text, err)
	}
	for _, b := range [][]byte{nil, {0, 0, 0, 1, 0, 1}, make([]byte, 6)} {
		if _, _, err := ParseError(b); err == nil {
			t.Errorf("%x is an error", b)
		}
	}
	if Command(99).String() != "<unknown>" || CmdTrim.String() != "trim" || !errors.Is(ErrAborted, ErrAborted) {
		t.Error("names")
	}
}
