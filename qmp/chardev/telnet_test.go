package chardev

import (
	"bytes"
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

func TestTelnetFilter(t *testing.T) {
	for in, want := range map[string]string{
		"plain":                              "plain",
		"a\xff\xffb":                         "a\xffb",
		"a\xff\xfd\x01b":                     "ab",
		"\xff\xfb\x00\xff\xfe\x03x":          "x",
		"a\xff\xfa\x18\x00vt\xff\xff\xf0b":   "a", // IAC IAC is data of the subnegotiation
		"a\xff\xfa\x18\x00vt100\xff\xf0b":    "ab",
		"a\xff\xf1b":                         "ab", // NOP
		"\xff\xf3\xff\xf3":                   "",
		"cut off \xff":                       "cut off ",
		"\xff\xfd":                           "",
		strings.Repeat("\xff\xff", 5) + "\n": "\xff\xff\xff\xff\xff\n",
	} {
		// However the stream is cut up, the result is the same.
		for size := 1; size <= len(in); size++ {
			var f telnetFilter
			var got []byte
			for rest := []byte(in); len(rest) > 0; rest = rest[min(size, len(rest)):] {
				got = append(got, f.apply(bytes.Clone(rest[:min(size, len(rest))]))...)
			}
			if string(got) != want {
				t.Errorf("%q by %d: %q, not %q", in, size, got, want)
			}
		}
	}
}

// TestTelnetServer is a serial port that is reached with telnet.
func TestTelnetServer(t *testing.T) {
	b := must(t, Options{Kind: "socket", Socket: inet("127.0.0.1", "0"), Server: true, Telnet: true})
	defer b.Close()
	c := newConsole(100)
	b.Attach(c)
	name := b.(*Socket).Filename()
	host, ok := strings.CutPrefix(name, "disconnected:telnet:")
	if !ok {
		t.Fatal(name)
	}
	conn, err := net.Dial("tcp", strings.TrimSuffix(host, ",server=on"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(patience))
	c.expect(t, Opened)
	if got := read(t, conn, len(telnetHello)); got != string(telnetHello) {
		t.Errorf("%q", got)
	}
	if _, err := conn.Write([]byte("a\xff\xf3b\xff\xfd\x01c")); err != nil {
		t.Fatal(err)
	}
	c.expect(t, Break)
	c.wait(t, "abc")
	_, _ = b.Write([]byte("x\xffy\n"))
	if got := read(t, conn, 5); got != "x\xff\xffy\n" {
		t.Errorf("%q", got)
	}
	if name := b.(*Socket).Filename(); name != "telnet:"+conn.RemoteAddr().String()+",server=on <-> "+conn.LocalAddr().String() {
		t.Error(name)
	}
}

// loop is a connection that gives what was put in.
type loop struct {
	net.Conn
	bytes.Buffer
}

func (l *loop) Read(p []byte) (int, error)  { return l.Buffer.Read(p) }
func (l *loop) Write(p []byte) (int, error) { return l.Buffer.Write(p) }

// FuzzTelnet checks that what is written comes back, and that nothing in the stream stops
// a reader.
func FuzzTelnet(f *testing.F) {
	f.Add([]byte("text \xff\xfa\x18"))
	f.Add([]byte{telnetIAC, telnetSB, telnetIAC, telnetSE, telnetIAC})
	f.Fuzz(func(t *testing.T, p []byte) {
		l := &loop{}
		c := &telnetConn{Conn: l}
		if n, err := c.Write(p); n != len(p) || err != nil {
			t.Fatal(n, err)
		}
		if got, err := io.ReadAll(c); err != nil || !bytes.Equal(got, p) {
			t.Fatalf("%q came back as %q, %v", p, got, err)
		}
		l.Buffer.Write(p)
		if got, err := io.ReadAll(c); err != nil || len(got) > len(p) {
			t.Fatalf("%d bytes of %d, %v", len(got), len(p), err)
		}
	})
}
