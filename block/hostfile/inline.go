package hostfile

import (
	"errors"

	"golang.org/x/sys/unix"
)

// inMemory reports whether a file lies on a file system that never waits for a disk.
func inMemory(fd int) bool {
	var st unix.Statfs_t
	if unix.Fstatfs(fd, &st) != nil {
		return false
	}
	return st.Type == unix.TMPFS_MAGIC || st.Type == unix.RAMFS_MAGIC || st.Type == unix.HUGETLBFS_MAGIC
}

// inline is IO by plain system calls, for files in memory: there a request is carried out
// sooner than handed to somebody.
type inline struct {
	file       *File
	kick, wake int
	iovs       []unix.Iovec
	results    []result
	fds        [2]unix.PollFd
	watched    [2]int
}

func newInline(f *File, kick, wake int, depth uint32) *inline {
	return &inline{
		file: f, kick: kick, wake: wake, watched: [2]int{kick, wake}, results: make([]result, 0, depth),
		fds: [2]unix.PollFd{{Fd: int32(kick), Events: unix.POLLIN}, {Fd: int32(wake), Events: unix.POLLIN}},
	}
}

func (q *inline) Submit(op uint8, tag uint32, off, n int64, bufs [][]byte) error {
	return q.SubmitTo(q.file, op, tag, off, n, bufs)
}

func (q *inline) Shares(f *File) bool { return !f.cfg.Threads && f.memory }

func (q *inline) SubmitTo(f *File, op uint8, tag uint32, off, n int64, bufs [][]byte) error {
	r := request{op, off, n}
	var res int32
	if op == OpRead || op == OpWrite {
		res = q.transfer(f, r, bufs)
	} else {
		res = f.do(r, nil)
	}
	q.results = append(q.results, result{tag, res})
	return nil
}

func (q *inline) transfer(f *File, r request, bufs [][]byte) int32 {
	q.iovs = q.iovs[:0]
	for _, b := range bufs {
		v := unix.Iovec{Base: &b[0]}
		v.SetLen(len(b))
		q.iovs = append(q.iovs, v)
	}
	n, errno := moveVector(f.fd, q.iovs, r.off, r.op == OpWrite, f.cfg.WriteThrough)
	if errno != 0 {
		return -int32(errno)
	}
	if int64(n) < r.n {
		if n = int(f.rest(r, int32(n), q.iovs)); n < 0 {
			return int32(n)
		}
	}
	if r.op == OpWrite {
		f.grew(r.off + r.n)
	}
	return int32(n)
}

func (q *inline) Wait(block bool, done func(tag uint32, res int32)) error {
	if block && len(q.results) == 0 {
		if _, err := unix.Poll(q.fds[:], -1); err != nil && !errors.Is(err, unix.EINTR) {
			return err
		}
		for i := range q.fds {
			if q.fds[i].Revents != 0 {
				drain(int(q.fds[i].Fd))
			}
		}
	}
	// done may submit more, which is for the next time.
	n := len(q.results)
	for i := range n {
		done(q.results[i].tag, q.results[i].res)
	}
	q.results = q.results[:copy(q.results, q.results[n:])]
	return nil
}

// drain empties an eventfd.
func drain(fd int) {
	var b [8]byte
	_, _ = unix.Read(fd, b[:])
}

func (q *inline) Descriptors() (fds []int, version int, err error) { return q.watched[:], 0, nil }

func (q *inline) Wake() { _, _ = unix.Write(q.wake, []byte{1, 0, 0, 0, 0, 0, 0, 0}) }

func (q *inline) Close() error { return unix.Close(q.wake) }
