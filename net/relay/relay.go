// Package relay is a NIC's link whose packets this process carries to a far end
// itself: a socket pair, of which the device has one end and a back end the other.
//
// Frames travel without offloads; the virtio-net header in front of them, which the
// device wants, is added and removed here. Receive and Send are each for one goroutine
// at a time; Close may be called by any, and ends both.
//
// It depends on nothing of ours.
package relay

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

const (
	// Header is the room that Send wants in front of a frame (virtio 1.2 §5.1.6).
	Header = 12
	// MaxFrame is the longest frame there is, which is QEMU's.
	MaxFrame = 4096 + 65536
)

// Link is the link, with one queue.
type Link struct {
	device int
	host   *os.File
}

// New returns a link.
func New() (*Link, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("socket pair: %w", err)
	}
	return &Link{device: fds[0], host: os.NewFile(uintptr(fds[1]), "relay")}, nil
}

// Queues returns 1.
func (l *Link) Queues() int { return 1 }

// QueueFD returns the device's end.
func (l *Link) QueueFD(int) int { return l.device }

// Abilities says that the header in front of packets means nothing.
func (l *Link) Abilities() (header, ufo, uso bool) { return false, false, false }

// SetOffload does nothing: no packet that comes needs the guest's help.
func (l *Link) SetOffload(_, _, _, _, _ bool) error { return nil }

// EnableQueue does nothing: the only queue is always used.
func (l *Link) EnableQueue(int, bool) error { return nil }

// Buffer returns room for Receive.
func Buffer() []byte { return make([]byte, Header+MaxFrame) }

// Receive waits for a frame of the guest and returns it: it lies in buf, behind Header
// bytes that the caller may use. The error is os.ErrClosed after Close.
func (l *Link) Receive(buf []byte) ([]byte, error) {
	for {
		n, err := l.host.Read(buf)
		if err != nil {
			return nil, err
		}
		if n > Header {
			return buf[Header:n], nil
		}
	}
}

// Send passes a frame to the guest, for which it waits: b is Header bytes, which it
// changes, and then the frame.
func (l *Link) Send(b []byte) error {
	clear(b[:Header])
	b[10] = 1 // num_buffers
	_, err := l.host.Write(b)
	return err
}

// Close ends the link.
func (l *Link) Close() error {
	err := l.host.Close()
	if e := unix.Close(l.device); err == nil {
		err = e
	}
	return err
}
