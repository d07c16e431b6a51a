package uring

import (
	"errors"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// queues are the shared parts of one of the two queues.
type queues struct {
	head, tail *atomic.Uint32
	mask       uint32
	array      []uint32 // submission
	cqes       []CQE    // completion
}

// sqOffsets and cqOffsets are struct io_sqring_offsets and io_cqring_offsets.
type sqOffsets struct {
	Head, Tail, RingMask, RingEntries, Flags, Dropped, Array, Resv1 uint32
	UserAddr                                                        uint64
}

type cqOffsets struct {
	Head, Tail, RingMask, RingEntries, Overflow, CQEs, Flags, Resv1 uint32
	UserAddr                                                        uint64
}

// params is struct io_uring_params.
type params struct {
	SQEntries, CQEntries, Flags, SQThreadCPU, SQThreadIdle, Features, WQFD uint32
	Resv                                                                   [3]uint32
	SQ                                                                     sqOffsets
	CQ                                                                     cqOffsets
}

const (
	offSQ   = 0
	offCQ   = 0x8000000
	offSQEs = 0x10000000
)

func setup(entries, flags uint32) (*Ring, error) {
	p := params{Flags: flags}
	fd, _, errno := unix.Syscall(unix.SYS_IO_URING_SETUP, uintptr(entries), uintptr(unsafe.Pointer(&p)), 0)
	if errno != 0 {
		return nil, errno
	}
	unix.CloseOnExec(int(fd))
	r := &Ring{fd: int(fd)}
	sq, err1 := r.mmap(offSQ, int(p.SQ.Array+4*p.SQEntries))
	cq, err2 := r.mmap(offCQ, int(p.CQ.CQEs)+int(p.CQEntries)*int(unsafe.Sizeof(CQE{})))
	sqes, err3 := r.mmap(offSQEs, int(p.SQEntries)*int(unsafe.Sizeof(SQE{})))
	if err := errors.Join(err1, err2, err3); err != nil {
		return nil, errors.Join(err, r.Close())
	}
	r.sq = queues{head: word(sq, p.SQ.Head), tail: word(sq, p.SQ.Tail), mask: *(*uint32)(unsafe.Pointer(&sq[p.SQ.RingMask])),
		array: unsafe.Slice((*uint32)(unsafe.Pointer(&sq[p.SQ.Array])), p.SQEntries)}
	r.cq = queues{head: word(cq, p.CQ.Head), tail: word(cq, p.CQ.Tail), mask: *(*uint32)(unsafe.Pointer(&cq[p.CQ.RingMask])),
		cqes: unsafe.Slice((*CQE)(unsafe.Pointer(&cq[p.CQ.CQEs])), p.CQEntries)}
	r.sqes = unsafe.Slice((*SQE)(unsafe.Pointer(&sqes[0])), p.SQEntries)
	return r, nil
}

// registerEventfd is IORING_REGISTER_EVENTFD.
const registerEventfd = 4

// Notify has the ring signal an eventfd when there is something to reap, or will be once it is
// entered. The ring's own descriptor does not tell of the latter.
func (r *Ring) Notify(eventfd int) error {
	fd := int32(eventfd)
	if _, _, errno := unix.Syscall6(unix.SYS_IO_URING_REGISTER, uintptr(r.fd), registerEventfd, uintptr(unsafe.Pointer(&fd)), 1, 0, 0); errno != 0 {
		return errno
	}
	return nil
}

func (r *Ring) mmap(off int64, size int) ([]byte, error) {
	b, err := unix.Mmap(r.fd, off, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_POPULATE)
	if err == nil {
		r.maps = append(r.maps, b)
	}
	return b, err
}

func word(b []byte, off uint32) *atomic.Uint32 { return (*atomic.Uint32)(unsafe.Pointer(&b[off])) }

// SetIovecs points the entry at iovecs, which stay in place until it completes.
func (s *SQE) SetIovecs(v []unix.Iovec) {
	s.Addr, s.Len = uint64(uintptr(unsafe.Pointer(unsafe.SliceData(v)))), uint32(len(v))
}

// SetBytes points the entry at bytes, which stay in place until it completes.
func (s *SQE) SetBytes(b []byte) {
	s.Addr, s.Len = uint64(uintptr(unsafe.Pointer(unsafe.SliceData(b)))), uint32(len(b))
}
