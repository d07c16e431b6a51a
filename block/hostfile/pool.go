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

	mu      sync.Mutex
	results []result
	taken   []result
	fds     []unix.PollFd
}

func newPool(f *File, kick, wake int, depth uint32) *pool {
	p := &pool{file: f, kick: kick, wake: wake, tasks: make(chan task, depth), bufs: make([][][]byte, depth)}
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

// do carries out a request and returns its result as a completion has it.
func (f *File) do(r request, bufs [][]byte) int32 {
	var err error
	switch r.op {
	case OpRead, OpWrite:
		return f.transfer(r, bufs)
	case OpFlush:
		err = f.Flush()
	case OpDiscard:
		if f.cfg.Discard {
			if err = unix.Fallocate(f.fd, f.fallocateMode(r.op), r.off, r.n); errors.Is(err, unix.EOPNOTSUPP) {
				err = nil
			}
		}
	default:
		if err = unix.Fallocate(f.fd, f.fallocateMode(r.op), r.off, r.n); errors.Is(err, unix.EOPNOTSUPP) {
			return f.zero(r.off, r.n)
		}
	}
	if err != nil {
		return errno(err)
	}
	return 0
}

// transfer reads or writes all of a request.
func (f *File) transfer(r request, bufs [][]byte) int32 {
	iovs := make([]unix.Iovec, 0, len(bufs))
	for _, b := range bufs {
		v := unix.Iovec{Base: &b[0]}
		v.SetLen(len(b))
		iovs = append(iovs, v)
	}
	var n int
	var err error
	if r.op == OpRead {
		n, err = unix.Preadv(f.fd, bufs, r.off)
	} else if flags := 0; f.cfg.WriteThrough {
		flags = unix.RWF_DSYNC
		n, err = unix.Pwritev2(f.fd, bufs, r.off, flags)
	} else {
		n, err = unix.Pwritev(f.fd, bufs, r.off)
	}
	if err != nil {
		return errno(err)
	}
	if int64(n) < r.n {
		return f.rest(r, int32(n), iovs)
	}
	return int32(n)
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
	var b [8]byte
	if p.fds[0].Revents != 0 {
		_, _ = unix.Read(p.kick, b[:])
	}
	if p.fds[1].Revents != 0 {
		_, _ = unix.Read(p.wake, b[:])
	}
	p.mu.Lock()
	p.taken, p.results = p.results, p.taken[:0]
	p.mu.Unlock()
	for _, r := range p.taken {
		done(r.tag, r.res)
	}
	return nil
}

func (p *pool) Wake() { _, _ = unix.Write(p.wake, []byte{1, 0, 0, 0, 0, 0, 0, 0}) }

func (p *pool) Close() error {
	close(p.tasks)
	p.workers.Wait()
	return unix.Close(p.wake)
}
