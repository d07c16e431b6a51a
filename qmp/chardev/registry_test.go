package chardev

import (
	"context"
	"errors"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"hv/qmp/sockaddr"
)

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func TestRegistry(t *testing.T) {
	var r Registry
	if err := r.Add("a", Null{}); err != nil {
		t.Fatal(err)
	}
	if err := r.Add("a", Null{}); text(err) != "Chardev with id 'a' already exists" {
		t.Error(err)
	}
	if _, err := r.Create(context.Background(), "a", Options{Kind: "null"}); text(err) != "Chardev with id 'a' already exists" {
		t.Error(err)
	}
	if _, err := r.Claim("b", "x"); err == nil {
		t.Error("claimed what is not there")
	}
	s, err := r.Claim("a", "serial0")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Claim("a", "serial1"); !errors.Is(err, ErrBusy) || !strings.Contains(err.Error(), "serial0") {
		t.Errorf("claimed twice: %v", err)
	}
	if err := r.Remove("a"); text(err) != "Chardev 'a' is busy" {
		t.Error(err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if _, err := r.Claim("a", "serial1"); err != nil {
		t.Error(err)
	}
	if err := r.Remove("b"); text(err) != "Chardev 'b' not found" {
		t.Error(err)
	}
	if err := r.SendBreak("b"); text(err) != "Chardev 'b' not found" {
		t.Error(err)
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	if err := r.Add("late", Null{}); err == nil {
		t.Error("added to a closed registry")
	}
}

// TestOneTerminal reads standard input for one backend at a time.
func TestOneTerminal(t *testing.T) {
	var r Registry
	defer r.Close()
	o := Options{Kind: "stdio", Signal: true}
	if _, err := r.Create(context.Background(), "a", o); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Create(context.Background(), "b", o); text(err) != "cannot use stdio by multiple character devices" {
		t.Error(err)
	}
	if err := r.Remove("a"); err != nil {
		t.Error(err)
	}
	if _, err := r.Create(context.Background(), "b", o); err != nil {
		t.Error(err)
	}
}

// TestSameID opens many backends with one id at once.
func TestSameID(t *testing.T) {
	var r Registry
	var all sync.WaitGroup
	made := make(chan string, 20)
	for range cap(made) {
		all.Go(func() {
			if _, err := r.Create(context.Background(), "x", Options{Kind: "pty", Mux: true}); err == nil {
				made <- "x"
			}
		})
	}
	all.Wait()
	if len(made) != 1 || len(r.List()) != 2 {
		t.Errorf("%d made, %+v", len(made), r.List())
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
}

func TestListens(t *testing.T) {
	var r Registry
	defer r.Close()
	if err := r.Add("a", Null{"vc"}); err != nil {
		t.Fatal(err)
	}
	s, err := r.Claim("a", "port")
	if err != nil {
		t.Fatal(err)
	}
	check := func(want bool) {
		t.Helper()
		if l := r.List(); len(l) != 1 || l[0] != (Info{"a", "vc", want}) {
			t.Errorf("%+v", l)
		}
	}
	check(false)
	c := newConsole(1)
	s.Attach(c)
	check(true)
	s.SetOpen(false)
	check(false)
	c.expect(t, Opened)
	if err := r.SendBreak("a"); err != nil {
		t.Error(err)
	}
	c.expect(t, Break)
}

// TestChange moves a user from one backend to others.
func TestChange(t *testing.T) {
	var r Registry
	defer r.Close()
	if err := r.Add("a", Null{}); err != nil {
		t.Fatal(err)
	}
	s, err := r.Claim("a", "port")
	if err != nil {
		t.Fatal(err)
	}
	c := newConsole(100)
	s.Attach(c)
	c.expect(t, Opened)
	path := filepath.Join(t.TempDir(), "s")
	to := func(o Options) error {
		_, err := r.Change("a", func() (Backend, error) { return Open(context.Background(), o) })
		return err
	}
	if err := to(Options{Kind: "socket", Socket: sockaddr.Unix(path), Server: true}); err != nil {
		t.Fatal(err)
	}
	c.expect(t, Closed)
	conn, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	c.expect(t, Opened)
	_, _ = s.Write([]byte("out\n"))
	if got := read(t, conn, 4); got != "out\n" {
		t.Errorf("%q", got)
	}
	if _, err := conn.Write([]byte("in")); err != nil {
		t.Fatal(err)
	}
	c.wait(t, "in")
	if err := to(Options{Kind: "ringbuf", Size: 16}); err != nil {
		t.Fatal(err)
	}
	c.expect(t, Opened)
	if _, err := net.Dial("unix", path); err == nil {
		t.Error("the old backend still listens")
	}
	_, _ = s.Write([]byte("kept"))
	ring, err := r.Ringbuf("a")
	if err != nil {
		t.Fatal(err)
	}
	if got := ring.Take(100); string(got) != "kept" {
		t.Errorf("%q", got)
	}
	if err := to(Options{Kind: "telepathy"}); err == nil {
		t.Error("changed to what there is not")
	}
	if _, err := r.Ringbuf("a"); err != nil {
		t.Error("a change that failed changed something")
	}
	s.Pin()
	if err := to(Options{Kind: "null"}); text(err) != "Chardev user does not support chardev hotswap" {
		t.Error(err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if err := to(Options{Kind: "null"}); err != nil {
		t.Error(err)
	}
	if _, err := r.Change("b", nil); text(err) != "Chardev 'b' does not exist" {
		t.Error(err)
	}
	if _, err := r.Create(context.Background(), "m", Options{Kind: "mux", Base: "a"}); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Change("m", nil); text(err) != "Mux device hotswap not supported yet" {
		t.Error(err)
	}
}

// TestReattach has the next user get what comes in once the one before has gone.
func TestReattach(t *testing.T) {
	var r Registry
	defer r.Close()
	path := filepath.Join(t.TempDir(), "s")
	if _, err := r.Create(context.Background(), "a", Options{Kind: "socket", Socket: sockaddr.Unix(path), Server: true}); err != nil {
		t.Fatal(err)
	}
	conn, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for _, word := range []string{"first", "second", "third"} {
		s, err := r.Claim("a", word)
		if err != nil {
			t.Fatal(err)
		}
		c := newConsole(100)
		s.Attach(c)
		c.expect(t, Opened)
		if _, err := conn.Write([]byte(word)); err != nil {
			t.Fatal(err)
		}
		c.wait(t, word)
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestRingbuf(t *testing.T) {
	for _, size := range []int64{0, 3, -4, 1 << 40} {
		if _, err := newRingbuf("ringbuf", size); err == nil {
			t.Errorf("a ring buffer of %d", size)
		}
	}
	r, err := newRingbuf("ringbuf", 8)
	if err != nil {
		t.Fatal(err)
	}
	kept := ""
	for _, w := range []string{"abc", "", "defgh", "i", "0123456789abcdefghij", "x"} {
		if n, _ := r.Write([]byte(w)); n != len(w) {
			t.Errorf("took %d of %q", n, w)
		}
		kept += w
		kept = kept[max(0, len(kept)-8):]
		if got := string(r.Take(3)); got != kept[:min(3, len(kept))] {
			t.Errorf("after %q: %q of %q", w, got, kept)
		}
		kept = kept[min(3, len(kept)):]
	}
	if got := string(r.Take(1 << 40)); got != kept {
		t.Errorf("%q, not %q", got, kept)
	}
	if got := r.Take(-1); len(got) != 0 {
		t.Errorf("%q", got)
	}
}
