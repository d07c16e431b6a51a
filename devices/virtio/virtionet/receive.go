package virtionet

import (
	"encoding/binary"
	"errors"
	"io"

	"golang.org/x/sys/unix"

	"hv/devices/virtio"
	"hv/devices/virtio/pump"
	"hv/devices/virtio/queue"
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
	pair  int
	fd    int // -1 without a link
	q     *virtio.Queue
	pump  *pump.Pump
	tally *tally
	need  uint32
	merge bool

	stash  []queue.Chain // a ring of chains
	first  int
	count  int
	room   uint32
	vecs   []unix.Iovec
	pieces [][]byte // what an observer is shown
	peek   [headerSize + vlanHeader]byte
	broken bool
}

func (d *Device) newReceiver(i int, q *virtio.Queue) *receiver {
	r := &receiver{d: d, pair: i, q: q, tally: &d.tallies[2*i], merge: d.features&featureMrgRxBuf != 0, need: smallFrame,
		stash: make([]queue.Chain, maxStash), vecs: make([]unix.Iovec, 0, maxVecs), pieces: make([][]byte, 0, maxVecs)}
	if d.cfg.HostMTU > 1500 {
		r.need = headerSize + vlanHeader + uint32(d.cfg.HostMTU)
	}
	if d.features&bigPackets != 0 {
		r.need = maxFrame
	}
	return r
}

func (r *receiver) linkFD(l Link) int { return queueFD(l, r.pair) }

func (r *receiver) makePump(fd int) (*pump.Pump, error) {
	return pump.New([]pump.Source{
		{FD: r.q.Kick, Kick: true, Ready: func(int16) {
			r.tally.kicks.add(1)
			r.refill()
		}},
		{FD: fd, Idle: true, Ready: r.receive},
	}, r.refill, r.d.tell.NeedsReset)
}

func (r *receiver) adopt(p *pump.Pump, fd int) { r.pump, r.fd = p, fd }

func (r *receiver) giveBack() {
	for ; r.count > 0; r.count-- {
		r.q.Unpop(&r.stash[(r.first+r.count-1)%maxStash])
	}
	r.room = 0
}

// fail breaks the device because of what the guest put into the ring.
func (r *receiver) fail(err error) {
	r.broken = true
	r.d.tell.NeedsReset(err)
}

// refill looks for buffers, and at the link once there are enough.
func (r *receiver) refill() {
	if r.fd >= 0 && r.enough() {
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
		switch {
		case err != nil:
			r.fail(err)
		case !ok:
			if !r.q.EnableKicks() {
				return false
			}
		case c.InLen() < headerSize:
			r.fail(errShortBuffer)
		default:
			r.count++
			r.room += c.InLen()
		}
	}
	return false
}

var (
	errShortBuffer = errors.New("a receive buffer is smaller than the header")
	errShortHeader = errors.New("a packet to send is shorter than the header")
)

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
	r.tally.show(r.q)
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
	if n < headerSize {
		r.tally.drop(DropMalformed)
		return
	}
	if !r.d.linkUp.Load() {
		r.tally.drop(DropLinkDown)
		return
	}
	if o := r.d.observer.Load(); o != nil {
		r.show(*o, n)
	}
	if !r.d.filter.Load().pass(r.head(n)) {
		r.tally.drop(DropFiltered)
		return
	}
	r.tally.packets.add(1)
	r.tally.bytes.add(uint64(n - headerSize))
	chains := r.chains(n)
	var num [2]byte
	binary.LittleEndian.PutUint16(num[:], uint16(chains))
	r.stash[r.first].CopyIn(num[:], headerSize-2)
	used := uint32(0)
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

// show shows the packet of n bytes in the first buffers to an observer.
func (r *receiver) show(o Observer, n uint32) {
	p := r.pieces[:0]
	for i := range r.count {
		p = append(p, r.stash[(r.first+i)%maxStash].In...)
		if !r.merge {
			break
		}
	}
	o.Packet(ToGuest, r.pair, p, int(n))
	clear(p)
	r.pieces = p[:0]
}
