// Package netdgram is a network back end on a datagram socket: a frame is a datagram,
// as QEMU's netdevs dgram and socket have them.
//
// A Link has a goroutine for each direction. Datagrams that cannot be sent are dropped.
// Close ends and waits for both.
//
// It depends on net/relay.
package netdgram

import (
	"errors"
	"net"
	"os"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"hv/net/relay"
)

// Socket is a datagram socket: a *net.UDPConn or *net.UnixConn.
type Socket interface {
	net.Conn
	syscall.Conn
}

// Link is the back end.
type Link struct {
	*relay.Link
	conn Socket
	raw  syscall.RawConn
	wg   sync.WaitGroup

	// Of the sending goroutine:
	to    unix.Sockaddr // nil if the socket is connected
	frame []byte
	push  func(fd uintptr) bool
}

// Open returns a link on a socket, which it takes over. Frames go to an address, or
// where the socket is connected to if that is nil. failed is told when nothing
// can be received any more.
func Open(conn Socket, to unix.Sockaddr, failed func(error)) (*Link, error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	r, err := relay.New()
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	l := &Link{Link: r, conn: conn, raw: raw, to: to}
	l.push = l.sendto
	l.wg.Go(l.send)
	l.wg.Go(func() {
		if err := l.receive(); !errors.Is(err, net.ErrClosed) && !errors.Is(err, os.ErrClosed) {
			failed(err)
		}
	})
	return l, nil
}

// Close ends the link.
func (l *Link) Close() error {
	err := errors.Join(l.conn.Close(), l.Link.Close())
	l.wg.Wait()
	return err
}

// maxErrors is how many times in a row receiving may fail. A socket tells of datagrams that
// nobody took.
const maxErrors = 1000

func (l *Link) receive() error {
	buf := relay.Buffer()
	for failures := 0; ; {
		n, err := l.conn.Read(buf[relay.Header:])
		if err != nil {
			if failures++; failures > maxErrors || errors.Is(err, net.ErrClosed) {
				return err
			}
			continue
		}
		failures = 0
		if n == 0 {
			continue
		}
		if err := l.Send(buf[:relay.Header+n]); err != nil {
			return err
		}
	}
}

// send passes the guest's frames on.
func (l *Link) send() {
	buf := relay.Buffer()
	for {
		var err error
		if l.frame, err = l.Receive(buf); err != nil {
			return
		}
		if l.to == nil {
			_, _ = l.conn.Write(l.frame)
		} else if l.raw.Write(l.push) != nil {
			return // closed
		}
	}
}

// sendto sends the frame, and reports whether that is over, done or not.
func (l *Link) sendto(fd uintptr) bool {
	return !errors.Is(unix.Sendto(int(fd), l.frame, 0, l.to), unix.EAGAIN)
}
