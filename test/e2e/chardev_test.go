package e2e

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"hv/qmp/client"
	"hv/qmp/qapi"
	"hv/test/hvrun"
)

// filename returns what query-chardev says of a chardev.
func (v *vm) filename(t testing.TB, label string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), hvrun.Patience)
	defer cancel()
	list, err := client.Call(ctx, v.c, qapi.CmdQueryChardev, qapi.Empty{})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range list {
		if c.Label == label {
			return c.Filename
		}
	}
	t.Fatalf("no chardev %s in %+v", label, list)
	return ""
}

// address returns where a chardev listens.
func (v *vm) address(t testing.TB, label string) string {
	t.Helper()
	name, _, _ := strings.Cut(v.filename(t, label), ",server=on")
	_, at, ok := strings.Cut(strings.TrimPrefix(name, "disconnected:"), ":")
	if !ok {
		t.Fatal(name)
	}
	return at
}

// talk is a conversation in text with something of a VM's.
type talk struct {
	io.ReadWriteCloser
	t testing.TB
	r *bufio.Reader
}

func newTalk(t testing.TB, conn io.ReadWriteCloser) *talk {
	t.Helper()
	t.Cleanup(func() { conn.Close() })
	if d, ok := conn.(interface{ SetDeadline(time.Time) error }); ok {
		if err := d.SetDeadline(time.Now().Add(hvrun.Patience)); err != nil {
			t.Fatal(err)
		}
	}
	return &talk{conn, t, bufio.NewReader(conn)}
}

func connect(t testing.TB, network, address string) *talk {
	t.Helper()
	c, err := net.Dial(network, address)
	if err != nil {
		t.Fatal(err)
	}
	return newTalk(t, c)
}

func (k *talk) say(s string) {
	k.t.Helper()
	if _, err := k.Write([]byte(s)); err != nil {
		k.t.Fatal(err)
	}
}

// hear reads up to some text and returns all that came.
func (k *talk) hear(want string) string {
	k.t.Helper()
	var got []byte
	for !bytes.Contains(got, []byte(want)) {
		c, err := k.r.ReadByte()
		if err != nil {
			k.t.Fatalf("%v after %q, want %q", err, got, want)
		}
		got = append(got, c)
	}
	return string(got)
}

// negotiate begins a QMP session and asks something.
func (k *talk) negotiate() {
	k.t.Helper()
	k.hear(`"QMP"`)
	k.say(`{"execute": "qmp_capabilities"}`)
	k.hear(`return`)
	k.say(`{"execute": "query-kvm"}`)
	k.hear(`"present": true`)
}

// pass sends text with descriptors.
func (k *talk) pass(text string, files ...*os.File) {
	k.t.Helper()
	var fds []int
	for _, f := range files {
		fds = append(fds, int(f.Fd()))
	}
	if _, _, err := k.ReadWriteCloser.(*net.UnixConn).WriteMsgUnix([]byte(text), unix.UnixRights(fds...), nil); err != nil {
		k.t.Fatal(err)
	}
}

// TestQMPEverywhere speaks QMP over each thing that can carry it, with several clients at
// once where there can be.
func TestQMPEverywhere(t *testing.T) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	theirs, ours := os.NewFile(uintptr(pair[0]), "theirs"), os.NewFile(uintptr(pair[1]), "ours")
	dir := t.TempDir()
	pipe, abstract := filepath.Join(dir, "pipe"), "hv-"+strconv.Itoa(os.Getpid())
	for _, name := range []string{pipe + ".in", pipe + ".out"} {
		if err := unix.Mkfifo(name, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	v := startWith(t, []*os.File{theirs}, "-machine", "none", "-nodefaults", "-display", "none",
		"-qmp", "tcp:127.0.0.1:0,server,nowait", "-qmp-pretty", "telnet:127.0.0.1:0,server=on,wait=off", "-qmp", "pty", "-qmp", "pipe:"+pipe,
		"-chardev", "socket,id=inherited,fd=3", "-mon", "inherited,mode=control,pretty=on",
		"-chardev", "socket,id=abstract,path="+abstract+",abstract=on,server=on,wait=off", "-mon", "chardev=abstract,mode=control")
	for range 3 {
		connect(t, "tcp", v.address(t, "compat_monitor0")).negotiate()
	}
	k := connect(t, "tcp", v.address(t, "compat_monitor1"))
	k.hear("\xff\xfd\x00")
	k.say("\xff\xfd\x01\xff\xfb\x00") // the client's side of the negotiation
	k.negotiate()
	for range 2 { // each user is greeted
		tty, err := os.OpenFile(v.address(t, "compat_monitor2"), os.O_RDWR|unix.O_NOCTTY, 0)
		if err != nil {
			t.Fatal(err)
		}
		k := newTalk(t, tty)
		k.negotiate()
		k.Close()
	}
	in, err := os.OpenFile(pipe+".in", os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	out, err := os.Open(pipe + ".out")
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	newTalk(t, struct {
		io.Reader
		io.WriteCloser
	}{out, in}).negotiate()
	own, err := net.FileConn(ours)
	if err != nil {
		t.Fatal(err)
	}
	newTalk(t, own).negotiate()
	for range 2 {
		connect(t, "unix", "@"+abstract).negotiate()
	}
	v.failing(t, "Chardev 'abstract' is busy", "chardev-remove", `{"id":"abstract"}`)
	v.failing(t, "does not support chardev hotswap", "chardev-change", `{"id":"abstract","backend":{"type":"null","data":{}}}`)
	v.do(t, "quit")
	v.ends(t, 0)
}

// TestQMPOnStdio gives commands by a pipe, whose end is no reason to lose an answer.
func TestQMPOnStdio(t *testing.T) {
	cmd := exec.Command(hvrun.Binary(t), "-machine", "none", "-nodefaults", "-display", "none", "-qmp", "stdio")
	cmd.Stdin = strings.NewReader(`{"execute": "qmp_capabilities"} {"execute": "query-kvm"} {"execute": "quit", "id": "last"}`)
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), `"present": true`) || !strings.Contains(string(out), `"id": "last"`) {
		t.Errorf("%v: %s", err, out)
	}
}

