package interop

import (
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"hv/test/hvrun"
)

// terminal starts a command on a terminal of its own.
func terminal(t testing.TB, cmd *exec.Cmd) *conn {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := master.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	var nerr error
	if err := raw.Control(func(fd uintptr) {
		if nerr = unix.IoctlSetPointerInt(int(fd), unix.TIOCSPTLCK, 0); nerr == nil {
			n, nerr = unix.IoctlGetInt(int(fd), unix.TIOCGPTN)
		}
	}); err != nil || nerr != nil {
		t.Fatal(err, nerr)
	}
	slave, err := os.OpenFile("/dev/pts/"+strconv.Itoa(n), os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer slave.Close()
	cmd.Stdin, cmd.Stdout, cmd.Stderr = slave, slave, slave
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true, Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		master.Close()
	})
	return &conn{stream: master, t: t}
}

var prompt = regexp.MustCompile(`(?m)^ ?(\(QEMU\)|TRANS>) `)

// ask types a line and returns what the shell prints until it asks again.
func (c *conn) ask(line string) string {
	c.t.Helper()
	c.send(line + "\n")
	return c.until(prompt)
}

// tell is ask, of which a part is known.
func (c *conn) tell(line, want string) {
	c.t.Helper()
	if got := c.ask(line); !strings.Contains(got, want) {
		c.t.Errorf("%s: %q, want %q", line, got, want)
	}
}

// qmpShell starts qmp-shell.
func qmpShell(t testing.TB, args ...string) *conn {
	t.Helper()
	c := terminal(t, hvrun.Python(t, filepath.Join(hvrun.Source(t), "scripts/qmp/qmp-shell"), args...))
	if banner := c.until(prompt); !strings.Contains(banner, "Connected to QEMU 7.2.") {
		t.Errorf("banner %q", banner)
	}
	return c
}

// TestShell types into qmp-shell.
func TestShell(t *testing.T) {
	s := serve(t, hvrun.Binary(t))
	dial(t, s.Proc, s.plain).Close()
	c := qmpShell(t, s.plain)
	c.tell("query-name", `{"return": {"name": "interop"}}`)
	c.tell("", "(QEMU)")
	c.tell("cont", `{"return": {}}`)
	c.tell("stop", `{"return": {}}`)
	c.tell("", "'event': 'STOP'")
	c.tell("set-action reboot=shutdown panic=none", `{"return": {}}`)
	c.tell("set-action reboot=explode", `Parameter 'reboot' does not accept value 'explode'`)
	c.tell(`set-action reboot=[1,{"a":null}]`, `Invalid parameter type for 'reboot', expected: string`)
	c.tell(`set-action reboot={'a':true}`, `Invalid parameter type for 'reboot', expected: string`)
	c.tell("set-action a.b.c=1", `Parameter 'a' is unexpected`)
	c.tell("balloon value=1073741824", `No balloon device has been activated`)
	c.tell("balloon value=1.5", `Invalid parameter type for 'value', expected: integer`)
	c.tell("no-such x=1", `"class": "CommandNotFound"`)
	c.tell("set-action reboot", "Expected a key=value pair")
	c.send("query-uu\t")
	c.until(regexp.MustCompile(`query-uuid`)) // completed from query-commands
	c.tell("", `{"return": {"UUID": "6ba7b810-9dad-11d1-80b4-00c04fd430c8"}}`)
	c.tell("quit", `{"return": {}}`)
	c.send("query-name\n")
	if s.Wait(t) != 0 {
		t.Error(s.Output())
	}
}

// TestShellOptions is qmp-shell that prints everything, over many lines.
func TestShellOptions(t *testing.T) {
	s := serve(t, hvrun.Binary(t))
	dial(t, s.Proc, s.plain).Close()
	c := qmpShell(t, "-v", "-p", s.plain)
	out := strings.ReplaceAll(c.ask("query-name"), "\r", "")
	if want := "{\n    \"arguments\": {},\n    \"execute\": \"query-name\"\n}\n{\n    \"return\": {\n        \"name\": \"interop\"\n    }\n}\n(QEMU) "; !strings.HasSuffix(out, want) {
		t.Errorf("%q, want %q", out, want)
	}
	c.send("\x04") // the end of the input
	c.until(line)
}

// TestShellTransaction types a transaction, of one line and of several.
func TestShellTransaction(t *testing.T) {
	s := serve(t, hvrun.Binary(t))
	dial(t, s.Proc, s.plain).Close()
	if !has(t, s, "transaction") {
		// What the shell makes of it is a request like any other.
		c := qmpShell(t, s.plain)
		c.tell("transaction(", "TRANS> ")
		c.tell("abort", "TRANS> ")
		c.tell(")", "The command transaction has not been found")
		c.tell("transaction( abort )", "The command transaction has not been found")
		return
	}
	c := qmpShell(t, s.plain)
	c.tell("transaction(", "TRANS> ")
	c.tell("abort", "TRANS> ")
	c.tell(")", "Transaction aborted using Abort action")
	c.tell("transaction( abort )", "Transaction aborted using Abort action")
	c.tell("transaction( explode )", "does not accept value 'explode'")
}

// TestShellHMP is qmp-shell that passes on commands for people.
func TestShellHMP(t *testing.T) {
	s := serve(t, hvrun.Binary(t))
	dial(t, s.Proc, s.plain).Close()
	c := qmpShell(t, "-H", s.plain)
	c.tell("info name", "interop")
	c.tell("info status", "VM status: paused")
	c.tell("cpu 0", "(QEMU)")
	c.tell("nonsense", "unknown command: 'nonsense'")
	c.send("info ver\t")
	c.until(regexp.MustCompile(`info version`))
	c.tell("", "7.2")
	c.tell("quit", "")
	if s.Wait(t) != 0 {
		t.Error(s.Output())
	}
}

// TestShellWrap has qmp-shell-wrap start hv, which connects to it.
func TestShellWrap(t *testing.T) {
	cmd := hvrun.Python(t, filepath.Join(hvrun.Source(t), "scripts/qmp/qmp-shell-wrap"), "-v", "--", "sh", "-c", `"$@"; echo "ended with $?"`,
		"sh", hvrun.Binary(t), "-nodefaults", "-display", "none", "-S", "-m", "64", "-name", "wrapped")
	c := terminal(t, cmd)
	c.until(prompt)
	c.tell("query-name", `{"return": {"name": "wrapped"}}`)
	c.tell("query-status", `"prelaunch"`)
	out := c.ask("quit") // hv may end before the next prompt, or after
	c.send("\x04")
	if out += c.rest(); !strings.Contains(out, `{"return": {}}`) || !strings.Contains(out, "ended with 0") {
		t.Errorf("it printed %q", out)
	}
	if left, _ := filepath.Glob(filepath.Join(cmd.Dir, "qmp-shell-wrap-*")); left != nil {
		t.Error("left", left)
	}
}

// rest reads to the end.
func (c *conn) rest() string {
	c.t.Helper()
	b, _ := io.ReadAll(c) // a terminal ends with an error
	c.in = append(c.in, b...)
	return string(c.in)
}
