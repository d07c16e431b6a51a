package interop

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"

	"hv/net/netdev"
	"hv/net/relay"
	"hv/qmp/qapi"
	"hv/qmp/wire"
	"hv/test/hvrun"
)

// backEnd opens a back end of ours.
func backEnd(t *testing.T, text string) netdev.Backend {
	t.Helper()
	v, err := wire.Parse([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	n := &qapi.Netdev{}
	if err := n.DecodeQAPI(v); err != nil {
		t.Fatal(err)
	}
	log := logrus.New()
	log.SetOutput(io.Discard)
	b, err := netdev.Open(t.Context(), n, netdev.Host{
		Connected: func(string, *qapi.SocketAddress) {}, Disconnected: func(string) {}, Lost: func(_ string, err error) { t.Error(err) }, Log: log,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	return b
}

// hub runs QEMU with nothing but two back ends that are joined.
func hub(t *testing.T, a, b string) {
	t.Helper()
	cmd := exec.Command(hvrun.Tool(t, "qemu-system-x86_64"), "-machine", "none", "-display", "none", "-nodefaults",
		"-netdev", a+",id=a", "-netdev", "hubport,id=ha,hubid=0,netdev=a", "-netdev", b+",id=b", "-netdev", "hubport,id=hb,hubid=0,netdev=b")
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("QEMU: %s", out.String())
		}
	})
}

// carry has a frame go from one back end through QEMU to another. Until all are connected
// frames get lost.
func carry(t *testing.T, from, to netdev.Backend, frame []byte) {
	t.Helper()
	limit := time.Now().Add(hvrun.Patience)
	b := relay.Buffer()
	for time.Now().Before(limit) {
		if _, err := unix.Write(from.QueueFD(0), append(make([]byte, relay.Header), frame...)); err != nil && !errors.Is(err, unix.EAGAIN) {
			t.Fatal(err)
		}
		fds := []unix.PollFd{{Fd: int32(to.QueueFD(0)), Events: unix.POLLIN}}
		for n, err := unix.Poll(fds, 200); n > 0 || errors.Is(err, unix.EINTR); n, err = unix.Poll(fds, 0) {
			n, err := unix.Read(to.QueueFD(0), b)
			if err == nil && bytes.Equal(b[relay.Header:n], frame) {
				return
			}
		}
	}
	t.Fatalf("a frame of %d bytes does not arrive", len(frame))
}

// freePort returns a port that nobody has.
func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// TestNetworkPeers has QEMU at the other end of each kind of socket: what goes in on one side
// comes out on the other.
func TestNetworkPeers(t *testing.T) {
	for name, c := range map[string]struct {
		first      bool // we are there before QEMU
		ours, peer string
	}{
		"stream client":      {false, `{"type":"stream","id":"x","reconnect":1,"addr":{"type":"unix","path":"DIR/a"}}`, "stream,server=on,addr.type=unix,addr.path=DIR/a"},
		"stream server":      {true, `{"type":"stream","id":"x","server":true,"addr":{"type":"unix","path":"DIR/a"}}`, "stream,server=off,addr.type=unix,addr.path=DIR/a"},
		"stream inet server": {true, `{"type":"stream","id":"x","server":true,"addr":{"type":"inet","host":"127.0.0.1","port":"PORT1"}}`, "stream,addr.type=inet,addr.host=127.0.0.1,addr.port=PORT1"},
		"socket listen":      {true, `{"type":"socket","id":"x","listen":"127.0.0.1:PORT1"}`, "socket,connect=127.0.0.1:PORT1"},
		"stream to socket":   {false, `{"type":"stream","id":"x","reconnect":1,"addr":{"type":"inet","host":"127.0.0.1","port":"PORT1"}}`, "socket,listen=127.0.0.1:PORT1"},
		"socket udp":         {true, `{"type":"socket","id":"x","udp":"127.0.0.1:PORT1","localaddr":"127.0.0.1:PORT2"}`, "socket,udp=127.0.0.1:PORT2,localaddr=127.0.0.1:PORT1"},
		"dgram inet": {true, `{"type":"dgram","id":"x","local":{"type":"inet","host":"127.0.0.1","port":"PORT1"},"remote":{"type":"inet","host":"127.0.0.1","port":"PORT2"}}`,
			"dgram,local.type=inet,local.host=127.0.0.1,local.port=PORT2,remote.type=inet,remote.host=127.0.0.1,remote.port=PORT1"},
		"dgram unix": {true, `{"type":"dgram","id":"x","local":{"type":"unix","path":"DIR/a"},"remote":{"type":"unix","path":"DIR/b"}}`,
			"dgram,local.type=unix,local.path=DIR/b,remote.type=unix,remote.path=DIR/a"},
		"group": {true, `{"type":"socket","id":"x","mcast":"230.7.7.7:PORT1","localaddr":"127.0.0.1"}`, "socket,mcast=230.7.7.7:PORT1,localaddr=127.0.0.1"},
	} {
		t.Run(name, func(t *testing.T) {
			ports := strings.NewReplacer("DIR", t.TempDir(), "PORT1", fmt.Sprint(freePort(t)), "PORT2", fmt.Sprint(freePort(t)))
			dir := t.TempDir()
			far := backEnd(t, fmt.Sprintf(`{"type":"stream","id":"far","server":true,"addr":{"type":"unix","path":"%s/far"}}`, dir))
			if !c.first {
				hub(t, ports.Replace(c.peer), "stream,addr.type=unix,addr.path="+dir+"/far")
			}
			near := backEnd(t, ports.Replace(c.ours))
			if c.first {
				hub(t, ports.Replace(c.peer), "stream,addr.type=unix,addr.path="+dir+"/far")
			}
			for _, n := range []int{60, 1514, 9014, 65000} {
				frame := bytes.Repeat([]byte{byte(n), byte(n >> 8), 7}, n/3+1)[:n]
				carry(t, near, far, frame)
				frame[0]++
				carry(t, far, near, frame)
			}
		})
	}
}