// boot lets a VM go that was started with -S, and waits until its guest takes commands
// from a console: what comes earlier is lost.
func (v *vm) boot(t testing.TB, k *talk) {
	t.Helper()
	v.do(t, "cont")
	k.hear("type help")
}

// console returns the options of a VM whose guest takes commands from a chardev.
func console(t testing.TB, chardev string, more ...string) []string {
	return append([]string{"-nodefaults", "-display", "none", "-cpu", "host", "-m", "32", "-append", "shell", "-chardev", chardev, "-serial", "chardev:con"}, more...)
}

// TestDescriptors passes descriptors by QMP and moves the guest's console over them.
func TestDescriptors(t *testing.T) {
	dir := t.TempDir()
	qmp, first := filepath.Join(dir, "q"), filepath.Join(dir, "first")
	v := start(t, console(t, "socket,id=con,path="+first+",server=on,wait=off", "-S", "-qmp", "unix:"+qmp+",server=on,wait=off")...)
	k := connect(t, "unix", qmp)
	k.negotiate()
	c := connect(t, "unix", first)
	v.boot(t, c)
	c.say("print=one\r")
	c.hear("guest: one")

	// To a socket that was passed.
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	theirs, ours := os.NewFile(uintptr(pair[0]), "theirs"), os.NewFile(uintptr(pair[1]), "ours")
	k.say(`{"execute": "getfd", "arguments": {"fdname": "sock"}}`)
	k.hear("No file descriptor supplied via SCM_RIGHTS")
	k.pass(`{"execute": "getfd", "arguments": {"fdname": "sock"}}`, theirs)
	k.hear(`{"return": {}}`)
	theirs.Close()
	v.works(t, "chardev-change", `{"id":"con","backend":{"type":"socket","data":{"server":false,"addr":{"type":"fd","data":{"str":"sock"}}}}}`)
	v.failing(t, "File descriptor named 'sock' not found", "closefd", `{"fdname":"sock"}`)
	own, err := net.FileConn(ours)
	if err != nil {
		t.Fatal(err)
	}
	ours.Close()
	c2 := newTalk(t, own)
	c2.say("print=two\r")
	c2.hear("guest: two")
	if _, err := c.r.ReadByte(); err == nil {
		if rest, err := io.ReadAll(c.r); err != nil || strings.Contains(string(rest), "two") {
			t.Errorf("the old console is still there: %q, %v", rest, err)
		}
	}

	// To a file that was passed, and memory.
	path := filepath.Join(dir, "log")
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	k.pass(`{"execute": "add-fd", "arguments": {"fdset-id": 4, "opaque": "the log"}}`, f, f)
	k.hear(`"fdset-id": 4}}`)
	f.Close()
	k.say(`{"execute": "query-fdsets"}`)
	k.hear(`"opaque": "the log"}], "fdset-id": 4}]}`)
	v.works(t, "chardev-add", `{"id":"f","backend":{"type":"file","data":{"out":"/dev/fdset/4","append":true}}}`)
	v.works(t, "chardev-remove", `{"id":"f"}`)
	v.works(t, "remove-fd", `{"fdset-id":4}`)
	v.failing(t, "No such file or directory", "chardev-add", `{"id":"f","backend":{"type":"file","data":{"out":"/dev/fdset/4"}}}`)
	v.works(t, "chardev-change", `{"id":"con","backend":{"type":"ringbuf","data":{}}}`)
	v.works(t, "ringbuf-write", `{"device":"con","data":"kept"}`)
	v.works(t, "chardev-send-break", `{"id":"con"}`)

	// And back to a server, for telnet.
	v.works(t, "chardev-change", `{"id":"con","backend":{"type":"socket","data":{"telnet":true,"addr":{"type":"inet","data":{"host":"127.0.0.1","port":"0"}}}}}`)
	c3 := connect(t, "tcp", v.address(t, "con"))
	c3.say("print=\xff\xf1three\r")
	c3.hear("guest: three")
	c3.say("poweroff\r")
	v.ends(t, 0)
}

