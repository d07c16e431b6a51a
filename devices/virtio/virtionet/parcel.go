package virtionet

import (
	"encoding/binary"
	"sync"

	"golang.org/x/sys/unix"

	"hv/block/uring"
)

// parcel is a packet on its way through memory of our own: to another queue than the one that it came by, or
// until the guest has room for it.
type parcel struct {
	buf    []byte
	size   uint32 // of the packet with its header of 12 bytes
	hash   uint32
	report uint16 // what the hash is of
}

// boxSize is how many packets wait for a queue, and a pool keeps.
const boxSize = 64

// mailbox is where the workers of other queues leave packets.
type mailbox struct {
	mu      sync.Mutex
	parcels [boxSize]*parcel
	first   int
	count   int
}

// put adds a packet. first says that nothing waited before it, ok that there was room.
func (m *mailbox) put(p *parcel) (first, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.count == boxSize {
		return false, false
	}
	m.parcels[(m.first+m.count)%boxSize] = p
	m.count++
	return m.count == 1, true
}

// take returns the packet that waits longest, nil if there is none.
func (m *mailbox) take() *parcel {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.count == 0 {
		return nil
	}
	p := m.parcels[m.first]
	m.parcels[m.first] = nil
	m.first = (m.first + 1) % boxSize
	m.count--
	return p
}

// pool keeps parcels that nobody uses.
type pool struct {
	mu   sync.Mutex
	free []*parcel
}

func (p *pool) get() *parcel {
	p.mu.Lock()
	defer p.mu.Unlock()
	if n := len(p.free); n > 0 {
		v := p.free[n-1]
		p.free = p.free[:n-1]
		return v
	}
	return &parcel{buf: make([]byte, maxFrame)}
}

func (p *pool) put(v *parcel) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.free) < boxSize {
		p.free = append(p.free, v)
	}
}

// aheadMax is how many packets are read at once.
const aheadMax = 32

// ahead are packets of a queue that were read before the guest's buffers were looked at.
type ahead struct {
	parcels [aheadMax]*parcel // a ring of those that are next
	first   int
	count   int
	stock   []*parcel         // that are not in use
	asked   [aheadMax]*parcel // what the kernel reads into
	results [aheadMax]int32   // and how much it did
	ask     int               // how many packets there are likely to be
}

func (a *ahead) add(p *parcel) {
	a.parcels[(a.first+a.count)%aheadMax] = p
	a.count++
}

func (a *ahead) take() *parcel {
	p := a.parcels[a.first]
	a.parcels[a.first] = nil
	a.first = (a.first + 1) % aheadMax
	a.count--
	return p
}

// parcel returns an empty one, and recycle takes one back.
func (r *receiver) parcel() *parcel {
	if n := len(r.ahead.stock); n > 0 {
		p := r.ahead.stock[n-1]
		r.ahead.stock = r.ahead.stock[:n-1]
		return p
	}
	return r.w.d.parcels.get()
}

func (r *receiver) recycle(p *parcel) {
	if len(r.ahead.stock) < aheadMax {
		r.ahead.stock = append(r.ahead.stock, p)
		return
	}
	r.w.d.parcels.put(p)
}

// next returns the packet that is next of those that were read, nil if there is none. Those of other queues'
// workers have their turn between two reads.
func (r *receiver) next() *parcel {
	if r.ahead.count == 0 {
		p := r.box.take()
		if p == nil {
			return nil
		}
		r.ahead.add(p)
	}
	return r.ahead.parcels[r.ahead.first]
}

// readAhead reads as many packets as there are likely to be. It returns how many there were, and why there were
// none.
func (r *receiver) readAhead() (n int, errno unix.Errno) {
	a := &r.ahead
	if a.ask > 1 && r.w.d.rxLimit == nil && r.w.makeRing() {
		return r.readMany()
	}
	p := r.parcel()
	size, errno := readv(r.w.fd, appendVecs(r.vecs[:0], [][]byte{p.buf}))
	if size <= 0 {
		r.recycle(p)
		return 0, errno
	}
	a.ask = 4
	r.arrived(p, uint32(size))
	return 1, 0
}

