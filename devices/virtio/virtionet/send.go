package virtionet

import (
	"golang.org/x/sys/unix"

	"hv/devices/virtio"
	"hv/devices/virtio/pump"
	"hv/devices/virtio/queue"
	"hv/devices/virtio/spin"
)

// sender moves packets from the guest to the link.
type sender struct {
	d       *Device
	pair    int
	fd      int // -1 without a link
	q       *virtio.Queue
	pump    *pump.Pump
	tally   *tally
	chain   queue.Chain
	held    bool // chain waits for the link
	vecs    []unix.Iovec
	stopped bool
	spin    spin.Spin
	work    func() bool // q.Pending, as a value that is made once
}

func (d *Device) newSender(i int, q *virtio.Queue) *sender {
	return &sender{d: d, pair: i, q: q, tally: &d.tallies[2*i+1], vecs: make([]unix.Iovec, 0, maxVecs), work: q.Pending}
}

func (s *sender) linkFD(l Link) int { return queueFD(l, s.pair) }

func (s *sender) makePump(fd int) (*pump.Pump, error) {
	return pump.New([]pump.Source{
		{FD: s.q.Kick, Kick: true, Ready: func(int16) {
			s.tally.kicks.add(1)
			s.send()
		}},
		{FD: fd, Idle: true, Ready: func(int16) {
			s.pump.Watch(sourceLink, 0)
			s.send()
		}},
	}, s.send, s.d.tell.NeedsReset)
}

func (s *sender) adopt(p *pump.Pump, fd int) { s.pump, s.fd = p, fd }

func (s *sender) giveBack() {
	if s.held {
		s.q.Unpop(&s.chain)
		s.held = false
	}
}

// send takes packets until there are no more or the link is full. Between two looks at
// other work it takes at most a batch.
func (s *sender) send() {
	if s.stopped {
		return
	}
	s.spin.Woke()
	s.q.DisableKicks()
	for n := 0; n < batch; {
		full := false
		for ; n < batch && s.next(); n++ {
			if full = !s.transmit(); full {
				break
			}
			s.held = false
			s.q.Push(&s.chain, 0)
		}
		s.tally.show(s.q)
		switch {
		case full:
			s.pump.Watch(sourceLink, unix.POLLOUT)
			return
		case s.stopped:
			return
		case n < batch && !s.spin.For(s.work) && !s.q.EnableKicks():
			return
		}
	}
	s.pump.Wake()
}

// next makes the next packet the one in hand.
func (s *sender) next() bool {
	if s.held {
		return true
	}
	ok, err := s.q.Pop(&s.chain)
	if err == nil && ok && s.chain.OutLen() < headerSize {
		err = errShortHeader
	}
	if err != nil {
		s.stopped = true
		s.d.tell.NeedsReset(err)
	}
	s.held = ok && err == nil
	return s.held
}

// transmit sends the packet in hand and reports whether it is done with: sent, or
// lost because the link is down or cannot take it.
func (s *sender) transmit() bool {
	size := s.chain.OutLen()
	switch {
	case size == headerSize || len(s.chain.Out) > maxVecs:
		s.tally.drop(DropMalformed)
		return true
	case s.fd < 0 || !s.d.linkUp.Load():
		s.tally.drop(DropLinkDown)
		return true
	}
	v := s.vecs[:0]
	for _, b := range s.chain.Out {
		iov := unix.Iovec{Base: &b[0]}
		iov.SetLen(len(b))
		v = append(v, iov)
	}
	errno := writev(s.fd, v)
	switch errno {
	case 0:
		s.tally.packets.add(1)
		s.tally.bytes.add(uint64(size - headerSize))
		if o := s.d.observer.Load(); o != nil {
			(*o).Packet(FromGuest, s.pair, s.chain.Out, int(size))
		}
		return true
	case unix.EAGAIN, unix.EINTR, unix.ENOBUFS:
		return false
	}
	s.tally.drop(DropRefused)
	if ended(errno) {
		s.d.lost(errno)
	}
	return true
}