// TestMux has the guest's console and a monitor on one connection.
func TestMux(t *testing.T) {
	path := filepath.Join(t.TempDir(), "con")
	log := path + ".log"
	v := start(t, console(t, "socket,id=con,path="+path+",server=on,wait=off,mux=on,logfile="+log, "-S", "-mon", "con,mode=control")...)
	if got := v.filename(t, "con") + " " + v.filename(t, "con-base"); got != "mux disconnected:unix:"+path+",server=on" {
		t.Error(got)
	}
	for i := range 2 {
		k := connect(t, "unix", path)
		k.hear(`"QMP"`)
		if i == 0 {
			v.boot(t, k)
		}
		k.say("print=console\r")
		k.hear("guest: console")
		k.say("\x01c" + `{"execute": "qmp_capabilities"}`)
		k.hear(`{"return": {}}`)
		k.say("\x01cprint=again\r")
		k.hear("guest: again")
		k.Close()
	}
	k := connect(t, "unix", path)
	k.say("\x01h\x01x")
	k.hear("C-a h")
	v.event(t, "SHUTDOWN")
	v.ends(t, 0)
	if text, err := os.ReadFile(log); err != nil || !strings.Contains(string(text), "guest: again") {
		t.Errorf("%v: %.300s", err, text)
	}
}

// TestConsoleWaits starts hv, which waits for a client before it does anything else.
func TestConsoleWaits(t *testing.T) {
	dir := t.TempDir()
	path, set := filepath.Join(dir, "con"), filepath.Join(dir, "set")
	f, err := os.OpenFile(set, os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	p := hvrun.StartWith(t, []*os.File{f}, hvrun.Binary(t), console(t, "socket,id=con,path="+path+",server=on",
		"-add-fd", "fd=3,set=2,opaque=x", "-chardev", "file,id=copy,path=/dev/fdset/2", "-device", "isa-debugcon,chardev=copy")...)
	p.Expect(t, fmt.Sprintf("waiting for connection on: disconnected:unix:%s,server=on", path))
	k := connect(t, "unix", path)
	k.hear("type help")
	k.say("poweroff\r")
	if got := p.Wait(t); got != 0 {
		t.Errorf("exit status %d", got)
	}
}

// TestHumanOnConsole shares a terminal between the guest's console and a human monitor:
// the first command line of QMP's first README, with a second monitor for programs.
func TestHumanOnConsole(t *testing.T) {
	path := filepath.Join(t.TempDir(), "con")
	v := start(t, "-nodefaults", "-display", "none", "-cpu", "host", "-m", "32", "-append", "shell", "-S",
		"-serial", "mon:unix:"+path+",server=on,wait=off", "-monitor", "telnet:127.0.0.1:0,server,nowait", "-qmp-pretty", "tcp:127.0.0.1:0,server,nowait")
	k := connect(t, "unix", path)
	v.boot(t, k)
	k.say("print=console\r")
	if s := k.hear("guest: console"); strings.Contains(s, "(qemu)") {
		t.Errorf("the monitor speaks without the focus: %q", s)
	}
	k.say("\x01c")
	k.hear("(qemu) ")
	k.say("info status\r")
	k.hear("VM status: running")
	k.say("\x01nprint=again\r")
	k.hear("guest: again")
	for range 2 {
		h := connect(t, "tcp", v.address(t, "compat_monitor0"))
		h.hear("(qemu) ")
		h.say("info chardev\r")
		h.hear("serial0: filename=mux")
		h.Close()
	}
	connect(t, "tcp", v.address(t, "compat_monitor1")).negotiate()
	h := connect(t, "tcp", v.address(t, "compat_monitor0"))
	h.hear("(qemu) ")
	h.say("quit\r")
	v.ends(t, 0)
}
