package notify

import (
	"net"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"
)

// socket makes a notification socket and points the environment at it.
func socket(t *testing.T) *net.UnixConn {
	t.Helper()
	addr := &net.UnixAddr{Name: filepath.Join(t.TempDir(), "notify"), Net: "unixgram"}
	c, err := net.ListenUnixgram("unixgram", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	t.Setenv("NOTIFY_SOCKET", addr.Name)
	return c
}

func receive(t *testing.T, c *net.UnixConn) string {
	t.Helper()
	b := make([]byte, 512)
	if err := c.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	n, err := c.Read(b)
	if err != nil {
		t.Fatal(err)
	}
	return string(b[:n])
}

func TestStates(t *testing.T) {
	c := socket(t)
	if err := Ready("VM demo runs"); err != nil {
		t.Fatal(err)
	}
	if got := receive(t, c); got != "READY=1\nSTATUS=VM demo runs" {
		t.Errorf("ready sent %q", got)
	}
	if err := Stopping(); err != nil {
		t.Fatal(err)
	}
	if got := receive(t, c); got != "STOPPING=1" {
		t.Errorf("stopping sent %q", got)
	}
}

func TestOutsideSystemd(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", "")
	if err := Ready("x"); err != nil {
		t.Error(err)
	}
	w, err := StartWatchdog(func() {})
	if w != nil || err != nil {
		t.Errorf("watchdog without systemd: %v, %v", w, err)
	}
	w.Close()
}

func TestWatchdogAsksBeforePetting(t *testing.T) {
	c := socket(t)
	t.Setenv("WATCHDOG_USEC", "20000")
	t.Setenv("WATCHDOG_PID", strconv.Itoa(os.Getpid()))
	asked := make(chan struct{}, 100)
	w, err := StartWatchdog(func() { asked <- struct{}{} })
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	<-asked
	if got := receive(t, c); got != "WATCHDOG=1" {
		t.Errorf("watchdog sent %q", got)
	}
}
