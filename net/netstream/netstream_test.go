package netstream

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"testing"
	"testing/iotest"
	"time"

	"golang.org/x/sys/unix"

	"hv/net/relay"
)

// patience is after what time a test gives up.
const patience = 20 * time.Second

// watch collects what a link tells.
type watch struct{ news chan string }

func newWatch() *watch { return &watch{make(chan string, 100)} }

func (w *watch) Connected(net.Conn) { w.news <- "connected" }
func (w *watch) Disconnected()      { w.news <- "disconnected" }
func (w *watch) Failed(err error)   { w.news <- err.Error() }

func (w *watch) expect(t *testing.T, want ...string) {
	t.Helper()
	for _, s := range want {
		select {
		case got := <-w.news:
			if got != s {
				t.Fatalf("%q, not %q", got, s)
			}
		case <-time.After(patience):
			t.Fatalf("no %q", s)
		}
	}
}

// guest is the device's end of a link.
type guest struct {
	t  testing.TB
	fd int
}

func (g guest) send(frame []byte) {
	g.t.Helper()
	if _, err := unix.Write(g.fd, append(make([]byte, relay.Header), frame...)); err != nil {
		g.t.Fatal(err)
	}
}

func (g guest) receive() []byte {
	g.t.Helper()
	fds := []unix.PollFd{{Fd: int32(g.fd), Events: unix.POLLIN}}
	for {
		n, err := unix.Poll(fds, int(patience/time.Millisecond))
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if n == 0 {
			g.t.Fatal("the guest receives nothing")
		}
		break
	}
	b := relay.Buffer()
	n, err := unix.Read(g.fd, b)
	if err != nil || n <= relay.Header {
		g.t.Fatalf("%d, %v", n, err)
	}
	if !bytes.Equal(b[:relay.Header], []byte{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0}) {
		g.t.Errorf("header %x", b[:relay.Header])
	}
	return b[relay.Header:n]
}

func wire(frames ...[]byte) []byte {
	var b []byte
	for _, f := range frames {
		b = append(binary.BigEndian.AppendUint32(b, uint32(len(f))), f...)
	}
	return b
}

func open(t *testing.T, cfg Config, w *watch) (*Link, guest) {
	t.Helper()
	l, err := Open(cfg, w)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l, guest{t, l.QueueFD(0)}
}

