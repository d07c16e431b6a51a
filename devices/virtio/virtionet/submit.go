package virtionet

import (
	"golang.org/x/sys/unix"

	"hv/block/uring"
)

const (
	// minBatch is from how many packets on a batch is worth its system call.
	minBatch = 3
	// batchVecs is how many buffers those packets of a batch may have together that have several.
	batchVecs = 4 * batch

	// What became of a packet of a batch, besides the kernel's results.
	resMalformed = -1 << 20
	resLater     = -1<<20 + 1
)

// submit sends the batch by one system call and returns how many packets are done with. Where there is
// no io_uring, and when the link was full, the worker sends single packets from then on.
func (s *sender) submit() int {
	if !s.w.makeRing() {
		s.single = true
		return 0
	}
	if err := s.w.complete(s.prepare(), s.results); err != nil {
		s.broken = true
		s.w.fail(err)
		return 0
	}
	left := 0
	for i := range s.count {
		if s.settled(i) {
			s.q.Push(&s.chains[i], 0)
			continue
		}
		s.chains[left], s.chains[i] = s.chains[i], s.chains[left]
		left++
	}
	done := s.count - left
	s.count = left
	return done
}

// makeRing makes the ring, and reports whether there is one.
func (w *worker) makeRing() bool {
	if w.ring == nil && !w.ringless {
		r, err := uring.NewUnbound(batch)
		w.ring, w.ringless = r, err != nil
	}
	return !w.ringless
}

// prepare makes a request of each packet, as long as there is room for their buffers, and returns
// how many there are.
func (s *sender) prepare() (requests uint32) {
	s.vecs = s.vecs[:0]
	for i := range s.count {
		s.results[i] = resLater
	}
	for i := range s.count {
		c := &s.chains[i]
		if s.malformed(c) {
			s.results[i] = resMalformed
			continue
		}
		if len(c.Out) >= cap(s.vecs)-len(s.vecs) {
			break // smaller ones after it would overtake it
		}
		e, err := s.w.ring.Next()
		if err != nil {
			break
		}
		if p := s.packet(c); len(p) == 1 {
			e.Op = uring.OpWrite
			e.SetBytes(p[0])
		} else {
			from := len(s.vecs)
			s.vecs = appendVecs(s.vecs, p)
			e.Op = uring.OpWritev
			e.SetIovecs(s.vecs[from:])
		}
		// Otherwise the kernel would wait for a non-blocking file.
		e.FD, e.UserData, e.OpFlags = int32(s.w.fd), uint64(i), unix.RWF_NOWAIT
		requests++
	}
	return requests
}

// complete has the kernel carry out the requests, which are numbered, and keeps their results.
func (w *worker) complete(requests uint32, results []int32) error {
	for requests > 0 {
		if err := w.ring.Enter(requests); err != nil {
			return err
		}
		for c, ok := w.ring.Reap(); ok; c, ok = w.ring.Reap() {
			results[c.UserData] = c.Res
			requests--
		}
	}
	return nil
}

// settled reports whether packet i of a batch is done with.
func (s *sender) settled(i int) bool {
	c, r := &s.chains[i], s.results[i]
	switch {
	case r == resMalformed:
		s.tally.drop(DropMalformed)
		return true
	case r == resLater:
		return false
	case r >= 0:
		return s.sent(c, 0)
	}
	errno := unix.Errno(-r)
	if errno == unix.EOPNOTSUPP { // the kernel cannot try without waiting
		errno = unix.EAGAIN
	}
	ok := s.sent(c, errno)
	s.single = s.single || !ok
	return ok
}
