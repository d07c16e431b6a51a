// Package interop has programs that were written for QEMU drive hv, unmodified,
// and compares hv's side of the protocol with QEMU's. It has tests only; `make
// build` comes first, and `make deps` gets what is QEMU's.
package interop

import (
	"bytes"
	"io"
	"net"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"hv/test/hvrun"
)

const qemu = "qemu-system-x86_64"

// server is a running monitor with two QMP sockets, one of which is pretty.
type server struct {
	*hvrun.Proc
	plain, pretty string
}

// serve starts a VM that does nothing.
func serve(t testing.TB, program string, more ...string) *server {
	t.Helper()
	dir := t.TempDir()
	s := &server{plain: filepath.Join(dir, "q"), pretty: filepath.Join(dir, "p")}
	s.Proc = hvrun.Start(t, program, append([]string{
		"-machine", "q35,accel=kvm", "-m", "64", "-nodefaults", "-display", "none", "-S", "-name", "interop",
		"-uuid", "6ba7b810-9dad-11d1-80b4-00c04fd430c8",
		"-qmp", "unix:" + s.plain + ",server=on,wait=off",
		"-chardev", "socket,id=p,path=" + s.pretty + ",server=on,wait=off", "-mon", "chardev=p,mode=control,pretty=on",
	}, more...)...)
	return s
}

// stream is what a conn is made of: a socket or a terminal.
type stream interface {
	io.ReadWriteCloser
	SetReadDeadline(time.Time) error
}

// conn is a connection of raw bytes.
type conn struct {
	stream
	t  testing.TB
	in []byte // what came and was not taken yet
}

// dial connects as soon as somebody listens.
func dial(t testing.TB, p *hvrun.Proc, path string) *conn {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for {
		if c, err := net.Dial("unix", path); err == nil {
			t.Cleanup(func() { c.Close() })
			return &conn{stream: c, t: t}
		}
		select {
		case <-tick.C:
		case <-p.Ended():
			t.Fatalf("it ended before it listened on %s: %s", path, p.Output())
		}
	}
}

func (c *conn) send(s string) {
	c.t.Helper()
	if _, err := c.Write([]byte(s)); err != nil {
		c.t.Fatalf("send %.60q: %v", s, err)
	}
}

// until reads to the end of what the pattern matches and returns it all.
func (c *conn) until(pattern *regexp.Regexp) string {
	c.t.Helper()
	if err := c.SetReadDeadline(time.Now().Add(hvrun.Patience)); err != nil {
		c.t.Fatal(err)
	}
	buf := make([]byte, 64<<10)
	for {
		if m := pattern.FindIndex(c.in); m != nil {
			out := string(c.in[:m[1]])
			c.in = bytes.Clone(c.in[m[1]:])
			return out
		}
		n, err := c.Read(buf)
		if c.in = append(c.in, buf[:n]...); err != nil {
			c.t.Fatalf("no %s: %v after %.300q", pattern, err, c.in)
		}
	}
}

var (
	line      = regexp.MustCompile(`\n`)
	greetings = []struct {
		find *regexp.Regexp
		put  string
	}{
		{regexp.MustCompile(`"seconds": \d+, "microseconds": \d+`), `TIME`},
		{regexp.MustCompile(`"seconds": \d+,\s+"microseconds": \d+`), `TIME`},
		{regexp.MustCompile(`"qemu": \{\s*"micro": \d+,\s*"minor": \d+,\s*"major": \d+\s*\}`), `VERSION`},
		{regexp.MustCompile(`"package": "[^"]*"`), `PACKAGE`},
	}
)

// normal replaces what may differ.
func normal(s string) string {
	for _, g := range greetings {
		s = g.find.ReplaceAllString(s, g.put)
	}
	return s
}
