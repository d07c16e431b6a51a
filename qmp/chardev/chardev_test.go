package chardev

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"hv/qmp/sockaddr"
)

// console is a frontend that collects input and has room for some of it.
type console struct {
	mu     sync.Mutex
	room   int
	got    []byte
	events chan Event
	input  chan struct{}
}

func newConsole(room int) *console {
	return &console{room: room, events: make(chan Event, 16), input: make(chan struct{}, 1024)}
}

func (c *console) CanReceive() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.room - len(c.got)
}

func (c *console) Receive(p []byte) {
	c.mu.Lock()
	c.got = append(c.got, p...)
	c.mu.Unlock()
	c.input <- struct{}{}
}

func (c *console) Event(e Event) { c.events <- e }

func (c *console) expect(t *testing.T, e Event) {
	t.Helper()
	select {
	case got := <-c.events:
		if got != e {
			t.Fatalf("event %d, not %d", got, e)
		}
	case <-time.After(10 * time.Second):
		t.Fatalf("no event %d", e)
	}
}

func (c *console) wait(t *testing.T, want string) {
	t.Helper()
	for {
		c.mu.Lock()
		got := string(c.got)
		c.mu.Unlock()
		if got == want {
			return
		}
		select {
		case <-c.input:
		case <-time.After(10 * time.Second):
			t.Fatalf("received %q, not %q", got, want)
		}
	}
}

