package disk

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"hv/block/account"
	"hv/block/graph"
	"hv/block/hostfile"
	"hv/block/throttle"
)

// begun is a request that has been submitted.
type begun struct {
	op     uint8
	off, n int64
	bufs   [][]byte
	at     time.Duration
	hop    graph.Hop // where it went past the graph
	around [][]byte  // bufs and what is written around them
	linked bool      // hop is done, as a carrier has seen to
}

// Queue is an IO of a disk. All but Wake, quiesce and unquiesce is for one thread.
type Queue struct {
	disk  *Disk
	kick  int
	depth uint32

	inner    hostfile.IO
	inners   int             // how many there were
	route    *graph.Route    // by which inner goes past the graph; nil if it does not
	direct   bool            // all of the node lies in inner's file
	shared   hostfile.Sharer // inner, if only some of the requests go to it
	side     *pool           // and what carries the others
	requests []begun
	nothing  []uint32 // requests that are complete without a back end
	limits   []throttle.Request
	counts   *account.Counts
	now      time.Duration // when the completions at hand were taken
	done     func(tag uint32, res int32)
	complete func(tag uint32, res int32) // completed, as a value that is made once

	mu       sync.Mutex
	idle     sync.Cond
	quiet    bool
	closed   bool
	stale    bool     // what is below may have changed
	inflight int      // of inner, and those that wait for limits
	held     []uint32 // requests that wait for unquiesce
	admitted []uint32 // and that no longer wait for limits
	parked   []uint32 // requests that failed and wait for retry
	again    bool     // they are to be made again
}

func newQueue(d *Disk, kick int, depth uint32) *Queue {
	q := &Queue{disk: d, kick: kick, depth: depth, requests: make([]begun, depth), held: make([]uint32, 0, depth), parked: make([]uint32, 0, depth), nothing: make([]uint32, 0, depth)}
	q.idle.L = &q.mu
	q.complete = q.completed
	q.counts = d.front.Stats.Queue()
	q.admitted, q.limits = make([]uint32, 0, depth), make([]throttle.Request, depth)
	for tag := range q.limits {
		q.limits[tag].Admitted = func() { q.admit(uint32(tag)) }
	}
	return q
}

// open makes the way that there is. The caller holds mu, or is the only one to know q.
func (q *Queue) open(r *graph.Route) (err error) {
	q.route, q.direct, q.shared, q.side = nil, false, nil, nil
	least, most := q.carriers()
	least = min(least, int(q.depth))
	if r != nil {
		if q.inner, err = r.First().NewIO(q.kick, q.depth); err != nil {
			return err
		}
		if q.take(r) {
			if !q.direct {
				q.side = newSide(q.disk.root, q.disk.flags, q.depth, q.inner.Wake, least, most)
			}
			return nil
		}
		if err := q.inner.Close(); err != nil {
			return err
		}
	}
	q.inner, err = newPool(q.disk.root, q.disk.flags, q.kick, q.depth, least, most)
	return err
}

// take has requests go by a route whose first file inner is made for, and reports whether they can.
func (q *Queue) take(r *graph.Route) bool {
	if r.Whole() {
		q.route, q.direct = r, true
		return true
	}
	s, ok := q.inner.(hostfile.Sharer)
	if ok {
		r.Limit(s.Shares)
		q.route, q.shared = r, s
	}
	return ok
}

// carriers returns how many carriers the queue has at least and at most. Those that wait for
// limits below must not keep others from being carried.
func (q *Queue) carriers() (least, most int) {
	least, most = 0, carriers
	if q.disk.carriers != nil {
		least, most = q.disk.carriers()
	}
	q.disk.mu.Lock()
	defer q.disk.mu.Unlock()
	if len(q.disk.below) > 0 {
		most = int(q.depth)
	}
	return least, most
}

// Submit queues a request of n bytes at off. tag comes back at its completion.
func (q *Queue) Submit(op uint8, tag uint32, off, n int64, bufs [][]byte) error {
	r := &q.requests[tag]
	*r = begun{op: op, off: off, n: n, bufs: bufs, at: q.disk.front.Stats.Now(), around: r.around[:0]}
	q.mu.Lock()
	if q.quiet || q.stale {
		q.held = append(q.held, tag)
		q.mu.Unlock()
		return nil
	}
	q.inflight++
	q.mu.Unlock()
	if err := q.begin(tag); err != nil {
		q.ended(1)
		return err
	}
	return nil
}

// Refused counts a request that cannot be carried out.
func (q *Queue) Refused(op uint8) { q.counts.Invalid(kindOf(op)) }

// begin submits a request that counts as being under way, now or once limits admit it.
func (q *Queue) begin(tag uint32) error {
	r := &q.requests[tag]
	if k := kindOf(r.op); limited(k) && !q.disk.front.Limits.Enter(&q.limits[tag], k == account.Write, r.n) {
		return nil
	}
	return q.submit(tag)
}

