// Package uring is a small binding of io_uring that allocates nothing per request.
//
// A Ring belongs to one goroutine, which makes it, prepares entries, enters and reaps. It
// is on a locked thread, as the kernel cancels what a thread that ends has under way;
// NewUnbound makes a Ring that may do without. Whatever an entry points to must stay in
// place until its completion: guest memory and the caller's own iovecs do.
//
// Follows io_uring(7) of Linux 6.1; what older kernels lack in set-up flags is done
// without. It depends on nothing of ours.
package uring

import (
	"errors"
	"fmt"
	"math/bits"

	"golang.org/x/sys/unix"
)

// Operations.
const (
	OpNop       = 0
	OpReadv     = 1
	OpWritev    = 2
	OpFsync     = 3
	OpPollAdd   = 6
	OpFallocate = 17
	OpRead      = 22
	OpWrite     = 23

	// FsyncData makes OpFsync an fdatasync.
	FsyncData = 1
	// PollMulti in Len makes OpPollAdd report every event, not only the first.
	PollMulti = 1

	// MoreToCome in CQE.Flags says that a multishot request goes on.
	MoreToCome = 1 << 1
)

// SQE is a submission queue entry (struct io_uring_sqe).
type SQE struct {
	Op       uint8
	Flags    uint8
	IOPrio   uint16
	FD       int32
	Off      uint64
	Addr     uint64
	Len      uint32
	OpFlags  uint32
	UserData uint64
	_        [24]byte
}

// CQE is a completion queue entry (struct io_uring_cqe).
type CQE struct {
	UserData uint64
	Res      int32
	Flags    uint32
}

// ErrFull is returned when the submission queue has no room: enter first.
var ErrFull = errors.New("submission queue is full")

// Ring is an io_uring.
type Ring struct {
	fd     int
	sq, cq queues
	sqes   []SQE
	maps   [][]byte

	tail      uint32 // of the submission queue, what the kernel does not see yet included
	submitted uint32
}

const (
	setupCoopTaskrun  = 1 << 8
	setupSingleIssuer = 1 << 12
	setupDeferTaskrun = 1 << 13

	enterGetEvents = 1
)

// New makes a ring with room for at least entries requests, for the thread it is made on.
func New(entries uint32) (*Ring, error) {
	return fit(entries, setupSingleIssuer|setupDeferTaskrun, setupCoopTaskrun, 0)
}

// NewUnbound is New for a goroutine on any thread, whose requests all complete as they are submitted
// (RWF_NOWAIT).
func NewUnbound(entries uint32) (*Ring, error) { return fit(entries, 0) }

// fit makes a ring with the first flags that the kernel knows.
func fit(entries uint32, tries ...uint32) (*Ring, error) {
	n := uint32(1) << bits.Len32(max(entries, 1)-1)
	var err error
	for _, flags := range tries {
		var r *Ring
		if r, err = setup(n, flags); err == nil {
			return r, nil
		}
		if !errors.Is(err, unix.EINVAL) {
			break
		}
	}
	return nil, fmt.Errorf("io_uring: %w", err)
}

// Next returns a zeroed entry to fill in. It is submitted by the next Enter.
func (r *Ring) Next() (*SQE, error) {
	if r.tail-r.sq.head.Load() >= uint32(len(r.sqes)) {
		return nil, ErrFull
	}
	i := r.tail & r.sq.mask
	s := &r.sqes[i]
	*s = SQE{}
	r.sq.array[i] = i
	r.tail++
	return s, nil
}

// Prepared reports whether there is something for Enter to submit.
func (r *Ring) Prepared() bool { return r.tail != r.submitted }

// Enter submits what was prepared and waits for at least wait completions. A
// signal ends the wait early without an error.
func (r *Ring) Enter(wait uint32) error {
	n := r.tail - r.submitted
	r.sq.tail.Store(r.tail)
	done, _, errno := unix.Syscall6(unix.SYS_IO_URING_ENTER, uintptr(r.fd), uintptr(n), uintptr(wait), enterGetEvents, 0, 0)
	switch errno {
	case 0:
		r.submitted += uint32(done)
	case unix.EINTR, unix.EAGAIN, unix.EBUSY:
	default:
		return fmt.Errorf("io_uring_enter: %w", errno)
	}
	return nil
}

// Reap returns the next completion.
func (r *Ring) Reap() (CQE, bool) {
	head := r.cq.head.Load()
	if head == r.cq.tail.Load() {
		return CQE{}, false
	}
	c := r.cq.cqes[head&r.cq.mask]
	r.cq.head.Store(head + 1)
	return c, true
}

// Close gives the ring back. Requests under way are cancelled or completed by the
// kernel; the caller sees to it that there are none.
func (r *Ring) Close() error {
	errs := make([]error, 0, 4)
	for _, m := range r.maps {
		errs = append(errs, unix.Munmap(m))
	}
	return errors.Join(append(errs, unix.Close(r.fd))...)
}
