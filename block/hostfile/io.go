package hostfile

import (
	"errors"
	"fmt"
	"math"

	"golang.org/x/sys/unix"

	"hv/block/uring"
)

// Wait's and the ring's own tags, above those of requests.
const (
	tagKick = math.MaxUint64 - iota
	tagWake
)

// IO is one queue's way to the image.
type IO interface {
	// Submit queues a request of n bytes at off. bufs are its data, tag comes
	// back at its completion and is below the depth that NewIO was given.
	Submit(op uint8, tag uint32, off, n int64, bufs [][]byte) error
	// Wait starts what was submitted and calls done for each completion, with
	// the bytes moved or a negative error number. If it is to block it sleeps until
	// something completes, the kick descriptor is signalled or Wake is called.
	Wait(block bool, done func(tag uint32, res int32)) error
	// Wake ends a Wait, now or the next one. Any goroutine may call it.
	Wake()
	// Descriptors returns what becomes readable when Wait has something to do, and a number
	// that changes when they are others. They may be readable without, too.
	Descriptors() (fds []int, version int, err error)
	// Close gives everything back; no request may be under way.
	Close() error
}

// Sharer is an IO by which requests to other files than its own can go.
type Sharer interface {
	IO
	// Shares reports whether those to a file can.
	Shares(f *File) bool
	// SubmitTo is Submit for a file that can.
	SubmitTo(f *File, op uint8, tag uint32, off, n int64, bufs [][]byte) error
}

// NewIO makes a way to the image for the calling thread, for up to depth requests
// at once.
func (f *File) NewIO(kick int, depth uint32) (IO, error) {
	wake, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("eventfd: %w", err)
	}
	switch {
	case f.cfg.Threads:
		return newPool(f, kick, wake, depth), nil
	case f.memory:
		return newInline(f, kick, wake, depth), nil
	}
	r, err := uring.New(depth + 2)
	if err != nil {
		if errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EPERM) {
			return newPool(f, kick, wake, depth), nil
		}
		unix.Close(wake)
		return nil, err
	}
	return &ringIO{file: f, ring: r, kick: kick, wake: wake, iovs: make([][]unix.Iovec, depth), started: make([]sent, depth)}, nil
}

// request is what has to be remembered of one under way.
type request struct {
	op     uint8
	off, n int64
}

// sent is a request of which the kernel has been told.
type sent struct {
	request
	file *File
}

// ringIO is IO by io_uring.
type ringIO struct {
	file       *File
	ring       *uring.Ring
	kick, wake int
	iovs       [][]unix.Iovec // by tag; grown once, then reused
	started    []sent
	armed      bool
	notice     int   // an eventfd that the ring signals, if watched is not nil
	watched    []int // the Descriptors, once somebody wants them; the ring then watches none
	cached     writer
	count      count
	fds        [2]unix.PollFd
}

// arm has the ring watch a descriptor.
func (q *ringIO) arm(fd int, tag uint64) error {
	s, err := q.ring.Next()
	if err != nil {
		return err
	}
	s.Op, s.FD, s.OpFlags, s.Len, s.UserData = uring.OpPollAdd, int32(fd), unix.POLLIN, uring.PollMulti, tag
	return nil
}

func (q *ringIO) Submit(op uint8, tag uint32, off, n int64, bufs [][]byte) error {
	return q.SubmitTo(q.file, op, tag, off, n, bufs)
}

func (q *ringIO) Shares(f *File) bool { return !f.cfg.Threads && !f.memory }

