package chardev

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"hv/qmp/sockaddr"
)

// lineOn returns a line at a new chardev of its own.
func lineOn(t *testing.T, b Backend, quiet bool) *Line {
	t.Helper()
	var r Registry
	t.Cleanup(func() { r.Close() })
	if err := r.Add("c", b); err != nil {
		t.Fatal(err)
	}
	s, err := r.Claim("c", "monitor")
	if err != nil {
		t.Fatal(err)
	}
	return NewLine(s, quiet)
}

func next(t *testing.T, l *Line) io.ReadWriteCloser {
	t.Helper()
	c, err := l.Next()
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestLineOnPTY(t *testing.T) {
	link := filepath.Join(t.TempDir(), "tty")
	l := lineOn(t, must(t, Options{Kind: "pty", Path: link}), false)
	tty, err := os.OpenFile(link, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	c := next(t, l)
	defer tty.Close()
	if _, err := tty.Write([]byte("ask\n")); err != nil {
		t.Fatal(err)
	}
	if got := read(t, c, 4); got != "ask\n" {
		t.Errorf("%q", got)
	}
	if _, err := c.Write([]byte("answer\n")); err != nil {
		t.Fatal(err)
	}
	c.(settler).Settle(t.Context())
	if got := read(t, tty, 7); got != "answer\n" {
		t.Errorf("%q", got)
	}
	c.Close()
	if n, err := c.Read(make([]byte, 1)); n != 0 || !errors.Is(err, io.EOF) {
		t.Errorf("read after Close: %d, %v", n, err)
	}
	if _, err := c.Write([]byte("x")); !errors.Is(err, net.ErrClosed) {
		t.Errorf("write after Close: %v", err)
	}
	again := next(t, l)
	l.Close()
	if _, err := l.Next(); !errors.Is(err, net.ErrClosed) {
		t.Error(err)
	}
	if _, err := again.Write([]byte("last")); err != nil {
		t.Error("closing the line cuts the connection off")
	}
}

// TestLineVisits makes a connection of each visit of a client's.
func TestLineVisits(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	l := lineOn(t, must(t, Options{Kind: "socket", Socket: sockaddr.Unix(path), Server: true}), false)
	for range 2 {
		client, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := client.Write([]byte("hello")); err != nil {
			t.Fatal(err)
		}
		c := next(t, l)
		if got := read(t, c, 5); got != "hello" {
			t.Errorf("%q", got)
		}
		client.Close()
		if _, err := c.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
			t.Errorf("read after the client went: %v", err)
		}
		c.Close()
	}
}

// TestLineLosesNothing writes more than is kept for a slow reader.
func TestLineLosesNothing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	l := lineOn(t, must(t, Options{Kind: "socket", Socket: sockaddr.Unix(path), Server: true}), false)
	client, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	c := next(t, l)
	sent := bytes.Repeat([]byte("0123456789abcde\n"), 5*maxBacklog/16)
	wrote := make(chan error, 1)
	go func() {
		_, err := c.Write(sent)
		wrote <- err
	}()
	got := make([]byte, len(sent))
	if _, err := io.ReadFull(client, got); err != nil || !bytes.Equal(got, sent) {
		t.Errorf("%v, equal: %v", err, bytes.Equal(got, sent))
	}
	if err := <-wrote; err != nil {
		t.Error(err)
	}
}

// TestLineCloseEndsWrite closes a connection on which somebody writes to a client that
// does not read.
func TestLineCloseEndsWrite(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	l := lineOn(t, must(t, Options{Kind: "socket", Socket: sockaddr.Unix(path), Server: true}), false)
	client, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	c := next(t, l)
	wrote := make(chan error, 1)
	go func() {
		_, err := c.Write(make([]byte, 8*maxBacklog))
		wrote <- err
	}()
	select {
	case err := <-wrote:
		t.Fatalf("all was taken: %v", err)
	case <-time.After(20 * time.Millisecond):
	}
	c.Close()
	select {
	case err := <-wrote:
		if !errors.Is(err, net.ErrClosed) {
			t.Error(err)
		}
	case <-time.After(patience):
		t.Fatal("Write goes on after Close")
	}
}

// TestQuietLine holds output back while another user of a mux has the focus.
func TestQuietLine(t *testing.T) {
	var r Registry
	defer r.Close()
	w := newWire()
	if err := r.Add("w", w); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Create(context.Background(), "m", Options{Kind: "mux", Base: "w"}); err != nil {
		t.Fatal(err)
	}
	claim := func() *Seat {
		s, err := r.Claim("m", "user")
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	l := NewLine(claim(), true)
	c := next(t, l)
	user := newConsole(100)
	claim().Attach(user)
	user.expect(t, Opened)
	user.expect(t, MuxIn)
	wrote := make(chan error, 1)
	go func() {
		_, err := c.Write([]byte("prompt"))
		wrote <- err
	}()
	w.front.Receive([]byte("for the console"))
	user.wait(t, "for the console")
	w.front.Receive([]byte("\x01cfor the monitor"))
	if err := <-wrote; err != nil {
		t.Error(err)
	}
	if got := read(t, c, 15); got != "for the monitor" {
		t.Errorf("%q", got)
	}
	if s := w.text(); s != "prompt" {
		t.Errorf("wrote %q", s)
	}
}

// TestEndOfInput closes a line for reading while what is written still arrives.
func TestEndOfInput(t *testing.T) {
	dir := t.TempDir()
	in, out := filepath.Join(dir, "in"), filepath.Join(dir, "out")
	if err := os.WriteFile(in, []byte("all there is"), 0o600); err != nil {
		t.Fatal(err)
	}
	b := must(t, Options{Kind: "file", Path: out, Input: in})
	l := lineOn(t, b, false)
	c := next(t, l)
	if s, err := io.ReadAll(c); err != nil || string(s) != "all there is" {
		t.Errorf("%q, %v", s, err)
	}
	if _, err := c.Write([]byte("answer")); err != nil {
		t.Error(err)
	}
	c.Close()
	b.Close()
	if s, err := os.ReadFile(out); err != nil || string(s) != "answer" {
		t.Errorf("%q, %v", s, err)
	}
}

// TestShortVisit has input and its end come before anybody asks for a connection.
func TestShortVisit(t *testing.T) {
	w := newWire()
	l := lineOn(t, w, false)
	l.Receive([]byte("brief"))
	l.Event(Closed)
	c := next(t, l)
	if s, err := io.ReadAll(c); err != nil || string(s) != "brief" {
		t.Errorf("%q, %v", s, err)
	}
	c.Close()
	l.Close()
	if _, err := l.Next(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("a visit was served twice: %v", err)
	}
}
