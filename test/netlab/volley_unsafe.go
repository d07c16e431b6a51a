package netlab

import (
	"fmt"
	"net"
	"runtime"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Volley pings the guest n times as Ping does, one after the other, and returns how long each
// took to come back. It waits outside Go's scheduler, whose changes of threads take longer
// than much of what is measured.
func (s *Station) Volley(guest net.HardwareAddr, n, size int) ([]time.Duration, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	times := make([]time.Duration, n)
	in := make([]byte, 1<<16)
	for i := range times {
		out := s.Datagram(guest, uint16(i), size)
		began := time.Now()
		if err := s.rawSend(out); err != nil {
			return nil, err
		}
		for {
			got, err := s.rawReceive(in)
			if err != nil {
				return nil, fmt.Errorf("ping %d: %w", i, err)
			}
			if back, err := answers(out, in[:got], guest); err != nil {
				return nil, err
			} else if back {
				break
			}
		}
		times[i] = time.Since(began)
	}
	return times, nil
}

func (s *Station) rawSend(frame []byte) error {
	_, _, errno := unix.RawSyscall(unix.SYS_WRITE, uintptr(s.fd), uintptr(unsafe.Pointer(&frame[0])), uintptr(len(frame)))
	if errno != 0 {
		return errno
	}
	return nil
}

// rawReceive waits for a frame and returns its length, 0 if a signal came first.
func (s *Station) rawReceive(b []byte) (int, error) {
	p, limit := unix.PollFd{Fd: int32(s.fd), Events: unix.POLLIN}, 10*time.Second
	n, _, errno := unix.RawSyscall(unix.SYS_POLL, uintptr(unsafe.Pointer(&p)), 1, uintptr(limit.Milliseconds()))
	if errno == 0 && n == 0 {
		return 0, fmt.Errorf("no answer in %s", limit)
	}
	if errno == 0 {
		n, _, errno = unix.RawSyscall(unix.SYS_READ, uintptr(s.fd), uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)))
	}
	if errno == unix.EINTR {
		return 0, nil
	}
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}
