package server

import (
	"io"
	"net"
	"testing"

	"golang.org/x/sys/unix"
)

// hall is the clients that only listen: one goroutine reads for all of them into one
// buffer, so that they leave the processors to the server.
type hall struct {
	t     *testing.T
	all   []*listener
	fds   []int
	epoll int
	buf   []byte
}

func newHall(t *testing.T, all []*listener) *hall {
	t.Helper()
	h := &hall{t: t, all: all, buf: make([]byte, 256<<10)}
	var err error
	if h.epoll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(h.epoll) })
	for i, l := range all {
		raw, err := l.Conn.(*net.UnixConn).SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		var added error
		err = raw.Control(func(fd uintptr) {
			h.fds = append(h.fds, int(fd))
			added = unix.EpollCtl(h.epoll, unix.EPOLL_CTL_ADD, int(fd), &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(i)})
		})
		if err != nil || added != nil {
			t.Fatal(err, added)
		}
	}
	return h
}

// listen reads all events.
func (h *hall) listen() {
	ready := make([]unix.EpollEvent, 128)
	for left := len(h.all); left > 0; {
		n, err := unix.EpollWait(h.epoll, ready, -1)
		if err != nil && err != unix.EINTR {
			h.t.Errorf("epoll: %v", err)
			return
		}
		for _, e := range ready[:max(n, 0)] {
			if h.read(int(e.Fd)) {
				continue
			}
			left--
			if err := unix.EpollCtl(h.epoll, unix.EPOLL_CTL_DEL, h.fds[e.Fd], nil); err != nil {
				h.t.Errorf("epoll: %v", err)
				return
			}
		}
	}
}

// read takes what there is for a client, and tells whether there will be more.
func (h *hall) read(i int) bool {
	l := h.all[i]
	have := copy(h.buf, l.buf)
	n, err := unix.Read(h.fds[i], h.buf[have:])
	switch {
	case err == unix.EAGAIN || err == unix.EINTR:
		return true
	case n == 0 && err == nil:
		err = io.EOF
	}
	left, ok := l.took(h.buf[:have+max(n, 0)], err)
	l.buf = append(l.buf[:0], left...)
	return ok && l.next.Load() <= l.last
}
