package nbdproto

import "testing"

// FuzzAccept has a server hear anything.
func FuzzAccept(f *testing.F) {
	fixed := uint32(flagFixedNewstyle | flagNoZeroes)
	for _, options := range [][][]byte{
		{appendOption(nil, OptList, nil), appendOption(nil, OptAbort, nil)},
		{appendOption(nil, OptExportName, []byte("one"))},
		{appendOption(nil, OptStructuredReply, nil), appendOption(nil, OptSetMetaContext, meta("one", BaseAllocation)), appendOption(nil, OptGo, info("one", infoBlockSize))},
		{appendOption(nil, OptStartTLS, nil), appendOption(nil, OptListMetaContext, meta("one", "qemu:")), appendOption(nil, OptInfo, info("", infoName))},
	} {
		f.Add(client(fixed, options...), false)
		f.Add(client(fixed, options...), true)
	}
	f.Fuzz(func(t *testing.T, said []byte, tls bool) {
		p := play(said)
		start := same
		if !tls {
			start = nil
		}
		s, err := Accept(p, books(), start)
		if err == nil && s.Export == nil {
			t.Error("no export was chosen")
		}
		if p.out.Len() > 1<<20+64*len(said) {
			t.Errorf("%d bytes of answers to %d", p.out.Len(), len(said))
		}
	})
}

// FuzzConnect has a client hear anything.
func FuzzConnect(f *testing.F) {
	fixed := uint16(flagFixedNewstyle)
	f.Add(server(fixed, rep(OptStructuredReply, repAck), rep(OptSetMetaContext, repMetaContext, append([]byte{0, 0, 0, 1}, BaseAllocation...)...), rep(OptSetMetaContext, repAck),
		rep(OptGo, repInfo, exportInfo(4096)...), rep(OptGo, repInfo, blockInfo(512, 4096, 65536)...), rep(OptGo, repAck)))
	f.Add(server(fixed, rep(OptStructuredReply, repErrUnsup), rep(OptGo, repErrUnsup), rep(OptList, repServer, appendText(nil, "one")...), rep(OptList, repAck), make([]byte, 134)))
	f.Add(server(0, make([]byte, 134)))
	f.Fuzz(func(t *testing.T, said []byte) {
		p := play(said)
		o, err := Connect(p, Wish{Export: "one", Context: BaseAllocation})
		if err == nil && (o.MinBlock == 0 || o.MaxBlock > MaxPayload || o.MaxBlock < o.MinBlock || o.Size > 1<<62) {
			t.Errorf("%+v", o)
		}
		if p.out.Len() > 1<<16 {
			t.Errorf("%d bytes of questions", p.out.Len())
		}
	})
}

// FuzzReply reads replies of the transmission phase.
func FuzzReply(f *testing.F) {
	f.Add(AppendSimple(nil, 1, 0))
	f.Add(append(AppendData(nil, 1, 4096, 8, true), 1, 2, 3, 4, 5, 6, 7, 8))
	f.Add(AppendHole(nil, 1, 4096, 512, true))
	f.Add(AppendError(nil, 1, EIO, "broken"))
	f.Add(AppendExtents(nil, 1, 0, []Extent{{4096, 3}, {512, 0}}, true))
	f.Fuzz(func(t *testing.T, b []byte) {
		const from, length = 4096, 65536
		if len(b) < ChunkSize {
			return
		}
		r, err := ParseSimple((*[SimpleSize]byte)(b))
		if err != nil || !r.Structured || r.ParseLength((*[4]byte)(b[SimpleSize:])) != nil {
			return
		}
		b = b[ChunkSize:]
		if uint64(len(b)) < uint64(r.Length) {
			return
		}
		b = b[:r.Length]
		switch {
		case r.Type == ChunkData:
			if at, err := DataPlace((*[8]byte)(b), uint64(r.Length-8), from, length); err == nil && (at < 0 || at+int(r.Length-8) > length) {
				t.Errorf("data at %d", at)
			}
		case r.Type == ChunkHole:
			if at, n, err := ParseHole((*[12]byte)(b), from, length); err == nil && (n == 0 || at < 0 || at+int(n) > length) {
				t.Errorf("a hole at %d", at)
			}
		case r.Type == ChunkBlockStatus:
			if _, e, err := ParseExtents(b, length); err == nil && (e.Length == 0 || e.Length > length) {
				t.Errorf("%+v", e)
			}
		case r.Type.IsError():
			if e, _, err := ParseError(b); err == nil && e == 0 {
				t.Error("an error that is none")
			}
		}
	})
}
