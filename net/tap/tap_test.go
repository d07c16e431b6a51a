package tap

import (
	"bytes"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// inNamespace runs f in a network namespace of its own. Its thread ends with it.
func inNamespace(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	t.Run("namespace", func(t *testing.T) {
		runtime.LockOSThread() // and never unlocked: the thread is thrown away
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			t.Fatalf("network namespace: %v (tests of taps run as root)", err)
		}
		f(t)
	})
}

func open(t *testing.T, c Config) *Tap {
	t.Helper()
	tap, err := Open(c)
	if err != nil {
		t.Fatal(err)
	}
	return tap
}

// up sets the interface up.
func up(t *testing.T, name string) {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	ifr, err := unix.NewIfreq(name)
	if err != nil {
		t.Fatal(err)
	}
	ifr.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, ifr); err != nil {
		t.Fatal(err)
	}
}

// TestPackets passes frames both ways, between the tap and a packet socket.
func TestPackets(t *testing.T) {
	inNamespace(t, func(t *testing.T) {
		tap := open(t, Config{ID: "n0", Ifname: "hvtest0", Sndbuf: 1 << 20})
		defer tap.Close()
		if tap.Name() != "hvtest0" || tap.Queues() != 1 {
			t.Errorf("%s with %d queues", tap.Name(), tap.Queues())
		}
		if err := tap.SetOffload(true, true, true, true, true); err != nil {
			t.Error(err)
		}
		up(t, "hvtest0")
		const proto = 0x88b5 // for local experiments
		host, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0xb588)
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(host)
		iface, err := net.InterfaceByName("hvtest0")
		if err != nil {
			t.Fatal(err)
		}
		if err := unix.Bind(host, &unix.SockaddrLinklayer{Protocol: 0xb588, Ifindex: iface.Index}); err != nil {
			t.Fatal(err)
		}
		frame := append(bytes.Repeat([]byte{0xff}, 6), 2, 0, 0, 0, 0, 1, proto>>8, proto&0xff, 'h', 'i')
		if _, err := unix.Write(tap.QueueFD(0), append(make([]byte, headerSize), frame...)); err != nil {
			t.Fatal(err)
		}
		b := make([]byte, 2048)
		n, err := unix.Read(host, b)
		if err != nil || !bytes.Equal(b[:n], frame) {
			t.Errorf("the host received %x, %v", b[:n], err)
		}
		if _, err := unix.Write(host, frame); err != nil {
			t.Fatal(err)
		}
		for { // past what the host says of its own, such as neighbour discovery
			fds := []unix.PollFd{{Fd: int32(tap.QueueFD(0)), Events: unix.POLLIN}}
			if n, err := unix.Poll(fds, 20000); n == 0 {
				t.Fatal("the guest received nothing", err)
			}
			n, err := unix.Read(tap.QueueFD(0), b)
			if err == nil && n == headerSize+len(frame) && bytes.Equal(b[headerSize:n], frame) {
				break
			}
		}
	})
}

// TestQueues opens several queues and switches them.
func TestQueues(t *testing.T) {
	inNamespace(t, func(t *testing.T) {
		tap := open(t, Config{ID: "n0", Queues: 3})
		if tap.Queues() != 3 || tap.Name() == "" {
			t.Errorf("%d queues of %q", tap.Queues(), tap.Name())
		}
		for _, on := range []bool{false, false, true, true} {
			for i := range 3 {
				if err := tap.EnableQueue(i, on); err != nil {
					t.Errorf("queue %d, %v: %v", i, on, err)
				}
			}
		}
		name := tap.Name()
		if err := tap.Close(); err != nil {
			t.Error(err)
		}
		if _, err := net.InterfaceByName(name); err == nil {
			t.Error("the device is still there")
		}
	})
}

// TestAdopt takes over descriptors that somebody else opened.
func TestAdopt(t *testing.T) {
	inNamespace(t, func(t *testing.T) {
		first := open(t, Config{ID: "a", Ifname: "hvtest1"})
		defer first.Close()
		fd, err := unix.Dup(first.QueueFD(0))
		if err != nil {
			t.Fatal(err)
		}
		second := open(t, Config{ID: "b", FDs: []int{fd}})
		if second.Name() != "hvtest1" || second.QueueFD(0) != fd {
			t.Errorf("%s, descriptor %d", second.Name(), second.QueueFD(0))
		}
		if err := second.Close(); err != nil {
			t.Error(err)
		}
	})
}

func TestScripts(t *testing.T) {
	inNamespace(t, func(t *testing.T) {
		dir := t.TempDir()
		script := func(name, text string) string {
			path := filepath.Join(dir, name)
			if err := os.WriteFile(path, []byte("#!/bin/sh\n"+text), 0o755); err != nil {
				t.Fatal(err)
			}
			return path
		}
		log := filepath.Join(dir, "log")
		tap := open(t, Config{ID: "n0", Ifname: "hvtest2", Script: script("up", "echo up $1 >>"+log), DownScript: script("down", "echo down $1 >>"+log)})
		if err := tap.Close(); err != nil {
			t.Error(err)
		}
		if text, _ := os.ReadFile(log); string(text) != "up hvtest2\ndown hvtest2\n" {
			t.Errorf("scripts wrote %q", text)
		}
		_, err := Open(Config{ID: "n0", Ifname: "hvtest2", Script: script("bad", "echo no bridge; exit 3")})
		if err == nil || !strings.Contains(err.Error(), "no bridge") || !strings.Contains(err.Error(), "netdev n0") {
			t.Errorf("failed script: %v", err)
		}
		if _, err := net.InterfaceByName("hvtest2"); err == nil {
			t.Error("the device is there after a failure")
		}
	})
}

func TestRefusals(t *testing.T) {
	inNamespace(t, func(t *testing.T) {
		busy := open(t, Config{ID: "n0", Ifname: "hvtest3"})
		defer busy.Close()
		null, err := os.Open(os.DevNull)
		if err != nil {
			t.Fatal(err)
		}
		defer null.Close()
		dup, err := unix.Dup(int(null.Fd()))
		if err != nil {
			t.Fatal(err)
		}
		for want, c := range map[string]Config{
			"another process uses it": {ID: "n1", Ifname: "hvtest3"},
			"hvtest-name-too-long":    {ID: "n1", Ifname: "hvtest-name-too-long"},
			"other flags":             {ID: "n1", Ifname: "lo"},
			"no tap":                  {ID: "n1", FDs: []int{dup}},
		} {
			if _, err := Open(c); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "n1") {
				t.Errorf("%v, not %q", err, want)
			}
		}
	})
}
