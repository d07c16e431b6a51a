// Package scsitest has a medium in memory, for tests of SCSI units and of their adapters.
//
// A Medium is used by one unit; its fields but Lock's are set before. It depends on
// devices/scsi.
package scsitest

import (
	"slices"
	"sync"

	"golang.org/x/sys/unix"

	"hv/devices/scsi"
)

// Operations, as they come to a medium.
const (
	Read uint8 = iota
	Write
	Flush
	Discard
	WriteZeroes
	WriteZeroesUnmap
)

// Medium is a medium in memory. What it is given is done at Wait, the newest first, so that
// completions come out of order.
type Medium struct {
	Protected bool
	Refuse    error // of NewIO

	sync.Mutex
	Data   []byte
	Ops    [6]int        // how often each operation came
	Errno  int32         // of requests, negative; 0 does them
	Park   bool          // requests that fail wait for Retry
	Lifts  int           // how often Lift was called
	Drops  int           // how often Drop was
	Broken error         // of Wait
	Gate   chan struct{} // requests wait for something on it
}

// New returns a medium of n bytes.
func New(n int) *Medium { return &Medium{Data: make([]byte, n)} }

// Size returns the length in bytes.
func (m *Medium) Size() uint64 {
	m.Lock()
	defer m.Unlock()
	return uint64(len(m.Data))
}

// ReadOnly reports whether writes are refused.
func (m *Medium) ReadOnly() bool { return m.Protected }

// Lift has requests wait for no limits until Drop, of which there are none.
func (m *Medium) Lift() {
	m.Lock()
	defer m.Unlock()
	m.Lifts++
}

// Drop takes a Lift back.
func (m *Medium) Drop() {
	m.Lock()
	defer m.Unlock()
	m.Drops++
}

// NewIO makes a way to the medium.
func (m *Medium) NewIO(kick int, depth uint32) (scsi.IO, error) {
	if m.Refuse != nil {
		return nil, m.Refuse
	}
	fd, err := unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC)
	return &mediumIO{m: m, kick: kick, wake: fd, ops: make([]op, 0, depth)}, err
}

type op struct {
	code   uint8
	tag    uint32
	off, n int64
	bufs   [][]byte
}

type mediumIO struct {
	m          *Medium
	kick, wake int
	ops        []op
	parked     []op
	fds        [2]unix.PollFd
}

// Submit queues a request.
func (io *mediumIO) Submit(code uint8, tag uint32, off, n int64, bufs [][]byte) error {
	io.ops = append(io.ops, op{code, tag, off, n, bufs})
	return nil
}

// Wait carries requests out.
func (io *mediumIO) Wait(block bool, done func(tag uint32, res int32)) error {
	if io.m.Gate != nil && len(io.ops) > 0 {
		<-io.m.Gate
	}
	io.m.Lock()
	err := io.m.Broken
	io.m.Unlock()
	if err != nil {
		return err
	}
	io.m.Lock()
	if !io.m.Park {
		io.ops, io.parked = append(io.ops, io.parked...), io.parked[:0]
	}
	io.m.Unlock()
	moved := len(io.ops) > 0
	for len(io.ops) > 0 {
		o := io.ops[len(io.ops)-1]
		io.ops = io.ops[:len(io.ops)-1]
		res := io.m.do(&o)
		if res < 0 && io.m.Park {
			io.parked = append(io.parked, o)
			continue
		}
		done(o.tag, res)
	}
	timeout := 0
	if block && !moved {
		timeout = -1
	}
	io.fds = [2]unix.PollFd{{Fd: int32(io.kick), Events: unix.POLLIN}, {Fd: int32(io.wake), Events: unix.POLLIN}}
	_, _ = unix.Poll(io.fds[:], timeout)
	var b [8]byte
	for i := range io.fds {
		if io.fds[i].Revents != 0 {
			_, _ = unix.Read(int(io.fds[i].Fd), b[:])
		}
	}
	return nil
}

// do carries a request out. One that is not on the medium panics, as the unit has to see to
// that.
func (m *Medium) do(o *op) int32 {
	m.Lock()
	defer m.Unlock()
	m.Ops[o.code]++
	if m.Errno != 0 {
		return m.Errno
	}
	if o.code == Flush {
		return 0
	}
	at := m.Data[o.off : o.off+o.n]
	for _, b := range o.bufs {
		switch o.code {
		case Read:
			at = at[copy(b, at):]
		case Write:
			at = at[copy(at, b):]
		}
	}
	if o.code > Flush {
		clear(at)
	} else if len(at) > 0 {
		panic("a request with less data than it says")
	}
	return int32(o.n)
}

// Wake ends a Wait.
func (io *mediumIO) Wake() { _, _ = unix.Write(io.wake, []byte{1, 0, 0, 0, 0, 0, 0, 0}) }

// Close gives the descriptor back.
func (io *mediumIO) Close() error { return unix.Close(io.wake) }

// Parked returns how many requests have failed and wait.
func (io *mediumIO) Parked() int { return len(io.parked) }

// Drop gives one up.
func (io *mediumIO) Drop(tag uint32) bool {
	n := len(io.parked)
	io.parked = slices.DeleteFunc(io.parked, func(o op) bool { return o.tag == tag })
	return len(io.parked) < n
}