// admit has Wait submit a request that had to wait.
func (q *Queue) admit(tag uint32) {
	q.mu.Lock()
	q.admitted = append(q.admitted, tag)
	q.mu.Unlock()
	q.Wake()
}

// submitAdmitted submits what had to wait for limits.
func (q *Queue) submitAdmitted() error {
	for {
		q.mu.Lock()
		if len(q.admitted) == 0 {
			q.mu.Unlock()
			return nil
		}
		tag := q.admitted[0]
		q.admitted = q.admitted[:copy(q.admitted, q.admitted[1:])]
		q.mu.Unlock()
		if err := q.submit(tag); err != nil {
			return err
		}
	}
}

// submit hands a request that counts as being under way to what is below.
func (q *Queue) submit(tag uint32) error {
	r := &q.requests[tag]
	op, off := r.op, r.off
	if q.direct {
		off += q.route.Offset
		switch {
		case q.route.Discard:
		case op == hostfile.OpDiscard:
			q.nothing = append(q.nothing, tag)
			return nil
		case op == hostfile.OpWriteZeroesUnmap:
			op = hostfile.OpWriteZeroes
		}
	}
	if q.shared == nil {
		return q.inner.Submit(op, tag, off, r.n, r.bufs)
	}
	return q.submitBeside(tag, r)
}

// manyZeroes is how many zeroes around data a file system makes sooner than they are written.
const manyZeroes = 32 << 10

// submitBeside has a request go past the graph, if it can.
func (q *Queue) submitBeside(tag uint32, r *begun) error {
	isWrite := r.op == hostfile.OpWrite
	if r.op != hostfile.OpRead && !(isWrite && q.disk.flags == 0) {
		return q.side.Submit(r.op, tag, r.off, r.n, r.bufs)
	}
	if isWrite && !q.route.First().Takes(r.off, r.bufs) {
		return q.side.Submit(r.op, tag, r.off, r.n, r.bufs)
	}
	h, ok := q.route.Find(isWrite, r.off, r.n)
	switch {
	case ok && h.File == nil:
		for _, b := range r.bufs {
			clear(b)
		}
		q.nothing = append(q.nothing, tag)
		return nil
	case ok && h.File.Takes(h.Offset, r.bufs):
		r.hop, r.linked = h, false
		if h.Head+h.Tail >= manyZeroes && h.File.Zeroed(h.Offset, h.Head+r.n+h.Tail) {
			return q.shared.SubmitTo(h.File, r.op, tag, h.Offset+h.Head, r.n, r.bufs)
		}
		return q.shared.SubmitTo(h.File, r.op, tag, h.Offset, h.Head+r.n+h.Tail, r.padded())
	case ok:
		h.Cancel()
	}
	return q.side.Submit(r.op, tag, r.off, r.n, r.bufs)
}

// padded returns the data of a request with the zeroes that are to be written around it.
func (r *begun) padded() [][]byte {
	if r.hop.Head+r.hop.Tail == 0 {
		return r.bufs
	}
	r.around = appendZeroes(r.around[:0], r.hop.Head)
	r.around = append(r.around, r.bufs...)
	r.around = appendZeroes(r.around, r.hop.Tail)
	return r.around
}

func appendZeroes(v [][]byte, n int64) [][]byte {
	for n > 0 {
		b := hostfile.Zeroes[:min(n, int64(len(hostfile.Zeroes)))]
		v, n = append(v, b), n-int64(len(b))
	}
	return v
}

// ended notes that requests are no longer under way.
func (q *Queue) ended(n int) {
	q.mu.Lock()
	if q.inflight -= n; q.inflight == 0 {
		q.idle.Broadcast()
	}
	q.mu.Unlock()
}

// Wait starts what was submitted and calls done for each completion.
func (q *Queue) Wait(block bool, done func(tag uint32, res int32)) error {
	err := q.wait(block, done)
	// What woke it may have come after it was looked for.
	for err == nil && q.woken() {
		err = q.wait(false, done)
	}
	return err
}

// woken reports whether requests that were held back may go on.
func (q *Queue) woken() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.stale && !q.quiet || len(q.admitted) > 0
}

func (q *Queue) wait(block bool, done func(tag uint32, res int32)) error {
	if err := q.resume(); err != nil {
		return q.fail(err)
	}
	if err := q.submitAdmitted(); err != nil {
		return q.fail(err)
	}
	q.done, q.now = done, 0
	if n := len(q.nothing); n > 0 {
		block = false
		for i := range n {
			q.completed(q.nothing[i], 0)
		}
		q.nothing = q.nothing[:copy(q.nothing, q.nothing[n:])]
	}
	if err := q.inner.Wait(block, q.complete); err != nil {
		return q.fail(err)
	}
	if q.side != nil {
		q.side.report(q.complete)
	}
	return nil
}

// fail gives up all requests: nobody can say what became of them.
func (q *Queue) fail(err error) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.inflight, q.held, q.parked = 0, q.held[:0], q.parked[:0]
	q.idle.Broadcast()
	return err
}

