package hmp

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// user is somebody at a terminal.
type user struct {
	t    *testing.T
	conn net.Conn
	done chan error
	seen string
}

// sit serves a monitor to a user.
func sit(t *testing.T, ctx context.Context, c Caller) *user {
	t.Helper()
	ours, theirs := connection(t)
	u := &user{t: t, conn: ours, done: make(chan error, 1)}
	if err := ours.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	go func() { u.done <- New(c).Serve(ctx, theirs) }()
	t.Cleanup(func() { ours.Close() })
	return u
}

// expect reads until text has come, and forgets all before its end.
func (u *user) expect(text string) {
	u.t.Helper()
	buf := make([]byte, 1024)
	for !strings.Contains(u.seen, text) {
		n, err := u.conn.Read(buf)
		u.seen += string(buf[:n])
		if err != nil {
			u.t.Fatalf("%v after %q, without %q", err, u.seen, text)
		}
	}
	u.seen = u.seen[strings.Index(u.seen, text)+len(text):]
}

// connection returns two ends of a socket.
func connection(t *testing.T) (a, b net.Conn) {
	t.Helper()
	f, g, err := socketPair()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	defer g.Close()
	a, errA := net.FileConn(f)
	b, errB := net.FileConn(g)
	if err := errors.Join(errA, errB); err != nil {
		t.Fatal(err)
	}
	return a, b
}

// send types keys.
func (u *user) send(keys string) {
	u.t.Helper()
	if _, err := io.WriteString(u.conn, keys); err != nil {
		u.t.Fatal(err)
	}
}

func (u *user) ends() {
	u.t.Helper()
	go io.Copy(io.Discard, u.conn) //nolint:errcheck // until it is closed
	if err := <-u.done; err != nil {
		u.t.Errorf("ends with %v", err)
	}
}

func state() *fake {
	return &fake{results: map[string]string{
		"query-version": `{"qemu":{"major":7,"minor":2,"micro":0},"package":"hv"}`, "query-status": `{"running":true,"status":"running"}`,
		"query-kvm": `{"enabled":true,"present":true}`, "stop": "{}", "query-stats": "{}",
	}}
}

func TestServe(t *testing.T) {
	u := sit(t, t.Context(), state())
	u.expect("QEMU 7.2.0 monitor - type 'help' for more information\r\n(qemu) ")
	u.send("info status\n")
	u.expect("info status\r\nVM status: running\r\n(qemu) ")
	u.send("info kvm\r\n")
	u.expect("info kvm\r\nkvm support: enabled\r\n(qemu) ")
	u.send("\r")
	u.expect("\r\n(qemu) ")
	u.conn.Close()
	u.ends()
}

func TestServeEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	u := sit(t, ctx, state())
	u.expect(Prompt)
	cancel()
	u.ends()
}

// TestKeys edits lines and looks at the command that comes of it.
func TestKeys(t *testing.T) {
	for keys, want := range map[string]string{
		"abc\x01x": "xabc", "abc\x01\x05x": "abcx", "abc\x1b[D\x1b[Dx": "axbc", "abc\x01\x1b[Cx": "axbc", "abc\x01\x04": "bc", "abc\x1b[D\x1b[3~": "ab",
		"abc\x7f": "ab", "abc\x08": "ab", "abc\x01\x0bx": "x", "abc\x15x": "x", "a bc\x17x": "a x", "abc\x1b[1~x": "xabc", "abc\x1b[H\x1b[4~x": "abcx",
		"ab\x03c": "abc", "\x04abc": "abc", "ab\x0cc": "abc", "a\x1b[2;5~b": "ab",
	} {
		u := sit(t, t.Context(), &fake{})
		u.expect(Prompt)
		u.send(keys + "\r")
		u.expect("unknown command: '" + strings.Fields(want)[0] + "'")
		u.expect(Prompt)
		u.send("info history\r")
		u.expect("0: '" + want + "'")
		u.conn.Close()
		u.ends()
	}
}

func TestHistory(t *testing.T) {
	u := sit(t, t.Context(), &fake{})
	for _, l := range []string{"one", "two"} {
		u.expect(Prompt)
		u.send(l + "\r")
	}
	for _, c := range [][2]string{{"\x1b[A\r", "two"}, {"\x10\x10\r", "one"}, {"\x1b[A\x1b[A\x1b[B\r", "one"}} {
		u.expect(Prompt)
		u.send(c[0])
		u.expect("unknown command: '" + c[1] + "'")
	}
	var h history
	for i := range 2 * historyLength {
		h.Add(string(rune('a' + i%26)))
		h.Add("")
	}
	if h.Len() != historyLength || h.At(0) != string(rune('a'+(2*historyLength-1)%26)) {
		t.Errorf("%d lines, %q", h.Len(), h)
	}
}