// readMany reads several packets in one system call.
func (r *receiver) readMany() (n int, errno unix.Errno) {
	a := &r.ahead
	for i := range a.ask {
		a.asked[i] = r.parcel()
		e, err := r.w.ring.Next()
		if err != nil {
			r.w.fail(err)
			return 0, unix.EIO
		}
		e.Op = uring.OpRead
		e.SetBytes(a.asked[i].buf)
		e.FD, e.UserData, e.OpFlags = int32(r.w.fd), uint64(i), unix.RWF_NOWAIT
	}
	if err := r.w.complete(uint32(a.ask), a.results[:]); err != nil {
		r.w.fail(err)
		return 0, unix.EIO
	}
	for i := range a.ask {
		switch size := a.results[i]; {
		case size > 0:
			n++
			r.arrived(a.asked[i], uint32(size))
		default:
			errno = unix.Errno(-size)
			r.recycle(a.asked[i])
		}
	}
	if n == a.ask {
		a.ask = min(2*n, aheadMax)
	} else {
		a.ask = n
	}
	if errno == unix.EOPNOTSUPP { // the kernel cannot try without waiting
		r.w.ringless, errno = true, unix.EAGAIN
	}
	return n, errno
}

// arrived takes a packet that was read to the queue that it is for, or drops it.
func (r *receiver) arrived(p *parcel, size uint32) {
	d := r.w.d
	p.size, p.hash, p.report = size, 0, reportNone
	r.large = size > largeFrame
	if size < headerSize {
		r.tally.drop(DropMalformed)
		r.recycle(p)
		return
	}
	frame := p.buf[headerSize:size]
	if !r.admit(func() [][]byte { return [][]byte{p.buf} }, frame, size) {
		r.recycle(p)
		return
	}
	to := r.w
	if s := d.steering.Load(); s != nil {
		var pair int
		if pair, p.hash, p.report = s.place(frame); pair >= 0 {
			to = d.worker(pair)
		}
	}
	if to == r.w {
		r.ahead.add(p)
		return
	}
	r.pass(p, to)
}

// pass gives a packet to the worker of another queue.
func (r *receiver) pass(p *parcel, to *worker) {
	first, ok := false, false
	if to != nil {
		first, ok = to.rx.box.put(p)
	}
	if !ok {
		r.tally.drop(DropQueueFull)
		r.recycle(p)
	}
	if first {
		to.pump.Wake()
	}
}

// fits reports whether the guest has room for a packet, or never will.
func (r *receiver) fits(p *parcel) bool {
	n := p.size + r.w.d.header() - headerSize
	for r.count == 0 || r.merge && r.room < n && r.count < maxStash {
		if !r.pop() {
			return false
		}
	}
	return true
}

// deliver copies a packet to the guest's buffers, if it fits.
func (r *receiver) deliver(p *parcel) {
	header := r.w.d.header()
	defer r.recycle(p)
	n := p.size + header - headerSize
	if n > r.room || !r.merge && n > r.stash[r.first].InLen() {
		r.tally.drop(DropTooLong)
		return
	}
	var wide [wideHeader]byte
	copy(wide[:], p.buf[:headerSize])
	binary.LittleEndian.PutUint32(wide[headerSize:], p.hash)
	binary.LittleEndian.PutUint16(wide[headerSize+4:], p.report)
	r.fill(0, wide[:header])
	r.fill(header, p.buf[headerSize:p.size])
	r.w.d.rxLimit.charge(p.size - headerSize)
	r.tally.count(p.size - headerSize)
	r.finish(n)
}

// fill copies bytes to the stash, from an offset on.
func (r *receiver) fill(off uint32, b []byte) {
	for i := 0; len(b) > 0; i++ {
		c := &r.stash[(r.first+i)%maxStash]
		if size := c.InLen(); off >= size {
			off -= size
			continue
		}
		b = b[c.CopyIn(b, off):]
		off = 0
	}
}
