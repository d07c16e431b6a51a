// Package netspace gives tests network namespaces of their own, with links in them.
//
// A Space belongs to its test, which ends with it gone. Its functions are for the test's
// goroutine, but Inside, which any may call. It runs iproute2's ip and depends on nothing of
// ours.
package netspace

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"
)

// Space is a network namespace of a test, and the tools in it.
type Space struct {
	t    testing.TB
	name string
}

// made numbers those of a run.
var made atomic.Int64

// New makes a namespace, for which the test has to be root's.
func New(t testing.TB) *Space {
	t.Helper()
	if os.Getuid() != 0 {
		t.Fatal("network namespaces are made by root only: run the tests as root")
	}
	s := &Space{t, fmt.Sprintf("hvtest%d-%d", os.Getpid(), made.Add(1))}
	s.host("ip", "netns", "add", s.name)
	t.Cleanup(func() { s.host("ip", "netns", "del", s.name) })
	return s
}

// Name is what `ip -n` calls it.
func (s *Space) Name() string { return s.name }

// host runs a program outside.
func (s *Space) host(words ...string) string {
	s.t.Helper()
	out, err := exec.Command(words[0], words[1:]...).CombinedOutput()
	if err != nil {
		s.t.Fatalf("%s: %v: %s", strings.Join(words, " "), err, out)
	}
	return string(out)
}

// Run runs a program inside and returns what it prints. Its line is a format.
func (s *Space) Run(line string, args ...any) string {
	s.t.Helper()
	return s.host(append([]string{"ip", "netns", "exec", s.name}, strings.Fields(fmt.Sprintf(line, args...))...)...)
}

// Inside calls a function on a thread in the namespace.
func (s *Space) Inside(f func()) {
	s.t.Helper()
	if err := s.enter(f); err != nil {
		s.t.Fatal(err)
	}
}

func (s *Space) enter(f func()) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // for ever: the thread is not used again
		fd, err := os.Open(filepath.Join("/run/netns", s.name))
		if err == nil {
			defer fd.Close()
			err = unix.Setns(int(fd.Fd()), unix.CLONE_NEWNET)
		}
		if err == nil {
			err = ownSys()
		}
		if err == nil {
			f()
		}
		done <- err
	}()
	return <-done
}

// ownSys has the thread see a /sys that shows the links of its namespace.
func ownSys() error {
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return err
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_SLAVE, ""); err != nil {
		return err
	}
	return unix.Mount("sysfs", "/sys", "sysfs", 0, "")
}

// Macvtap makes the macvtap tap0 with an address and a mode on the veth low, whose other end
// is peer. The kernel gives them no addresses of IPv6, for which it would join groups.
func (s *Space) Macvtap(address, mode string) {
	s.t.Helper()
	low := "52:54:00:00:00:aa"
	if mode == "passthru" { // the two have one address
		low = address
	}
	for _, line := range []string{
		"ip link add low address " + low + " type veth peer name peer",
		"ip link add link low name tap0 address " + address + " type macvtap mode " + mode,
		"ip link set low addrgenmode none", "ip link set peer addrgenmode none", "ip link set tap0 addrgenmode none",
		"ip link set low up", "ip link set peer up", "ip link set tap0 up",
	} {
		s.Run("%s", line)
	}
}

// OpenTap opens the macvtap tap0 as a VM does.
func (s *Space) OpenTap() *os.File {
	s.t.Helper()
	var major, minor uint32
	index := strings.TrimSpace(s.Run("cat /sys/class/net/tap0/ifindex"))
	text := s.Run("cat /sys/class/net/tap0/macvtap/tap%s/dev", index)
	if _, err := fmt.Sscanf(text, "%d:%d", &major, &minor); err != nil {
		s.t.Fatal(err)
	}
	path := filepath.Join(s.t.TempDir(), "tap")
	if err := unix.Mknod(path, unix.S_IFCHR|0o600, int(unix.Mkdev(major, minor))); err != nil {
		s.t.Fatal(err)
	}
	fd, err := unix.Open(path, unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		s.t.Fatal(err)
	}
	f := os.NewFile(uintptr(fd), path)
	s.t.Cleanup(func() { f.Close() })
	return f
}
