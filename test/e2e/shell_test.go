package e2e

import (
	"bufio"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"hv/test/hvrun"
)

// shell is the guest's shell on its serial port.
type shell struct {
	conn net.Conn
	in   *bufio.Reader
}

// startShell starts hv with a guest that does what it is told.
func startShell(t testing.TB, args ...string) (*vm, *shell) {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "serial")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	v := start(t, append([]string{"-nodefaults", "-display", "none", "-cpu", "host", "-m", "64", "-append", "shell", "-serial", "unix:" + socket}, args...)...)
	conn, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	s := &shell{conn: conn, in: bufio.NewReader(conn)}
	s.expect(t, "guest: shell")
	return v, s
}

// types sends a line to the guest.
func (s *shell) types(t testing.TB, line string) {
	t.Helper()
	if _, err := s.conn.Write([]byte(line + "\n")); err != nil {
		t.Fatal(err)
	}
}

// expect returns the next line that begins with some text.
func (s *shell) expect(t testing.TB, begins string) string {
	t.Helper()
	if err := s.conn.SetReadDeadline(time.Now().Add(hvrun.Patience)); err != nil {
		t.Fatal(err)
	}
	for {
		line, err := s.in.ReadString('\n')
		if err != nil {
			t.Fatalf("%s: %v", begins, err)
		}
		line = strings.TrimPrefix(strings.TrimSpace(line), "> ")
		if strings.HasPrefix(line, "guest: error") && !strings.HasPrefix(begins, "guest: error") {
			t.Errorf("%s", line)
		}
		if strings.HasPrefix(line, begins) {
			return line
		}
	}
}

// does has the guest carry out a command, and returns what it says of it.
func (s *shell) does(t testing.TB, line string) string {
	t.Helper()
	s.types(t, line)
	name, _, _ := strings.Cut(line, " ")
	return s.expect(t, "guest: "+name)
}