// TestFrames finds frames of all lengths in pieces of all sizes.
func TestFrames(t *testing.T) {
	sizes := []int{1, 60, 0, 1514, relay.MaxFrame, 3, relay.MaxFrame - 1, 65550, 2}
	var all [][]byte
	for i, n := range sizes {
		all = append(all, bytes.Repeat([]byte{byte(i + 1)}, n))
	}
	stream := wire(all...)
	for name, r := range map[string]io.Reader{
		"whole": bytes.NewReader(stream), "halves": iotest.HalfReader(bytes.NewReader(stream)), "bytes": iotest.OneByteReader(bytes.NewReader(stream)),
		"late end": iotest.DataErrReader(bytes.NewReader(stream)),
	} {
		f := newFrames()
		f.begin(r)
		for _, want := range all {
			if len(want) == 0 {
				continue // says nothing
			}
			b, err := f.next()
			if err != nil || !bytes.Equal(b[relay.Header:], want) {
				t.Fatalf("%s: %d bytes, not %d: %v", name, len(b)-relay.Header, len(want), err)
			}
			clear(b[:relay.Header]) // as Send does
		}
		if _, err := f.next(); !errors.Is(err, io.EOF) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestFramesEnd(t *testing.T) {
	for what, stream := range map[string][]byte{"length": {0, 0, 1}, "frame": append(wire([]byte("abc")), 0, 0, 0, 9, 1)} {
		f := newFrames()
		f.begin(bytes.NewReader(stream))
		err := error(nil)
		for err == nil {
			_, err = f.next()
		}
		if !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("%s: %v", what, err)
		}
	}
	f := newFrames()
	f.begin(bytes.NewReader(binary.BigEndian.AppendUint32(nil, relay.MaxFrame+1)))
	if _, err := f.next(); !errors.Is(err, errOversized) {
		t.Error(err)
	}
}

func FuzzFrames(f *testing.F) {
	f.Add(wire([]byte("a"), nil, []byte("bcd")), uint8(1))
	f.Add([]byte{0xff, 0xff, 0xff, 0xff}, uint8(3))
	f.Fuzz(func(t *testing.T, stream []byte, piece uint8) {
		fr := newFrames()
		fr.begin(&pieces{stream, int(piece)%7 + 1})
		var again []byte
		for {
			b, err := fr.next()
			if err != nil {
				break
			}
			again = append(again, wire(b[relay.Header:])...)
			clear(b[:relay.Header])
		}
		// What was found is what was sent, but for empty frames.
		rest := stream
		for len(again) > 0 {
			if bytes.HasPrefix(rest, []byte{0, 0, 0, 0}) {
				rest = rest[4:]
				continue
			}
			n := 4 + int(binary.BigEndian.Uint32(again))
			if len(rest) < n || !bytes.Equal(rest[:n], again[:n]) {
				t.Fatalf("%x is not in %x", again, stream)
			}
			again, rest = again[n:], rest[n:]
		}
	})
}

// pieces is read a few bytes at a time.
type pieces struct {
	b []byte
	n int
}

func (p *pieces) Read(b []byte) (int, error) {
	if len(p.b) == 0 {
		return 0, io.EOF
	}
	n := copy(b[:min(len(b), p.n)], p.b)
	p.b = p.b[n:]
	return n, nil
}

// TestServer has clients come and go, and frames pass both ways meanwhile.
func TestServer(t *testing.T) {
	ls, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := newWatch()
	_, g := open(t, Config{Listener: ls}, w)
	for range 3 {
		c, err := net.Dial("tcp", ls.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		w.expect(t, "connected")
		g.send([]byte("from the guest"))
		b := make([]byte, 18)
		if _, err := io.ReadFull(c, b); err != nil || !bytes.Equal(b, wire([]byte("from the guest"))) {
			t.Errorf("%q, %v", b, err)
		}
		if _, err := c.Write(wire([]byte("one"), []byte("two"))); err != nil {
			t.Fatal(err)
		}
		if a, b := string(g.receive()), string(g.receive()); a != "one" || b != "two" {
			t.Errorf("%s, %s", a, b)
		}
		c.Close()
		w.expect(t, "disconnected")
	}
	c, err := net.Dial("tcp", ls.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	w.expect(t, "connected")
	if _, err := c.Write([]byte{0x7f, 0, 0, 0}); err != nil {
		t.Fatal(err)
	}
	w.expect(t, "disconnected", errOversized.Error())
}

// TestReconnect connects again after a failure and after an end.
func TestReconnect(t *testing.T) {
	w := newWatch()
	near := make(chan net.Conn, 1)
	tries := 0
	dial := func(context.Context) (net.Conn, error) {
		if tries++; tries == 1 {
			return nil, errors.New("nobody there")
		}
		a, b := net.Pipe()
		near <- b
		return a, nil
	}
	open(t, Config{Dial: dial, Reconnect: time.Millisecond}, w)
	w.expect(t, "nobody there", "connected")
	(<-near).Close()
	w.expect(t, "disconnected", "connected")
}

// TestOnce does not connect again unless it is told to.
func TestOnce(t *testing.T) {
	w := newWatch()
	a, b := net.Pipe()
	l, _ := open(t, Config{Conn: a}, w)
	w.expect(t, "connected")
	b.Close()
	w.expect(t, "disconnected")
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	if len(w.news) > 0 {
		t.Errorf("then %s", <-w.news)
	}
}

// TestCloseWhileBusy closes links whose far end does not read, does not answer or is awaited.
func TestCloseWhileBusy(t *testing.T) {
	a, _ := net.Pipe()
	for what, cfg := range map[string]Config{
		"a far end that does not read": {Conn: a},
		"a dial": {Dial: func(ctx context.Context) (net.Conn, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		}},
		"a pause": {Dial: func(context.Context) (net.Conn, error) { return nil, errors.New("no") }, Reconnect: time.Hour},
	} {
		w := newWatch()
		l, g := open(t, cfg, w)
		g.send([]byte("x"))
		done := make(chan struct{})
		go func() {
			l.Close()
			close(done)
		}()
		select {
		case <-done:
		case <-time.After(patience):
			t.Fatalf("Close waits for %s", what)
		}
	}
}

// BenchmarkSend passes frames of the guest to a far end.
func BenchmarkSend(b *testing.B) {
	ls, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	l, err := Open(Config{Listener: ls}, newWatch())
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	c, err := net.Dial("tcp", ls.Addr().String())
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	<-l.watch.(*watch).news
	p := append(make([]byte, relay.Header), make([]byte, 1500)...)
	in := make([]byte, prefix+1500)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := unix.Write(l.QueueFD(0), p); err != nil {
			b.Fatal(err)
		}
		if _, err := io.ReadFull(c, in); err != nil {
			b.Fatal(err)
		}
	}
}
