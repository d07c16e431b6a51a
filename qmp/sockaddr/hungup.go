package sockaddr

import (
	"errors"
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// HungUp reports whether the other end of a connection has closed it, or this end has, though
// its reader may not know yet. It doesn't wait. A connection that is no socket has never hung up.
func HungUp(c net.Conn) bool {
	if t, ok := c.(interface{ NetConn() net.Conn }); ok { // TLS
		c = t.NetConn()
	}
	s, ok := c.(syscall.Conn)
	if !ok {
		return false
	}
	raw, err := s.SyscallConn()
	if err != nil {
		return true
	}
	p := []unix.PollFd{{Events: unix.POLLRDHUP}}
	err = raw.Control(func(fd uintptr) {
		p[0].Fd = int32(fd)
		for {
			if _, err := unix.Poll(p, 0); !errors.Is(err, unix.EINTR) {
				return
			}
		}
	})
	return err != nil || p[0].Revents != 0
}