func TestTab(t *testing.T) {
	u := sit(t, t.Context(), state())
	u.expect(Prompt)
	u.send("in\t")
	u.expect("info ")
	u.send("\t")
	u.expect("kvm      status   version\r\n")
	u.send("ver\t\r")
	u.expect("7.2.0hv\r\n")
	u.send("xyz\t\t\r")
	u.expect("unknown command: 'xyz'")
}

func TestEndlessSequence(t *testing.T) {
	u := sit(t, t.Context(), &fake{})
	u.expect(Prompt)
	go io.WriteString(u.conn, "\x1b["+strings.Repeat("1", 1000)) //nolint:errcheck // the monitor hangs up
	go io.Copy(io.Discard, u.conn)                               //nolint:errcheck // until then
	if err := <-u.done; !errors.Is(err, errSequence) {
		t.Errorf("ends with %v", err)
	}
}

func TestComplete(t *testing.T) {
	dir := t.TempDir()
	if err := errors.Join(os.WriteFile(filepath.Join(dir, "one"), nil, 0o600), os.Mkdir(filepath.Join(dir, "two"), 0o700)); err != nil {
		t.Fatal(err)
	}
	f := state()
	for k, v := range map[string]string{
		"query-block": `[{"device":"d0"},{"device":""}]`, "query-named-block-nodes": `[{"node-name":"n0"},{}]`, "block_resize": "{}", "set_link": "{}",
		"qom-list": `[{"name":"a","type":"child<x>"},{"name":"b","type":"child<y>"},{"name":"p","type":"int"}]`, "qom-get": "{}", "device_del": "{}", "object-del": "{}",
		"query-chardev": `[{"label":"serial0"}]`, "chardev-remove": "{}", "query-chardev-backends": `[{"name":"null"}]`, "chardev-add": "{}", "blockdev-change-medium": "{}",
		"qom-list-types": `[{"name":"virtio-net-pci"}]`, "device_add": "{}", "device-list-properties": `[{"name":"mac","type":"str"}]`, "x-query-virtio": `[{"path":"/v","name":"virtio-net"}]`, "x-query-virtio-status": "{}",
		"migrate-set-parameters": "{}", "netdev_add": "{}", "watchdog-set-action": "{}",
		"query-qmp-schema": `[{"meta-type":"command","name":"netdev_add","arg-type":"0"},{"meta-type":"object","name":"0","tag":"type","members":[{"name":"type","type":"1"}]},{"meta-type":"enum","name":"1","values":["tap","user"]}]`,
	} {
		f.results[k] = v
	}
	s := New(f).NewSession()
	for line, want := range map[string][]string{
		"sto": {"stop"}, "nothing": nil, "help inf": {"info"}, "help info sta": {"status"}, "? help x": nil, "info kvm ": nil,
		"block_resize ": {"d0", "n0"}, "set_link a o": {"off", "on"}, "set_link ": {"a", "b"}, "qom-get /": {"/a", "/b"}, "qom-get /a/": {"/a/a", "/a/b"}, "qom-get /a ": {"a", "b", "p"},
		"device_del ": {"a", "b"}, "object_del a": {"a"}, "chardev-remove s": {"serial0"}, "chardev-add ": {"null"}, "device_add v": {"virtio-net-pci"}, "device_add virtio-net-pci,a=b,": {"virtio-net-pci,a=b,id=", "virtio-net-pci,a=b,mac="}, "device_add virtio-net-pci,m": {"virtio-net-pci,mac="}, "info virtio-status ": {"/v"},
		"migrate_set_parameter max-b": {"max-bandwidth"}, "netdev_add ": {"tap", "user"}, "watchdog_action p": {"pause", "poweroff"}, "info block -v d": {"d0"},
		"change d0 " + dir + "/": {dir + "/one", dir + "/two/"}, "change d0 /nowhere/": nil, `stop "`: nil, "device_del a ": nil, "block_resize d0 1 ": nil,
	} {
		if got := s.Complete(t.Context(), line); !slices.Equal(got, want) {
			t.Errorf("%q: %q, not %q", line, got, want)
		}
	}
}