// resume submits what was held back, once that may be, by the way there is then.
func (q *Queue) resume() error {
	q.mu.Lock()
	if q.quiet || !q.stale {
		q.mu.Unlock()
		return nil
	}
	q.stale = false
	if q.again {
		q.held, q.parked, q.again = append(q.held, q.parked...), q.parked[:0], false
	}
	n := len(q.held)
	q.inflight += n + 1 // so that nobody drains until this is over
	q.mu.Unlock()
	defer q.ended(1)
	if err := q.reopen(); err != nil {
		return err
	}
	for i := range n {
		if err := q.begin(q.held[i]); err != nil {
			return err
		}
	}
	q.held = q.held[:0]
	return nil
}

// reopen goes another way if the node lies elsewhere now.
func (q *Queue) reopen() error {
	r := q.disk.Node().Route()
	if q.stays(r) {
		return nil
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if err := q.closeWays(); err != nil {
		return err
	}
	if err := q.open(r); err != nil {
		q.closed = true
		return err
	}
	q.inners++
	q.inner.Wake() // the old one may have been told to wake up
	return nil
}

// stays reports whether requests still go by what there is; it is told of what has changed.
func (q *Queue) stays(r *graph.Route) bool {
	side, isPool := q.side, false
	if q.route == nil {
		side, isPool = q.inner.(*pool)
	}
	switch {
	case r == nil || q.route == nil:
		if r != nil || !isPool {
			return false
		}
	case r.Whole() != q.direct || r.First() != q.route.First():
		return false
	default:
		q.take(r)
	}
	if side != nil {
		_, side.most = q.carriers()
	}
	return true
}

// closeWays closes what requests go by. The caller holds mu.
func (q *Queue) closeWays() error {
	if q.side != nil {
		if err := q.side.Close(); err != nil {
			return err
		}
	}
	return q.inner.Close()
}

func (q *Queue) completed(tag uint32, res int32) {
	r := &q.requests[tag]
	if q.shared != nil {
		var ok bool
		if res, ok = q.left(tag, r, res); !ok {
			return
		}
	}
	if q.now == 0 {
		q.now = q.disk.front.Stats.Now()
	}
	kind, size := kindOf(r.op), r.n
	q.counts.Done(kind, size, r.at, q.now, res < 0)
	if q.direct {
		q.note(kind, r)
	}
	finished := true
	if res < 0 {
		res, finished = q.refused(tag, res)
	}
	if finished {
		q.done(tag, res)
	}
	q.ended(1)
}

// left ends a request that may have gone past the graph. It returns its result, or false if a carrier
// has to do the rest, which has to wait.
func (q *Queue) left(tag uint32, r *begun, res int32) (int32, bool) {
	if !r.linked {
		ok, err := r.hop.Done(res < 0, false)
		if !ok {
			r.linked = true
			q.side.finish(tag, &r.hop, res)
			return 0, false
		}
		if err != nil && res >= 0 {
			res = errno(err)
		}
	}
	r.hop, r.linked = graph.Hop{}, false
	return res, true
}

// note tells the nodes of what went by them. One that failed may have changed something, too.
func (q *Queue) note(kind account.Kind, r *begun) {
	switch {
	case kind == account.Write:
		q.route.Wrote(r.off, r.n)
	case kind == account.Unmap && q.route.Discard:
		q.route.Discarded(r.off, r.n)
	}
}

// quiesce holds new requests back and returns once none is under way.
func (q *Queue) quiesce() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.quiet = true
	for q.inflight > 0 {
		q.idle.Wait()
	}
}

func (q *Queue) unquiesce() {
	q.mu.Lock()
	q.quiet, q.stale = false, true
	q.mu.Unlock()
	q.Wake()
}

// Wake ends a Wait, now or the next one.
func (q *Queue) Wake() {
	q.mu.Lock()
	defer q.mu.Unlock()
	if !q.closed {
		q.inner.Wake()
	}
}

// Descriptors returns what becomes readable when Wait has something to do, and a number that
// changes when they are others.
func (q *Queue) Descriptors() (fds []int, version int, err error) {
	fds, _, err = q.inner.Descriptors()
	return fds, q.inners, err
}

// Close gives everything back; no request may be under way.
func (q *Queue) Close() error {
	q.disk.forget(q)
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return nil
	}
	q.closed = true
	err := q.closeWays()
	for i := range q.requests { // those that were given up
		q.requests[i].hop.Cancel()
	}
	return err
}

// errno returns an error as completions carry it.
func errno(err error) int32 {
	if err == nil {
		return 0
	}
	return numberOf(err)
}

func numberOf(err error) int32 {
	var e unix.Errno
	if errors.As(err, &e) {
		return -int32(e)
	}
	return -int32(unix.EIO)
}

// eventfd makes a descriptor for Wake.
func eventfd() (int, error) {
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return -1, fmt.Errorf("eventfd: %w", err)
	}
	return fd, nil
}
