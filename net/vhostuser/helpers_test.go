package vhostuser

import (
	"net"
	"os"
	"sync"
	"testing"
	"time"
)

// config dials each time that it is allowed to by permits, until it is stopped.
func config(t testing.TB, path string, queues int, permits <-chan struct{}) Config {
	stop := make(chan struct{})
	return Config{
		Queues: queues,
		Connect: func() (Conn, error) {
			select {
			case <-permits:
			case <-stop:
				return nil, net.ErrClosed
			}
			return net.DialUnix("unix", nil, &net.UnixAddr{Name: path, Net: "unix"})
		},
		Stop:  sync.OnceFunc(func() { close(stop) }),
		Log:   func(err error) { t.Log(err) },
		Pause: time.Millisecond,
	}
}

// conn makes a connection of a descriptor.
func conn(t testing.TB, fd int) *net.UnixConn {
	t.Helper()
	f := os.NewFile(uintptr(fd), "socket")
	defer f.Close()
	c, err := net.FileConn(f)
	if err != nil {
		t.Fatal(err)
	}
	return c.(*net.UnixConn)
}

// descriptors counts those of this process.
func descriptors(t testing.TB) int {
	t.Helper()
	all, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(all)
}

const testPatience = 20 * time.Second
