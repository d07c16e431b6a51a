package rxfilter

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// space is a network namespace of a test, and the tools in it.
type space struct {
	t    testing.TB
	name string
}

// spaces numbers those of a run.
var spaces int

func newSpace(t testing.TB) *space {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("links are made by root only")
	}
	spaces++
	s := &space{t, fmt.Sprintf("rxf%d-%d", os.Getpid(), spaces)}
	s.host("ip", "netns", "add", s.name)
	t.Cleanup(func() { s.host("ip", "netns", "del", s.name) })
	return s
}

// host runs a program outside.
func (s *space) host(words ...string) string {
	s.t.Helper()
	out, err := exec.Command(words[0], words[1:]...).CombinedOutput()
	if err != nil {
		s.t.Fatalf("%s: %v: %s", strings.Join(words, " "), err, out)
	}
	return string(out)
}

// run runs a program inside.
func (s *space) run(line string, args ...any) string {
	s.t.Helper()
	return s.host(append([]string{"ip", "netns", "exec", s.name}, strings.Fields(fmt.Sprintf(line, args...))...)...)
}

// inside calls a function on a thread in the namespace.
func (s *space) inside(f func()) {
	s.t.Helper()
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // for ever: the thread is not used again
		fd, err := os.Open(filepath.Join("/run/netns", s.name))
		if err == nil {
			defer fd.Close()
			err = unix.Setns(int(fd.Fd()), unix.CLONE_NEWNET)
		}
		if err == nil {
			f()
		}
		done <- err
	}()
	if err := <-done; err != nil {
		s.t.Fatal(err)
	}
}

// open opens a link.
func (s *space) open(name string) *Link {
	s.t.Helper()
	var l *Link
	var err error
	s.inside(func() { l, err = Open(name, nil) })
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(l.Close)
	return l
}

// macvtap makes the macvtap tap0 on the veth low, whose other end is peer, all without
// addresses of their own: the kernel adds no groups but those that are asked for.
func (s *space) macvtap(mode string) {
	s.t.Helper()
	low := "52:54:00:00:00:aa"
	if mode == "passthru" { // the two have one address
		low = a1.String()
	}
	for _, line := range []string{
		"ip link add low address " + low + " type veth peer name peer",
		"ip link add link low name tap0 address " + a1.String() + " type macvtap mode " + mode,
		"ip link set low addrgenmode none", "ip link set peer addrgenmode none", "ip link set tap0 addrgenmode none",
		"ip link set low up", "ip link set peer up", "ip link set tap0 up",
	} {
		s.run("%s", line)
	}
}
