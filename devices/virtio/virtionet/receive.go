package virtionet

import (
	"encoding/binary"
	"errors"
	"io"

	"golang.org/x/sys/unix"

	"hv/devices/virtio"
	"hv/devices/virtio/queue"
)

const (
	// maxFrame is the largest packet with its header when the guest takes large
	// ones, and smallFrame when it does not and has the usual MTU.
	maxFrame   = headerSize + 14 + 65535
	smallFrame = headerSize + vlanHeader + 1500

	// maxStash is how many chains one packet may need.
	maxStash = 64
)

// receiver moves packets from the link to the guest. It keeps chains that it popped
// and that no packet has filled yet.
type receiver struct {
	w     *worker
	q     *virtio.Queue
	tally *tally
	need  uint32
	merge bool

	stash  []queue.Chain // a ring of chains
	first  int
	count  int
	room   uint32
	got    uint32 // bytes of the packet that was read into the stash, 0 if there is none
	vecs   []unix.Iovec
	pieces [][]byte // what an observer is shown
	peek   [headerSize + vlanHeader]byte
	armed  bool // the guest kicks when it has more buffers
	broken bool // by the guest
	dead   bool // the link
}

func (r *receiver) init(w *worker, q *virtio.Queue) {
	*r = receiver{w: w, q: q, tally: &w.d.tallies[2*w.pair], merge: w.d.features&featureMrgRxBuf != 0, need: smallFrame,
		stash: make([]queue.Chain, maxStash), vecs: make([]unix.Iovec, 0, maxVecs), pieces: make([][]byte, 0, maxVecs)}
	if w.d.cfg.HostMTU > 1500 {
		r.need = headerSize + vlanHeader + uint32(w.d.cfg.HostMTU)
	}
	if w.d.features&bigPackets != 0 {
		r.need = maxFrame
	}
}

var (
	errShortBuffer = errors.New("a receive buffer is smaller than the header")
	errShortHeader = errors.New("a packet to send is shorter than the header")
)

// receive takes a batch of packets, and reports whether there was one.
func (r *receiver) receive() bool {
	n := 0
	for ; n < batch && r.fetch(); n++ {
		size := r.got
		r.got = 0
		r.accept(size)
	}
	r.tally.show(r.q)
	return n > 0
}

// fetch makes sure that a packet is in the stash, and reports whether there is one.
func (r *receiver) fetch() bool {
	if r.got > 0 {
		return true
	}
	if !r.open() {
		return false
	}
	n, errno := readv(r.w.fd, r.gather())
	if n > 0 {
		r.got = uint32(n)
		return true
	}
	if err := ending(errno, r.w.events); err != nil {
		r.dead = true
		r.w.d.lost(err)
	}
	r.w.events = 0
	return false
}

// open reports whether the guest has room for packets from the link. If it reports false, what changes that
// wakes the worker.
func (r *receiver) open() bool { return r.w.fd >= 0 && !r.dead && r.enough() }

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
			r.broken = true
			r.w.fail(err)
		case !ok:
			if r.armed {
				return false
			}
			r.armed = true
			if !r.q.EnableKicks() {
				return false
			}
		case c.InLen() < headerSize:
			r.broken = true
			r.w.fail(errShortBuffer)
		default:
			r.count++
			r.room += c.InLen()
			if r.armed {
				r.armed = false
				r.q.DisableKicks()
			}
		}
	}
	return false
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
	if !r.w.d.linkUp.Load() {
		r.tally.drop(DropLinkDown)
		return
	}
	if o := r.w.d.observer.Load(); o != nil {
		r.show(*o, n)
	}
	if !r.w.d.filter.Load().pass(r.head(n)) {
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
	o.Packet(ToGuest, r.w.pair, p, int(n))
	clear(p)
	r.pieces = p[:0]
}
