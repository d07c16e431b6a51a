package virtionet

import (
	"golang.org/x/sys/unix"

	"hv/devices/virtio"
	"hv/devices/virtio/queue"
)

// sender moves packets from the guest to the link. It takes a batch of chains, and gives back those
// that the link took, in their order.
type sender struct {
	w     *worker
	q     *virtio.Queue
	tally *tally

	chains []queue.Chain // as many as a batch
	count  int           // of them are to be sent
	vecs   []unix.Iovec
	pieces [][]byte
	armed  bool // the guest kicks when it has more
	full   bool // the link, until it says otherwise
	hold   hold // the rate's, or that for more packets
	late   bool // the latter has been
	broken bool // by the guest

	results []int32 // of the packets of a batch that was sent in one system call
	single  bool    // there is none: a link that was full once gets single packets, because their order counts
}

func (s *sender) init(w *worker, q *virtio.Queue) {
	*s = sender{w: w, q: q, tally: &w.d.tallies[2*w.pair+1], chains: make([]queue.Chain, batch), results: make([]int32, batch), vecs: make([]unix.Iovec, 0, batchVecs)}
}

// idle reports whether the sender waits for something else than packets.
func (s *sender) idle() bool { return s.full || s.broken || s.hold.on() }

// pending reports whether send would find something to do.
func (s *sender) pending() bool { return !s.idle() && (s.count > 0 || s.q.Pending()) }

// arm has the guest kick, and reports whether there is something to send instead.
func (s *sender) arm() bool {
	if s.idle() {
		return false
	}
	if s.count > 0 {
		return true
	}
	s.armed = true
	return s.q.EnableKicks()
}

// send sends a batch of packets, and reports whether there was one.
func (s *sender) send() bool {
	if s.idle() || s.delays() {
		return false
	}
	s.fill()
	if s.count == 0 {
		return false
	}
	n := s.transmit()
	s.tally.show(s.q)
	return n > 0
}

// delays reports whether packets are to wait for more of them.
func (s *sender) delays() bool {
	if s.w.d.txDelay == 0 || s.late || s.count > 0 || !s.q.Pending() {
		return false
	}
	s.late = true // once that time has come, until there are none
	s.q.DisableKicks()
	s.hold.in(s.w.d.txDelay)
	return true
}

// fill takes chains until the batch is full.
func (s *sender) fill() {
	limit := s.w.d.txLimit
	for size := uint32(0); s.count < s.w.d.txBurst && size < muchData; {
		if wait := limit.wait(); wait > 0 {
			s.hold.in(wait)
			return
		}
		c := &s.chains[s.count]
		ok, err := s.q.Pop(c)
		if err == nil && ok && c.OutLen() < s.w.d.header() {
			err = errShortHeader
		}
		if err != nil {
			s.broken = true
			s.w.fail(err)
		}
		if !ok || err != nil {
			s.late = false // the guest does not know yet, so whatever it adds next waits
			return
		}
		s.count++
		size += c.OutLen()
		limit.charge(c.OutLen() - s.w.d.header())
		if s.armed {
			s.armed = false
			s.q.DisableKicks()
		}
	}
}

// transmit sends the batch and returns of how many packets the guest has the buffers back.
func (s *sender) transmit() int {
	down := s.w.fd < 0 || !s.w.d.linkUp.Load()
	if !down && !s.single && s.count >= minBatch {
		return s.submit()
	}
	n := 0
	for ; n < s.count; n++ {
		c := &s.chains[n]
		switch {
		case down:
			s.tally.drop(DropLinkDown)
		case s.malformed(c):
			s.tally.drop(DropMalformed)
		default:
			s.vecs = appendVecs(s.vecs[:0], s.packet(c))
			s.full = !s.sent(c, writev(s.w.fd, s.vecs))
		}
		if s.full {
			break
		}
		s.q.Push(c, 0)
	}
	s.keep(n)
	return n
}

// keep forgets the first n chains.
func (s *sender) keep(n int) {
	for i := n; i < s.count; i++ {
		s.chains[i-n], s.chains[i] = s.chains[i], s.chains[i-n]
	}
	s.count -= n
}

// malformed reports whether a chain can be no packet.
func (s *sender) malformed(c *queue.Chain) bool {
	return c.OutLen() == s.w.d.header() || len(c.Out) >= maxVecs
}

// packet returns the pieces of a packet as the link has it: without what a header with a hash has more. They
// are good until the next call.
func (s *sender) packet(c *queue.Chain) [][]byte {
	if s.w.d.header() == headerSize {
		return c.Out
	}
	s.pieces = s.pieces[:0]
	at := 0
	for _, b := range c.Out {
		head := min(len(b), max(0, headerSize-at))
		tail := min(len(b), max(0, wideHeader-at))
		at += len(b)
		for _, part := range [][]byte{b[:head], b[tail:]} {
			if len(part) > 0 {
				s.pieces = append(s.pieces, part)
			}
		}
	}
	return s.pieces
}

// sent counts what became of a packet, and reports false if the link is full.
func (s *sender) sent(c *queue.Chain, errno unix.Errno) bool {
	switch errno {
	case 0:
		size := c.OutLen() - s.w.d.header()
		s.tally.count(size)
		if o := s.w.d.observer.Load(); o != nil {
			(*o).Packet(FromGuest, s.w.pair, s.packet(c), int(size+headerSize))
		}
		return true
	case unix.EAGAIN, unix.EINTR, unix.ENOBUFS:
		return false
	}
	s.tally.drop(DropRefused)
	if ended(errno) {
		s.w.d.lost(errno)
	}
	return true
}

func appendVecs(v []unix.Iovec, pieces [][]byte) []unix.Iovec {
	for _, b := range pieces {
		iov := unix.Iovec{Base: &b[0]}
		iov.SetLen(len(b))
		v = append(v, iov)
	}
	return v
}
