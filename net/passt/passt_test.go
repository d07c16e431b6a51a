package passt

import (
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestParseForward(t *testing.T) {
	for text, want := range map[string]Forward{
		"tcp::2222-:22":               {Port: 2222, Guest: 22},
		"::2222-:22":                  {Port: 2222, Guest: 22},
		"udp:127.0.0.1:53-:5353":      {UDP: true, Host: netip.MustParseAddr("127.0.0.1"), Port: 53, Guest: 5353},
		"tcp:[::1]:80-10.0.2.15:8080": {Host: netip.MustParseAddr("::1"), Port: 80, Guest: 8080},
	} {
		if got, err := ParseForward(text); err != nil || got != want {
			t.Errorf("%s: %+v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "tcp", "tcp:1-2", "sctp::1-:2", "tcp::0-:1", "tcp::1-:0", "tcp::70000-:1", "tcp:host:1-:2", "tcp::1", "tcp:-:2"} {
		if got, err := ParseForward(text); err == nil || !strings.Contains(err.Error(), "Invalid host forwarding rule '"+text+"'") {
			t.Errorf("%q: %+v, %v", text, got, err)
		}
	}
}

func FuzzParseForward(f *testing.F) {
	f.Add("tcp:127.0.0.1:2222-10.0.2.15:22")
	f.Fuzz(func(t *testing.T, s string) {
		got, err := ParseForward(s)
		if err == nil && (got.Port == 0 || got.Guest == 0) {
			t.Errorf("%q: %+v", s, got)
		}
	})
}

func TestArguments(t *testing.T) {
	c := Config{
		NoIPv6: true, Address: netip.MustParseAddr("10.0.2.15"), Prefix: 24, Gateway: netip.MustParseAddr("10.0.2.2"), DNS: netip.MustParseAddr("10.0.2.3"),
		Search: []string{"a.example", "b.example"}, Forwards: []Forward{{Port: 1, Guest: 2}, {UDP: true, Host: netip.MustParseAddr("127.0.0.1"), Port: 3, Guest: 4}},
	}
	want := strings.Fields("--foreground --quiet --ipv4-only --address 10.0.2.15 --netmask 24 --gateway 10.0.2.2 --dns 10.0.2.3 --search a.example@b.example --tcp-ports 1:2 --udp-ports 127.0.0.1/3:4")
	want[slices.Index(want, "--search")+1] = "a.example b.example"
	if got := c.arguments(); !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
	if got := (&Config{NoIPv4: true}).arguments(); !slices.Equal(got, []string{"--foreground", "--quiet", "--ipv6-only"}) {
		t.Errorf("%q", got)
	}
}

// fake puts a program of the name passt into the path.
func fake(t *testing.T, text string) {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "passt"), []byte("#!/bin/sh\n"+text), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":/usr/bin:/bin")
}

// TestEnds tells when the program ends, and says what it said.
func TestEnds(t *testing.T) {
	fake(t, "echo no route >&2; exit 3")
	ended := make(chan error, 1)
	p, err := Start(Config{}, func(err error) { ended <- err })
	if err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-ended:
		if !strings.Contains(err.Error(), "no route") || !strings.Contains(err.Error(), "exit status 3") {
			t.Error(err)
		}
	case <-time.After(20 * time.Second):
		t.Error("nobody is told")
	}
	p.Conn.Close()
	p.Stop()
}

// TestStop ends a program that has the other end of the connection.
func TestStop(t *testing.T) {
	fake(t, "echo hello >&3; exec cat <&3 >/dev/null")
	p, err := Start(Config{}, func(err error) { t.Error(err) })
	if err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 6)
	if _, err := p.Conn.Read(b); err != nil || string(b) != "hello\n" {
		t.Errorf("%q, %v", b, err)
	}
	p.Conn.Close()
	p.Stop()
}

func TestMissing(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	if _, err := Start(Config{}, nil); err == nil || !strings.Contains(err.Error(), "apt-get install passt") {
		t.Error(err)
	}
}
