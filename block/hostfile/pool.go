package hostfile

import (
	"errors"
	"sync"

	"golang.org/x/sys/unix"
)

// poolThreads is how many requests of one queue are under way at once.
const poolThreads = 8

// task is a request on its way to a worker.
type task struct {
	tag  uint32
	r    request
	bufs [][]byte
}

type result struct {
	tag uint32
	res int32
}

// pool is IO by threads that do one request at a time.
type pool struct {
	file       *File
	kick, wake int
	tasks      chan task
	workers    sync.WaitGroup
	bufs       [][][]byte // by tag
	watched    [2]int
	count      count

	mu      sync.Mutex
	results []result
	taken   []result
	fds     []unix.PollFd
}

func newPool(f *File, kick, wake int, depth uint32) *pool {
	p := &pool{file: f, kick: kick, wake: wake, watched: [2]int{kick, wake}, tasks: make(chan task, depth), bufs: make([][][]byte, depth)}
	p.fds = []unix.PollFd{{Fd: int32(kick), Events: unix.POLLIN}, {Fd: int32(wake), Events: unix.POLLIN}}
	for range poolThreads {
		p.workers.Go(p.work)
	}
	return p
}

func (p *pool) Submit(op uint8, tag uint32, off, n int64, bufs [][]byte) error {
	p.bufs[tag] = append(p.bufs[tag][:0], bufs...)
	p.tasks <- task{tag, request{op, off, n}, p.bufs[tag]}
	return nil
}

func (p *pool) work() {
	for t := range p.tasks {
		res := p.file.do(t.r, t.bufs)
		p.mu.Lock()
		p.results = append(p.results, result{t.tag, res})
		p.mu.Unlock()
		p.Wake()
	}
}

// do carries out a request and returns its result as a completion has it. Writes may end
// past the end of a file, which grows.
func (f *File) do(r request, bufs [][]byte) int32 {
	var err error
	switch r.op {
	case OpRead, OpWrite:
		return f.transfer(r, bufs)
	case OpFlush:
		err = f.Flush()
	case OpDiscard:
		if f.cfg.Discard {
			if err = f.fallocate(f.fallocateMode(r.op), r.off, r.n); errors.Is(err, unix.EOPNOTSUPP) {
				err = nil
			}
		}
	default:
		if err = f.growZeroes(r.off, r.n); err == nil {
			err = f.fallocate(f.fallocateMode(r.op), r.off, r.n)
		}
		if errors.Is(err, unix.EOPNOTSUPP) {
			return f.zero(r.off, r.n)
		}
	}
	if err != nil {
		return errno(err)
	}
	return 0
}

func (f *File) fallocate(mode uint32, off, n int64) error {
	if f.align > 1 {
		f.around.RLock()
		defer f.around.RUnlock()
	}
	return unix.Fallocate(f.fd, mode, off, n)
}

// growZeroes has a file reach to the end of a range that is made zeroes. One block is
// allocated there: unlike truncation that never takes away what others write meanwhile.
func (f *File) growZeroes(off, n int64) error {
	end := off + n
	if end <= int64(f.Size()) || f.block {
		return nil
	}
	last := min(n, 4096)
	if err := f.fallocate(0, end-last, last); err != nil {
		return err
	}
	f.grew(end)
	return nil
}

// grew notes that something was written up to end.
func (f *File) grew(end int64) {
	for {
		old := f.size.Load()
		if uint64(end) <= old || f.block || f.size.CompareAndSwap(old, uint64(end)) {
			return
		}
	}
}

// vectors are iovecs for requests that come one at a time.
var vectors = sync.Pool{New: func() any { return new([]unix.Iovec) }}

// transfer reads or writes all of a request.
func (f *File) transfer(r request, bufs [][]byte) int32 {
	pooled := vectors.Get().(*[]unix.Iovec)
	defer vectors.Put(pooled)
	iovs := (*pooled)[:0]
	for _, b := range bufs {
		if len(b) > 0 {
			v := unix.Iovec{Base: &b[0]}
			v.SetLen(len(b))
			iovs = append(iovs, v)
		}
	}
	var res int32
	switch {
	case !f.aligned(r, iovs):
		res = f.bounce(r, bufs)
	case r.op == OpWrite && f.align > 1:
		f.around.RLock()
		res = f.move(r, iovs)
		f.around.RUnlock()
	default:
		res = f.move(r, iovs)
	}
	clear(iovs) // the pool must not keep the buffers alive
	*pooled = iovs
	if r.op == OpWrite && res >= 0 {
		f.grew(r.off + r.n)
	}
	return res
}

// bounce reads or writes what is not aligned.
func (f *File) bounce(r request, bufs [][]byte) int32 {
	move := f.bounceRead
	if r.op == OpWrite {
		move = f.bounceWrite
	}
	if err := move(r, vector{bufs: bufs}); err != nil {
		return errno(err)
	}
	return int32(r.n)
}

// maxVector is how many buffers the kernel takes at once.
const maxVector = 1024

// move reads or writes all of a request.
func (f *File) move(r request, iovs []unix.Iovec) int32 {
	moved, errno := moveVector(f.fd, iovs[:min(len(iovs), maxVector)], r.off, r.op == OpWrite, f.cfg.WriteThrough)
	if errno != 0 {
		return -int32(errno)
	}
	if int64(moved) < r.n {
		return f.rest(r, int32(moved), iovs)
	}
	return int32(moved)
}

func (p *pool) Wait(block bool, done func(tag uint32, res int32)) error {
	timeout := 0
	if block {
		timeout = -1
	}
	_, err := unix.Poll(p.fds, timeout)
	if err != nil && !errors.Is(err, unix.EINTR) {
		return err
	}
	if p.fds[0].Revents != 0 {
		p.count.drain(p.kick)
	}
	if p.fds[1].Revents != 0 {
		p.count.drain(p.wake)
	}
	p.mu.Lock()
	p.taken, p.results = p.results, p.taken[:0]
	p.mu.Unlock()
	for _, r := range p.taken {
		done(r.tag, r.res)
	}
	return nil
}

func (p *pool) Descriptors() (fds []int, version int, err error) { return p.watched[:], 0, nil }

func (p *pool) Wake() { _, _ = unix.Write(p.wake, one) }

func (p *pool) Close() error {
	close(p.tasks)
	p.workers.Wait()
	return unix.Close(p.wake)
}