func (q *ringIO) SubmitTo(f *File, op uint8, tag uint32, off, n int64, bufs [][]byte) error {
	if op == OpWrite && f.buffered && q.cached.write(f, tag, request{op, off, n}, bufs) {
		return nil
	}
	s, err := q.ring.Next()
	if errors.Is(err, uring.ErrFull) {
		if err := q.ring.Enter(0); err != nil {
			return err
		}
		s, err = q.ring.Next()
	}
	if err != nil {
		return err
	}
	q.started[tag] = sent{request{op, off, n}, f}
	s.UserData, s.FD, s.Off = uint64(tag), int32(f.fd), uint64(off)
	switch op {
	case OpRead, OpWrite:
		v := q.iovs[tag][:0]
		for _, b := range bufs {
			var iov unix.Iovec
			iov.Base = &b[0]
			iov.SetLen(len(b))
			v = append(v, iov)
		}
		q.iovs[tag] = v
		s.SetIovecs(v)
		s.Op = uring.OpReadv
		if op == OpWrite {
			s.Op = uring.OpWritev
			if f.cfg.WriteThrough {
				s.OpFlags = unix.RWF_DSYNC
			}
		}
	case OpFlush:
		f.flushBy(s)
	default:
		s.Op, s.Addr, s.Len = uring.OpFallocate, uint64(n), f.fallocateMode(op)
		if op == OpDiscard && !f.cfg.Discard {
			s.Op = uring.OpNop
		}
	}
	return nil
}

func (f *File) flushBy(s *uring.SQE) {
	s.Op, s.Off, s.OpFlags = uring.OpFsync, 0, uring.FsyncData
	if f.cfg.NoFlush || f.cfg.ReadOnly {
		s.Op, s.OpFlags = uring.OpNop, 0
	}
}

// fallocateMode returns how to discard or zero a range.
func (f *File) fallocateMode(op uint8) uint32 {
	if op == OpWriteZeroes || op == OpWriteZeroesUnmap && !f.cfg.Discard {
		return unix.FALLOC_FL_ZERO_RANGE | unix.FALLOC_FL_KEEP_SIZE
	}
	return unix.FALLOC_FL_PUNCH_HOLE | unix.FALLOC_FL_KEEP_SIZE
}

func (q *ringIO) Wait(block bool, done func(tag uint32, res int32)) error {
	if q.watched != nil {
		return q.waitWatched(block, done)
	}
	if !q.armed {
		if err := errors.Join(q.arm(q.kick, tagKick), q.arm(q.wake, tagWake)); err != nil {
			return err
		}
		q.armed = true
	}
	wait := uint32(0)
	if block && !q.cached.any() {
		wait = 1
	}
	if err := q.enter(wait); err != nil {
		return err
	}
	return q.reap(done)
}

// enter submits what was prepared and waits for some completions. There is nothing to do when all
// that there is was written already.
func (q *ringIO) enter(wait uint32) error {
	if wait == 0 && q.cached.any() && !q.ring.Prepared() {
		return nil
	}
	return q.ring.Enter(wait)
}

// waitWatched is Wait for somebody who hears of kicks, and sleeps, by Descriptors. Only who waits
// for requests blocks here.
func (q *ringIO) waitWatched(block bool, done func(tag uint32, res int32)) error {
	if err := q.enter(0); err != nil {
		return err
	}
	if block && !q.cached.any() {
		q.fds = [2]unix.PollFd{{Fd: int32(q.wake), Events: unix.POLLIN}, {Fd: int32(q.notice), Events: unix.POLLIN}}
		if _, err := unix.Poll(q.fds[:], -1); err != nil && !errors.Is(err, unix.EINTR) {
			return err
		}
		q.count.drain(q.wake)
		q.count.drain(q.notice)
		if err := q.ring.Enter(0); err != nil {
			return err
		}
	}
	return q.reap(done)
}

// reap reports what is complete.
func (q *ringIO) reap(done func(tag uint32, res int32)) error {
	q.cached.report(done)
	for c, ok := q.ring.Reap(); ok; c, ok = q.ring.Reap() {
		switch c.UserData {
		case tagKick, tagWake:
			if c.Flags&uring.MoreToCome == 0 {
				if err := q.rearm(c.UserData); err != nil {
					return err
				}
			}
		default:
			q.complete(uint32(c.UserData), c.Res, done)
		}
	}
	return nil
}

