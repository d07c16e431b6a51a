package disk

import (
	"errors"
	"sync"

	"golang.org/x/sys/unix"

	"hv/block/graph"
	"hv/block/hostfile"
)

// carriers is how many requests of one queue are on their way through the graph at once, unless
// the disk says otherwise.
const carriers = 16

type task struct {
	op     uint8
	tag    uint32
	off, n int64
	bufs   [][]byte
	hop    *graph.Hop // that is to be ended, for a request with result res
	res    int32
}

type result struct {
	tag uint32
	res int32
}

// pool is IO through the graph, by goroutines that carry one request at a time.
type pool struct {
	root    *graph.Child
	flags   graph.Flags // of writes
	wake    int
	tell    func() // that there is a result
	fds     [2]unix.PollFd
	watched [2]int
	count   [8]byte // what is read from an eventfd
	tasks   chan task
	workers sync.WaitGroup
	running int
	most    int // that may run
	busy    int // requests that were not reported yet

	mu      sync.Mutex
	results []result
	taken   []result
}

// newPool makes a pool with an eventfd for Wait.
func newPool(root *graph.Child, flags graph.Flags, kick int, depth uint32, least, most int) (*pool, error) {
	wake, err := eventfd()
	if err != nil {
		return nil, err
	}
	p := &pool{root: root, flags: flags, wake: wake, watched: [2]int{kick, wake}, tasks: make(chan task, depth), most: most}
	p.tell = p.Wake
	p.fds = [2]unix.PollFd{{Fd: int32(kick), Events: unix.POLLIN}, {Fd: int32(wake), Events: unix.POLLIN}}
	p.start(least)
	return p, nil
}

// newSide makes a pool beside an IO, which is told of results and on whose thread they are reported.
func newSide(root *graph.Child, flags graph.Flags, depth uint32, tell func(), least, most int) *pool {
	p := &pool{root: root, flags: flags, wake: -1, tell: tell, tasks: make(chan task, depth), most: most}
	p.start(least)
	return p
}

func (p *pool) start(least int) {
	for range least {
		p.carry()
	}
}

// Submit gives a request to a carrier, of which there are no more than requests.
func (p *pool) Submit(op uint8, tag uint32, off, n int64, bufs [][]byte) error {
	if p.busy++; p.running < p.most && p.running < p.busy {
		p.carry()
	}
	p.tasks <- task{op: op, tag: tag, off: off, n: n, bufs: bufs}
	return nil
}

// finish has a carrier do what is left of a request that went past the graph.
func (p *pool) finish(tag uint32, h *graph.Hop, res int32) {
	if p.busy++; p.running < p.most && p.running < p.busy {
		p.carry()
	}
	p.tasks <- task{tag: tag, hop: h, res: res}
}

// carry starts a carrier.
func (p *pool) carry() {
	p.running++
	p.workers.Go(p.work)
}

func (p *pool) work() {
	for t := range p.tasks {
		res := p.result(t)
		p.mu.Lock()
		p.results = append(p.results, result{t.tag, res})
		p.mu.Unlock()
		p.tell()
	}
}

func (p *pool) result(t task) int32 {
	if t.hop == nil {
		return errno(p.do(t))
	}
	if _, err := t.hop.Done(t.res < 0, true); err != nil && t.res >= 0 {
		return errno(err)
	}
	return t.res
}

func (p *pool) do(t task) error {
	switch t.op {
	case hostfile.OpRead:
		return p.root.Readv(t.off, t.bufs)
	case hostfile.OpWrite:
		return p.root.Writev(t.off, t.bufs, p.flags)
	case hostfile.OpFlush:
		return p.root.Flush()
	case hostfile.OpDiscard:
		return p.root.Discard(t.off, t.n)
	case hostfile.OpWriteZeroesUnmap:
		return p.root.WriteZeroes(t.off, t.n, p.flags|graph.MayUnmap)
	}
	return p.root.WriteZeroes(t.off, t.n, p.flags)
}

func (p *pool) Wait(block bool, done func(tag uint32, res int32)) error {
	timeout := 0
	if block {
		timeout = -1
	}
	if _, err := unix.Poll(p.fds[:], timeout); err != nil && !errors.Is(err, unix.EINTR) {
		return err
	}
	for _, fd := range p.fds {
		if fd.Revents != 0 {
			_, _ = unix.Read(int(fd.Fd), p.count[:])
		}
	}
	p.report(done)
	return nil
}

// report tells of what is done.
func (p *pool) report(done func(tag uint32, res int32)) {
	if p.busy == 0 {
		return
	}
	p.mu.Lock()
	p.taken, p.results = p.results, p.taken[:0]
	p.mu.Unlock()
	p.busy -= len(p.taken)
	for _, r := range p.taken {
		done(r.tag, r.res)
	}
}

// one is what an eventfd is told.
var one = []byte{1, 0, 0, 0, 0, 0, 0, 0}

func (p *pool) Descriptors() (fds []int, version int, err error) { return p.watched[:], 0, nil }

func (p *pool) Wake() { _, _ = unix.Write(p.wake, one) }

func (p *pool) Close() error {
	close(p.tasks)
	p.workers.Wait()
	if p.wake < 0 {
		return nil
	}
	return unix.Close(p.wake)
}
