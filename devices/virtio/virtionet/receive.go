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
	// maxFrame is the largest packet with its header.
	maxFrame = headerSize + 14 + 65535
	// largeFrame is from which size on it costs less to read a packet into many buffers of the guest's than
	// to copy it there.
	largeFrame = 4096

	// maxStash is how many chains one packet may need.
	maxStash = 256
)

// receiver moves packets from the link to the guest. It keeps chains that it popped
// and that no packet has filled yet.
type receiver struct {
	w     *worker
	q     *virtio.Queue
	tally *tally
	merge bool

	stash  []queue.Chain // a ring of chains
	first  int
	count  int
	room   uint32
	taken  uint32 // room of the buffers that gather listed
	got    uint32 // bytes of the packet that was read into the stash, 0 if there is none
	large  bool   // the packet before was
	ahead  ahead
	box    mailbox
	vecs   []unix.Iovec
	pieces [][]byte // what an observer is shown
	peek   [headerSize + vlanHeader]byte
	spill  [1]byte // what of a packet does not fit
	armed  bool    // the guest kicks when it has more buffers
	broken bool    // by the guest
	dead   bool    // the link
	hold   hold    // the rate's
}

func (r *receiver) init(w *worker, q *virtio.Queue) {
	*r = receiver{w: w, q: q, tally: &w.d.tallies[2*w.pair], merge: w.d.features&featureMrgRxBuf != 0,
		stash: make([]queue.Chain, maxStash), vecs: make([]unix.Iovec, 0, maxVecs), pieces: make([][]byte, 0, maxVecs)}
}

var (
	errShortBuffer = errors.New("a receive buffer is smaller than the header")
	errShortHeader = errors.New("a packet to send is shorter than the header")
)

// receive takes a batch of packets, and reports whether there was one.
func (r *receiver) receive() bool {
	n, size := 0, uint32(0)
	for ; n < batch && size < muchData && r.fetch(); n++ {
		size += r.one()
	}
	if n > 0 {
		r.tally.show(r.q)
	}
	return n > 0
}

// one has the packet at hand go to the guest, and returns its size.
func (r *receiver) one() uint32 {
	size := r.got
	if size == 0 {
		p := r.ahead.take()
		size = p.size
		r.deliver(p)
		return size
	}
	r.got = 0
	r.accept(size)
	return size
}

// fetch makes sure that a packet is at hand that the guest has room for, and reports whether there is one.
// If it reports false, what changes that wakes the worker.
func (r *receiver) fetch() bool {
	for r.got == 0 {
		if p := r.next(); p != nil {
			return r.fits(p)
		}
		if !r.read() {
			return false
		}
	}
	return true
}

// read takes packets from the link, and reports whether there was one: a large one into the stash, and
// others ahead.
func (r *receiver) read() bool {
	if !r.open() {
		return false
	}
	var n int
	var errno unix.Errno
	if r.large && !r.w.steered() && r.enough() {
		n, errno = readv(r.w.fd, r.gather())
		r.got = uint32(max(n, 0))
	} else {
		n, errno = r.readAhead()
	}
	if n > 0 {
		return true
	}
	if err := ending(errno, r.w.events); err != nil {
		r.dead = true
		r.w.d.lost(err)
	}
	r.w.events = 0
	return false
}

// open reports whether packets are taken from the link.
func (r *receiver) open() bool {
	if r.w.fd < 0 || r.dead || r.broken || r.ahead.count > 0 || r.limited() {
		return false
	}
	return r.count > 0 || r.pop() || r.w.steered()
}

// limited reports whether the rate has packets wait.
func (r *receiver) limited() bool {
	limit := r.w.d.rxLimit
	if limit == nil || r.hold.on() {
		return limit != nil
	}
	wait := limit.wait()
	if wait > 0 {
		r.hold.in(wait)
	}
	return wait > 0
}

// enough pops chains until the largest packet fits, if that may be in several, and reports whether it does.
// Otherwise the guest will kick.
func (r *receiver) enough() bool {
	for r.merge && r.room < maxFrame {
		if r.count == maxStash || !r.pop() {
			return false
		}
	}
	return r.count > 0 || r.pop()
}

// pop adds a chain to the stash. If there is none, the guest will kick.
func (r *receiver) pop() bool {
	for !r.broken {
		c := &r.stash[(r.first+r.count)%maxStash]
		ok, err := r.q.Pop(c)
		if ok && err == nil && c.InLen() < r.w.d.header() {
			err = errShortBuffer
		}
		switch {
		case err != nil:
			r.broken = true
			r.w.fail(err)
		case ok:
			r.count++
			r.room += c.InLen()
			if r.armed {
				r.armed = false
				r.q.DisableKicks()
			}
			return true
		case r.armed:
			return false
		default:
			r.armed = true
			if !r.q.EnableKicks() {
				return false
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

// gather lists the buffers of the stashed chains, and a place for what does not fit.
func (r *receiver) gather() []unix.Iovec {
	v := r.vecs[:0]
	r.taken = 0
	for i := range r.count {
		c := &r.stash[(r.first+i)%maxStash]
		if len(v)+len(c.In) >= maxVecs {
			break
		}
		v = appendVecs(v, c.In)
		r.taken += c.InLen()
		if !r.merge {
			break
		}
	}
	v = append(v, unix.Iovec{Base: &r.spill[0], Len: 1})
	return v
}

// accept completes the chains that a packet of n bytes filled, unless the guest does
// not want it: then the next packet overwrites it.
func (r *receiver) accept(n uint32) {
	switch {
	case n < headerSize:
		r.tally.drop(DropMalformed)
	case n > r.taken:
		r.tally.drop(DropTooLong)
	case r.admit(r.shown, r.head(n), n):
		r.large = n > largeFrame
		r.w.d.rxLimit.charge(n - headerSize)
		r.tally.count(n - headerSize)
		r.finish(n)
	}
}

// admit reports whether the guest gets a packet of n bytes. pieces are where an observer
// finds it, and head how it begins, without its header.
func (r *receiver) admit(pieces func() [][]byte, head []byte, n uint32) bool {
	d := r.w.d
	if !d.linkUp.Load() {
		r.tally.drop(DropLinkDown)
		return false
	}
	if o := d.observer.Load(); o != nil {
		(*o).Packet(ToGuest, r.w.pair, pieces(), int(n))
		clear(r.pieces)
	}
	if !d.filter.Load().pass(head) {
		r.tally.drop(DropFiltered)
		return false
	}
	return true
}

// finish completes the chains that n bytes fill.
func (r *receiver) finish(n uint32) {
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

// shown lists the buffers of the stash.
func (r *receiver) shown() [][]byte {
	r.pieces = r.pieces[:0]
	for i := range r.count {
		r.pieces = append(r.pieces, r.stash[(r.first+i)%maxStash].In...)
		if !r.merge {
			break
		}
	}
	return r.pieces
}
