// Package trywrite writes as much to a connection as it takes without waiting, so that
// one goroutine can write to many clients of which some do not read.
//
// A Writer is used by one goroutine at a time, and not while another writes to the
// connection. It stands on the standard library and golang.org/x/sys alone.
package trywrite

import (
	"errors"
	"fmt"
	"syscall"

	"golang.org/x/sys/unix"
)

// Writer writes to a connection without waiting.
type Writer struct {
	conn syscall.RawConn
	f    func(fd uintptr) bool // write, bound once so that a call allocates nothing

	p   []byte
	n   int
	err error
}

// New returns a writer for a connection, such as a *net.UnixConn or a *net.TCPConn.
func New(c syscall.Conn) (*Writer, error) {
	conn, err := c.SyscallConn()
	if err != nil {
		return nil, fmt.Errorf("write without waiting: %w", err)
	}
	w := &Writer{conn: conn}
	w.f = w.write
	return w, nil
}

// TryWrite writes what the connection has room for, and returns how many bytes that
// were: fewer than len(p) are no error.
func (w *Writer) TryWrite(p []byte) (int, error) {
	w.p, w.n, w.err = p, 0, nil
	err := w.conn.Write(w.f)
	w.p = nil
	if err == nil {
		err = w.err
	}
	return w.n, err
}

// write never has the poller wait.
func (w *Writer) write(fd uintptr) bool {
	for w.n < len(w.p) {
		n, err := unix.Write(int(fd), w.p[w.n:])
		switch {
		case errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.EAGAIN):
			return true
		case err != nil:
			w.err = err
			return true
		default:
			w.n += n
		}
	}
	return true
}