// rearm watches a descriptor again whose watch ended.
func (q *ringIO) rearm(tag uint64) error {
	if tag == tagWake {
		return q.arm(q.wake, tag)
	}
	return q.arm(q.kick, tag)
}

// complete reports a completion, after another way for what the file system cannot
// do: zeroes are then written, and a discard is only advice.
func (q *ringIO) complete(tag uint32, res int32, done func(tag uint32, res int32)) {
	r := q.started[tag]
	if res == -int32(unix.EOPNOTSUPP) {
		switch r.op {
		case OpDiscard:
			res = 0
		case OpWriteZeroes, OpWriteZeroesUnmap:
			res = r.file.zero(r.off, r.n)
		}
	}
	if (r.op == OpRead || r.op == OpWrite) && res >= 0 && int64(res) < r.n {
		res = r.file.rest(r.request, res, q.iovs[tag])
	}
	if r.op == OpWrite && res >= 0 {
		r.file.grew(r.off + r.n)
	}
	done(tag, res)
}

func (q *ringIO) Descriptors() (fds []int, version int, err error) {
	if q.watched == nil {
		fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
		if err != nil {
			return nil, 0, fmt.Errorf("eventfd: %w", err)
		}
		q.notice, q.watched = fd, []int{q.kick, q.wake, fd}
		if err := q.ring.Notify(fd); err != nil {
			return nil, 0, fmt.Errorf("io_uring: %w", err)
		}
	}
	return q.watched, 0, nil
}

// one is what an eventfd is told.
var one = []byte{1, 0, 0, 0, 0, 0, 0, 0}

func (q *ringIO) Wake() { _, _ = unix.Write(q.wake, one) }

func (q *ringIO) Close() error {
	err := errors.Join(q.ring.Close(), unix.Close(q.wake))
	if q.watched != nil {
		err = errors.Join(err, unix.Close(q.notice))
	}
	return err
}

// zero writes zeroes where the file system cannot make them.
func (f *File) zero(off, n int64) int32 {
	buf := [][]byte{alignedBuffer(int(min(n, 1<<20)))}
	for n > 0 {
		buf[0] = buf[0][:min(n, int64(len(buf[0])))]
		res := f.transfer(request{OpWrite, off, int64(len(buf[0]))}, buf)
		if res < 0 {
			return res
		}
		off, n = off+int64(res), n-int64(res)
	}
	return 0
}

// Zeroed has the file system make a range of a file zeroes, up to which the file grows, without
// writing them. It reports whether that was done.
func (f *File) Zeroed(off, n int64) bool {
	if f.block || f.memory || f.writtenZeroes.Load() {
		return false
	}
	err := f.fallocate(unix.FALLOC_FL_ZERO_RANGE, off, n)
	if err == nil {
		f.grew(off + n)
	} else if errors.Is(err, unix.EOPNOTSUPP) {
		f.writtenZeroes.Store(true)
	}
	return err == nil
}

// rest finishes a request that moved less than it should: at the end of a
// file a read has zeroes, everything else goes on where it stopped.
func (f *File) rest(r request, moved int32, iovs []unix.Iovec) int32 {
	total := int64(moved)
	for total < r.n {
		b := piece(iovs, total)
		if len(b) == 0 {
			return -int32(unix.EIO)
		}
		var n int
		var err error
		if r.op == OpRead {
			n, err = unix.Pread(f.fd, b, r.off+total)
			if n == 0 && err == nil {
				clear(b)
				n = len(b)
			}
		} else {
			n, err = unix.Pwrite(f.fd, b, r.off+total)
		}
		if err != nil {
			return errno(err)
		}
		total += int64(n)
	}
	return int32(total)
}

// errno returns an error as completions carry it.
func errno(err error) int32 {
	var e unix.Errno
	if errors.As(err, &e) {
		return -int32(e)
	}
	return -int32(unix.EIO)
}