func must(t *testing.T, o Options) Backend {
	t.Helper()
	b, err := Open(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func read(t *testing.T, r io.Reader, n int) string {
	t.Helper()
	b := make([]byte, n)
	if _, err := io.ReadFull(r, b); err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestServer(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	b := must(t, Options{Kind: "socket", Socket: sockaddr.Unix(path), Server: true})
	c := newConsole(5)
	b.Attach(c)
	if n, _ := b.Write([]byte("lost")); n != 4 {
		t.Error("output without a client is not dropped")
	}
	for range 2 {
		conn, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		c.expect(t, Opened)
		_, _ = b.Write([]byte("hello"))
		if got := read(t, conn, 5); got != "hello" {
			t.Errorf("client read %q", got)
		}
		if _, err := conn.Write([]byte("12345678")); err != nil {
			t.Fatal(err)
		}
		c.wait(t, "12345")
		c.mu.Lock()
		c.got = nil
		c.mu.Unlock()
		b.Accept()
		c.wait(t, "678")
		conn.Close()
		c.expect(t, Closed)
		c.mu.Lock()
		c.got = nil
		c.mu.Unlock()
	}
	if err := b.Close(); err != nil {
		t.Error(err)
	}
	if _, err := net.Dial("unix", path); err == nil {
		t.Error("still listening after Close")
	}
}

func TestServerWaits(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	opened := make(chan Backend)
	go func() {
		b, err := Open(context.Background(), Options{Kind: "socket", Socket: sockaddr.Unix(path), Server: true, Wait: true})
		if err != nil {
			t.Error(err)
		}
		opened <- b
	}()
	var conn net.Conn
	for conn == nil {
		select {
		case <-opened:
			t.Fatal("did not wait for a client")
		default:
			conn, _ = net.Dial("unix", path)
		}
	}
	defer conn.Close()
	b := <-opened
	c := newConsole(10)
	b.Attach(c)
	c.expect(t, Opened)
	if err := b.Close(); err != nil {
		t.Error(err)
	}
}

func TestSocketInUse(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	b := must(t, Options{Kind: "socket", Socket: sockaddr.Unix(path), Server: true})
	if _, err := Open(context.Background(), Options{Kind: "socket", Socket: sockaddr.Unix(path), Server: true}); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("two servers on one socket: %v", err)
	}
	b.Close()
	if _, err := Open(context.Background(), Options{Kind: "socket", Socket: sockaddr.Unix(path)}); err == nil {
		t.Error("connected to nobody")
	}
}

func TestClientReconnects(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	b := must(t, Options{Kind: "socket", Socket: sockaddr.Unix(path), Reconnect: time.Millisecond})
	defer b.Close()
	c := newConsole(10)
	b.Attach(c)
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for range 2 {
		conn, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		c.expect(t, Opened)
		conn.Close()
		c.expect(t, Closed)
	}
}

// TestPTY has one user after the other, none of whom sees what was for another.
func TestPTY(t *testing.T) {
	link := filepath.Join(t.TempDir(), "console")
	b := must(t, Options{Kind: "pty", Path: link})
	c := newConsole(100)
	b.Attach(c)
	want := ""
	for _, word := range []string{"root\r", "exit\n", "\x03\x04\x7f\xff"} {
		_, _ = b.Write([]byte("for nobody\n"))
		tty, err := os.OpenFile(link, os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		c.expect(t, Opened)
		_, _ = b.Write([]byte("login:\n"))
		if got := read(t, tty, 7); got != "login:\n" {
			t.Errorf("terminal shows %q", got)
		}
		if _, err := tty.Write([]byte(word)); err != nil {
			t.Fatal(err)
		}
		want += word
		c.wait(t, want)
		tty.Close()
		c.expect(t, Closed)
	}
	if err := b.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(link); !errors.Is(err, os.ErrNotExist) {
		t.Error("the link is still there")
	}
}

// TestPTYQuickly has one user leave and the next come while nobody looks: the terminal was closed
// in between, and what the first one wrote is not lost. Of two users at once, one may leave.
func TestPTYQuickly(t *testing.T) {
	b := must(t, Options{Kind: "pty"})
	defer b.Close()
	open := func() *os.File {
		t.Helper()
		tty, err := os.OpenFile(b.(*Terminal).Path, os.O_RDWR|syscall.O_NOCTTY, 0)
		if err != nil {
			t.Fatal(err)
		}
		return tty
	}
	c := newConsole(0)
	b.Attach(c)
	first := open()
	c.expect(t, Opened)
	if _, err := first.WriteString("last words"); err != nil {
		t.Fatal(err)
	}
	first.Close()
	second := open()
	c.mu.Lock()
	c.room = 100
	c.mu.Unlock()
	b.Accept()
	c.expect(t, Closed)
	c.expect(t, Opened)
	c.wait(t, "last words")
	third := open()
	second.Close()
	if _, err := third.WriteString(", and more"); err != nil {
		t.Fatal(err)
	}
	c.wait(t, "last words, and more")
	third.Close()
	c.expect(t, Closed)
}

// TestPTYBriefly has a user who is gone before anybody looks.
func TestPTYBriefly(t *testing.T) {
	b := must(t, Options{Kind: "pty"})
	defer b.Close()
	if err := os.WriteFile(b.(*Terminal).Path, []byte("hello"), 0); err != nil {
		t.Fatal(err)
	}
	c := newConsole(100)
	b.Attach(c)
	c.expect(t, Opened)
	c.wait(t, "hello")
	c.expect(t, Closed)
}

// TestPTYCloses ends terminals in each state: not in use, waiting for a user, and with
// one who does not read.
func TestPTYCloses(t *testing.T) {
	for state := range 3 {
		b := must(t, Options{Kind: "pty"})
		if state > 0 {
			c := newConsole(1)
			b.Attach(c)
			if state > 1 {
				tty, err := os.OpenFile(b.(*Terminal).Path, os.O_RDWR|syscall.O_NOCTTY, 0)
				if err != nil {
					t.Fatal(err)
				}
				defer tty.Close()
				c.expect(t, Opened)
				_, _ = b.Write(make([]byte, 1<<18))
			}
		}
		if err := b.Close(); err != nil {
			t.Errorf("state %d: %v", state, err)
		}
	}
	if _, err := Open(context.Background(), Options{Kind: "pty", Path: "/nonexistent/link"}); err == nil {
		t.Error("a link in a folder that there is not")
	}
}

func TestFileAndLog(t *testing.T) {
	dir := t.TempDir()
	out, log := filepath.Join(dir, "out"), filepath.Join(dir, "log")
	b := must(t, Options{Kind: "file", Path: out, LogFile: log})
	c := newConsole(1)
	b.Attach(c)
	c.expect(t, Opened)
	_, _ = b.Write([]byte("all of this"))
	if err := b.Close(); err != nil {
		t.Error(err)
	}
	for _, path := range []string{out, log} {
		if text, err := os.ReadFile(path); err != nil || string(text) != "all of this" {
			t.Errorf("%s holds %q, %v", path, text, err)
		}
	}
}

// TestSlowReader checks that a reader that reads nothing holds nobody up and that
// what waits for it is bounded.
func TestSlowReader(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	b := must(t, Options{Kind: "socket", Socket: sockaddr.Unix(path), Server: true})
	defer b.Close()
	c := newConsole(1)
	b.Attach(c)
	conn, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	c.expect(t, Opened)
	taken := 0
	for range 4 * maxBacklog / 4096 {
		n, _ := b.Write(make([]byte, 4096))
		taken += n
	}
	if taken > 3*maxBacklog || taken < maxBacklog {
		t.Errorf("%d bytes were taken for a reader that reads none", taken)
	}
}

func TestNullAndUnknown(t *testing.T) {
	b := must(t, Options{Kind: "null"})
	c := newConsole(1)
	b.Attach(c)
	c.expect(t, Opened)
	if n, _ := b.Write([]byte("xyz")); n != 3 {
		t.Error("null does not take everything")
	}
	if _, err := Open(context.Background(), Options{Kind: "telepathy"}); err == nil {
		t.Error("an unknown backend was made")
	}
}
