package virtionet

import (
	"encoding/binary"
	"io"

	"golang.org/x/sys/unix"

	"hv/devices/virtio"
	"hv/devices/virtio/pump"
	"hv/devices/virtio/queue"
	"hv/devices/virtio/spin"
)

const (
	// maxFrame is the largest packet with its header when the guest takes large
	// ones, and smallFrame when it does not and has the usual MTU.
	maxFrame   = headerSize + 14 + 65535
	smallFrame = headerSize + vlanHeader + 1500

	// maxStash is how many chains one packet may need, and maxVecs how many buffers.
	maxStash = 64
	maxVecs  = 256
	// batch is how many packets a worker moves before it looks for other work.
	batch = 256

	sourceKick = 0
	sourceLink = 1
)

// receiver moves packets from the link to the guest. It keeps chains that it popped
// and that no packet has filled yet.
type receiver struct {
	d     *Device
	fd    int
	q     *virtio.Queue
	pump  *pump.Pump
	need  uint32
	merge bool

	stash  []queue.Chain // a ring of chains
	first  int
	count  int
	room   uint32
	vecs   []unix.Iovec
	peek   [headerSize + vlanHeader]byte
	broken bool
}

func (d *Device) newReceiver(i int, q *virtio.Queue) (*pump.Pump, error) {
	r := &receiver{d: d, fd: d.link.QueueFD(i), q: q, merge: d.features&featureMrgRxBuf != 0, need: smallFrame,
		stash: make([]queue.Chain, maxStash), vecs: make([]unix.Iovec, 0, maxVecs)}
	if d.cfg.HostMTU > 1500 {
		r.need = headerSize + vlanHeader + uint32(d.cfg.HostMTU)
	}
	if d.features&(featureGuestTSO4|featureGuestTSO6) != 0 {
		r.need = maxFrame
	}
	p, err := pump.New([]pump.Source{
		{FD: q.Kick, Kick: true, Ready: func(int16) { r.refill() }},
		{FD: r.fd, Idle: true, Ready: r.receive},
	}, r.refill, d.tell.NeedsReset)
	r.pump = p
	return p, err
}

// refill looks for buffers, and at the link once there are enough.
func (r *receiver) refill() {
	if r.enough() {
		r.q.DisableKicks()
		r.pump.Watch(sourceLink, unix.POLLIN)
	}
}

// enough pops chains until the largest packet fits, and reports whether it does.
// Otherwise the guest will kick.
func (r *receiver) enough() bool {
	for !r.broken {
		if r.count > 0 && (!r.merge || r.room >= r.need || r.count == maxStash) {
			return true
		}
		c := &r.stash[(r.first+r.count)%maxStash]
		ok, err := r.q.Pop(c)
		if err != nil {
			r.broken = true
			r.d.tell.NeedsReset(err)
			return false
		}
		if ok {
			r.count++
			r.room += c.InLen()
		} else if !r.q.EnableKicks() {
			return false
		}
	}
	return false
}

// receive takes packets until there are no more, or no more buffers.
func (r *receiver) receive(events int16) {
	for range batch {
		if !r.enough() {
			r.pump.Watch(sourceLink, 0)
			break
		}
		n, errno := readv(r.fd, r.gather())
		if n <= 0 {
			if err := ending(errno, events); err != nil {
				r.pump.Watch(sourceLink, 0)
				r.d.lost(err)
			}
			break
		}
		r.accept(uint32(n))
	}
	r.q.Show()
}

// ending returns why a link that gave nothing is at its end, nil if it is not.
func ending(errno unix.Errno, events int16) error {
	switch {
	case errno == 0:
		return io.EOF
	case errno != unix.EAGAIN && errno != unix.EINTR:
		return errno
	case events&(unix.POLLERR|unix.POLLHUP|unix.POLLNVAL) != 0:
		return unix.EBADFD
	}
	return nil
}

// gather lists the buffers of the stashed chains.
func (r *receiver) gather() []unix.Iovec {
	v := r.vecs[:0]
	for i := range r.count {
		for _, b := range r.stash[(r.first+i)%maxStash].In {
			if len(v) == maxVecs {
				return v
			}
			iov := unix.Iovec{Base: &b[0]}
			iov.SetLen(len(b))
			v = append(v, iov)
		}
		if !r.merge {
			break
		}
	}
	return v
}

// accept completes the chains that a packet of n bytes filled, unless the guest does
// not want it: then the next packet overwrites it.
func (r *receiver) accept(n uint32) {
	if n < headerSize || !r.d.linkUp.Load() || !r.d.filter.Load().Pass(r.head(n)) {
		return
	}
	used := uint32(0)
	first := &r.stash[r.first]
	chains := r.chains(n)
	if first.InLen() >= headerSize {
		var num [2]byte
		binary.LittleEndian.PutUint16(num[:], uint16(chains))
		first.CopyIn(num[:], headerSize-2)
	}
	for range chains {
		c := &r.stash[r.first]
		part := min(c.InLen(), n-used)
		r.q.Push(c, part)
		used += part
		r.room -= c.InLen()
		r.first = (r.first + 1) % maxStash
		r.count--
	}
}

// chains returns how many chains n bytes take.
func (r *receiver) chains(n uint32) int {
	sum := uint32(0)
	for i := range r.count {
		if sum += r.stash[(r.first+i)%maxStash].InLen(); sum >= n || !r.merge {
			return i + 1
		}
	}
	return r.count
}

// head returns the beginning of the packet in the first buffers, without its header.
func (r *receiver) head(n uint32) []byte {
	got := 0
	for i := 0; i < r.count && got < len(r.peek); i++ {
		for _, b := range r.stash[(r.first+i)%maxStash].In {
			got += copy(r.peek[got:], b)
		}
	}
	return r.peek[headerSize:max(headerSize, min(got, int(n)))]
}

// sender moves packets from the guest to the link.
type sender struct {
	d       *Device
	fd      int
	q       *virtio.Queue
	pump    *pump.Pump
	chain   queue.Chain
	held    bool // chain waits for the link
	vecs    []unix.Iovec
	stopped bool
	spin    spin.Spin
	work    func() bool // q.Pending, as a value that is made once
}

func (d *Device) newSender(i int, q *virtio.Queue) (*pump.Pump, error) {
	s := &sender{d: d, fd: d.link.QueueFD(i), q: q, vecs: make([]unix.Iovec, 0, maxVecs), work: q.Pending}
	p, err := pump.New([]pump.Source{
		{FD: q.Kick, Kick: true, Ready: func(int16) { s.send() }},
		{FD: s.fd, Idle: true, Ready: func(int16) {
			s.pump.Watch(sourceLink, 0)
			s.send()
		}},
	}, s.send, d.tell.NeedsReset)
	s.pump = p
	return p, err
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
		s.q.Show()
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
	if s.chain.OutLen() <= headerSize || !s.d.linkUp.Load() || len(s.chain.Out) > maxVecs {
		return true
	}
	v := s.vecs[:0]
	for _, b := range s.chain.Out {
		iov := unix.Iovec{Base: &b[0]}
		iov.SetLen(len(b))
		v = append(v, iov)
	}
	switch errno := writev(s.fd, v); errno {
	case unix.EAGAIN, unix.EINTR, unix.ENOBUFS:
		return false
	case unix.EBADFD, unix.EBADF, unix.ENODEV:
		s.d.lost(errno)
	}
	return true
}
