package hostfile

import (
	"errors"
	"time"

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
	mover      mover
	results    []result
	fds        [2]unix.PollFd
	watched    [2]int
	count      count
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
		res = q.mover.move(f, r, bufs)
	} else {
		res = f.do(r, nil)
	}
	q.results = append(q.results, result{tag, res})
	return nil
}

// mover makes requests by plain system calls.
type mover struct{ iovs []unix.Iovec }

func (m *mover) move(f *File, r request, bufs [][]byte) int32 {
	m.iovs = m.iovs[:0]
	for _, b := range bufs {
		v := unix.Iovec{Base: &b[0]}
		v.SetLen(len(b))
		m.iovs = append(m.iovs, v)
	}
	n, errno := moveVector(f.fd, m.iovs, r.off, r.op == OpWrite, f.cfg.WriteThrough)
	if errno != 0 {
		return -int32(errno)
	}
	if int64(n) < r.n {
		if n = int(f.rest(r, int32(n), m.iovs)); n < 0 {
			return int32(n)
		}
	}
	if r.op == OpWrite {
		f.grew(r.off + r.n)
	}
	return int32(n)
}

// How long a write to the page cache takes at most that does not wait for a disk: some time, and
// more for each KiB. After one that took longer some are made by somebody else, the more the
// oftener that happens.
const (
	quick      = 200 * time.Microsecond
	quickKiB   = time.Microsecond
	minPenalty = 8
	maxPenalty = 256
	maxCached  = 1 << 20
)

// writer makes writes to the page cache by plain system calls: few file systems take them without
// waiting, and others have the kernel hand them to a thread.
type writer struct {
	mover   mover
	results []result
	penalty int // how many writes it leaves to others
	next    int // and how many after the next slow one
}

// write makes a write, unless that may take long.
func (w *writer) write(f *File, tag uint32, r request, bufs [][]byte) bool {
	if r.n > maxCached {
		return false
	}
	if w.penalty > 0 {
		w.penalty--
		return false
	}
	began := time.Now()
	res := w.mover.move(f, r, bufs)
	slow := time.Since(began) > quick+time.Duration(r.n/1024)*quickKiB
	w.learn(slow)
	w.results = append(w.results, result{tag, res})
	return true
}

// learn notes how a write went.
func (w *writer) learn(slow bool) {
	w.next = max(w.next, minPenalty)
	if slow {
		w.penalty, w.next = w.next, min(2*w.next, maxPenalty)
	} else {
		w.next--
	}
}

// any reports whether there are results.
func (w *writer) any() bool { return len(w.results) > 0 }

// report tells of what was written. done may write more, which is for the next time.
func (w *writer) report(done func(tag uint32, res int32)) {
	n := len(w.results)
	for i := range n {
		done(w.results[i].tag, w.results[i].res)
	}
	w.results = w.results[:copy(w.results, w.results[n:])]
}

func (q *inline) Wait(block bool, done func(tag uint32, res int32)) error {
	if block && len(q.results) == 0 {
		if _, err := unix.Poll(q.fds[:], -1); err != nil && !errors.Is(err, unix.EINTR) {
			return err
		}
		for i := range q.fds {
			if q.fds[i].Revents != 0 {
				q.count.drain(int(q.fds[i].Fd))
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

// count is what is read from an eventfd.
type count [8]byte

// drain empties an eventfd.
func (c *count) drain(fd int) { _, _ = unix.Read(fd, c[:]) }

func (q *inline) Descriptors() (fds []int, version int, err error) { return q.watched[:], 0, nil }

func (q *inline) Wake() { _, _ = unix.Write(q.wake, one) }

func (q *inline) Close() error { return unix.Close(q.wake) }
