package tap

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"hv/test/hvrun"
)

// helperText is a helper that makes a tap called as its bridge.
const helperText = `
import array, fcntl, os, socket, struct, sys
name = [a[5:] for a in sys.argv if a.startswith("--br=")][0]
fd = int([a[5:] for a in sys.argv if a.startswith("--fd=")][0])
if name == "bad":
    sys.exit("access denied by acl file")
tun = os.open("/dev/net/tun", os.O_RDWR)
fcntl.ioctl(tun, 0x400454ca, struct.pack("16sH22x", name.encode(), 0x2 | 0x1000 | (0x4000 if "--use-vnet" in sys.argv and name != "plain" else 0)))
socket.socket(fileno=fd).sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [tun]))])
`

// TestHelper has a helper, a program or a line for the shell, open the tap.
func TestHelper(t *testing.T) {
	python := hvrun.Tool(t, "/usr/bin/python3")
	path := filepath.Join(t.TempDir(), "helper")
	if err := os.WriteFile(path, []byte("#!"+python+"\n"+helperText), 0o755); err != nil {
		t.Fatal(err)
	}
	inNamespace(t, func(t *testing.T) {
		for helper, name := range map[string]string{path: "hvbr0", python + " " + path + " --br=hvbr1": "hvbr1"} {
			tap := open(t, Config{ID: "n0", Helper: helper, Bridge: "hvbr0"})
			if tap.Name() != name || tap.Info(0) != "helper="+helper {
				t.Errorf("%s, %s", tap.Name(), tap.Info(0))
			}
			if err := tap.Close(); err != nil {
				t.Error(err)
			}
		}
		for bridge, want := range map[string]string{"bad": "bridge helper failed: exit status 1: access denied by acl file", "plain": "without IFF_VNET_HDR"} {
			if _, err := Open(Config{ID: "n0", Helper: path, Bridge: bridge}); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%v, not %s", err, want)
			}
		}
		if _, err := Open(Config{ID: "n0", Helper: "/bin/true", Bridge: "x"}); err == nil || !strings.Contains(err.Error(), "failed to recv file descriptor") {
			t.Error(err)
		}
	})
}

// TestLost tells when the device goes.
func TestLost(t *testing.T) {
	inNamespace(t, func(t *testing.T) {
		lost := make(chan error, 1)
		tap := open(t, Config{ID: "n0", Ifname: "hvlost", Lost: func(err error) { lost <- err }})
		fd, err := unix.Dup(tap.QueueFD(0))
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(fd)
		deleteLink(t, "hvlost")
		select {
		case err := <-lost:
			if !errors.Is(err, unix.EBADFD) {
				t.Error(err)
			}
		case <-time.After(20 * time.Second):
			t.Error("nobody is told")
		}
		if err := tap.Close(); err != nil {
			t.Error(err)
		}
		// One that is closed is not lost.
		open(t, Config{ID: "n0", Ifname: "hvlost", Lost: func(err error) { t.Error(err) }}).Close()
	})
}

func deleteLink(t *testing.T, name string) {
	t.Helper()
	l, err := netlink.LinkByName(name)
	if err == nil {
		err = netlink.LinkDel(l)
	}
	if err != nil {
		t.Fatal(err)
	}
}
